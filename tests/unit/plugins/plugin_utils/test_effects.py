"""The injected truth comes out again, and what is wrong with a run is said."""

import copy
import math
from dataclasses import replace

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import effects
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, invalid, period, records

TRUTHS = {"snowflake": SNOWFLAKE, "flux": FLUX}


def plan_of(**options):
    return build_plan({"interval_seconds": 4, **options}, "web1", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)


def analyse(recipe=None, blocks=None, **options):
    plan = plan_of(**options)
    return effects.analyse(plan, records(plan, recipe or Recipe(TRUTHS), blocks))


def test_a_noiseless_truth_comes_out_exactly():
    metrics = analyse()["metrics"]
    # 5 apps every 4 s are 1.25 reconciles per second of 20 CPU-ms each
    truth = {"rest": 0.01 + 1.25 * 0.02, "idle": 0.01, "deploy": 0.5, "deploy_actor": -0.75, "change": 0.3, "change_actor": -0.07}
    truth |= {"deploy_total": 0.5 - 0.75, "change_total": 0.3 - 0.07}
    assert {name: metric["effect"]["mean"] for name, metric in metrics.items()} == pytest.approx(truth)
    assert metrics["rest"]["sides"]["snowflake"]["mean"] == pytest.approx(0.06)


def test_with_noise_the_interval_holds_the_truth_and_the_verdict_is_different():
    rest = analyse(Recipe(TRUTHS, noise_cpu=0.001), blocks=12, profile="full", interval_seconds=4, apps=5)["metrics"]["rest"]
    assert rest["effect"]["low"] < 0.035 < rest["effect"]["high"]
    assert rest["effect"]["p"] == 2 / 2**12
    assert rest["effect"]["verdict"] == "different"
    assert rest["primary"]


def test_a_against_a_finds_nothing():
    recipe = Recipe({"flux-1": FLUX, "flux-2": FLUX}, noise_cpu=0.001)
    result = analyse(recipe, arms=["flux", "flux"])
    assert result["metrics"]["rest"]["effect"]["verdict"] == "equivalent"
    assert sorted(result["reconcile"]) == ["flux-1", "flux-2"]


def test_the_tool_and_the_actor_are_not_on_the_cluster_side_and_the_simulator_is():
    plain = analyse()["metrics"]["rest"]["sides"]["flux"]["mean"]
    assert analyse(Recipe(TRUTHS, tool=0.5))["metrics"]["rest"]["sides"]["flux"]["mean"] == pytest.approx(plain)
    phase = {
        "cpu_seconds": {"etcd": 1.0, "kwok-controller": 0.5, "kjoule": 9.0, "git-server": 0.25},
        "components": {"etcd": "cluster", "kwok-controller": "simulator", "kjoule": "tool", "git-server": "arm"},
    }
    assert effects.cpu_of(phase) == 1.75


def test_the_residual_is_what_nobody_claims():
    rows = analyse()["components"]
    steady = next(row for row in rows if row["phase"] == "steady" and row["label"] == "flux")
    assert steady["residual_seconds"] == pytest.approx(0.1 * 8)
    assert [row["phase"] for row in rows][:4] == ["baseline", "baseline", "install", "install"]
    assert {part["name"]: part["role"] for part in steady["components"]}["kustomize-controller"] == "arm"


def test_a_reconcile_costs_what_was_put_in():
    result = analyse()
    assert result["reconcile"]["flux"]["mean"] == pytest.approx(0.02)
    assert result["reconcile"]["flux"]["reconciles"] == 60


def test_with_the_control_being_flux_the_signs_turn():
    recipe = Recipe({"snowflake": SNOWFLAKE, "flux": FLUX})
    result = analyse(recipe, arms=["flux", "snowflake"])
    assert result["metrics"]["rest"]["effect"]["mean"] == pytest.approx(-0.035)


def test_what_was_left_is_counted_per_block():
    left = analyse()["state"]["left"]
    assert left["drifted"]["snowflake"] == {"mean": 2.0, "values": [2] * 6}
    assert left["orphans"]["flux"]["mean"] == 0


def test_different_state_is_flagged():
    assert analyse()["state"]["equal"]
    state = analyse(Recipe(TRUTHS, hash_of={"flux": "other"}))["state"]
    assert not state["equal"]
    assert len(state["flags"]) == state["compared"] == 18


def test_fewer_than_six_valid_blocks_give_figures_without_p():
    rest = analyse(blocks=3)["metrics"]["rest"]["effect"]
    assert rest["mean"] == pytest.approx(0.035)
    assert rest["p"] is None
    assert rest["verdict"] is None
    assert rest["why_no_p"] == "3 valid blocks, 6 needed"


def test_an_invalid_block_is_left_out_whole_and_listed():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS))
    rows[0] = invalid(rows[0])
    result = effects.analyse(plan, rows)
    assert result["valid_blocks"] == [2, 3, 4, 5, 6]
    assert [(item["period_id"], item["why"], item["reasons"]) for item in result["exclusions"]] == [
        ("b01-p1-a1", "invalid", ["host under load before the period"]),
        ("b01-p2-a1", "the other period of the block is invalid", []),
    ]


def test_the_last_whole_attempt_is_used_and_the_others_are_listed():
    plan = plan_of()
    costly = Recipe({"snowflake": replace(SNOWFLAKE, idle=9.0), "flux": replace(FLUX, idle=9.0)})
    order = plan["blocks"][0]["order"]
    old = [period(plan, 1, label, costly, attempt=1) for label in order]
    half = [period(plan, 1, order[0], costly, attempt=3)]
    good = [period(plan, 1, label, Recipe(TRUTHS), attempt=2) for label in order]
    result = effects.analyse(plan, old + good + half + records(plan, Recipe(TRUTHS))[2:])
    assert result["metrics"]["idle"]["effect"]["mean"] == pytest.approx(0.01)
    assert [item["why"] for item in result["exclusions"]] == ["superseded by a later attempt"] * 2 + [
        "interrupted: the block was not finished"
    ]


def test_no_valid_block_gives_empty_tables():
    result = analyse(blocks=0)
    assert result["metrics"] == {}
    assert result["components"] == []
    assert result["measured_energy"] == []


def test_an_invalid_phase_takes_its_metric_out_of_that_block_only():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS))
    for phase in rows[0]["phases"]:
        if phase["kind"] == "deploy":
            phase["valid"] = False
    metrics = effects.analyse(plan, rows)["metrics"]
    assert metrics["deploy"]["blocks"] == [2, 3, 4, 5, 6]
    assert metrics["rest"]["blocks"] == [1, 2, 3, 4, 5, 6]


def test_measured_joules_come_out_in_watts_and_joules():
    measured = analyse(Recipe(TRUTHS, watts_idle=40.0))["measured_energy"]
    assert [entry["scope"] for entry in measured] == ["rapl:package+dram"]
    metrics = measured[0]["metrics"]
    assert metrics["rest_joules"]["sides"]["snowflake"]["mean"] == pytest.approx(40 + 3 * 0.06)
    assert metrics["rest_joules"]["effect"]["mean"] == pytest.approx(3 * 0.035)
    assert metrics["deploy_joules"]["effect"]["mean"] == pytest.approx(3 * (0.5 - 0.75))
    assert metrics["change_joules"]["effect"]["mean"] == pytest.approx(3 * (0.3 - 0.07))


def metered(bound_joules=0.0, accuracy=0.0, reads_high_by=0.0):
    """Effects of a run that differs in nothing but the arms, measured by a meter with that bound and accuracy, and with that error."""
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    for phase in (phase for row in rows for phase in row["phases"]):
        (window,) = phase["energy"]
        window["joules"] *= 1 + reads_high_by
        share = accuracy * window["joules"]
        window.update(uncertainty_joules=bound_joules + share, parts={"edges_joules": bound_joules, "accuracy_joules": share})
    (entry,) = effects.analyse(plan, rows)["measured_energy"]
    return entry["metrics"]


def test_a_bound_of_the_meter_widens_the_interval_by_what_it_is_worth():
    """Twelve windows of 8 s, each within 0.9 J: a standard uncertainty of 0.9 / sqrt(3) / 8 W each; 12 of them in a mean of 6 pairs."""
    effect = metered(bound_joules=0.9)["rest_joules"]["effect"]
    expanded = 2 * (0.9 / math.sqrt(3) / 8) * math.sqrt(12) / 6
    assert effect["meter"]["expanded"] == pytest.approx(expanded)
    assert (effect["low"], effect["high"]) == pytest.approx((0.105, 0.105))
    assert effect["meter"]["high"] - effect["mean"] == pytest.approx(expanded, rel=1e-6)
    assert effect["mean"] - effect["meter"]["low"] == pytest.approx(expanded, rel=1e-6)


def test_sampling_error_and_meter_add_as_squares():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0, noise_cpu=0.01))
    for phase in (phase for row in rows for phase in row["phases"]):
        phase["energy"][0].update(uncertainty_joules=0.9, parts={"accuracy_joules": 0.0})
    effect = effects.analyse(plan, rows)["measured_energy"][0]["metrics"]["rest_joules"]["effect"]
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
    assert effects.analyse(plan, rows)["measured_energy"][0]["metrics"]["rest_joules"]["effect"]["meter"] is None


def test_a_scope_that_is_missing_or_invalid_once_is_not_reported():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    broken = copy.deepcopy(rows)
    next(phase for phase in broken[3]["phases"] if phase["kind"] == "steady")["energy"][0]["valid"] = False
    assert effects.analyse(plan, broken)["measured_energy"] == []
    other = copy.deepcopy(rows)
    for phase in other[3]["phases"]:
        phase["energy"][0]["scope"] = "rapl:psys"
    assert effects.analyse(plan, other)["measured_energy"] == []


def test_scopes_stand_beside_each_other_the_source_of_the_run_first():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS, watts_idle=40.0))
    for row in rows:
        for phase in row["phases"]:
            phase["energy"].append({**phase["energy"][0], "scope": "ipmi:system", "source": "ipmi", "joules": 100.0})
    assert [entry["scope"] for entry in effects.analyse(plan, rows)["measured_energy"]] == ["ipmi:system", "rapl:package+dram"]
    preferred = effects.analyse(plan, rows, "rapl:package+dram")["measured_energy"]
    assert [entry["scope"] for entry in preferred] == ["rapl:package+dram", "ipmi:system"]


def test_estimated_bounds_hold_the_interval_and_the_coefficient():
    estimated = effects.estimated_interval(
        {"mean": 2.0, "low": -1.0, "high": 5.0}, {"joules_per_cpu_second": 3.0, "low": 1.0, "high": 10.0}
    )
    assert estimated == {"value": 6.0, "low": -10.0, "high": 50.0}


def test_a_scenario_without_steady_asks_about_idle():
    result = analyse(scenario=[{"name": "idle", "hold": 8}])
    assert result["primary"] == "idle"
    assert list(result["metrics"]) == ["idle"]
    assert result["metrics"]["idle"]["effect"]["mean"] == pytest.approx(0.01)
