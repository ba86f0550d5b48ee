# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows from readings that are written down here; the windows of injected truth are in tests/unit/test_ground_truth.py."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.polled import Answer, PolledSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Accuracy, Channel, Reading, Source, Vanished, description_of
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import (
    Miss,
    Moment,
    Recorder,
    energy_window,
    moment,
    observed_update_seconds,
    sample_interval,
)
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

RANGE = 65_532.61  # of an older package, in joules


class Meter(Source):
    """A source that shows what it is told."""

    scope = "test:all"
    name = "test"

    def __init__(self, kind: str = "counter", channels: tuple[Channel, ...] | None = None, update_seconds: float = 0.001) -> None:
        self.kind = kind
        self.channels = channels or (Channel("package-0", "J", RANGE, 2000.0) if kind == "counter" else Channel("wall", "W"),)
        self.resolution = 1e-6
        self.update_seconds = update_seconds
        self.accuracy = Accuracy(None, "nobody")
        self.values: list[float] = []

    def describe(self) -> dict[str, Any]:
        return description_of(self)

    def read(self) -> Reading:
        return Reading(0, (self.values.pop(0),), 0)

    def close(self) -> None:
        pass


def at(seconds: float, *values: float, **more: Any) -> Reading:
    return Reading(round(seconds * 1e9), values, round(seconds * 1e9), **more)


def clocks(seconds: float, asleep: float = 0.0, stepped: float = 0.0, steal: float = 0.0) -> Moment:
    return Moment(round(seconds * 1e9), round((seconds + asleep) * 1e9), round((seconds + asleep + stepped) * 1e9), steal, 2)


def window(readings: list[Reading], meter: Meter | None = None, end: Moment | None = None, **more: Any) -> dict[str, Any]:
    start = clocks(readings[0].t_ns / 1e9)
    return energy_window(meter or Meter(), readings, start, end or clocks(readings[-1].t_ns / 1e9), **more)


def test_a_wrapped_counter_loses_nothing():
    result = window([at(0, RANGE - 30), at(1, RANGE - 10), at(2, 10), at(3, 30)])
    assert result["valid"], result["reasons"]
    assert result["joules"] == pytest.approx(60.0)
    assert (result["seconds"], result["readings"], result["kind"], result["channels"]) == (
        3.0,
        4,
        "measured",
        {"package-0": pytest.approx(60)},
    )


def test_parts_are_of_the_same_instants_as_the_whole():
    meter = Meter(channels=(Channel("package-0", "J", RANGE), Channel("package-0/dram", "J", RANGE)))
    result = window([at(0, 100, 10), at(1, 150, 12), at(2, 170, 19)], meter)
    assert result["channels"] == {"package-0": 70.0, "package-0/dram": 9.0}
    assert result["joules"] == math.fsum(result["channels"].values())


def test_a_counter_that_was_reset_makes_the_window_invalid():
    assert window([at(0, 30_000), at(1, 30_100), at(2, 0)])["reasons"] == ["reset: package-0 fell further than a wrap explains"]
    meter = Meter(channels=(Channel("total", "J"),))
    assert window([at(0, 5), at(1, 1)], meter)["reasons"] == ["reset: total fell and its range is not known"]


def test_joules_that_cannot_be_are_beyond_physics():
    """4.6e15 J were once published of a small server."""
    meter = Meter(channels=(Channel("total", "J"),))
    assert "total: beyond physics" in window([at(0, 100), at(1, 4.6e15)], meter)["reasons"][0]
    assert "package-0: beyond physics" in window([at(0, 100), at(1, 9_000)])["reasons"][0]


def test_a_frozen_counter_is_told_from_a_window_too_short_to_tell():
    assert window([at(0, 7), at(0.0005, 7)])["valid"]
    assert window([at(0, 7), at(1, 7), at(2, 7)])["reasons"] == ["frozen: package-0 did not move for more than 1 s"]
    half_way = [at(second, min(second, 5) * 20.0) for second in range(11)]
    assert window(half_way)["reasons"] == ["frozen: package-0 did not move for more than 1 s"]


def test_one_of_two_zones_that_froze_is_named():
    meter = Meter(channels=(Channel("package-0", "J", RANGE), Channel("package-1", "J", RANGE)))
    result = window([at(0, 0, 0), at(1, 50, 0), at(2, 100, 0)], meter)
    assert result["reasons"] == ["frozen: package-1 did not move for more than 1 s"]


def test_readings_too_far_apart_for_the_wrap_time_are_refused():
    assert window([at(0, 0), at(100, 10_000), at(200, 20_000)])["valid"]
    assert window([at(0, 0), at(200, 20_000)])["reasons"] == [
        "gap: readings of package-0 are 200 s apart, more than a quarter of its wrap time of 655 s"
    ]


def test_a_gauge_is_integrated_and_its_gaps_are_found():
    meter = Meter("gauge", update_seconds=1.0)
    steady = [at(second, 40.0) for second in range(11)]
    result = window(steady, meter)
    assert (result["joules"], result["valid"]) == (400.0, True)
    assert result["uncertainty_joules"] == pytest.approx(1e-5)
    assert window([at(second, 10.0 * second) for second in range(11)], meter)["joules"] == pytest.approx(500.0)
    assert window(steady[:4] + steady[8:], meter)["reasons"] == ["gap: 5.0 s without a reading, at most 3.0 s are allowed"]


@pytest.mark.parametrize(
    ("value", "reason"), [(math.nan, "not a number"), (math.inf, "not a number"), (-3.0, "negative"), (1.6e12, "beyond physics")]
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_figure_that_is_none_makes_the_window_invalid_wherever_it_stands(value, reason, position):
    readings = [at(0, 40.0), at(1, 41.0), at(2, 40.0)]
    readings[position] = at(position, value)
    result = window(readings, Meter("gauge"))
    assert len(result["reasons"]) == 1
    assert f"wall: {reason}" in result["reasons"][0]
    assert math.isfinite(result["joules"])


def test_a_meter_that_began_anew_is_seen_although_its_figures_go_on():
    assert window([at(0, 5, epoch="a"), at(1, 50, epoch="b")])["reasons"] == ["restart: the meter behind test began anew"]


def test_a_figure_that_the_meter_does_not_renew_is_stale():
    meter = Meter("gauge", update_seconds=2.0)
    fresh = [at(second, 40.0, meter_ns=int(second // 2 * 2e9)) for second in range(20)]
    assert window(fresh, meter)["valid"]
    stuck = [at(second, 40.0, meter_ns=int(min(second, 6) * 1e9)) for second in range(20)]
    assert window(stuck, meter)["reasons"] == ["stale: the meter's own time stood still for 7.0 s"]


def test_a_meter_whose_clock_is_wrong_is_fine_and_one_whose_clock_is_set_is_not():
    meter = Meter("gauge")
    wrong = [at(second, 40.0, meter_ns=int((second + 1e6) * 1e9)) for second in range(10)]
    assert window(wrong, meter)["valid"]
    for shift in (-3600, 3600):
        was_set = [at(second, 40.0, meter_ns=int((second + shift * (second > 4)) * 1e9)) for second in range(10)]
        assert window(was_set, meter)["reasons"] == [f"meter clock: it was set by {shift:+.1f} s"]


def test_what_happened_to_the_machine_meanwhile_is_told_by_its_clocks():
    readings = [at(second, second * 20.0) for second in range(11)]
    assert window(readings, end=clocks(10, asleep=300))["reasons"] == ["suspend: the machine slept for 300.00 s"]
    assert window(readings, end=clocks(10, stepped=-2))["reasons"] == ["clock step: the time of day was set by -2.00 s"]
    assert window(readings, end=clocks(10, stepped=0.005))["valid"], "a time service slews"
    stolen = window(readings, end=clocks(10, steal=1.0))
    assert stolen["valid"]
    assert stolen["warnings"] == ["steal: the hypervisor gave 5.0 % of the CPU time to others"]
    assert window(readings, end=clocks(10, steal=0.1))["warnings"] == []


def test_a_reading_that_failed_costs_nothing_but_one_that_vanished_does():
    readings = [at(second, second * 20.0) for second in range(11)]
    once = window(readings, misses=[Miss(5, "timeout", False)])
    assert (once["valid"], once["warnings"]) == (True, ["1 of 12 readings failed"])
    assert window(readings, misses=[Miss(5, "zone gone", True)])["reasons"] == ["zone gone"]


def test_a_window_of_one_reading_has_no_length():
    for kind in ("counter", "gauge"):
        assert window([at(0, 7)], Meter(kind))["reasons"] == ["the window has no length"]


def test_the_budget_is_the_sum_of_its_parts_and_knows_where_they_come_from():
    meter = Meter(update_seconds=0.01)
    meter.accuracy = Accuracy(0.02, "data sheet")
    slow = [Reading(0, (0.0,), 100_000_000), Reading(10_000_000_000, (500.0,), 10_100_000_000)]
    result = energy_window(meter, slow, clocks(0), clocks(10))
    parts = result["parts"]
    assert parts["edges_joules"] == pytest.approx(50 * 0.1)
    assert parts["update_joules"] == pytest.approx(2 * 50 * 0.01)
    assert parts["resolution_joules"] == pytest.approx(2e-6)
    assert parts["accuracy_joules"] == pytest.approx(10.0)
    assert result["uncertainty_joules"] == pytest.approx(sum(parts.values()))


def test_readings_are_close_enough_for_the_shortest_wrap_and_no_closer_than_the_meter_renews():
    assert sample_interval(Meter(), 1.0) == 1.0
    assert sample_interval(Meter(), 60.0) == pytest.approx(RANGE / 2000 / 4)
    assert sample_interval(Meter(update_seconds=5), 1.0) == 5.0


def test_none_of_the_averages_of_a_gauge_is_missed_and_none_is_fetched_needlessly():
    assert sample_interval(Meter("gauge", update_seconds=10), 1.0) == pytest.approx(10 / 1.5)
    assert sample_interval(Meter("gauge", update_seconds=1), 1.0) == pytest.approx(1 / 1.5)
    assert sample_interval(Meter("gauge", update_seconds=0.01), 1.0) == 0.5


def test_a_window_in_which_a_counter_had_no_time_to_move_is_said_to_be_short():
    still = window([at(0, 7), at(0.005, 7)])
    assert (still["valid"], still["joules"], still["warnings"][0][:6]) == (True, 0.0, "short:")
    assert window([at(0, 7), at(0.5, 8)])["warnings"] == []


def test_a_window_too_short_for_a_gauge_is_said_to_be():
    readings = [at(second, 40.0) for second in range(6)]
    assert window(readings, Meter("gauge", update_seconds=0.5))["warnings"] == []
    short = window(readings, Meter("gauge", update_seconds=1.0))
    assert (short["valid"], short["warnings"][0][:6]) == (True, "short:")


class Busy:
    """The clocks of a machine that slept for so long, on which a process is kept from its processor for 12 ms at one place of every
    reading."""

    def __init__(self, place: int, asleep: float = 0.0) -> None:
        self.place, self.asleep_ns, self.now, self.count = place, round(asleep * 1e9), 10**12, 0

    def read(self, clock: int) -> int:
        self.now += 12_000_000 if self.count % 4 == self.place else 1000
        self.count += 1
        return self.now + (self.asleep_ns if clock != time.CLOCK_MONOTONIC else 0)


@pytest.mark.parametrize("places", [(1, 3), (3, 1), (1, 2), (0, 1)])
def test_a_process_that_was_kept_from_its_processor_is_no_machine_that_slept(places):
    start, end = (moment(Busy(place).read) for place in places)
    later = replace(end, **{name: getattr(end, name) + 10**10 for name in ("monotonic_ns", "boottime_ns", "realtime_ns")})
    readings = [at(second, second) for second in range(11)]
    assert energy_window(Meter(), readings, start, later)["reasons"] == []


def test_a_machine_that_slept_is_told_however_busy_it_was():
    start, end = moment(Busy(3).read), moment(Busy(1, asleep=0.05).read)
    assert energy_window(Meter(), [at(0, 0), at(1, 1)], start, end)["reasons"][0].startswith("suspend: ")


def test_the_clocks_are_those_of_the_machine():
    first, second = moment(), moment()
    assert 0 <= second.monotonic_ns - first.monotonic_ns < 10**10
    assert first.cpus >= 1


def test_a_counter_is_watched_until_its_rhythm_is_known():
    meter = Meter()
    now = [0]

    class Slow(Meter):
        def read(self) -> Reading:
            now[0] += 100_000
            return Reading(now[0], (float(now[0] // 20_000_000),), now[0])

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1e9)

    assert observed_update_seconds(Slow(), sleep=sleep, clock=lambda: now[0]) == pytest.approx(0.02, rel=0.05)
    meter.values = [1.0] * 1000
    assert observed_update_seconds(meter, sleep=sleep, clock=lambda: now[0]) == pytest.approx(0.1)


class Network:
    """A meter of 40 W behind a network that loses the answers it is told to lose, each after a tenth of a second."""

    def __init__(self, kind: str = "gauge") -> None:
        self.lost: list[type[KjouleError]] = []
        self.asked = 0
        begin = time.monotonic()

        def ask() -> Answer:
            self.asked += 1
            if self.lost:
                time.sleep(0.1)
                raise self.lost.pop()("the meter does not answer")
            return Answer((40.0 if kind == "gauge" else 40.0 * (time.monotonic() - begin),))

        unit = "W" if kind == "gauge" else "J"
        self.source = PolledSource("meter", kind, "meter:all", (Channel("all", unit),), 0.0, 0.001, Accuracy(None, "nobody"), ask)
        self.recorder = Recorder(self.source, 60.0)


@pytest.mark.parametrize("kind", ["counter", "gauge"])
@pytest.mark.parametrize("edge", [0, 1])
def test_an_edge_whose_answer_was_lost_is_asked_for_once_more_and_the_window_tells_how_late_it_was(kind, edge):
    meter = Network(kind)
    edges = []
    for number in range(2):
        meter.lost = [KjouleError] if number == edge else []
        edges.append(meter.recorder.edge())
        time.sleep(0.15)
    record = meter.recorder.window(*edges)
    wanted = [reading.asked_ns for reading, _moment in edges]
    assert edges[edge][0].late_seconds >= 0.1
    assert record["valid"], record["reasons"]
    assert record["seconds"] == (edges[1][0].t_ns - edges[0][0].t_ns) / 1e9, "its time is that of the question which was answered"
    assert record["parts"]["late_joules"] >= 40.0 * 0.1
    assert abs(record["joules"] - 40.0 * (wanted[1] - wanted[0]) / 1e9) <= record["uncertainty_joules"], "the window that was wanted"
    assert record["warnings"][0] == "1 of 3 readings failed"


def test_an_edge_is_asked_for_twice_and_no_more():
    meter = Network()
    meter.lost = [KjouleError, KjouleError]
    with pytest.raises(KjouleError, match="does not answer"):
        meter.recorder.edge()
    assert meter.asked == 3, "once when it was made"


def test_what_vanished_is_not_asked_for_again():
    meter = Network()
    meter.lost = [Vanished]
    with pytest.raises(Vanished):
        meter.recorder.edge()
    assert meter.asked == 2


def test_an_edge_that_comes_at_once_is_not_late():
    meter = Network()
    record = meter.recorder.window(meter.recorder.edge(), meter.recorder.edge())
    assert record["parts"]["late_joules"] < 40.0 * 0.1
