# SPDX-License-Identifier: GPL-3.0-or-later
"""A calibration in simulated time: a powercap tree whose power is idle + k x busy processors comes back within its interval.

The tree and the truth are the harness's; the load, the clock and the machine time are its own as well. The points go through the fit of the
controller, so that what is tested is what a user gets.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from dataclasses import dataclass, field

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import calibrate as module
from ansible_collections.kjoule.bench.plugins.module_utils.energy.calibrate import (
    LEVELS,
    Bench,
    Times,
    calibrate,
    measure_point,
    measure_points,
    mismatch,
    read_points,
)
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import MachineTime
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Moment
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.energy_calibration import fit
from harness.powercap import OLD_RANGE_UJ, Simulation, Zone

CPUS = 8
QUICK = Times(step=10, settle=2, idle=30, cooldown=20, sample=1, repeats=2)


@dataclass
class Loaded:
    """Power that follows a load that somebody sets: ``idle + k x busy``, with noise that is drawn four times a second, drift, and warmth
    that stays for a while after the load."""

    idle: float = 20.0
    k: float = 3.2
    noise: float = 0.0
    drift_per_hour: float = 0.0
    warmth: float = 0.0
    seed: int = 1
    busy: float = 0.0
    _times: list[float] = field(default_factory=lambda: [0.0])
    _watts: list[float] = field(default_factory=list)
    _joules: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self):
        self._random = random.Random(self.seed)
        self._warm = 0.0

    def power_watts(self, t):
        self.joules(t)
        return self._watts[bisect_right(self._times, t) - 1]

    def joules(self, t):
        while self._times[-1] < t:
            start = self._times[-1]
            self._warm += (self.warmth * self.busy - self._warm) * 0.2
            watts = self.idle + self.k * self.busy + self._random.gauss(0, self.noise) + self.drift_per_hour * start / 3600 + self._warm
            self._watts.append(watts)
            self._times.append(start + 0.25)
            self._joules.append(self._joules[-1] + 0.25 * watts)
        index = max(0, bisect_right(self._times, t) - 1)
        return self._joules[index] + (self._watts[index] * (t - self._times[index]) if index < len(self._watts) else 0.0)


class Host:
    """A bench in simulated time."""

    def __init__(self, root, start_uj=5_000_000, zone=None, **power):
        self.shape = Loaded(**power)
        self.simulation = Simulation(root, [Zone("intel-rapl:0", "package-0", self.shape, OLD_RANGE_UJ, start_uj, **(zone or {}))])
        self.busy_seconds, self._at = 0.0, self.simulation.now_ns
        self.levels = []
        source = RaplSource(str(root), clock=self.simulation)
        self.bench = Bench(source, self, self.sleep, lambda: self.simulation.now_ns, self.moment, self.machine, self.own_cpu, lambda: 40.0)

    def sleep(self, seconds):
        self.simulation.advance(seconds)

    def set(self, share):
        self.machine()
        self.shape.joules(self.simulation.seconds(self.simulation.now_ns))
        self.shape.busy = share * CPUS
        self.levels.append(share)

    def machine(self):
        now = self.simulation.now_ns
        self.busy_seconds += self.shape.busy * (now - self._at) / 1e9
        self._at = now
        return MachineTime(self.busy_seconds, 0.0, 0.0, 0.0, CPUS, 0.01)

    def moment(self):
        now = self.simulation.now_ns
        return Moment(now, now, now, 0.0, CPUS)

    def own_cpu(self):
        return 0.0004 * self.simulation.now_ns / 1e9


def measured(root, seed=1, times=QUICK, **host):
    one = Host(root, **host)
    points = measure_points(one.bench, times, seed)
    one.simulation.close()
    described = {"measured_at": "2026-11-25T00:00:00Z", "host": {}, "source": {"name": "rapl", "scope": "rapl:package"}, "seed": seed}
    return one, {**described, **points}


def inside(interval, truth):
    return interval["low"] <= truth <= interval["high"]


def test_what_was_injected_comes_back_within_its_interval(tmp_path):
    one, points = measured(tmp_path, idle=23.7, k=3.41, noise=0.8)
    found = fit(points)
    assert inside(found["joules_per_cpu_second"], 3.41)
    assert inside(found["idle_watts"], 23.7)
    assert inside(found["drift_watts_per_hour"], 0.0)
    assert found["joules_per_cpu_second"]["high"] - found["joules_per_cpu_second"]["low"] < 0.1
    assert found["r_squared"] > 0.99
    assert found["points"] == 3 + 20 + 1
    assert found["meter"]["cpu"] == pytest.approx(0.0004, rel=0.01)
    assert sorted(one.levels) == sorted([0.0] * 3 + [*LEVELS, *LEVELS] + [1.0])


def test_intervals_hold_the_truth_as_often_as_they_say(tmp_path):
    """95 of 100: of 60 calibrations at most 8 may miss, which happens by chance once in a thousand."""
    missed = 0
    for seed in range(60):
        points = measured(
            tmp_path / str(seed), seed=seed, idle=12.0, k=5.0, noise=1.0, times=Times(step=3, settle=1, idle=9, cooldown=4, repeats=1)
        )[1]
        missed += not inside(fit(points)["joules_per_cpu_second"], 5.0)
    assert missed <= 8


def test_a_host_that_warms_up_meanwhile_costs_the_same(tmp_path):
    found = fit(measured(tmp_path, k=3.0, noise=0.3, drift_per_hour=30.0)[1])
    assert inside(found["joules_per_cpu_second"], 3.0)
    assert inside(found["drift_watts_per_hour"], 30.0)
    assert found["drift_watts_per_hour"]["low"] > 20


def test_noise_and_cooldown_are_those_of_the_host(tmp_path):
    found = fit(measured(tmp_path / "warm", noise=0.5, warmth=1.0)[1])
    # Noise is drawn every quarter of a second and read every second: half of it is left.
    assert found["noise_floor_watts"] == pytest.approx(0.25, rel=0.5)
    assert abs(found["lag1_autocorrelation"]) < 0.5
    assert 1.0 < found["cooldown_seconds"] < 10.0
    assert fit(measured(tmp_path / "cold", noise=0.5)[1])["cooldown_seconds"] < found["cooldown_seconds"]


def test_a_counter_that_wraps_meanwhile_loses_nothing(tmp_path):
    found = fit(measured(tmp_path, start_uj=OLD_RANGE_UJ - 1_000_000_000, k=4.0, noise=0.2)[1])
    assert inside(found["joules_per_cpu_second"], 4.0)


def test_a_window_that_a_reset_spoilt_is_left_out_and_named(tmp_path):
    points = measured(tmp_path, k=4.0, noise=0.2, zone={"reset_at": 100.0})[1]
    spoilt = [window for window in [*points["idle"], *points["steps"]] if not window["valid"]]
    assert len(spoilt) == 1
    assert "reset" in spoilt[0]["reasons"][0]
    found = fit(points)
    assert inside(found["joules_per_cpu_second"], 4.0)
    assert "reset" in found["left_out"][0]


def test_the_order_is_drawn_from_the_seed(tmp_path):
    orders = [[step["level"] for step in measured(tmp_path / name, seed=seed)[1]["steps"]] for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0][:10]) == sorted(orders[0][10:]) == list(LEVELS)


def test_a_window_lasts_as_long_as_asked_and_its_parts_make_up_the_whole(tmp_path):
    one = Host(tmp_path)
    point = measure_point(one.bench, 10.0, 1.0)
    one.simulation.close()
    assert point["seconds"] == pytest.approx(10.0, abs=0.01)
    assert len(point["powers_watts"]) == 10
    assert sum(point["powers_watts"]) / 10 == pytest.approx(point["joules"] / point["seconds"], rel=1e-4)


def test_the_time_it_takes_is_told_beforehand(tmp_path):
    one, _points = measured(tmp_path)
    assert one.simulation.seconds(one.simulation.now_ns) == pytest.approx(QUICK.total(), rel=0.02)


# on this machine


def test_without_a_counter_the_message_says_what_would_make_one_readable(tmp_path):
    with pytest.raises(KjouleError) as error:
        calibrate(str(tmp_path), "estimate", QUICK, 1)
    assert "nothing to calibrate with" in str(error.value)
    assert "kjoule_source" in error.value.next_step
    assert not (tmp_path / module.FILE).exists()


def test_a_real_run_leaves_points_that_hold_here_and_nothing_else(tmp_path):
    """Real processes, real time, a tree whose counter stands for a source: what comes out means nothing, but all of it is there."""
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text("1000\n")
    state = tmp_path / "state"
    state.mkdir()
    # Steps of many ticks of 10 ms: on a busy machine a shorter one may get none.
    times = Times(step=0.25, settle=0.0, idle=0.1, cooldown=0.05, sample=0.02, repeats=1)
    points = calibrate(str(state), {"rapl": {"sysfs_root": str(tmp_path / "sys")}}, times, 1)
    assert read_points(str(state)) == (json.loads(json.dumps(points)), None)
    assert max(step["busy_seconds"] for step in points["steps"]) > 0
    assert {path.name for path in state.iterdir()} <= {module.FILE, "host.lock"}
    (state / module.FILE).write_text(json.dumps({**points, "host": {**points["host"], "cpus": 999}}) + "\n")
    assert read_points(str(state))[1] == f"cpus was 999 when it was calibrated and is {points['host']['cpus']}"
    (state / module.FILE).write_text("{\n")
    assert "cannot be read" in read_points(str(state))[1]


def test_another_governor_is_another_host_and_another_kernel_is_not():
    here = {"cpu_model": "X", "cpus": 4, "virtualization": None, "kernel": "6.1", "governors": ["performance"], "turbo": False, "smt": None}
    assert mismatch({"host": {**here, "kernel": "5.10"}}, here) is None
    assert mismatch({"host": {**here, "governors": ["powersave"]}}, here).startswith("governors was")
    assert read_points("/does/not/exist") == (None, "this host was not calibrated")
