import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.assumptions import corners, grid_table, multiplied, read_assumptions


def test_every_assumption_has_bounds_and_an_origin():
    for name, figure in read_assumptions().items():
        assert figure["low"] <= figure["value"] <= figure["high"], name
        assert len(figure["source"]) > 20, name
        assert figure["what"], name


def test_every_row_of_the_grid_has_year_source_and_licence():
    rows = grid_table()
    assert len(rows) >= 40
    for code, row in rows.items():
        assert len(code) == 3
        assert float(row["low"]) <= float(row["g_per_kwh"]) <= float(row["high"]), code
        assert row["year"][:2] == "20", code
        assert "json" in row["source"], code
        assert row["licence"].startswith("M"), code


def test_published_figures_are_in_the_table():
    """codecarbon's figures of 2023 and ecologits' figure of the world, in g CO2e per kWh."""
    rows = grid_table()
    published = {"FRA": 56, "DEU": 381, "USA": 369, "POL": 662, "IND": 713, "WOR": 458}
    assert {code: int(float(rows[code]["g_per_kwh"]) + (code != "USA") * 0.5) for code in published} == published


def test_a_country_is_found_by_its_code():
    assert read_assumptions({"grid": "fra"})["grid"]["value"] == 56.0
    assert "France, 2023" in read_assumptions({"grid": "FRA"})["grid"]["what"]


def test_what_the_user_knows_wins_and_says_so():
    own = {"value": 0.2, "low": 0.1, "high": 0.4, "source": "my meter"}
    figures = read_assumptions(
        {"watts_per_pod": own, "pue": "1.3", "grid": {"value": 20, "low": 10, "high": 30, "source": "mine", "marginal": 90}}
    )
    assert figures["watts_per_pod"]["source"] == "my meter"
    assert (figures["pue"]["low"], figures["pue"]["high"]) == (1.3, 1.3)
    assert "without bounds" in figures["pue"]["source"]
    assert figures["grid"]["marginal"] == 90
    assert read_assumptions({"pue": "", "grid": None}) == read_assumptions()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pue": 0.9}, "at least 1"),
        ({"pue": "1,3"}, "a point for decimals"),
        ({"pue": float("nan")}, "setting pue"),
        ({"lifetime_years": 0}, "above 0"),
        ({"watts_per_pod": {"value": 1}}, "no low, no high, no source"),
        ({"watts_per_pod": {"value": 1, "low": 2, "high": 3, "source": "x"}}, "low <= value <= high"),
        ({"grid": "FRX"}, "write FRA"),
        ({"grid": "12,5"}, "a point for decimals"),
        ({"co2": 1}, "assumptions"),
    ],
)
def test_what_is_wrong_is_named(options, message):
    with pytest.raises(KjouleError, match=message):
        read_assumptions(options)


def test_bounds_hold_for_every_combination_also_of_negative_figures():
    cost = {"value": -1.0, "low": -2.0, "high": 3.0}
    factor = {"value": 10.0, "low": 5.0, "high": 20.0}
    assert corners(lambda a, b: a * b, cost, factor) == {"value": -10.0, "low": -40.0, "high": 60.0}


def test_a_figure_is_multiplied_with_its_bounds_and_nothing_else_is_kept():
    assert multiplied({"value": 2.0, "low": 1.0, "high": 4.0, "unit": "W"}, 3) == {"value": 6.0, "low": 3.0, "high": 12.0}
