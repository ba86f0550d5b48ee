"""A metric is what its phases give; where they do not, it is not there."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import analysis
from synthetic_analysis import analyse, plan_of
from synthetic_journal import TRUTHS, Recipe, records


def test_an_invalid_phase_takes_its_metric_out_of_that_block_only():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS))
    for phase in rows[0]["phases"]:
        if phase["kind"] == "deploy":
            phase["valid"] = False
    metrics = analysis.analyse(plan, rows)["metrics"]
    assert metrics["deploy"]["blocks"] == [2, 3, 4, 5, 6]
    assert metrics["rest"]["blocks"] == [1, 2, 3, 4, 5, 6]


def test_a_scenario_without_steady_asks_about_idle():
    result = analyse(scenario=[{"name": "idle", "hold": 8}])
    assert result["primary"] == "idle"
    assert list(result["metrics"]) == ["idle"]
    assert result["metrics"]["idle"]["effect"]["mean"] == pytest.approx(0.01)
