"""How the sides differ comes out as it was put in, with an interval and a verdict."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.effects import estimated_interval
from synthetic_analysis import analyse
from synthetic_journal import FLUX, SNOWFLAKE, TRUTHS, Recipe


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


def test_with_the_control_being_flux_the_signs_turn():
    recipe = Recipe({"snowflake": SNOWFLAKE, "flux": FLUX})
    result = analyse(recipe, arms=["flux", "snowflake"])
    assert result["metrics"]["rest"]["effect"]["mean"] == pytest.approx(-0.035)


def test_fewer_than_six_valid_blocks_give_figures_without_p():
    rest = analyse(blocks=3)["metrics"]["rest"]["effect"]
    assert rest["mean"] == pytest.approx(0.035)
    assert rest["p"] is None
    assert rest["verdict"] is None
    assert rest["why_no_p"] == "3 valid blocks, 6 needed"


def test_estimated_bounds_hold_the_interval_and_the_coefficient():
    estimated = estimated_interval({"mean": 2.0, "low": -1.0, "high": 5.0}, {"joules_per_cpu_second": 3.0, "low": 1.0, "high": 10.0})
    assert estimated == {"value": 6.0, "low": -10.0, "high": 50.0}
