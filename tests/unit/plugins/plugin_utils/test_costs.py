"""Costs that were injected come out again."""

from dataclasses import replace

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import costs
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, invalid, period

RECONCILE, WORKLOAD = FLUX.reconcile, SNOWFLAKE.workload


def run(flux=FLUX, snowflake=SNOWFLAKE, **options):
    plan = build_plan({"blocks": 6, "scenario": "scale", **options}, "h", run_id="r", created_at="", drawn_seed=4)
    recipe = Recipe({"snowflake": snowflake, "flux": flux})
    made = []
    for block in plan["blocks"]:
        own = costs.plan_of_cell(plan, block.get("cell", 0))
        made += [period(own, block["block"], label, recipe) for label in block["order"]]
    return plan, made


def row(apps, cpu, arm="flux", **more):
    base = {"arm": arm, "layout": "one", "repositories": 1, "kind": "deploy", "converged_seconds": 1.0}
    return {**base, "apps": apps, "cpu_seconds": cpu, **more}


def entry(found, arm):
    return next(item for item in found["marginal"] if item["arm"] == arm)["costs"]


def test_the_price_of_a_reconcile_is_found_over_intervals():
    plan, records = run(factors={"interval": [4, 8, 16]}, apps=8)
    found = entry(costs.costs(plan, costs.observations(plan, records)), "flux")
    assert found["reconciles"]["value"] == pytest.approx(RECONCILE, rel=0.1)
    assert found["reconciles"]["low"] <= found["reconciles"]["value"] <= found["reconciles"]["high"]
    estimated = found["reconciles"]["estimated"]
    assert estimated["low"] < estimated["value"] < estimated["high"]


def curves_of(plan, records, rest=None):
    own = costs.plan_of_cell(plan, 1 if plan["settings"]["cells"] else 0)
    rest = rest or {"effect": {"mean": 0.0, "low": -0.001, "high": 0.001}}
    return costs.curves(own, costs.observations(plan, records), rest)


def point(curve, **place):
    ((key, value),) = place.items()
    return next(item for item in curve if item[key] == value)


def test_over_several_intervals_what_stays_is_told_from_what_gets_rarer():
    plan, records = run(factors={"interval": [10, 20, 40]}, apps=8)
    curve = curves_of(plan, records)["interval_curve"]
    kinds = {item["interval_seconds"]: item["kind"] for item in curve}
    assert (kinds[10], kinds[30], kinds[60], kinds[3600]) == ("measured", "fitted", "extrapolated", "extrapolated")
    hour = point(curve, interval_seconds=3600)
    assert hour["value"] == pytest.approx(FLUX.idle - SNOWFLAKE.idle + RECONCILE * 8 / 3600, rel=0.15)
    assert hour["low"] <= hour["value"] <= hour["high"]
    assert hour["watts"]["low"] < hour["watts"]["value"] < hour["watts"]["high"]


@pytest.mark.parametrize("root_reconciles", [0, 2])
def test_the_band_from_one_interval_holds_the_truth_however_much_of_idle_is_polling(root_reconciles):
    """Without any app 2 reconciles every 4 s of 20 CPU-ms each make 10 mCPU: they get rarer, 5 mCPU of the controllers stay."""
    flux = replace(FLUX, root_reconciles=root_reconciles, idle=0.055 + RECONCILE * root_reconciles / 4)
    plan, records = run(scenario="day", profile="full", interval_seconds=4, apps=5, flux=flux)
    at = point(curves_of(plan, records)["interval_curve"], interval_seconds=600)
    assert at["kind"] == "extrapolated"
    assert at["low"] < 0.005 + RECONCILE * (5 + root_reconciles) / 600 <= at["high"] + 1e-12


def test_over_several_sizes_a_reconcile_pays_for_the_apps_of_its_repository():
    sides = {"flux": replace(FLUX, workload=0.0), "snowflake": replace(SNOWFLAKE, workload=0.0)}
    plan, records = run(factors={"apps": [2, 4, 8]}, interval_seconds=4, **sides)
    curve = curves_of(plan, records)["apps_curve"]
    assert {item["apps"]: item["kind"] for item in curve if item["apps"] in (2, 3, 4, 10)} == {
        2: "measured", 3: "fitted", 4: "fitted", 10: "extrapolated"
    }  # fmt: skip
    truth = FLUX.idle - SNOWFLAKE.idle + RECONCILE * 8 / 4
    assert point(curve, apps=8)["value"] == pytest.approx(truth, rel=0.1)


def test_with_the_control_being_flux_the_signs_turn():
    plan, records = run(scenario="day", profile="full", interval_seconds=4, apps=5)
    straight = point(curves_of(plan, records)["interval_curve"], interval_seconds=600)
    plan, records = run(scenario="day", profile="full", interval_seconds=4, apps=5, arms=["flux", "snowflake"])
    turned = point(curves_of(plan, records)["interval_curve"], interval_seconds=600)
    assert [turned[end] for end in ("value", "high", "low")] == pytest.approx([-straight[end] for end in ("value", "low", "high")])


def test_with_several_repositories_a_reconcile_pays_for_those_of_its_own_only():
    """The same truth, 0.01 CPU-seconds for every app of the repository: dealt out to 10 there is a tenth of them in each."""
    rows = [
        {**row(apps, 0.0), "repositories": 10, "kind": "steady", "seconds": 10.0, "interval_seconds": 10, "app_seconds": 0.0,
         "reconciles": number, "reconciled_apps": number * apps / 10, "failed": 0, "deployed": 0, "changes": 0,
         "cpu_seconds": 0.5 + number * (0.02 + 0.01 * apps / 10) + wobble}
        for apps, number, wobble in ((10, 10, 0.001), (10, 30, -0.001), (20, 10, 0.001), (20, 20, -0.001), (500, 5, 0.0), (500, 15, 0.0))
    ]  # fmt: skip
    (found,) = costs.marginal(rows)
    assert found["repositories"] == 10
    assert found["costs"]["reconciled_apps"]["value"] == pytest.approx(0.01, rel=0.05)


def test_observations_count_the_apps_of_one_repository():
    one, several = (costs.observations(*run(apps=6, **more)) for more in ({}, {"repositories": 3}))
    for first, second in zip(one, several):
        assert second["reconciled_apps"] == pytest.approx(first["reconciled_apps"] / 3)
        assert second["repositories"] == 3


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


def test_the_snowflake_has_one_law_whatever_the_layout_of_flux_was():
    rows = [
        row(apps, 0.1 * apps, arm, layout=layout) for apps in (1, 10, 100) for layout in ("one", "per-app") for arm in ("snowflake", "flux")
    ]
    found = [(curve["arm"], curve["layout"], curve["repositories"]) for curve in costs.by_apps(rows)]
    assert found == [("flux", "one", 1), ("flux", "per-app", 1), ("snowflake", None, None)]


def test_two_sizes_tell_no_law():
    assert costs.by_apps([row(1, 1.0), row(10, 5.0)]) == []


def test_what_cannot_be_told_apart_is_left_out_and_named():
    plan, records = run()
    found = next(item for item in costs.costs(plan, costs.observations(plan, records))["marginal"] if item["arm"] == "flux")
    assert "failed" in found["left_out"]
    assert "failed" not in found["costs"]


def test_failed_reconciles_have_a_price_of_their_own():
    base = {
        "arm": "flux",
        "layout": "one",
        "repositories": 1,
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


def test_a_reconcile_that_only_asks_for_another_is_no_work_of_its_own():
    plan, records = run(factors={"interval": [4, 8, 16]}, apps=8)
    before = costs.costs(plan, costs.observations(plan, records))
    for record in records:
        for phase in record["phases"]:
            if record["arm"] == "flux" and phase["kind"] == "deploy":
                phase["counters"]["reconciles"]["kustomization"]["requeue"] = 8
    assert costs.costs(plan, costs.observations(plan, records)) == before


def test_invalid_periods_and_empty_runs_count_nothing():
    plan, records = run()
    assert costs.costs(plan, costs.observations(plan, [])) is None
    assert costs.costs(plan, costs.observations(plan, [invalid(record) for record in records])) is None
    half = [*records[:-1], invalid(records[-1])]
    assert len(costs.observations(plan, half)) < len(costs.observations(plan, records))


def test_what_the_repository_adds_to_a_reconcile_is_told_apart_where_sizes_differ():
    base = {
        "arm": "flux",
        "layout": "one",
        "repositories": 1,
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
