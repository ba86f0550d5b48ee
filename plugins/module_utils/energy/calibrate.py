# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a calibration is computed from: windows at rest and under known load, in random order, on one host.

Only raw points are kept; what they come to (idle watts, joules per CPU-second, with intervals) is computed on the controller, in
plugin_utils/energy_calibration.py, and can always be computed again.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import time
from dataclasses import dataclass, field
from typing import Any, Callable

from ..errors import KjouleError
from ..experiment.checks.host_state import Host
from ..experiment.controller import controller_identity
from ..experiment.host import host_facts
from ..experiment.journal import read_text
from ..experiment.lock import HostLock, release_lease
from ..lab.directory import write_private
from .clocks import MachineTime, machine_difference, machine_time
from .load import Load
from .registry import choose_source
from .source import Reading, Source
from .windows import Moment, energy_window, moment, sample_interval

SCHEMA = "kjoule.calibration.points/1"
FILE = "calibration.json"
LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 11))

#: What must be the same for a calibration to hold on a host: the coefficient is that of this processor under these settings.
IDENTITY = ("cpu_model", "cpus", "virtualization")
SETTINGS = ("governors", "turbo", "smt")


@dataclass(frozen=True)
class Times:
    """How long everything takes, in seconds, and how often the steps are repeated."""

    step: float = 10.0
    settle: float = 2.0
    idle: float = 30.0
    cooldown: float = 30.0
    sample: float = 1.0
    repeats: int = 2

    def total(self) -> float:
        """Seconds of a whole calibration."""
        steps = self.repeats * len(LEVELS) + 1
        return 2 * self.settle + self.idle + steps * (self.step + self.settle) + self.cooldown + self.step


@dataclass
class Bench:
    """The host as a calibration sees it; another one stands in for it in simulated time."""

    source: Source
    load: Any
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], int] = time.monotonic_ns
    moment: Callable[[], Moment] = moment
    machine: Callable[[], MachineTime] = machine_time
    own_cpu: Callable[[], float] = time.process_time  # of this process alone
    celsius: Callable[[], float | None] = field(default_factory=lambda: Host().celsius)


@dataclass(frozen=True)
class _Edge:
    reading: Reading
    moment: Moment
    machine: MachineTime
    own_cpu: float


def _edge(bench: Bench) -> _Edge:
    return _Edge(bench.source.read(), bench.moment(), bench.machine(), bench.own_cpu() + bench.source.children_seconds)


def measure_point(bench: Bench, seconds: float, interval_seconds: float) -> dict[str, Any]:
    """One window: joules, its machine time, what the measuring process itself used, and the power between neighbouring readings.

    ``{seconds, joules, uncertainty_joules, valid, reasons, busy_seconds, steal_seconds, cpus, own_cpu_seconds, at_seconds, powers_watts}``
    """
    interval = sample_interval(bench.source, interval_seconds)
    start = _edge(bench)
    readings = [start.reading]
    end_ns = start.reading.t_ns + seconds * 1e9
    while (left := (end_ns - bench.clock()) / 1e9) > interval / 2:
        bench.sleep(min(interval, left))
        if left > interval:
            readings.append(bench.source.read())
    end = _edge(bench)
    readings.append(end.reading)
    window = energy_window(bench.source, readings, start.moment, end.moment, interval_seconds=interval)
    machine = machine_difference(start.machine, end.machine)
    pairs = [energy_window(bench.source, list(pair), start.moment, start.moment) for pair in zip(readings, readings[1:])]
    return {
        **{key: window[key] for key in ("seconds", "joules", "uncertainty_joules", "valid", "reasons")},
        **{key: machine[key] for key in ("busy_seconds", "steal_seconds", "cpus")},
        "own_cpu_seconds": end.own_cpu - start.own_cpu,
        "at_seconds": (start.reading.t_ns + end.reading.t_ns) / 2e9,
        "powers_watts": [round(pair["joules"] / pair["seconds"], 6) for pair in pairs if pair["seconds"] > 0],
    }


def measure_points(bench: Bench, times: Times, seed: int) -> dict[str, Any]:
    """All points: ``{idle: [...], steps: [...], cooldown: [[seconds, watts, celsius or null], ...]}``.

    Idle first and last; between them every level ``repeats`` times, each round in an order drawn from the seed; then full load once more,
    and what the power does after it.
    """
    draw = random.Random(seed)
    order = [level for _round in range(times.repeats) for level in draw.sample(LEVELS, len(LEVELS))]
    bench.load.set(0.0)
    bench.sleep(times.settle)
    count = max(2, round(times.idle / times.step))
    idle = [measure_point(bench, times.step, times.sample) for _ in range(count)]
    steps = []
    for level in order:
        bench.load.set(level)
        bench.sleep(times.settle)
        steps.append({"level": level, **measure_point(bench, times.step, times.sample)})
    bench.load.set(0.0)
    bench.sleep(times.settle)
    idle.append(measure_point(bench, times.step, times.sample))
    bench.load.set(1.0)
    bench.sleep(times.step)
    bench.load.set(0.0)
    return {"idle": idle, "steps": steps, "cooldown": _cooldown(bench, times)}


def _cooldown(bench: Bench, times: Times) -> list[list[float | None]]:
    interval = sample_interval(bench.source, times.sample)
    rows: list[list[float | None]] = []
    before, at = bench.source.read(), bench.moment()
    begin = before.t_ns
    while (before.t_ns - begin) / 1e9 < times.cooldown:
        bench.sleep(interval)
        after = bench.source.read()
        window = energy_window(bench.source, [before, after], at, at)
        rows.append([round((after.t_ns - begin) / 1e9, 6), round(window["joules"] / window["seconds"], 6), bench.celsius()])
        before = after
    return rows


def identity() -> dict[str, Any]:
    """This host and how its processor is set, as far as a calibration depends on them."""
    state = Host().look()
    return {
        **{key: value for key, value in host_facts("").items() if key in (*IDENTITY, "kernel", "memory_bytes")},
        "governors": sorted(set(state.governors.values())),
        "turbo": state.turbo,
        "smt": state.smt,
    }


def mismatch(points: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Why a calibration does not hold on this host as it is now, or None when it does."""
    for key in (*IDENTITY, *SETTINGS):
        if points["host"].get(key) != here.get(key):
            return f"{key} was {points['host'].get(key)} when it was calibrated and is {here.get(key)}"
    return None


def read_points(state_dir: str) -> tuple[dict[str, Any] | None, str | None]:
    """``(points, None)`` of this host's calibration; ``(None, why)`` where there is none that holds here and now."""
    path = os.path.join(os.path.abspath(os.path.expanduser(state_dir)), FILE)
    text = read_text(path)
    if not text:
        return None, "this host was not calibrated"
    try:
        points = json.loads(text)
        why = mismatch(points, identity()) if points["schema"] == SCHEMA else f"{path} has schema {points['schema']}, not {SCHEMA}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{path} cannot be read: {error}"
    return (points, None) if why is None else (None, why)


def calibrate(state_dir: str, source_setting: Any, times: Times, seed: int) -> dict[str, Any]:
    """Calibrate this host, write the points to its state directory and return them.

    Raises KjouleError where no energy can be read, and while a period is measured on this host.
    """
    me = controller_identity(os.getpid())
    try:
        with HostLock(state_dir, "calibration", me):
            points = _calibrate(source_setting, times, seed)
            text = json.dumps(points, sort_keys=True, allow_nan=False) + "\n"
            write_private(os.path.join(os.path.abspath(os.path.expanduser(state_dir)), FILE), text)
    finally:
        release_lease(state_dir, "calibration", me)
    return points


def _calibrate(source_setting: Any, times: Times, seed: int) -> dict[str, Any]:
    source, description = choose_source(source_setting)
    if source is None:
        raise KjouleError(
            "there is nothing to calibrate with: no energy can be read on this host",
            expected="a source that counts joules or shows watts",
            seen="; ".join(description["unavailable"]) or f"kjoule_source: {description['name']}",
            next_step="make one of them readable as it says, or name one with an address (a BMC, a plug, an exporter) in kjoule_source",
        )
    try:
        with Load() as load:
            measured = measure_points(Bench(source, load), times, seed)
    finally:
        source.close()
    return {
        "schema": SCHEMA,
        "measured_at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": identity(),
        "source": {key: description[key] for key in ("name", "kind", "scope", "update_seconds", "accuracy")},
        "seed": seed,
        **measured,
    }
