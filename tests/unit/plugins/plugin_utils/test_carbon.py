import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.assumptions import grid_table, read_assumptions
from ansible_collections.kjoule.bench.plugins.plugin_utils.carbon import embodied_grams, kilowatt_hours, score
from synthetic_reports import CASES, make


def exactly(value):
    return {"value": value, "low": value, "high": value}


def test_joules_of_a_published_example_are_kilowatt_hours():
    """CNCF green-reviews-tooling, proposal 003: 7867.5 J, printed there as 0.0041 kWh; they are 0.00219."""
    assert kilowatt_hours(7867.5) == pytest.approx(0.002185, abs=5e-7)


def test_embodied_carbon_of_a_published_example():
    """The same example: 550 kg over 4 years, 15 minutes of the whole machine: 3.92 g."""
    assert embodied_grams(550, 4, 15 * 60) == pytest.approx(3.92, abs=0.005)


def test_an_hour_of_one_kilowatt_is_one_kilowatt_hour():
    assert kilowatt_hours(1000 * 3600) == 1.0
    assert kilowatt_hours(1000 * 3600, pue=1.5) == 1.5


def test_the_score_is_e_times_i_plus_m_and_they_stay_apart():
    figures = read_assumptions({"grid": 100, "pue": 2, "embodied_kg": 876, "lifetime_years": 1})
    found = score(exactly(3.6e6), 3600.0, figures)
    assert found["energy_kwh"] == exactly(2.0)
    assert found["operational_g"] == exactly(200.0)
    assert found["embodied_g"] == pytest.approx(exactly(100.0))
    assert found["sci_g"] == pytest.approx(exactly(300.0))


def test_a_marginal_factor_stands_beside_the_score_where_it_is_given_and_in_no_sum():
    grid = {"value": 100, "low": 100, "high": 100, "source": "x", "marginal": 400}
    found = score(exactly(3.6e6), 0.0, read_assumptions({"grid": grid, "pue": 2}))
    assert found["marginal_g"] == exactly(800.0)
    assert found["sci_g"] == exactly(200.0)
    assert score(exactly(3.6e6), 0.0, read_assumptions({"grid": "FRA"}))["marginal_g"] is None


def test_no_shipped_grid_claims_a_marginal_factor():
    assert [code for code, row in grid_table().items() if row["marginal"]] == []


def test_the_bounds_join_those_of_energy_grid_pue_and_machine():
    figures = read_assumptions({"grid": {"value": 100, "low": 50, "high": 200, "source": "x"}, "embodied_kg": 876, "lifetime_years": 1})
    found = score({"value": 3.6e6, "low": 1.8e6, "high": 7.2e6}, 0.0, figures)
    assert found["operational_g"]["low"] == 25.0
    assert found["operational_g"]["high"] == pytest.approx(2 * 200 * 1.58)


def row(report, unit, side):
    return next(item for item in report["carbon"] if (item["unit"], item["side"]) == (unit, side))


def test_a_year_at_rest_is_8760_hours_of_the_effect():
    report = make()
    watts = report["metrics"]["rest"]["estimated"]["effect"]["value"]
    year = row(report, "year at rest", "difference")
    assert year["energy_kwh"]["value"] == pytest.approx(watts * 8.76)
    hour = row(report, "app-hour at rest", "difference")
    assert hour["energy_kwh"]["value"] == pytest.approx(watts * 8.76 / 8760 / 5)


def test_what_making_the_machine_is_shared_by_cpu_time():
    report = make()
    deployment = row(report, "deployment", "snowflake")
    cpu_seconds = report["metrics"]["deploy_total"]["sides"]["snowflake"]["mean"]
    assert deployment["embodied_g"]["value"] == pytest.approx(550_000 * cpu_seconds / 8 / (4 * 8760 * 3600))


def test_measured_joules_are_used_where_there_are_some_for_the_difference_only():
    report = CASES["measured"]()
    rows = [item for item in report["carbon"] if item["unit"] == "year at rest"]
    assert [(item["side"], item["kind"]) for item in rows] == [("difference", "measured")]
    watts = report["measured_energy"][0]["metrics"]["rest_joules"]["effect"]["mean"]
    assert rows[0]["energy_kwh"]["value"] == pytest.approx(watts * 8.76)


def test_without_figures_there_is_no_carbon():
    assert CASES["all invalid"]()["carbon"] == []
