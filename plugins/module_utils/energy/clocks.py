# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time from the kernel's own clocks: of a process, of the children of the actor, of the machine; and the times it keeps, side by side.

A process clock (clock_getcpuclockid(3): ``(~pid << 3) | 2``) counts nanoseconds, exited threads included, and is read in one system
call, without parsing /proc. A pid is trusted only together with its start time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import PeriodInvalid
from ..lab.identity import ProcessIdentity

_CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h

#: Clocks that were read within so much time are beside each other; otherwise they are read again, so often.
BESIDE_NS = 100_000
TRIES = 10


@dataclass(frozen=True)
class Times:
    """The kernel's times at one moment. ``doubt_ns``: how far that moment of one of them can at most be from that of the monotonic one."""

    monotonic_ns: int
    boottime_ns: int
    realtime_ns: int
    doubt_ns: int


def read_times(read: Callable[[int], int] = time.clock_gettime_ns) -> Times:
    """Now. A process that has to give its processor away between two clocks reads them again: the closest reading counts."""
    best = None
    for _try in range(TRIES):
        before, boottime, realtime, after = (
            read(clock) for clock in (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME, time.CLOCK_REALTIME, time.CLOCK_MONOTONIC)
        )
        doubt = (after - before + 1) // 2
        if best is None or doubt < best.doubt_ns:
            best = Times((before + after) // 2, boottime, realtime, doubt)
        if after - before < BESIDE_NS:
            break
    assert best is not None
    return best


class ProcessClock:
    """The CPU clock of one process, with what it knows of its children: ``extra_file``, if given, holds their CPU nanoseconds as text (see
    arm.git_server); ``children_seconds`` tells them (see source.Source)."""

    def __init__(
        self, name: str, identity: ProcessIdentity, extra_file: str | None = None, children_seconds: Callable[[], float] | None = None
    ) -> None:
        self.name = name
        self.identity = identity
        self.extra_file = extra_file
        self.children_seconds = children_seconds
        self._clock = (~identity.pid << 3) | _CPUCLOCK_SCHED

    def read_ns(self) -> int:
        """CPU time in nanoseconds since the process began. Raises PeriodInvalid when it is gone."""
        try:
            value = time.clock_gettime_ns(self._clock)
        except OSError:
            raise self._gone() from None
        if self.extra_file is not None:
            value += _number_in(self.extra_file)
        if self.children_seconds is not None:
            value += round(self.children_seconds() * 1e9)
        return value

    def checked_read_ns(self) -> int:
        """Like ``read_ns``, after checking that the pid still belongs to this very process."""
        if not self.identity.alive():
            raise self._gone()
        return self.read_ns()

    def _gone(self) -> PeriodInvalid:
        return PeriodInvalid(
            f"{self.name} ended during the period",
            expected=f"process {self.identity.pid} to run until the end",
            seen="no such process",
            next_step="the block is run again; if it happens every time, start the lab alone and read the component's log",
        )


def _number_in(path: str) -> int:
    try:
        with open(path, "rb") as stream:
            return int(stream.read(32).split(b"\n")[0])
    except (OSError, ValueError) as error:
        raise PeriodInvalid(f"the CPU time of the children cannot be read from {path}: {error}") from error


@dataclass(frozen=True)
class MachineTime:
    """CPU time of all processors since boot in seconds, in steps of ``resolution_seconds`` (proc_stat(5))."""

    busy_seconds: float
    idle_seconds: float
    iowait_seconds: float
    steal_seconds: float
    cpus: int
    resolution_seconds: float


def parse_machine_time(text: str, ticks_per_second: int) -> MachineTime:
    """Machine time from the text of /proc/stat. Guest time is contained in user time there and is not added again; steal is kept apart."""
    lines = text.splitlines()
    fields = [int(field) for field in lines[0].split()[1:]] + [0] * 10
    user, nice, system, idle, iowait, irq, softirq, steal = fields[:8]
    cpus = sum(1 for line in lines[1:] if line.startswith("cpu"))
    tick = 1.0 / ticks_per_second
    return MachineTime((user + nice + system + irq + softirq) * tick, idle * tick, iowait * tick, steal * tick, cpus, tick)


def machine_time(path: str = "/proc/stat") -> MachineTime:
    """Machine time now."""
    with open(path, encoding="ascii", errors="replace") as stream:
        return parse_machine_time(stream.read(), os.sysconf("SC_CLK_TCK"))


def machine_difference(before: MachineTime, after: MachineTime) -> dict[str, float | int]:
    """Seconds of the whole machine between two readings, all processors added."""
    return {
        "busy_seconds": round(after.busy_seconds - before.busy_seconds, 6),
        "idle_seconds": round(after.idle_seconds - before.idle_seconds, 6),
        "iowait_seconds": round(after.iowait_seconds - before.iowait_seconds, 6),
        "steal_seconds": round(after.steal_seconds - before.steal_seconds, 6),
        "cpus": after.cpus,
        "resolution_seconds": after.resolution_seconds,
    }
