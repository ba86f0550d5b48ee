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
