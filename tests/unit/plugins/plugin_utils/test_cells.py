"""Every cell of a plan with factors is a comparison of its own."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import statistics
from ansible_collections.kjoule.bench.plugins.plugin_utils.cells import cell_table
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import plan_of_cell
from synthetic_analysis import plan_of
from synthetic_journal import FLUX, SNOWFLAKE, TRUTHS, Recipe, period, records


def cells_of(noise_cpu=0.0, **options):
    plan = plan_of(**options)
    recipe = Recipe(TRUTHS, noise_cpu=noise_cpu)
    made = [
        period(plan_of_cell(plan, block["cell"]), block["block"], label, recipe) for block in plan["blocks"] for label in block["order"]
    ]
    return cell_table(plan, made)


def test_without_factors_there_are_no_cells():
    plan = plan_of()
    assert cell_table(plan, records(plan, Recipe(TRUTHS))) == []


def test_each_cell_has_the_truth_of_its_level_and_what_the_factor_changed():
    cells = cells_of(factors={"apps": [2, 4]})
    truths = [FLUX.idle - SNOWFLAKE.idle + FLUX.reconcile * apps / 4 for apps in (2, 4)]
    assert [cell["levels"] for cell in cells] == [{"apps": 2}, {"apps": 4}]
    assert [cell["effect"]["mean"] for cell in cells] == pytest.approx(truths)
    assert cells[0]["against_first"] is None
    assert cells[1]["against_first"]["mean"] == pytest.approx(truths[1] - truths[0])


def test_the_p_of_the_cells_is_adjusted_over_the_cells():
    effects = [cell["effect"] for cell in cells_of(noise_cpu=0.0005, profile="full", factors={"apps": [2, 4]})]
    adjusted = statistics.holm({str(number): effect["p"] for number, effect in enumerate(effects)})
    assert [effect["p_adjusted"] for effect in effects] == list(adjusted.values())
    assert [effect["verdict"] for effect in effects] == ["different", "different"]


def test_cells_of_too_few_blocks_for_all_of_them_get_no_verdict():
    """Of 6 pairs the smallest p is 2 / 2**6, of two cells by Holm twice that, 0.0625: no data could have told them apart."""
    effects = [cell["effect"] for cell in cells_of(noise_cpu=0.5, blocks=6, factors={"apps": [2, 4]})]
    assert [effect["n"] for effect in effects] == [6, 6]
    assert all(effect["p_adjusted"] > 0.05 for effect in effects)
    assert [effect["verdict"] for effect in effects] == [None, None]
