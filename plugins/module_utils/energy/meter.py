# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows: what the components, the machine and the energy counters did between two moments.

Of the meter, only the samplers run between the edges: one reads the same clocks every ``sample_seconds``, so that a picture over time
can be drawn and the death of a component is noticed; the other (windows.Recorder) reads the energy, so that a wrapped counter loses
nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from ..errors import KjouleError, PeriodInvalid
from .cgroups import CgroupClock
from .clocks import MachineTime, ProcessClock, machine_difference, machine_time
from .source import Reading, Source, Vanished
from .windows import Moment, Recorder

Clock = Union[ProcessClock, CgroupClock]


@dataclass
class Edge:
    """All clocks at one edge of a window. The time is that in the middle of the reading; ``unix_seconds`` is the same in time of day.

    ``pods`` is what the meter's ``pods`` read, where there are real pods.
    """

    t_ns: int
    unix_seconds: float
    cpu_ns: dict[str, int]
    machine: MachineTime
    energy: tuple[Reading, Moment] | None
    pods: Any = None


@dataclass
class Meter:
    """Reads clocks at edges and, in a thread, between them.

    ``watch`` is asked at each sample for a reason to stop; what it returns (or a dead component) is kept in ``fault``, sets ``wake``
    and ends the waits of the period.
    """

    clocks: Sequence[Clock]
    source: Source | None
    sample_seconds: float
    watch: Callable[[], str | None]
    pods: Callable[[], Any] | None = None
    fault: str | None = None
    wake: threading.Event = field(default_factory=threading.Event)
    _sample_times: list[int] = field(default_factory=list)
    _sample_cpu: dict[str, list[int]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _recorder: Recorder | None = None

    def __post_init__(self) -> None:
        if self.source is not None:
            self._recorder = Recorder(self.source, self.sample_seconds, lambda reason: self._spoil(f"the energy source vanished: {reason}"))

    def start(self) -> None:
        """Start the samplers."""
        if self._recorder is not None:
            self._recorder.start()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the samplers. Idempotent."""
        if self._recorder is not None:
            self._recorder.stop()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def add(self, clocks: Sequence[Clock]) -> None:
        """Read these processes as well, from now on."""
        with self._guard:
            self.clocks = [*self.clocks, *clocks]

    def remove(self, names: set[str]) -> None:
        """Stop reading these."""
        with self._guard:
            self.clocks = [clock for clock in self.clocks if clock.name not in names]

    def check(self) -> None:
        """Raise PeriodInvalid when something has happened that spoils the period."""
        if self.fault is not None:
            raise PeriodInvalid(self.fault)

    def hold(self, seconds: float) -> None:
        """Wait; wakes up early, with PeriodInvalid, when something spoils the period."""
        if seconds > 0:
            self.wake.wait(seconds)
        self.check()

    def edge(self) -> Edge:
        """Read everything now. Raises PeriodInvalid when a component is gone."""
        with self._guard:
            before = time.monotonic_ns()
            cpu = {clock.name: clock.checked_read_ns() for clock in self.clocks}
            pods = self.pods() if self.pods is not None else None
            machine = machine_time()
            after = time.monotonic_ns()
            unix_seconds = time.time() - (after - before) / 2e9
            # Last, because a meter may take its time; its window has edges of its own.
            return Edge((before + after) // 2, round(unix_seconds, 6), cpu, machine, self._read_energy(), pods)

    def window(self, start: Edge, end: Edge) -> dict[str, Any]:
        """The difference of two edges: ``{start_ns, end_ns, start_unix, end_unix, seconds, cpu_seconds, machine, energy}``."""
        names = [name for name in start.cpu_ns if name in end.cpu_ns]
        result: dict[str, Any] = {
            "start_ns": start.t_ns,
            "end_ns": end.t_ns,
            "start_unix": start.unix_seconds,
            "end_unix": end.unix_seconds,
            "seconds": (end.t_ns - start.t_ns) / 1e9,
            "cpu_seconds": {name: (end.cpu_ns[name] - start.cpu_ns[name]) / 1e9 for name in names},
            "machine": machine_difference(start.machine, end.machine),
            "energy": [],
        }
        if self._recorder is not None and start.energy is not None and end.energy is not None:
            result["energy"] = [self._recorder.window(start.energy, end.energy)]
        return result

    def samples(self) -> dict[str, Any]:
        """What the sampler saw: ``{t_ns: [...], cpu_ns: {component: [...]}, energy: Recorder.samples() or None}``, cumulative values.

        A component that was not there at a sample has 0 there.
        """
        with self._guard:
            times, cpu = list(self._sample_times), {name: list(values) for name, values in self._sample_cpu.items()}
        return {"t_ns": times, "cpu_ns": cpu, "energy": self._recorder.samples() if self._recorder is not None else None}

    def _read_energy(self) -> tuple[Reading, Moment] | None:
        if self._recorder is None:
            return None
        try:
            return self._recorder.edge()
        except Vanished as error:
            raise PeriodInvalid(f"the energy source vanished: {error}") from error
        except KjouleError as error:
            raise PeriodInvalid(f"the energy source did not answer at an edge: {error}") from error

    def _spoil(self, reason: str) -> None:
        if self.fault is None:
            self.fault = reason
        self.wake.set()

    def _run(self) -> None:
        while not self._stop.wait(self.sample_seconds):
            try:
                reason = self.watch()
                if reason is None:
                    self._sample()
            except PeriodInvalid as error:
                reason = str(error)
            if reason is not None:
                self._spoil(reason)
                return

    def _sample(self) -> None:
        with self._guard:
            count = len(self._sample_times)
            now = time.monotonic_ns()
            # All clocks first, so that a dead component leaves no half sample. Checked, because the clock of a zombie can still be read.
            cpu = {clock.name: clock.checked_read_ns() for clock in self.clocks}
            self._sample_times.append(now)
            for name, value in cpu.items():
                self._sample_cpu.setdefault(name, [0] * count).append(value)
            for values in self._sample_cpu.values():
                values.extend([0] * (count + 1 - len(values)))
