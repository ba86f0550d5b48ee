"""Statements about series with an injected fault, and about series without one."""

import numpy as np
import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import diagnostics


def series(pairs=40, seed=3):
    generator = np.random.default_rng(seed)
    first = 100 + generator.normal(0, 1, pairs)
    return first, first + 2 + generator.normal(0, 0.5, pairs), [bool(flag) for flag in generator.integers(0, 2, pairs)]


def diagnose(first, second, order):
    return diagnostics.diagnose(list(first), list(second), order, list(range(1, len(first) + 1)), seed=1)


def test_a_clean_run_finds_nothing():
    found = diagnose(*series())
    assert found["findings"] == []
    assert found["n"] == 40
    assert found["identical"] is False


def test_what_is_carried_over_shows_as_an_effect_of_order():
    first, second, order = series()
    found = diagnose(first, second + 1.5 * np.array(order), order)
    assert found["order"]["difference"] == pytest.approx(1.5, abs=0.5)
    assert any("came first" in text for text in found["findings"])


def test_differences_that_follow_each_other_show_as_autocorrelation():
    first, second, order = series()
    slow = np.zeros(40)
    noise = np.random.default_rng(8).normal(0, 1, 40)
    for index in range(1, 40):
        slow[index] = 0.9 * slow[index - 1] + noise[index]
    found = diagnose(first, second + slow, order)
    assert found["autocorrelation"]["lag_1"] > 0.5
    assert any("autocorrelation" in text for text in found["findings"])


def test_a_drift_of_both_sides_shows_with_its_slope():
    first, second, order = series()
    ramp = 0.3 * np.arange(40)
    found = diagnose(first + ramp, second + ramp, order)
    assert found["drift"]["low"] < 0.3 < found["drift"]["high"]
    assert any("drift" in text or "steps" in text for text in found["findings"])


def test_a_step_is_found_where_it_is():
    first, second, order = series()
    step = np.where(np.arange(40) >= 25, 5.0, 0.0)
    found = diagnose(first + step, second + step, order)
    assert found["change_point"]["after_block"] == 25
    assert found["change_point"]["step"] == pytest.approx(5, abs=0.8)
    assert any("after block 25" in text for text in found["findings"])


def test_one_side_that_is_more_restless_shows_in_the_variances():
    first, second, order = series()
    found = diagnose(first, second + np.random.default_rng(9).normal(0, 5, 40), order)
    assert found["variance"]["ratio"] > 5
    assert any("varies more" in text for text in found["findings"])


def test_a_block_far_off_is_named_and_kept():
    first, second, order = series()
    second[16] += 30
    found = diagnose(first, second, order)
    assert [item["block"] for item in found["outlying_blocks"]] == [17]
    assert found["n"] == 40


def test_identical_differences_are_suspicious_and_nothing_fails():
    found = diagnose([1.0] * 8, [2.0] * 8, [True, False] * 4)
    assert found["identical"] is True
    assert found["order"] is found["drift"] is found["change_point"] is found["variance"] is found["autocorrelation"] is None
    assert "steady" in found["findings"][0]


def test_few_blocks_say_nothing():
    found = diagnose([1.0, 2.0, 3.0], [2.0, 2.5, 4.0], [True, False, True])
    assert found["drift"] is None
    assert found["findings"] == []


def test_no_block_at_all_is_no_error():
    assert diagnose([], [], [])["n"] == 0


def test_false_alarms_are_rare():
    alarms = sum(bool(diagnose(*series(12, seed))["findings"]) for seed in range(60))
    # Five tests at 1 % and a robust z that normal values exceed now and then: one run in five at most.
    assert alarms <= 18


def test_the_noise_of_an_a_a_run_is_the_root_mean_square_of_its_differences():
    noise = diagnostics.noise([3.0, -4.0, 3.0, -4.0], [1.0, 1.0, 1.0, 1.0], [1, 2, 3, 4])
    assert noise["sd"] == pytest.approx(12.5**0.5)
    assert noise["lag_1"] < 0
    assert noise["drift_per_block"] is None
    assert diagnostics.noise([1.0], [1.0], [1])["sd"] is None
