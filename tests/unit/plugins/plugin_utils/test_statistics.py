"""Statements about the tests themselves; expected values come from counting or from published tables, not from the code."""

import numpy as np
import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import statistics as st


@pytest.mark.parametrize(("pairs", "p"), [(1, 1.0), (2, 0.5), (5, 0.0625), (6, 0.03125), (7, 0.015625), (12, 2 / 4096)])
def test_pairs_of_one_sign_give_the_smallest_p(pairs, p):
    differences = [1.0 + 0.1 * number for number in range(pairs)]
    assert st.sign_flip_p(differences) == p == st.smallest_p(pairs)
    assert st.sign_flip_p([-value for value in differences]) == p


def test_a_hand_counted_example():
    # |sum| over the eight patterns of 1, 2, 4: 7, 5, 3, 1 twice each; the observed 5 is reached by 4 of 8
    assert st.sign_flip_p([-1, 2, 4]) == 0.5


def test_ties_by_rounding_count_as_ties():
    assert st.sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert st.sign_flip_p([0.1 + 0.2, -0.3]) == 1.0


def test_no_difference_at_all_gives_one():
    assert st.sign_flip_p([0.0] * 6) == 1.0


def test_beyond_sixteen_pairs_it_is_seeded_and_close_to_exact():
    values = [1.0] * 13 + [-1.0] * 5
    first = st.sign_flip_p(values, seed=3)
    assert first == st.sign_flip_p(values, seed=3)
    exact = 0.096252  # two-sided sign test, 5 of 18: 2 x 12616 / 262144
    assert first == pytest.approx(exact, abs=0.004)


def test_t_interval_of_a_textbook_sample():
    interval = st.mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451 * np.sqrt(2.5) / np.sqrt(5)  # t(0.975, 4) from a table
    assert interval["mean"] == 3.0
    assert interval["low"] == pytest.approx(3 - half)
    assert interval["high"] == pytest.approx(3 + half)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert st.mean_interval([2.0])["low"] is None
    assert st.mean_interval([])["mean"] is None


def test_hodges_lehmann_shrugs_at_one_outlier():
    assert st.hodges_lehmann([1.0, 1.0, 1.0, 1.0, 1000.0]) == 1.0
    assert st.hodges_lehmann([1.0, 3.0]) == 2.0


def test_holm_of_a_hand_computed_family():
    assert st.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_equivalence_needs_the_interval_inside_the_margin():
    near = [0.001, -0.001, 0.0005, -0.0005, 0.0, 0.0002]
    assert st.equivalence(near, 0.005)["equivalent"]
    assert st.equivalence(near, 0.005)["p"] < 0.05
    assert not st.equivalence([value * 10 for value in near], 0.005)["equivalent"]
    assert not st.equivalence([0.01] * 6, 0.005)["equivalent"]
    assert st.equivalence([0.001] * 6, 0.005)["equivalent"]


def judge(differences, margin=0.005, **more):
    effect = st.compare([0.0] * len(differences), differences, margin=margin, **more)
    return effect, st.verdict(effect, 0.05)


def test_three_verdicts():
    assert judge([0.02, 0.021, 0.019, 0.022, 0.018, 0.02])[1] == "different"
    assert judge([0.001, -0.001, 0.0005, -0.0005, 0.0, 0.0002])[1] == "equivalent"
    assert judge([0.05, -0.04, 0.03, -0.06, 0.02, 0.01])[1] == "cannot tell"


def test_an_outlier_can_make_p_small_and_still_not_a_difference():
    effect, word = judge([0.01, 0.01, 0.01, 0.01, 0.01, 3.0])
    assert effect["p"] == 0.03125
    assert effect["low"] < 0
    assert word == "cannot tell"


def test_without_inference_or_with_few_pairs_there_is_no_p_and_no_verdict():
    for more, count in (({"inference": False}, 6), ({}, 5)):
        effect, word = judge([0.02] * count, **more)
        assert effect["p"] is None
        assert word is None
        assert effect["why_no_p"]
        assert effect["mean"] == pytest.approx(0.02)


def test_false_positives_and_coverage_are_what_they_claim():
    generator = np.random.default_rng(7)
    wrong = covered = 0
    trials = 600
    for _ in range(trials):
        differences = list(generator.normal(0.3, 1.0, 8))
        interval = st.mean_interval(differences)
        covered += interval["low"] <= 0.3 <= interval["high"]
        wrong += st.sign_flip_p([value - 0.3 for value in differences]) <= 0.05
    assert 0.03 <= wrong / trials <= 0.07
    assert 0.93 <= covered / trials <= 0.975


def test_the_inverted_interval_of_six_pairs_goes_from_the_least_to_the_greatest():
    # With 6 pairs only all of one sign give p < 0.05: a shift is rejected when every pair lies on the same side of it.
    assert st.permutation_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]) == {"low": 1.0, "high": 6.0}
    assert st.permutation_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == {"low": None, "high": None}
    assert st.permutation_interval([]) == {"low": None, "high": None}


@pytest.mark.parametrize("pairs", [8, 12, 15])
def test_the_inverted_interval_holds_the_shifts_that_the_test_does_not_reject(pairs):
    values = list(np.random.default_rng(pairs).normal(1, 1, pairs))
    ends = st.permutation_interval(values)
    for end, inwards in ((ends["low"], 1), (ends["high"], -1)):
        assert st.sign_flip_p([value - end - inwards * 1e-6 for value in values]) >= 0.05
        assert st.sign_flip_p([value - end + inwards * 1e-6 for value in values]) < 0.05


def test_the_inverted_interval_of_many_pairs_is_that_of_the_t_distribution():
    for pairs in (60, 400):
        values = list(np.random.default_rng(2).normal(1, 1, pairs))
        drawn, t = st.permutation_interval(values, seed=4), st.mean_interval(values)
        assert drawn["low"] == pytest.approx(t["low"], abs=0.02)
        assert drawn["high"] == pytest.approx(t["high"], abs=0.02)
        assert drawn == st.permutation_interval(values, seed=4)


def test_many_rows_give_what_one_row_gives():
    rows = np.random.default_rng(6).normal(0.5, 1, (20, 7))
    assert list(st.sign_flip_p_many(rows)) == [st.sign_flip_p(list(row)) for row in rows]
    effects = [st.compare([0.0] * 7, list(row)) for row in rows]
    assert [bool(flag) for flag in st.different_many(rows)] == [st.verdict(effect, 0.05) == st.DIFFERENT for effect in effects]


def test_hodges_lehmann_of_many_values_is_the_same_by_bisection():
    values = np.random.default_rng(5).exponential(1, 601)
    rows, columns = np.triu_indices(601)
    assert st.hodges_lehmann(list(values)) == pytest.approx(np.median((values[rows] + values[columns]) / 2), rel=1e-9)


def test_ratios_are_taken_on_the_log_scale():
    ratio = st.log_ratio([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert (ratio["ratio"], ratio["low"], ratio["high"]) == pytest.approx((2, 2, 2))
    assert st.log_ratio([1.0, 4.0], [4.0, 4.0])["ratio"] == pytest.approx(2)
    assert st.log_ratio([1.0, -1.0], [1.0, 1.0]) is None
    assert st.log_ratio([], []) is None


def test_the_baseline_takes_its_part_of_the_difference():
    baseline = [0.3, -0.2, 0.5, -0.4, 0.1, 0.6, -0.1]
    wobble = [0.01, -0.01, 0.0, 0.01, 0.0, -0.01, 0.0]
    adjusted = st.ancova([2.0 + 1.5 * shift + small for shift, small in zip(baseline, wobble)], baseline)
    assert adjusted["mean"] == pytest.approx(2.0, abs=0.02)
    assert adjusted["slope"] == pytest.approx(1.5, abs=0.05)
    assert adjusted["low"] < 2.0 < adjusted["high"]


def test_a_baseline_that_says_nothing_gives_no_adjustment():
    assert st.ancova([1.0, 2.0, 3.0, 4.0], [0.1] * 4) is None
    assert st.ancova([1.0, 2.0, 3.0], [0.1, 0.2, 0.3]) is None


def test_identical_values_and_zero_variance_are_no_error():
    same = st.compare([1.0] * 6, [1.0] * 6, margin=0.1)
    assert (same["p"], same["low"], same["high"], st.verdict(same, 0.05)) == (1.0, 0.0, 0.0, st.EQUIVALENT)
    shifted = st.compare([1.0] * 6, [2.0] * 6)
    assert (shifted["p"], shifted["low"], shifted["permutation"]) == (0.03125, 1.0, {"low": 1.0, "high": 1.0})
    assert st.verdict(shifted, 0.05) == st.DIFFERENT


def test_without_a_margin_nothing_is_equivalent():
    assert st.verdict(st.compare([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.1, 1.9, 3.1, 3.9, 5.1, 5.9]), 0.05) == st.CANNOT_TELL


def test_power_grows_from_the_error_of_the_test_to_one():
    assert st.power(0, 6) <= 2 / 64 + 0.01
    assert st.power(10, 6) == 1
    assert st.power(1, 1) == 0
    assert st.power(0.8906, 12) == pytest.approx(0.8, abs=0.01)  # noncentral t, as tables of the paired t test give it
    assert st.power(100, 500) == 1


def test_fewer_than_six_pairs_find_nothing_at_five_percent():
    assert st.smallest_detectable(1.0, 5) is None
    assert st.smallest_detectable(2.0, 12) == pytest.approx(2 * 0.89, abs=0.02)


def test_the_number_of_pairs_is_the_smallest_that_is_enough():
    for effect in (2.0, 1.0, 0.3):
        pairs = st.pairs_for(effect, 1.0)
        assert st.power(effect, pairs) >= 0.8 > st.power(effect, pairs - 1)
    assert st.pairs_for(1.0, 0.0) == 6
    assert st.pairs_for(0.0, 1.0) is None
    assert st.pairs_for(0.001, 1.0) is None
