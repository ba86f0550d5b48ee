"""A run with factors is told cell by cell, with the costs that were fitted over all of them."""

from ansible_collections.kjoule.bench.plugins.plugin_utils.document import Table
from ansible_collections.kjoule.bench.plugins.plugin_utils.journal import Journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan, plan_of_cell
from ansible_collections.kjoule.bench.plugins.plugin_utils.report import build_report, to_json, to_markdown
from ansible_collections.kjoule.bench.plugins.plugin_utils.sizes import other_sizes
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, period


def report(**options):
    plan = build_plan({"scenario": "scale", **options}, "h", run_id="r", created_at="2024-01-01T00:00:00Z", drawn_seed=4)
    recipe = Recipe(dict(zip(plan["settings"]["labels"], (SNOWFLAKE, FLUX))), noise_cpu=0.0005)
    made = [
        period(plan_of_cell(plan, block.get("cell", 0)), block["block"], label, recipe)
        for block in plan["blocks"]
        for label in block["order"]
    ]
    return build_report(plan, Journal(header(plan), made))


def test_every_cell_has_its_own_effect_and_none_is_averaged():
    made = report(factors={"apps": [2, 4, 8]}, interval_seconds=4)
    effects = [cell["effect"]["mean"] for cell in made["cells"]]
    truth = [FLUX.idle - SNOWFLAKE.idle + FLUX.reconcile * apps / 4 for apps in (2, 4, 8)]
    assert [abs(effect - wanted) < 0.002 for effect, wanted in zip(effects, truth)] == [True] * 3
    assert made["metrics"]["rest"]["effect"]["mean"] == effects[0]
    assert made["cells"][0]["against_first"] is None
    more = made["cells"][2]["against_first"]
    assert more["low"] < FLUX.reconcile * (8 - 2) / 4 < more["high"]
    assert made["blocks"]["planned"] == 6
    assert all(cell["effect"]["p_adjusted"] >= cell["effect"]["p"] for cell in made["cells"])


def test_the_section_shows_cells_costs_and_what_is_extrapolated():
    made = report(factors={"apps": [2, 4, 8]}, interval_seconds=4)
    cells = [str(cell) for block in other_sizes(made) if isinstance(block, Table) for row in block.rows for cell in row]
    assert "apps 8" in cells
    assert "extrapolated" in cells
    assert any("per reconcile" in cell for cell in cells)
    assert b"What it costs at other sizes" in to_markdown(made)


def test_the_same_journal_gives_the_same_bytes():
    first, second = (report(factors={"apps": [2, 4, 8]}, interval_seconds=4) for _twice in range(2))
    assert to_json(first) == to_json(second)
    assert to_markdown(first) == to_markdown(second)


def test_without_factors_there_are_no_cells_but_costs():
    made = report()
    assert made["cells"] == []
    assert made["costs"]["marginal"]
