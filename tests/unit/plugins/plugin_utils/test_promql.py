# SPDX-License-Identifier: GPL-3.0-or-later
"""An expression is what it is said to be, or it is refused with what would be right. The published mistakes cannot be written down here."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.promql import check_expression, checked_unit, selectors

TYPES = {"pdu_power": "gauge", "pdu_energy": "counter", "node_joules_total": "counter", "kepler_watts": "gauge"}


def types(metric):
    return {TYPES[metric]} if metric in TYPES else set()


@pytest.mark.parametrize(
    ("expression", "found", "numbers"),
    [
        ("pdu_power", [("pdu_power", "pdu_power", ())], False),
        ('pdu_power{outlet="7", x="a}b"}', [('pdu_power{outlet="7",x="a}b"}', "pdu_power", ())], False),
        ('{__name__="pdu_power",outlet="7"}', [('{__name__="pdu_power",outlet="7"}', "pdu_power", ())], False),
        ("sum by (host) (rate(x_total[5m]))", [("x_total", "x_total", ("sum", "rate"))], False),
        ("sum(a) by (b) / 10 + on (c) group_left (d) e", [("a", "a", ("sum",)), ("e", "e", ())], True),
        ("avg_over_time(pdu_power[1m:5s]) * 1e3", [("pdu_power", "pdu_power", ("avg_over_time",))], True),
        ("a and b or c unless d # comment e", [(name, name, ()) for name in "abcd"], False),
    ],
)
def test_the_series_that_an_expression_reads_are_found_with_the_functions_around_them(expression, found, numbers):
    seen, calculates = selectors(expression)
    assert [(selector.text, selector.metric, selector.functions) for selector in seen] == found
    assert calculates == numbers


@pytest.mark.parametrize("expression", ["sum(a", "a)", "a{b", "1 + 2", "", "sum by (a", "[a)"])
def test_what_cannot_be_read_is_refused(expression):
    with pytest.raises(KjouleError, match="PromQL expression"):
        selectors(expression)


@pytest.mark.parametrize(
    ("unit", "kind", "factor"),
    [("W", "gauge", 1), ("mW", "gauge", 1e-3), ("uJ", "counter", 1e-6), ("Wh", "counter", 3600), ("kWh", "counter", 3.6e6)],
)
def test_a_unit_has_a_kind_and_a_factor(unit, kind, factor):
    assert checked_unit(unit) == (kind, factor)


@pytest.mark.parametrize("unit", ["W/h", "kW/h"])
def test_watts_per_hour_are_no_energy(unit):
    """Published: "1 W/h = 3600 J"."""
    with pytest.raises(KjouleError, match=r"a watt-hour is Wh, 3600 J"):
        checked_unit(unit)


@pytest.mark.parametrize("unit", [None, "", "watts", "w", "VA", 1])
def test_a_unit_is_stated_and_not_guessed(unit):
    with pytest.raises(KjouleError, match="not guessed"):
        checked_unit(unit)


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("pdu_power", "W"),
        ("sum(pdu_power) / 10", "W"),
        ("pdu_energy", "kWh"),
        ("node_joules_total + on (node) other_joules_total", "J"),
        ("unknown_thing", "W"),
        ("unknown_thing_total", "J"),
        ("scaph_host_power_microwatts", "uW"),
        ("scaph_host_power_microwatts / 1e6", "W"),
    ],
)
def test_what_fits_together_is_taken(expression, unit):
    assert check_expression(expression, unit, types)


@pytest.mark.parametrize(
    ("expression", "unit", "said"),
    [
        ("rate(pdu_power[24h])", "W", "the rate of pdu_power, which is a gauge"),  # published: rate(gauge[24h]) as "the last minute"
        ("rate(kepler_watts[1m])", "W", "which is a gauge"),
        ("node_joules_total", "W", "is a counter and cannot be W"),
        ("pdu_energy", "W", "is a counter and cannot be W"),
        ("unknown_total", "W", "is a counter and cannot be W"),
        ("pdu_power", "J", "is a gauge and cannot count J"),
        ("increase(node_joules_total[1m])", "J", "smears the edges of a phase, and extrapolates"),
        ("rate(node_joules_total[1m])", "W", "smears the edges of a phase"),
        ("sum(irate(x_microjoules_total[1m]))", "W", "the samples themselves"),
        ("avg_over_time(pdu_power[5m])", "W", "the samples themselves"),
        ("pdu_power offset 5m", "W", "another time than that of the window"),
        ("pdu_power @ 1609746000", "W", "another time than that of the window"),
        ("delta(pdu_power[1m])", "W", "the samples themselves"),
        ("timestamp(pdu_power)", "W", "the samples themselves"),  # published: the timestamp printed as millijoules
        ("scaph_host_power_microwatts", "W", "is in uW by its name"),
        ("kepler_node_cpu_joules_total", "kWh", "is in J by its name"),
    ],
)
def test_what_cannot_be_is_refused(expression, unit, said):
    with pytest.raises(KjouleError, match=said):
        check_expression(expression, unit, types)


def test_an_exporter_that_types_its_counter_wrong_can_be_corrected():
    TYPES["snmp_energy"] = "gauge"
    with pytest.raises(KjouleError, match="type: counter"):
        check_expression("snmp_energy", "kWh", types)
    assert check_expression("snmp_energy", "kWh", types, "counter")
