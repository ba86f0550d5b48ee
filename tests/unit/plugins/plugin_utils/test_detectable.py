"""What a run can show is stated by the noise that it had, and beforehand by the noise of a calibration."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import statistics
from ansible_collections.kjoule.bench.plugins.plugin_utils.detectable import WANTED_POWER, expected_power
from synthetic_analysis import analyse, plan_of
from synthetic_journal import TRUTHS, Recipe


def test_the_power_of_a_run_is_that_of_its_own_noise():
    result = analyse(Recipe(TRUTHS, noise_cpu=0.001))
    table, effect = result["power"], result["metrics"]["rest"]["effect"]
    assert (table["metric"], table["unit"], table["pairs"], table["planned"]) == ("rest", "CPU", 6, None)
    assert table["sd"] == effect["sd"] > 0
    assert statistics.power(table["detectable"] / table["sd"], 6, 0.05) == pytest.approx(WANTED_POWER, abs=0.01)


def test_the_noise_of_a_calibration_tells_beforehand_and_less_noise_shows_less():
    settings = plan_of()["settings"]
    loud, quiet = (expected_power({"run_id": "c1", "noise": {"sd": sd}}, settings) for sd in (0.002, 0.001))
    assert (quiet["run_id"], quiet["blocks"], quiet["sd"]) == ("c1", settings["blocks"], 0.001)
    assert loud["detectable"] == pytest.approx(2 * quiet["detectable"])
    assert quiet["power_at_margin"] >= loud["power_at_margin"]


def test_where_nothing_is_inferred_no_power_is_told():
    assert analyse(inference=False)["power"] is None
