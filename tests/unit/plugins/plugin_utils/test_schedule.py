# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a plan: in which order, how often again, for how long."""

import itertools

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import schedule
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, records


def build(host="web1", seed=7, run_id="r1", **options):
    return build_plan(options, host, run_id=run_id, created_at="2024-05-01T09:00:00Z", drawn_seed=seed, tool_version="0.1.0")


def record(plan, block, label, attempt=1, valid=True, error=None):
    position = plan["blocks"][block - 1]["order"].index(label) + 1
    return {"kind": "period", "block": block, "label": label, "attempt": attempt, "position": position, "valid": valid, "error": error}


def both(plan, block, attempt=1, valid=True):
    return [record(plan, block, label, attempt, valid) for label in plan["blocks"][block - 1]["order"]]


def places(items):
    return [(item["block"], item["position"], item["attempt"]) for item in items]


def test_the_run_time_grows_with_blocks_and_holds():
    base = schedule.estimate_seconds(build())
    assert schedule.estimate_seconds(build(blocks=12)) == pytest.approx(2 * base)
    assert schedule.estimate_seconds(build(interval_seconds=60)) > 5 * base


def test_nothing_measured_leaves_everything_in_the_planned_order():
    plan = build()
    left = schedule.remaining(plan, [])
    assert places(left) == [(block, position, 1) for block, position in itertools.product(range(1, 7), (1, 2))]
    assert [item["label"] for item in left] == [label for block in plan["blocks"] for label in block["order"]]
    assert left[0]["period_id"] == "b01-p1-a1"
    assert left[0]["arm"] == left[0]["label"]


def test_a_half_done_block_is_run_again_whole():
    plan = build()
    records = [*both(plan, 1), record(plan, 2, plan["blocks"][1]["order"][0])]
    assert places(schedule.remaining(plan, records))[:3] == [(2, 1, 2), (2, 2, 2), (3, 1, 1)]


def test_an_invalid_block_is_run_again_after_all_others_and_only_so_often():
    plan = build()
    records = both(plan, 1, valid=False) + both(plan, 2)
    assert places(schedule.remaining(plan, records)) == [(b, p, 1) for b in (3, 4, 5, 6) for p in (1, 2)] + [(1, 1, 2), (1, 2, 2)]
    records += [item for block in range(3, 7) for item in both(plan, block)] + both(plan, 1, attempt=2, valid=False)
    assert schedule.remaining(plan, records) == []
    state = schedule.progress(plan, records)
    assert (state["blocks_valid"], state["blocks_given_up"], state["finished"]) == (5, 1, True)
    assert places(schedule.remaining(build(block_retries=2), records)) == [(1, 1, 3), (1, 2, 3)]
    assert places(schedule.remaining(build(block_retries=0), both(plan, 1, valid=False)))[0] == (2, 1, 1)


def test_a_period_with_an_error_does_not_count():
    plan = build()
    records = [record(plan, 1, "flux"), record(plan, 1, "snowflake", error="etcd did not start")]
    assert schedule.selected_attempts(plan, records) == {}


def test_the_last_whole_and_valid_attempt_counts():
    plan = build()
    records = both(plan, 1) + both(plan, 1, attempt=2) + [record(plan, 1, "flux", 3)]
    assert schedule.selected_attempts(plan, records) == {1: 2}


def test_asking_again_and_again_comes_to_an_end_even_when_nothing_is_ever_valid():
    plan, records, rounds = build(), [], 0
    while work := schedule.remaining(plan, records):
        records += [record(plan, item["block"], item["label"], item["attempt"], valid=False) for item in work]
        rounds += 1
    assert rounds == 2


def synthetic(made, blocks):
    return records(made, Recipe(dict(zip(made["settings"]["labels"], (SNOWFLAKE, FLUX)))), blocks)


def test_a_run_stops_at_the_border_of_a_block_when_its_time_is_up():
    made = build(stopping={"max_hours": 0.05})
    measured = [{**record, "seconds": 60.0} for record in synthetic(made, 2)]
    assert schedule.stopped_by(made, measured[:2]) is None
    assert schedule.remaining(made, measured[:2])
    assert "max_hours 0.05" in schedule.stopped_by(made, measured)
    assert schedule.remaining(made, measured) == []
    done = schedule.progress(made, measured)
    assert (done["finished"], done["blocks_valid"], done["blocks_given_up"]) == (True, 2, 0)
    assert schedule.estimate_seconds(made) <= 180
