import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import pictures, savings
from synthetic_journal import FLUX, SNOWFLAKE, Recipe
from synthetic_reports import CASES, TRUTHS, make

QUIET = Recipe(TRUTHS)


def at(report, seconds):
    return next(point for point in report["savings"]["break_even"] if point["interval_seconds"] == seconds)


def benefit(report, name):
    return next(item for item in report["savings"]["benefits"] if item["name"] == name)


def test_orphaned_pods_pay_for_flux_where_their_watts_equal_its_own():
    """Flux adds 43 mCPU at rest: 0.010 idle, and 0.02 for each of 5 / 3 reconciles a second. 2.76 W a CPU, 0.074 W a pod."""
    pods = at(make(QUIET), 3)["pods"]
    assert pods["value"] == pytest.approx((0.010 + 0.02 * 5 / 3) * 2.76 / 0.074)
    assert pods["low"] == pytest.approx((0.010 + 0.02 * 5 / 3) * 1.0 / 0.35)
    assert pods["high"] == pytest.approx((0.010 + 0.02 * 5 / 3) * 10.0 / 0.014)


def test_drift_events_pay_for_what_they_would_have_gone_on_burning():
    report = make(QUIET)
    assert benefit(report, "drifted")["joules"]["value"] == pytest.approx(0.074 * 24 * 3600)
    assert at(report, 3)["drift_events_a_day"]["value"] == pytest.approx(at(report, 3)["pods"]["value"])


def test_a_removed_app_saves_all_its_pods():
    assert benefit(make(QUIET), "orphans")["joules"]["value"] == pytest.approx(2 * 0.074 * 24 * 3600)


def test_deployments_pay_where_one_costs_less_with_flux():
    """1.0 + 0.8 CPU-seconds by hand, 1.5 + 0.05 with Flux."""
    point = at(make(QUIET), 3)
    assert point["deployments_a_day"]["value"] == pytest.approx((0.010 + 0.02 * 5 / 3) * 86400 / 0.25)
    dearer = {**TRUTHS, "flux": FLUX.__class__(**{**FLUX.__dict__, "deploy": 3.0})}
    assert at(make(Recipe(dearer)), 3)["deployments_a_day"] is None


def test_what_flux_does_not_repair_saves_nothing():
    same = {**TRUTHS, "flux": FLUX.__class__(**{**FLUX.__dict__, "drifted": 2})}
    report = make(Recipe(same))
    assert benefit(report, "drifted")["joules"] == {"value": 0, "low": 0, "high": 0}
    assert at(report, 3)["drift_events_a_day"] is None


def test_flux_that_costs_nothing_needs_no_orphans():
    cheaper = {**TRUTHS, "flux": FLUX.__class__(**{**FLUX.__dict__, "idle": 0.02, "reconcile": 0.0})}
    assert at(make(Recipe(cheaper)), 3)["pods"] == {"value": 0, "low": 0, "high": 0}


def test_a_longer_interval_costs_less_and_is_called_extrapolated():
    curve = make(QUIET)["interval_curve"]
    assert [point["kind"] for point in curve] == ["measured"] + ["extrapolated"] * 7
    values = [point["value"] for point in curve]
    assert values == sorted(values, reverse=True)
    hour = curve[-1]
    assert hour["low"] == pytest.approx((0.010 + 0.02 * 5 / 3) * 3 / 3600)
    assert hour["high"] == pytest.approx(0.010 + 0.02 * 5 / 3 * 3 / 3600)


def test_more_apps_cost_more_along_a_straight_line():
    curve = {point["apps"]: point for point in make(QUIET)["apps_curve"]}
    assert curve[5]["kind"] == "measured"
    assert curve[1000]["value"] == pytest.approx(0.010 + 0.02 * 1000 / 3)
    assert curve[1]["value"] == pytest.approx(0.010 + 0.02 / 3)


def test_two_sides_of_one_kind_save_nothing():
    for case in ("a against a", "flux against flux", "idle only", "no block"):
        report = CASES[case]()
        assert report["savings"] is None
        assert report["interval_curve"] == report["apps_curve"] == []


def test_the_pods_of_a_workload_of_ones_own_are_counted():
    objects = [{"kind": "Deployment", "spec": {"replicas": 3}}, {"kind": "StatefulSet", "spec": {}}, {"kind": "Service"}]
    assert savings.pods_of({"kind": "manifests", "apps": [{"name": "a", "objects": objects}, {"name": "b", "objects": []}]}, 2) == 2.0


def test_measured_watts_replace_the_estimate_where_they_were_measured():
    report = make(Recipe(TRUTHS, watts_idle=40.0), profile="full", interval_seconds=4, apps=5)
    points = report["savings"]["break_even"]
    assert [point["energy"] for point in points if point["kind"] == "measured"] == ["measured"]
    assert {point["energy"] for point in points if point["kind"] == "extrapolated"} == {"estimated"}


def test_the_curves_are_drawn_and_called_extrapolated():
    report = make(Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}, noise_cpu=0.001))
    for picture in (pictures.interval_curve(report), pictures.apps_curve(report), pictures.break_even(report)):
        assert "extrapolated" in picture.svg()
        assert "mathdefault" not in picture.svg()
        assert len(picture.numbers.rows) >= 7
