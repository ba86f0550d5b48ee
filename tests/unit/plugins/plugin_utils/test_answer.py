from dataclasses import replace

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.answer import terminal
from synthetic_journal import SNOWFLAKE, Recipe
from synthetic_reports import CASES, make


@pytest.mark.parametrize("case", CASES)
def test_every_answer_fits_its_terminal(case):
    lines = terminal(CASES[case](), ["reports/" + "r" * 150 + "/web1.md"])
    assert 3 <= len(lines) <= 15
    assert max(map(len, lines)) <= 110
    assert not any("\n" in line for line in lines)
    assert lines[-1].startswith("Report: ")
    assert lines[-1].endswith("/web1.md")


def said(case):
    return "\n".join(terminal(CASES[case]()))


def test_the_answer_of_a_day_says_what_was_asked():
    text = said("a day")
    for words in (
        "At rest flux adds to snowflake: +4",
        "p = 0.031: different",
        "controllers alone",
        "kWh a year",
        "A deployment",
        "A change",
    ):
        assert words in text
    for words in ("still drifted", "orphaned", "Extrapolated to a 10 min interval, not measured", "6 valid of 6", "estimated at 2.76"):
        assert words in text
    assert "no containers ran" in text


def test_measured_joules_are_called_measured():
    text = said("measured")
    assert "Measured on the whole host (rapl:package+dram): +0.1" in text
    assert "estimated" not in text.lower()


def test_a_against_a_is_called_by_its_name():
    text = said("a against a")
    assert "A against A" in text
    assert "snowflake-2 adds to snowflake-1" in text
    assert "equivalent" in text


def test_without_valid_blocks_the_reason_and_the_next_step_are_said():
    assert "nothing was measured yet" in said("no block")
    text = said("all invalid")
    assert "none of the 12 recorded periods" in text
    assert "reason reason" in text
    assert "Next:" in text


def test_without_p_the_answer_says_why():
    assert "no p: inference is switched off" in said("no inference")
    assert "no p: 1 valid blocks, 6 needed" in said("one block")


def test_an_unfair_comparison_is_said_before_the_figures():
    lines = terminal(CASES["other state"]())
    assert lines[1].startswith("Not a fair comparison")


def test_a_difference_too_small_to_matter_is_said_to_be_small():
    larger = replace(SNOWFLAKE, idle=SNOWFLAKE.idle + 0.002)
    report = make(Recipe({"snowflake-1": SNOWFLAKE, "snowflake-2": larger}), arms=["snowflake", "snowflake"])
    assert "different, a false alarm, but inside the margin of 5.00 mCPU" in " ".join("\n".join(terminal(report)).split())
