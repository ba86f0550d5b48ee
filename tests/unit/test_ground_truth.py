# SPDX-License-Identifier: GPL-3.0-or-later
"""Known energy goes into a powercap tree, and the joules of our windows are compared with it: a thousand windows of each shape of power."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Reading, Vanished
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Miss, Moment, energy_window, sample_interval
from harness.powercap import OLD_RANGE_UJ, RANGE_UJ, Simulation, Zone
from harness.shapes import SHAPES

WINDOWS = 1000
SAMPLE_SECONDS = 5.0


@dataclass
class Injected:
    """A window and the truth about it."""

    record: dict[str, Any]
    truth_joules: float
    wraps: int

    @property
    def error(self) -> float:
        return self.record["joules"] - self.truth_joules


def measure(simulation: Simulation, source: RaplSource, seconds: float) -> Injected:
    """One window, read as Recorder does, in simulated time."""
    interval = sample_interval(source, SAMPLE_SECONDS)
    readings: list[Reading] = []
    misses: list[Miss] = []
    end_ns = simulation.now_ns + round(seconds * 1e9)
    while True:
        try:
            readings.append(source.read())
        except Vanished as error:
            misses.append(Miss(simulation.now_ns, str(error), True))
            simulation.advance(interval)
            simulation()
        if simulation.now_ns >= end_ns:
            break
        simulation.advance(min(interval, max(0.0, (end_ns - simulation.now_ns) / 1e9)))
    clocks = [Moment(t.t_ns, t.t_ns, t.t_ns, 0.0, 2) for t in (readings[0], readings[-1])]
    record = energy_window(source, readings, clocks[0], clocks[1], misses, interval)
    wraps = sum(later.values[0] < earlier.values[0] for earlier, later in zip(readings, readings[1:]))
    return Injected(record, simulation.truth_joules(readings[0].t_ns, readings[-1].t_ns), wraps)


def windows_of(shape: str, folder: Path) -> list[Injected]:
    """Windows of 1 to 120 s, 10 s for every fourth, of counters that update every 1 to 50 ms, early and late; half of them wrap
    somewhere inside."""
    chance = random.Random(shape)
    result = []
    for number in range(WINDOWS // 10):
        update = chance.choice((0.001, 0.01, 0.05))
        zones = [
            Zone(f"intel-rapl:{index}", f"package-{index}", SHAPES[shape](chance.randrange(1000)), chance.choice((OLD_RANGE_UJ, RANGE_UJ)),
                 chance.randrange(10**9, OLD_RANGE_UJ), update, chance.random(), seed=number)
            for index in range(2)
        ]  # fmt: skip
        zones[0].start_uj = zones[0].range_uj - chance.randrange(10**6, 10**10)
        simulation = Simulation(folder / str(number), zones, seed=number)
        source = RaplSource(str(simulation.tree.root), clock=simulation)
        source.update_seconds = max(zone.slowest_update_seconds for zone in zones)
        for repeat in range(10):
            simulation.advance(chance.random() * 5)
            seconds = 10.0 if repeat % 4 == 0 else 120 ** chance.random()
            result.append(measure(simulation, source, seconds))
        simulation.close()
    return result


@pytest.mark.parametrize("shape", SHAPES)
def test_the_truth_comes_back_inside_the_stated_uncertainty(shape, tmp_path):
    windows = windows_of(shape, tmp_path)
    assert len(windows) >= WINDOWS
    assert [window.record["reasons"] for window in windows if not window.record["valid"]] == [], "a good window is called invalid"
    outside = [window for window in windows if abs(window.error) > window.record["uncertainty_joules"]]
    assert len(outside) <= WINDOWS // 100, [(window.error, window.record) for window in outside[:3]]
    assert sum(window.wraps > 0 for window in windows) >= 40
    of_ten = [abs(window.error) / window.truth_joules for window in windows if 9.9 < window.record["seconds"] < 10.1]
    assert len(of_ten) >= WINDOWS // 4
    assert statistics.median(of_ten) < 0.002
