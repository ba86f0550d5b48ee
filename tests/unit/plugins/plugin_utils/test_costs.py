"""Costs that were injected come out again."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import costs
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, invalid, period

RECONCILE, WORKLOAD = FLUX.reconcile, SNOWFLAKE.workload


def run(**options):
    plan = build_plan({"blocks": 6, "scenario": "scale", **options}, "h", run_id="r", created_at="", drawn_seed=4)
    recipe = Recipe(dict(zip(plan["settings"]["labels"], (SNOWFLAKE, FLUX))))
    made = []
    for block in plan["blocks"]:
        own = costs.plan_of_cell(plan, block.get("cell", 0))
        made += [period(own, block["block"], label, recipe) for label in block["order"]]
    return plan, made


def row(apps, cpu, arm="flux", **more):
    return {"arm": arm, "layout": "one", "kind": "deploy", "apps": apps, "cpu_seconds": cpu, "converged_seconds": 1.0, **more}


def entry(found, arm):
    return next(item for item in found["marginal"] if item["arm"] == arm)["costs"]


def test_the_price_of_a_reconcile_is_found_over_intervals():
    plan, records = run(factors={"interval": [4, 8, 16]}, apps=8)
    found = entry(costs.costs(plan, records), "flux")
    assert found["reconciles"]["value"] == pytest.approx(RECONCILE, rel=0.1)
    assert found["reconciles"]["low"] <= found["reconciles"]["value"] <= found["reconciles"]["high"]
    estimated = found["reconciles"]["estimated"]
    assert estimated["low"] < estimated["value"] < estimated["high"]


def test_longer_intervals_are_extrapolated_and_labelled_so():
    plan, records = run(factors={"interval": [10, 20, 40]}, apps=8)
    (found,) = costs.costs(plan, records)["interval"]
    kinds = {point["interval_seconds"]: point["kind"] for point in found["points"]}
    assert (kinds[30], kinds[60], kinds[3600]) == ("fitted", "extrapolated", "extrapolated")
    hour = next(point for point in found["points"] if point["interval_seconds"] == 3600)
    assert hour["value"] == pytest.approx(RECONCILE * 8 / 3600, rel=0.15)
    assert hour["low"] <= hour["value"] <= hour["high"]


@pytest.mark.parametrize(("law", "cost"), [("linear", lambda apps: 2 + 0.5 * apps), ("power law", lambda apps: 0.1 * apps**1.6)])
def test_the_law_that_was_injected_is_chosen(law, cost):
    wobble = [1.01, 0.99, 1.0, 1.01, 0.99, 1.0]
    rows = [row(apps, cost(apps) * factor) for apps, factor in zip((1, 5, 20, 50, 100, 200), wobble)]
    (found,) = costs.by_apps(rows)
    assert found["law"] == law
    last = found["points"][-1]
    assert (last["apps"], last["kind"]) == (1000, "extrapolated")
    assert last["value"] == pytest.approx(cost(1000), rel=0.1)
    assert last["low"] < last["value"] < last["high"]
    assert found["ready_seconds"]["200"] == 1.0


def test_two_sizes_tell_no_law():
    assert costs.by_apps([row(1, 1.0), row(10, 5.0)]) == []


def test_what_cannot_be_told_apart_is_left_out_and_named():
    plan, records = run()
    found = next(item for item in costs.costs(plan, records)["marginal"] if item["arm"] == "flux")
    assert "failed" in found["left_out"]
    assert "failed" not in found["costs"]


def test_failed_reconciles_have_a_price_of_their_own():
    base = {
        "arm": "flux",
        "layout": "one",
        "kind": "steady",
        "apps": 1,
        "interval_seconds": 10,
        "app_seconds": 0.0,
        "deployed": 0,
        "changes": 0,
    }
    rows = [
        {
            **base,
            "seconds": 10.0,
            "reconciles": good,
            "reconciled_apps": good,
            "failed": bad,
            "cpu_seconds": 0.5 + 0.02 * good + 0.07 * bad + wobble,
        }
        for good, bad, wobble in ((10, 0, 0.001), (20, 0, -0.001), (10, 5, 0.001), (5, 10, -0.001), (0, 20, 0.0), (30, 1, 0.0))
    ]
    (found,) = costs.marginal(rows)
    assert found["costs"]["reconciles"]["value"] == pytest.approx(0.02, rel=0.05)
    assert found["costs"]["failed"]["value"] == pytest.approx(0.07, rel=0.05)


def test_invalid_periods_and_empty_runs_count_nothing():
    plan, records = run()
    assert costs.costs(plan, []) is None
    assert costs.costs(plan, [invalid(record) for record in records]) is None
    half = [*records[:-1], invalid(records[-1])]
    assert len(costs.observations(plan, half)) < len(costs.observations(plan, records))


def test_what_the_repository_adds_to_a_reconcile_is_told_apart_where_sizes_differ():
    base = {
        "arm": "flux",
        "layout": "one",
        "kind": "steady",
        "interval_seconds": 10,
        "app_seconds": 0.0,
        "deployed": 0,
        "changes": 0,
        "failed": 0,
    }
    rows = [
        {
            **base,
            "apps": apps,
            "seconds": 10.0,
            "reconciles": number,
            "reconciled_apps": number * apps,
            "cpu_seconds": 0.5 + number * (0.02 + 0.01 * apps) + wobble,
        }
        for apps, number, wobble in ((1, 10, 0.001), (1, 30, -0.001), (20, 10, 0.001), (20, 20, -0.001), (50, 5, 0.0), (50, 15, 0.0))
    ]
    (found,) = costs.marginal(rows)
    assert found["costs"]["reconciles"]["value"] == pytest.approx(0.02, rel=0.05)
    assert found["costs"]["reconciled_apps"]["value"] == pytest.approx(0.01, rel=0.05)
    (curve,) = costs.by_interval(rows)
    assert curve["apps"] == 50
    ten = next(point for point in curve["points"] if point["interval_seconds"] == 10)
    assert ten["value"] == pytest.approx(10 * (0.02 + 0.5) / 10, rel=0.05)
