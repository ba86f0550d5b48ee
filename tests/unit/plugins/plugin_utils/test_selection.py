"""Which records count: whole valid blocks, their last attempt; the others are listed with the reason."""

from dataclasses import replace

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import analysis
from synthetic_analysis import plan_of
from synthetic_journal import FLUX, SNOWFLAKE, TRUTHS, Recipe, invalid, period, records


def test_an_invalid_block_is_left_out_whole_and_listed():
    plan = plan_of()
    rows = records(plan, Recipe(TRUTHS))
    rows[0] = invalid(rows[0])
    result = analysis.analyse(plan, rows)
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
    result = analysis.analyse(plan, old + good + half + records(plan, Recipe(TRUTHS))[2:])
    assert result["metrics"]["idle"]["effect"]["mean"] == pytest.approx(0.01)
    assert [item["why"] for item in result["exclusions"]] == ["superseded by a later attempt"] * 2 + [
        "interrupted: the block was not finished"
    ]
