# SPDX-License-Identifier: GPL-3.0-or-later
"""Known energy goes into a meter, and the joules of our windows are compared with it: a thousand windows of each shape of power."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.hwmon import HwmonSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Reading, Source, Vanished
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Miss, Moment, energy_window, sample_interval
from harness.hwmon import PowerMeter
from harness.powercap import OLD_RANGE_UJ, RANGE_UJ, Simulation, Zone
from harness.shapes import SHAPES, Constant
from harness.simulated import SimulatedTime

WINDOWS = 1000


@dataclass
class Injected:
    """A window and the truth about it."""

    record: dict[str, Any]
    truth_joules: float
    wraps: int

    @property
    def error(self) -> float:
        return abs(self.record["joules"] - self.truth_joules)


def measure(
    time: SimulatedTime, source: Source, truth: Callable[[int, int], float], seconds: float, sample_seconds: float, jitter: float = 0.0
) -> Injected:
    """One window, read as Recorder does, in simulated time. jitter: as its pauses for gauges."""
    interval = sample_interval(source, sample_seconds)
    readings: list[Reading] = []
    misses: list[Miss] = []
    end_ns = time.now_ns + round(seconds * 1e9)
    while True:
        try:
            readings.append(source.read())
        except Vanished as error:
            misses.append(Miss(time.now_ns, str(error), True))
            time()
        if time.now_ns >= end_ns:
            break
        pause = interval * (1 - jitter / 2 + jitter * (len(readings) * 0.618 % 1))
        time.advance(min(pause, (end_ns - time.now_ns) / 1e9))
    start, end = (Moment(edge.t_ns, edge.t_ns, edge.t_ns, 0.0, 2) for edge in (readings[0], readings[-1]))
    record = energy_window(source, readings, start, end, misses, interval)
    wraps = sum(later.values[0] < earlier.values[0] for earlier, later in zip(readings, readings[1:]))
    return Injected(record, truth(readings[0].t_ns, readings[-1].t_ns), wraps)


def length(chance: random.Random, number: int) -> float:
    """1 to 120 s, and 10 s for every fourth window."""
    return 10.0 if number % 4 == 0 else 120 ** chance.random()


def counter_windows(shape: str, folder: Path) -> list[Injected]:
    """Windows of two sockets whose counters update every 1 to 50 ms, late by up to as much again, and wrap at any moment."""
    chance = random.Random(shape)
    result = []
    for host in range(WINDOWS // 20):
        update, jitter = chance.choice((0.001, 0.01, 0.05)), chance.random()
        zones = [
            Zone(f"intel-rapl:{index}", f"package-{index}", SHAPES[shape](chance.randrange(1000)), chance.choice((OLD_RANGE_UJ, RANGE_UJ)),
                 chance.randrange(10**9, OLD_RANGE_UJ), update, jitter, seed=host)
            for index in range(2)
        ]  # fmt: skip
        zones[0].start_uj = zones[0].range_uj - chance.randrange(10**6, 2 * 10**10)
        simulation = Simulation(folder / str(host), zones, seed=host)
        source = RaplSource(str(simulation.tree.root), clock=simulation)
        source.update_seconds = zones[0].slowest_update_seconds
        for number in range(20):
            simulation.advance(chance.random() * 5)
            result.append(measure(simulation, source, simulation.truth_joules, length(chance, number), 5.0))
        simulation.close()
    return result


def gauge_windows(shape: str, average: bool, folder: Path) -> list[Injected]:
    """Windows of 1 to 120 s of a power meter that renews its figure every second, momentary or averaged."""
    chance = random.Random(f"{shape} {average}")
    result = []
    for host in range(WINDOWS // 20):
        meter = PowerMeter(folder / str(host), SHAPES[shape](chance.randrange(1000)), 1.0, average, seed=host)
        source = HwmonSource(str(folder / str(host)), clock=meter.time)
        meter.time.advance(5)
        for number in range(20):
            meter.time.advance(chance.random() * 5)
            result.append(measure(meter.time, source, meter.truth_joules, length(chance, number), 1.0, jitter=1.0))
        meter.close()
    return result


def assert_sound(windows: list[Injected]) -> None:
    assert [window.record["reasons"] for window in windows if not window.record["valid"]] == [], "a good window is called invalid"
    outside = [window for window in windows if window.error > window.record["uncertainty_joules"]]
    assert len(outside) <= len(windows) // 100, [(window.error, window.record) for window in outside[:3]]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_truth_comes_back_inside_the_stated_uncertainty(shape, tmp_path):
    windows = counter_windows(shape, tmp_path)
    assert len(windows) >= WINDOWS
    assert_sound(windows)
    assert sum(window.wraps > 0 for window in windows) >= 25
    of_ten = [window.error / window.truth_joules for window in windows if 9.9 < window.record["seconds"] < 10.1]
    assert len(of_ten) >= WINDOWS // 4
    assert statistics.median(of_ten) < 0.002


@pytest.mark.parametrize(
    ("shape", "average"), [(shape, True) for shape in SHAPES] + [("constant", False), ("ramp", False)], ids=lambda value: str(value)
)
def test_the_uncertainty_of_a_gauge_covers_what_happened_between_its_figures(shape, average, tmp_path):
    """Averages of any power; momentary figures where the power is slower than they are: bursts between two of those nobody can know of."""
    assert_sound(gauge_windows(shape, average, tmp_path))


def one_window(folder: Path, zones: list[Zone], seconds: float = 60.0, sample_seconds: float = 1.0, before: float = 5.0) -> Injected:
    simulation = Simulation(folder, zones)
    source = RaplSource(str(folder), clock=simulation)
    simulation.advance(before)
    result = measure(simulation, source, simulation.truth_joules, seconds, sample_seconds)
    simulation.close()
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
class TestFaults:
    """Each at a moment of its own in a window from 5 to 65 s, on the second of two sockets."""

    def window(self, folder: Path, shape: str, seed: int, **fault: Any) -> Injected:
        first, second = SHAPES[shape](seed), SHAPES[shape](seed + 1)
        zones = [Zone("intel-rapl:0", "package-0", first, start_uj=10**9), Zone("intel-rapl:1", "package-1", second, start_uj=10**10)]
        for name, value in fault.items():
            setattr(zones[1], name, value)
        return one_window(folder, zones)

    def at(self, seed: int) -> float:
        return random.Random(seed).uniform(7.0, 60.0)

    def test_a_reset_is_a_reset(self, tmp_path, shape, seed):
        window = self.window(tmp_path, shape, seed, reset_at=self.at(seed))
        assert window.record["reasons"] == ["reset: package-1 fell further than a wrap explains"]

    def test_a_freeze_is_a_freeze_also_when_it_thaws(self, tmp_path, shape, seed):
        at = self.at(seed)
        for name, until in (("for good", 1e9), ("for a while", at + 3.5)):
            window = self.window(tmp_path / name, shape, seed, frozen=(at, until))
            assert window.record["reasons"] == ["frozen: package-1 did not move for more than 1 s"]

    def test_a_zone_that_vanished_has_vanished_also_when_it_comes_back(self, tmp_path, shape, seed):
        at = self.at(seed)
        window = self.window(tmp_path, shape, seed, gone=(at, at + 2.5))
        assert len(window.record["reasons"]) == 1
        assert "intel-rapl:1/energy_uj vanished" in window.record["reasons"][0]

    def test_a_wrap_is_no_fault(self, tmp_path, shape, seed):
        window = self.window(tmp_path, shape, seed, start_uj=RANGE_UJ - int(20e6 * self.at(seed)))
        assert window.record["valid"], window.record["reasons"]
        assert window.error <= window.record["uncertainty_joules"]


def test_many_wraps_in_one_window_lose_nothing(tmp_path):
    """A range so small that it wraps every 20 s: readings are as close as that takes, not as close as was asked."""
    window = one_window(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(50.0), range_uj=10**9)], 120.0, sample_seconds=60.0)
    assert window.record["valid"], window.record["reasons"]
    assert window.wraps >= 5
    assert window.error <= window.record["uncertainty_joules"] < 0.01 * window.truth_joules
