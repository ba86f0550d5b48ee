import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.words import interval, markdown, probability, seconds, significant


def test_numbers_for_readers():
    assert [significant(value) for value in (0, 0.000123456, 12.345, 123456, -1.5, 1e-18)] == [
        "0",
        "0.000123",
        "12.3",
        "123456",
        "-1.50",
        "0",
    ]
    assert interval({"mean": 0.0213, "low": 0.0201, "high": 0.0225}, 1000, "mCPU", sign=True) == "+21.3 mCPU (95 % CI 20.1 to 22.5)"
    assert markdown("a\tb\x00c") == "a b c"


@pytest.mark.parametrize(("value", "text"), [(4, "4 s"), (0.5, "0.5 s"), (60, "1 min"), (600, "10 min"), (90, "90 s"), (7200, "2 h")])
def test_time_is_shown_in_the_largest_whole_unit(value, text):
    assert seconds(value) == text


def test_a_tiny_p_is_not_shown_as_zero():
    assert probability(1e-5) == "p < 0.001"
    assert probability(0.03125) == "p = 0.031"
    assert probability(None) == "no p"


def test_a_difference_of_nothing_has_no_sign():
    assert interval({"mean": -1e-9, "low": -0.001, "high": 0.001}, 1000, "mCPU", sign=True).startswith("0.0 mCPU")
