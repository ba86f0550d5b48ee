# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose power is known: 20 W and 3 J per CPU-second. Where its energy went is worked out by hand."""

from __future__ import annotations

import json
import math

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.attribution import attribute, table
from ansible_collections.kjoule.bench.plugins.plugin_utils.words import joules
from synthetic_journal import Recipe
from synthetic_reports import TRUTHS, make

SCOPE = "rapl:package+dram"
CALIBRATION = {
    "measured_at": "2026-11-25T00:00:00Z",
    "source": {"name": "rapl", "scope": SCOPE},
    "idle_watts": {"value": 20.0, "low": 19.9, "high": 20.1},
    "joules_per_cpu_second": {"value": 3.0, "low": 2.8, "high": 3.2},
    "low_load": None,
    "accuracy_relative": None,
    "points": 24,
    "covariance": [[0.0025, -0.002], [-0.002, 0.01]],
    "t": 2.0,
}


def phase(measured=230.0, busy=10.0, **more):
    """Ten seconds: 200 J idle, 6 + 2 CPU-seconds of components, 1 of the actor, 1 of somebody else."""
    return {
        "name": "steady",
        "kind": "steady",
        "index": 3,
        "seconds": 10.0,
        "cpu_seconds": {"etcd": 6.0, "source-controller": 2.0},
        "components": {"etcd": "cluster", "source-controller": "arm"},
        "actor": {"cpu_seconds": 1.0},
        "machine": {"busy_seconds": busy, "cpus": 4, "resolution_seconds": 0.01},
        "energy": [{"source": "rapl", "scope": SCOPE, "kind": "measured", "joules": measured, "uncertainty_joules": 0.5, "valid": True}],
        "valid": True,
        **more,
    }


def closed(found, method):
    around = found[method]
    return math.fsum(
        [around["idle"]["joules"], around["residual"]["joules"], *(part[method]["joules"] for part in found["parts"].values())]
    )


def test_by_marginal_cost_each_part_gets_what_its_cpu_time_costs():
    found = attribute(phase(), SCOPE, CALIBRATION)
    assert found["marginal"]["idle"] == {"joules": 200.0, "uncertainty": pytest.approx(1.0)}
    assert {name: part["marginal"]["joules"] for name, part in found["parts"].items()} == {
        "etcd": 18.0,
        "source-controller": 6.0,
        "actor": 3.0,
    }
    assert found["parts"]["etcd"]["marginal"]["uncertainty"] == pytest.approx(6 * 0.2)
    assert found["marginal"]["residual"]["joules"] == pytest.approx(3.0), "the CPU-second of somebody else"
    # 100 x 0.0025 - 2 x 10 x 9 x 0.002 + 81 x 0.01 = 0.7; twice its root, with the window's 0.5
    assert found["marginal"]["residual"]["uncertainty"] == pytest.approx(math.hypot(0.5, 2 * math.sqrt(0.7)))


def test_by_share_the_energy_above_idle_is_split_by_busy_time():
    found = attribute(phase(), SCOPE, CALIBRATION)
    assert {name: part["share"]["joules"] for name, part in found["parts"].items()} == {
        "etcd": pytest.approx(18.0),
        "source-controller": pytest.approx(6.0),
        "actor": pytest.approx(3.0),
    }
    assert found["share"]["residual"]["joules"] == pytest.approx(3.0)
    assert found["parts"]["etcd"]["share"]["uncertainty"] == pytest.approx(0.6 * math.hypot(0.5, 1.0), rel=0.01)


def test_without_a_calibration_idle_is_the_capacity_that_was_not_used():
    found = attribute(phase(), SCOPE, None)
    assert found["marginal"] is None
    assert found["share"]["idle"]["joules"] == pytest.approx(230 * 30 / 40)
    assert found["parts"]["etcd"]["share"]["joules"] == pytest.approx(230 * 6 / 40)
    assert found["parts"]["etcd"]["marginal"] is None
    assert closed(found, "share") == pytest.approx(230.0, rel=1e-12)


@pytest.mark.parametrize("measured", [230.0, 123.456789, 1e6, 199.0])
@pytest.mark.parametrize("busy", [10.0, 9.0, 33.3, 0.0])
def test_parts_and_residual_are_what_was_measured_whatever_it_was(measured, busy):
    found = attribute(phase(measured, busy), SCOPE, CALIBRATION)
    for method in ("marginal", "share"):
        assert closed(found, method) == pytest.approx(measured, rel=1e-12), method


def test_power_that_nobody_here_used_is_in_the_residual_and_not_in_the_parts():
    quiet, loud = (attribute(phase(measured), SCOPE, CALIBRATION) for measured in (230.0, 290.0))
    assert loud["marginal"]["residual"]["joules"] - quiet["marginal"]["residual"]["joules"] == pytest.approx(60.0)
    assert loud["parts"]["etcd"]["marginal"] == quiet["parts"]["etcd"]["marginal"]
    assert loud["parts"]["etcd"]["share"]["joules"] > 2 * quiet["parts"]["etcd"]["share"]["joules"], "which is why both are shown"


def kepler(**joules_of):
    listed = [{"pid": "1", "comm": name, "joules": value} for name, value in joules_of.items()]
    return {"kepler": {"zones": ["dram", "package"], "processes": {"joules": 1.0, "listed": listed, "others_joules": 0.0}}}


def selected(*phases):
    return {number: {"snowflake": {"phases": [one]}, "flux": {"phases": [one]}} for number, one in enumerate(phases)}


def test_what_a_kepler_gave_that_the_host_itself_read_stands_beside_it_too():
    """kjoule_source: kepler. Its attribution is in the record of its own window."""
    (entry,) = phase()["energy"]
    given = kepler(etcd=17.8)["kepler"]
    own = {**entry, "source": "kepler", "scope": "kepler:package+dram", "uncertainty_joules": 2.3, "attribution": given}
    found = table(selected(phase(energy=[own])), ["snowflake", "flux"], ["kepler:package+dram"], None)
    assert found["kepler_zones"] == ["dram", "package"]
    parts = {part["name"]: part for part in found["rows"][0]["parts"]}
    assert parts["etcd"]["kepler"] == {"joules": pytest.approx(17.8), "uncertainty": pytest.approx(0.178)}


def test_what_kepler_gave_stands_beside_it_and_is_found_by_the_cut_name():
    given = kepler(etcd=17.8, **{"source-controlle": 31.0})
    given["kepler"]["processes"]["listed"].append({"pid": "2", "comm": "etcd", "joules": 0.4})
    found = table(selected(phase(remote_attribution=given)), ["snowflake", "flux"], [SCOPE], CALIBRATION)
    parts = {part["name"]: part for part in found["rows"][0]["parts"]}
    assert parts["etcd"]["kepler"]["joules"] == pytest.approx(18.2)
    assert parts["etcd"]["disagree"] == []
    assert parts["source-controller"]["disagree"] == ["marginal/kepler", "share/kepler"]
    assert parts["actor"]["kepler"] is None
    assert found["kepler_zones"] == ["dram", "package"]
    assert found["disagreements"] == 2, "once for each side"


def test_kepler_in_other_zones_is_shown_and_not_compared():
    given = kepler(etcd=100.0)
    given["kepler"]["zones"] = ["psys"]
    found = table(selected(phase(remote_attribution=given)), ["snowflake", "flux"], [SCOPE], CALIBRATION)
    assert found["rows"][0]["parts"][0]["kepler"]["joules"] == 100.0
    assert found["disagreements"] == 0


def test_ways_that_disagree_by_more_than_their_uncertainties_are_flagged():
    found = table(selected(phase(290.0)), ["snowflake", "flux"], [SCOPE], CALIBRATION)
    assert {part["name"]: part["disagree"] for part in found["rows"][0]["parts"]}["etcd"] == ["marginal/share"]


def test_means_close_as_well_and_uncertainties_do_not_shrink():
    found = table(selected(phase(230.0), phase(250.0), phase(240.0)), ["snowflake", "flux"], [SCOPE], CALIBRATION)
    assert [(row["label"], row["periods"]) for row in found["rows"]] == [("snowflake", 3), ("flux", 3)]
    row = found["rows"][0]
    assert row["total"] == {"joules": 240.0, "uncertainty": 0.5}
    total = math.fsum(
        [row["marginal"]["idle"]["joules"], row["marginal"]["residual"]["joules"], *(p["marginal"]["joules"] for p in row["parts"])]
    )
    assert total == pytest.approx(240.0, rel=1e-12)
    assert row["parts"][0]["marginal"]["uncertainty"] == pytest.approx(1.2)


def test_a_calibration_of_another_scope_is_not_used_and_invalid_windows_are_not_attributed():
    other = {**CALIBRATION, "source": {"name": "plug", "scope": "plug:wall"}}
    assert table(selected(phase()), ["snowflake", "flux"], [SCOPE], other)["rows"][0]["marginal"] is None
    spoilt = phase()
    spoilt["energy"][0]["valid"] = False
    assert table(selected(spoilt), ["snowflake", "flux"], [SCOPE], CALIBRATION)["rows"] == []
    assert table(selected(phase()), ["snowflake", "flux"], [], CALIBRATION) is None


def test_the_report_has_it_where_energy_was_measured():
    recipe = Recipe(TRUTHS, noise_cpu=0.001, watts_idle=20.0, joules_per_cpu_second=3.0)
    options = {"profile": "full", "interval_seconds": 4, "apps": 5}
    report = make(recipe, energy_calibration=CALIBRATION, **options)
    rows = json.loads(reports.to_json(report))["attribution"]["rows"]
    steady = next(row for row in rows if row["kind"] == "steady" and row["label"] == "flux")
    assert steady["marginal"]["idle"]["joules"] == pytest.approx(20.0 * steady["seconds"])
    # The journal's truth: its host spends energy on the cluster and the actor only, so what the tool used is missing in the residual.
    tool = next(part for part in steady["parts"] if part["name"] == "kjoule")
    assert steady["marginal"]["residual"]["joules"] == pytest.approx(-tool["marginal"]["joules"], rel=1e-6)
    text = reports.to_markdown(report).decode()
    assert "## Where the energy went" in text
    assert "energy calibration of 2026-11-25" in text
    assert "no energy calibration of this host" in reports.to_markdown(make(recipe, **options)).decode()
    assert make()["attribution"] is None


def test_joules_are_written_with_the_decimals_of_their_uncertainty():
    assert joules({"joules": 123.4567, "uncertainty": 1.234}) == "123.5 ± 1.2"
    assert joules({"joules": 123.4567, "uncertainty": 0.0}) == "123 ± 0"
    assert joules(None) == "-"
