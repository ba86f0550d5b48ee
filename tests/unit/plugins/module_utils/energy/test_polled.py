# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that asks another machine says what it is, reads between two looks at the clock, and notices a mark that stands still."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.polled import Answer, PolledSource, StaleWatch
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Accuracy, Channel
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


def test_a_reading_lies_between_its_two_times_and_the_description_holds_what_is_known():
    closed = []
    source = PolledSource(
        name="meter",
        kind="gauge",
        scope="meter:all",
        channels=(Channel("all", "W"),),
        resolution=1.0,
        update_seconds=2.0,
        accuracy=Accuracy(0.01, "its data sheet"),
        ask=lambda: Answer((42.0,), "boot 7", 99),
        more={"at": "here"},
        give_back=lambda: closed.append(True),
    )
    reading = source.read()
    assert (reading.values, reading.epoch, reading.meter_ns) == ((42.0,), "boot 7", 99)
    assert reading.t_before_ns <= reading.t_after_ns
    told = source.describe()
    assert (told["name"], told["scope"], told["at"], told["accuracy"]) == (
        "meter",
        "meter:all",
        "here",
        {"relative": 0.01, "origin": "its data sheet"},
    )
    source.close()
    assert closed == [True]


def test_a_mark_that_stands_still_is_stale_after_the_patience_and_not_before():
    now = [0.0]
    watch = StaleWatch(10.0, lambda: now[0])
    watch.check("a", "it")
    now[0] = 9.0
    watch.check("a", "it")
    watch.check("b", "it")
    now[0] = 18.0
    watch.check("b", "it")
    now[0] = 20.0
    with pytest.raises(KjouleError, match="stale"):
        watch.check("b", "it")


def test_a_meter_that_does_not_know_the_time_is_not_stale():
    now = [0.0]
    watch = StaleWatch(10.0, lambda: now[0])
    for second in range(0, 100, 9):
        now[0] = second
        watch.check(None, "it")
    assert now[0] == 99


def asked_and_paused(pause_seconds):
    source = PolledSource(
        "meter", "gauge", "meter:all", (Channel("all", "W"),), 1.0, 2.0, Accuracy(None, "nobody"), lambda: Answer((42.0,))
    )
    source.pause_seconds = pause_seconds
    return source.read(), source.read()


def test_a_meter_that_needs_a_pause_gets_it_and_the_reading_begins_after_it():
    first, second = asked_and_paused(0.05)
    assert second.t_before_ns - first.t_before_ns >= 50_000_000
    assert second.t_after_ns - second.t_before_ns < 50_000_000


def test_what_reading_costs_in_other_programs_is_told():
    spent = [0.25]
    source = PolledSource(
        "meter", "gauge", "meter:all", (Channel("all", "W"),), 1.0, 2.0, Accuracy(None, "nobody"), lambda: Answer((42.0,)),
        children=lambda: spent[0],
    )  # fmt: skip
    assert source.children_seconds == 0.25
