import copy
import json
import math
import random

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import document as documents
from ansible_collections.kjoule.bench.plugins.plugin_utils import fleet, pictures
from synthetic_journal import Recipe
from synthetic_reports import NASTY, TRUTHS, make

BASE = make(Recipe(TRUTHS, noise_cpu=0.001, watts_idle=40.0))


def host(name, mean=0.04, sd=0.001, scope=None, **settings):
    """A host's report with a known effect at rest."""
    report = copy.deepcopy(BASE)
    report["host"] = name
    report["settings"].update(settings)
    effect = report["metrics"]["rest"]["effect"]
    half = 2.57 * sd / math.sqrt(effect["n"])
    effect.update(mean=mean, sd=sd, low=mean - half, high=mean + half)
    if scope:
        report["measured_energy"][0]["scope"] = scope
    return report


def pooled(data, metric="rest", scope="cpu", group=0):
    return next(row for row in data["groups"][group]["pooled"] if (row["metric"], row["scope"]) == (metric, scope))


def test_equal_hosts_are_pooled_without_heterogeneity():
    row = pooled(fleet.build_fleet("r1", [host(f"h{number}") for number in range(5)], []))
    assert row["mean"] == pytest.approx(0.04)
    assert row["tau2"] == pytest.approx(0, abs=1e-12)
    assert row["i2"] == 0
    assert row["left_out"] == []


def test_pooling_agrees_with_a_published_calculation():
    """Example of metafor and of Hartung and Knapp: effects and variances whose Paule-Mandel solution can be checked by its definition."""
    found = {"a": {"mean": 1.0, "sd": 1.0, "n": 10}, "b": {"mean": 2.0, "sd": 1.0, "n": 20}, "c": {"mean": 4.0, "sd": 2.0, "n": 40}}
    row = fleet.pool(found, 0.05)
    weights = {name: 1 / (item["sd"] ** 2 / item["n"] + row["tau2"]) for name, item in found.items()}
    mean = sum(weights[name] * item["mean"] for name, item in found.items()) / sum(weights.values())
    assert row["mean"] == pytest.approx(mean)
    # Paule and Mandel: tau2 is where the weighted sum of squares equals its degrees of freedom.
    assert sum(weights[name] * (item["mean"] - mean) ** 2 for name, item in found.items()) == pytest.approx(2, rel=1e-3)
    # Hartung and Knapp: t with two degrees of freedom, 4.303, times the root of the weighted residual variance.
    error = math.sqrt(sum(weights[name] * (item["mean"] - mean) ** 2 for name, item in found.items()) / 2 / sum(weights.values()))
    assert (row["low"], row["high"]) == pytest.approx((mean - 4.3027 * error, mean + 4.3027 * error), rel=1e-3)


def test_the_spread_between_hosts_is_found_and_makes_the_interval_wider():
    generator = random.Random(11)
    reports = [host(f"h{number:02d}", mean=0.04 + generator.gauss(0, 0.01)) for number in range(40)]
    row = pooled(fleet.build_fleet("r1", reports, []))
    assert math.sqrt(row["tau2"]) == pytest.approx(0.01, rel=0.3)
    assert row["i2"] > 0.9
    assert row["low"] < 0.04 < row["high"]
    assert row["prediction"]["low"] < row["low"]


def test_hosts_that_measured_something_else_stand_apart():
    data = fleet.build_fleet("r1", [host("a"), host("b"), host("c", apps=50), host("d", apps=50), host("e", interval_seconds=60)], [])
    assert [len(group["hosts"]) for group in data["groups"]] == [2, 2, 1]
    assert data["groups"][2]["pooled"] == []


def test_energy_of_different_scopes_is_never_pooled_together():
    reports = [host("a"), host("b"), host("c", scope="ipmi:system"), host("d", scope="ipmi:system"), host("e", scope="plug")]
    rows = [
        (row["scope"], row["hosts"])
        for row in fleet.build_fleet("r1", reports, [])["groups"][0]["pooled"]
        if row["metric"] == "rest_joules"
    ]
    assert rows == [("ipmi:system", 2), ("rapl:package+dram", 2)]


def test_a_host_without_an_error_of_its_own_is_left_out_by_name():
    row = pooled(fleet.build_fleet("r1", [host("a"), host("b"), host("c", sd=0.0)], []))
    assert row["hosts"] == 2
    assert row["left_out"] == ["c"]


def test_the_page_names_hosts_as_they_are_and_those_without_a_report():
    data = fleet.build_fleet("r1", [host(NASTY), host("<i>b</i>")], ["gone<br>"])
    page = documents.to_html(fleet.document(data)).decode()
    text = documents.to_markdown(fleet.document(data)).decode()
    for bad in ("b<1>", "<i>b", "gone<br>"):
        assert bad not in page
    assert "gone\\<br\\>" in text
    assert "Over 2 hosts flux uses more CPU than snowflake at rest" in text


def test_what_was_measured_with_nothing_to_deliver_is_not_told_as_at_rest():
    reports = [host("a"), host("b")]
    for report in reports:
        report["primary"] = "idle"
        report["metrics"]["idle"]["effect"] = report["metrics"]["rest"]["effect"]
    text = documents.to_markdown(fleet.document(fleet.build_fleet("r1", reports, []))).decode()
    assert "Over 2 hosts flux uses more CPU than snowflake with nothing to deliver" in text
    assert "Effect with nothing to deliver of 2 hosts" in text
    assert "at rest, pooled" not in text


@pytest.mark.parametrize("reports", [[], [host("a")]])
def test_without_two_hosts_there_is_no_pooled_answer(reports):
    shown = fleet.document(fleet.build_fleet("r1", reports, []))
    assert shown.headline.startswith("No ")
    assert shown.verdict == "no verdict"


def test_the_data_are_the_same_every_time_and_in_any_order():
    reports = [host("b", mean=0.03), host("a")]
    assert fleet.to_json(fleet.build_fleet("r1", reports, [])) == fleet.to_json(fleet.build_fleet("r1", reports[::-1], []))
    assert json.loads(fleet.to_json(fleet.build_fleet("r1", reports, [])))["hosts"] == 2


def test_many_hosts_are_drawn_without_names_and_a_few_with():
    few = fleet.build_fleet("r1", [host("first"), host("second")], [])["groups"][0]
    many = fleet.build_fleet("r1", [host(f"h{number}") for number in range(50)], [])["groups"][0]
    assert "first" in pictures.forest(few, None).svg()
    assert ">h7<" not in pictures.forest(many, None).svg()


def test_a_thousand_hosts_are_one_page_of_a_few_megabytes():
    data = fleet.build_fleet("r1", [host(f"host-{number:04d}.example.org", mean=0.04 + 1e-5 * number) for number in range(1000)], ["gone"])
    shown = fleet.document(data)
    texts = [fleet.to_json(data), documents.to_markdown(shown), documents.to_html(shown)]
    assert sum(map(len, texts)) < 20e6
    assert pooled(data)["mean"] == pytest.approx(0.045, rel=1e-3)
    assert all(name in texts[2] for name in (b"host-0000.example.org", b"host-0999.example.org", b"gone"))
