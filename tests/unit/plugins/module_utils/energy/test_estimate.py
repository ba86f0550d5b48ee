import ast
import sys
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import estimate
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.tables import read_table

ROW = {"joules_per_cpu_second": 3.0, "low": 1.0, "high": 10.0}


def test_joules_are_cpu_seconds_times_the_coefficient_with_bounds():
    assert estimate.estimate_joules(2.0, ROW) == {
        "joules": 6.0,
        "low": 2.0,
        "high": 20.0,
        "scope": "estimate:cpu-time",
        "kind": "estimated",
    }


def test_a_saving_has_its_bounds_in_order_too():
    result = estimate.estimate_joules(-2.0, ROW)
    assert (result["low"], result["joules"], result["high"]) == (-20.0, -6.0, -2.0)


def test_every_row_of_the_table_has_its_source():
    for row in read_table("estimate.yml"):
        assert estimate.checked_row(row)["source"]
        assert row["licence"]
        assert row["year"]


@pytest.mark.parametrize("value", [0, -1, "x", None, True, float("nan"), float("inf")])
def test_a_coefficient_is_a_number_above_zero(value):
    with pytest.raises(KjouleError):
        estimate.row_from_user({"value": value, "low": 1, "high": 10, "source": "s"})


def test_it_needs_the_standard_library_only():
    tree = ast.parse(Path(estimate.__file__).read_text())
    names = {node.names[0].name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)}
    names |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    assert names <= set(sys.stdlib_module_names)


def test_the_row_for_hosts_of_which_nothing_is_known_is_that_of_the_table():
    row = next(row for row in read_table("estimate.yml") if row["id"] == estimate.GENERIC_ROW["id"])
    assert {key: row[key] for key in estimate.GENERIC_ROW} == estimate.GENERIC_ROW
