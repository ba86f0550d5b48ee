# SPDX-License-Identifier: GPL-3.0-or-later
"""What Scaphandre's exporter serves is read in joules and watts, under the scope that it has on this machine."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import polled, scaphandre
from ansible_collections.kjoule.bench.plugins.module_utils.energy.exposition import parse
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.meters import TEXTS, Exporter, scaphandre_text, series_of_scrapes


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No double here has to be waited for, but the one that says so."""
    monkeypatch.setattr(scaphandre, "PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("machine", "joules", "watts", "scope"), [("dram", 47.2, 19.404387, "package+dram"), ("psys", 69.0, 21.876992, "psys")]
)
def test_what_a_real_scaphandre_has_served_is_read_as_what_was_put_in(machine, joules, watts, scope):
    """Package 43 J and dram 4.2 J, and beside them psys 69 J, which contains both: tests/harness/texts."""
    text = (TEXTS / f"scaphandre-1.0.0-{machine}.txt").read_text()
    with Exporter(lambda: text) as double:
        for quantity, figure in (("energy", joules), ("power", watts)):
            source = scaphandre.make({"url": double.url, "quantity": quantity})
            assert (source.scope, source.read().values) == (f"scaphandre:{scope}", (pytest.approx(figure),))
            source.close()
    given = scaphandre.process_joules(series_of_scrapes((t, parse(text, "it")) for t in (0.0, 2.0)), 0.0, 2.0, joules)
    assert [entry["exe"] for entry in given["listed"]] == ["/usr/bin/python3.11"]


class LooksSeldom(Exporter):
    """As the real one: it looks at its counters only when nobody has asked for a while, and a question makes that while begin anew."""

    def __init__(self, clock):
        super().__init__(self._text)
        self.shown = self.true = 100.0
        self.clock, self.asked = clock, float("-inf")

    def _text(self):
        if self.clock.seconds - self.asked > scaphandre.UPDATE_SECONDS:
            self.shown = self.true
        self.asked = self.clock.seconds
        return scaphandre_text(self.shown, 1.0)


class Clock:
    """In the place of the module time: nothing but a pause lets time go by."""

    def __init__(self):
        self.seconds = 1000.0

    def monotonic_ns(self):
        return round(self.seconds * 1e9)

    def sleep(self, seconds):
        self.seconds += seconds


@pytest.mark.parametrize(("pause", "fresh"), [(scaphandre.PAUSE_SECONDS, True), (1.0, False), (0.0, False)])
def test_it_is_left_alone_until_it_looks_again(monkeypatch, pause, fresh):
    """Asked more often than every two seconds, version 1.0.0 shows one and the same figure for ever."""
    clock = Clock()
    monkeypatch.setattr(polled, "time", clock)
    monkeypatch.setattr(scaphandre, "PAUSE_SECONDS", pause)
    with LooksSeldom(clock) as double:
        source = scaphandre.make({"url": double.url})
        for _ in range(4):
            double.true += 10.0
            shown = source.read().values[0]
        assert (shown == double.true) == fresh
        source.close()


def test_energy_is_taken_where_there_is_a_counter_and_power_where_there_is_none():
    with Exporter(lambda: scaphandre_text(1234.5, 42.25)) as double:
        source = scaphandre.make({"url": double.url})
        assert (source.kind, source.read().values) == ("counter", (1234.5,))
        power = scaphandre.make({"url": double.url, "quantity": "power"})
        assert (power.kind, power.read().values) == ("gauge", (42.25,))
        source.close()
        power.close()
    with Exporter(lambda: scaphandre_text(None, 42.25)) as double:
        source = scaphandre.make({"url": double.url})
        assert source.kind == "gauge"
        source.close()


@pytest.mark.parametrize(("psys", "scope"), [(True, "scaphandre:psys"), (False, "scaphandre:package+dram")])
def test_the_scope_says_what_host_means_on_this_machine(psys, scope):
    assert scaphandre.scope_of(parse(scaphandre_text(1.0, 1.0, psys), "it")) == scope


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("timeout", "does not answer"),
        ("401", "does not let us in"),
        ("html", "did not answer with metrics"),
        ("empty", "shows no scaph_host_energy"),
        ("nan", "is no reading"),
        ("negative", "is no reading"),
    ],
)
def test_a_bad_answer_is_a_failed_reading_with_its_reason(fault, said):
    with Exporter(lambda: scaphandre_text(1234.5, 42.25)) as double:
        source = scaphandre.make({"url": double.url, "timeout_seconds": 1.0 if fault == "timeout" else 10.0})
        double.fault = fault
        with pytest.raises(KjouleError, match=said):
            source.read()
        double.fault = None
        assert source.read().values == (1234.5,)
        source.close()


def test_another_exporter_is_not_scaphandre():
    with Exporter(lambda: "node_load1 0.5\n") as double, pytest.raises(KjouleError, match="is it Scaphandre"):
        scaphandre.make({"url": double.url})


def processes(watts):
    return "\n".join(
        f'scaph_process_power_consumption_microwatts{{cmdline="x",exe="{exe}",pid="{pid}"}} {round(value * 1e6)}'
        for (pid, exe), value in watts.items()
    )


def test_processes_get_the_integral_of_their_power():
    scrapes = [
        (t, parse(scaphandre_text(t * 10.0, 10.0, processes=processes({("7", "etcd"): 4.0, ("8", "sh"): 1.0})), "it")) for t in range(11)
    ]
    result = scaphandre.process_joules(series_of_scrapes(scrapes), 0.0, 10.0, 100.0)
    assert [(entry["exe"], entry["joules"]) for entry in result["listed"]] == [("etcd", 40.0), ("sh", 10.0)]
    assert (result["joules"], result["reasons"]) == (50.0, [])


def test_processes_that_used_more_than_the_host_are_not_believed():
    scrapes = [(t, parse(processes({("7", "etcd"): 40.0}), "it")) for t in range(11)]
    assert "the host has used 100 J" in scaphandre.process_joules(series_of_scrapes(scrapes), 0.0, 10.0, 100.0)["reasons"][0]
