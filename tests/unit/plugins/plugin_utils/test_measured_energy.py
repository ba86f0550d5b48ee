"""Measured joules come out as they were put in, with what the error of the meter adds."""

import copy
import math

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import analysis
from synthetic_analysis import analyse, plan_of
from synthetic_journal import TRUTHS, Recipe, records


def test_measured_joules_come_out_in_watts_and_joules():
    measured = analyse(Recipe(TRUTHS, watts_idle=40.0))["measured_energy"]
    assert [entry["scope"] for entry in measured] == ["rapl:package+dram"]
    metrics = measured[0]["metrics"]
    assert metrics["rest_joules"]["sides"]["snowflake"]["mean"] == pytest.approx(40 + 3 * 0.06)
    assert metrics["rest_joules"]["effect"]["mean"] == pytest.approx(3 * 0.035)
    assert metrics["deploy_joules"]["effect"]["mean"] == pytest.approx(3 * (0.5 - 0.75))
    assert metrics["change_joules"]["effect"]["mean"] == pytest.approx(3 * (0.3 - 0.07))


def metered(bound_joules=0.0, accuracy=0.0, reads_high_by=0.0, **options):
    """Effects of a run that differs in nothing but the arms, measured by a meter with that bound and accuracy, and with that error."""
    plan = plan_of(**options)
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    for phase in (phase for row in rows for phase in row["phases"]):
        (window,) = phase["energy"]
        window["joules"] *= 1 + reads_high_by
        share = accuracy * window["joules"]
        window.update(uncertainty_joules=bound_joules + share, parts={"edges_joules": bound_joules, "accuracy_joules": share})
    (entry,) = analysis.analyse(plan, rows)["measured_energy"]
    return entry["metrics"]


def test_a_bound_of_the_meter_widens_the_interval_by_what_it_is_worth():
    """Twelve windows of 8 s, each within 0.9 J: a standard uncertainty of 0.9 / sqrt(3) / 8 W each; 12 of them in a mean of 6 pairs."""
    effect = metered(bound_joules=0.9)["rest_joules"]["effect"]
    expanded = 2 * (0.9 / math.sqrt(3) / 8) * math.sqrt(12) / 6
    assert effect["meter"]["expanded"] == pytest.approx(expanded)
    assert (effect["low"], effect["high"]) == pytest.approx((0.105, 0.105))
    assert effect["meter"]["high"] - effect["mean"] == pytest.approx(expanded, rel=1e-6)
    assert effect["mean"] - effect["meter"]["low"] == pytest.approx(expanded, rel=1e-6)


def test_one_block_has_no_interval_whatever_the_meter_knows():
    effect = metered(bound_joules=0.9, blocks=1, inference=False)["rest_joules"]["effect"]
    assert effect["meter"]["expanded"] > 0
    assert (effect["meter"]["low"], effect["meter"]["high"]) == (None, None)


def test_sampling_error_and_meter_add_as_squares():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0, noise_cpu=0.01))
    for phase in (phase for row in rows for phase in row["phases"]):
        phase["energy"][0].update(uncertainty_joules=0.9, parts={"accuracy_joules": 0.0})
    effect = analysis.analyse(plan, rows)["measured_energy"][0]["metrics"]["rest_joules"]["effect"]
    half = effect["high"] - effect["mean"]
    assert half > 0.001
    assert effect["meter"]["high"] - effect["mean"] == pytest.approx(math.hypot(half, effect["meter"]["expanded"]))


@pytest.mark.parametrize(("error", "inside"), [(0.05, True), (-0.05, True), (0.1, False)])
def test_a_meter_that_is_off_within_its_accuracy_leaves_the_truth_in_the_interval(error, inside):
    """Scale is no matter of how often one measures: sampling alone is sure of a wrong figure. Truth: 3 J for each of 0.035 CPU more."""
    truth = 3 * 0.035
    effect = metered(accuracy=0.05, reads_high_by=error)["rest_joules"]["effect"]
    assert not effect["low"] <= truth <= effect["high"]
    assert (effect["meter"]["low"] <= truth <= effect["meter"]["high"]) == inside


def test_a_window_that_states_no_bound_leaves_the_meters_part_unknown():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    for phase in rows[3]["phases"]:
        phase["energy"][0]["uncertainty_joules"] = None
    assert analysis.analyse(plan, rows)["measured_energy"][0]["metrics"]["rest_joules"]["effect"]["meter"] is None


def test_a_scope_that_is_missing_or_invalid_once_is_not_reported():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    broken = copy.deepcopy(rows)
    next(phase for phase in broken[3]["phases"] if phase["kind"] == "steady")["energy"][0]["valid"] = False
    assert analysis.analyse(plan, broken)["measured_energy"] == []
    other = copy.deepcopy(rows)
    for phase in other[3]["phases"]:
        phase["energy"][0]["scope"] = "rapl:psys"
    assert analysis.analyse(plan, other)["measured_energy"] == []


def test_scopes_stand_beside_each_other_the_source_of_the_run_first():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    for row in rows:
        for phase in row["phases"]:
            phase["energy"].append({**phase["energy"][0], "scope": "ipmi:system", "source": "ipmi", "joules": 100.0})
    assert [entry["scope"] for entry in analysis.analyse(plan, rows)["measured_energy"]] == ["ipmi:system", "rapl:package+dram"]
    preferred = analysis.analyse(plan, rows, "rapl:package+dram")["measured_energy"]
    assert [entry["scope"] for entry in preferred] == ["rapl:package+dram", "ipmi:system"]
