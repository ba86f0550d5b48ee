# SPDX-License-Identifier: GPL-3.0-or-later
"""Power over time, exactly integrable: what is injected, and therefore the truth.

Times are seconds from the beginning of the shape. ``joules(t)`` is the energy since then, in closed form, so that a truth has no error
of its own.
"""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass, field
from typing import Callable, Protocol


class Shape(Protocol):
    """Power and its integral."""

    def power_watts(self, t: float) -> float:
        """Power at a moment."""

    def joules(self, t: float) -> float:
        """Energy from the beginning to that moment."""


@dataclass(frozen=True)
class Constant:
    watts: float = 42.0

    def power_watts(self, t: float) -> float:
        return self.watts

    def joules(self, t: float) -> float:
        return self.watts * t


@dataclass(frozen=True)
class Square:
    """High for the first ``duty`` of every period, low for the rest: a controller that reconciles."""

    low_watts: float = 30.0
    high_watts: float = 95.0
    period_seconds: float = 5.0
    duty: float = 0.2

    def power_watts(self, t: float) -> float:
        return self.high_watts if t % self.period_seconds < self.duty * self.period_seconds else self.low_watts

    def joules(self, t: float) -> float:
        periods, rest = divmod(t, self.period_seconds)
        high = periods * self.duty * self.period_seconds + min(rest, self.duty * self.period_seconds)
        return self.low_watts * t + (self.high_watts - self.low_watts) * high


@dataclass(frozen=True)
class Ramp:
    """Up from low to high and down again: a machine that warms up and cools."""

    low_watts: float = 25.0
    high_watts: float = 120.0
    period_seconds: float = 60.0

    def _half(self, t: float) -> tuple[float, float]:
        halves, rest = divmod(t, self.period_seconds / 2)
        return halves, rest

    def power_watts(self, t: float) -> float:
        halves, rest = self._half(t)
        part = rest / (self.period_seconds / 2)
        return self.low_watts + (self.high_watts - self.low_watts) * (part if halves % 2 == 0 else 1 - part)

    def joules(self, t: float) -> float:
        half, swing = self.period_seconds / 2, self.high_watts - self.low_watts
        halves, rest = self._half(t)
        part = rest / half
        above = swing * half * (part**2 / 2 if halves % 2 == 0 else part - part**2 / 2)
        return self.low_watts * t + halves * swing * half / 2 + above


@dataclass
class Bursty:
    """Bursts of random length, height and distance on an idle floor. The same seed is the same power."""

    seed: int = 1
    idle_watts: float = 20.0
    burst_watts: float = 100.0
    every_seconds: float = 1.5
    length_seconds: float = 0.25
    _times: list[float] = field(default_factory=lambda: [0.0])
    _watts: list[float] = field(default_factory=list)
    _joules: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._watts = [self.idle_watts]

    def _until(self, t: float) -> int:
        """Index of the stretch that holds t; makes as many as it takes."""
        while self._times[-1] <= t:
            pause = self._random.expovariate(1 / self.every_seconds)
            length = self._random.expovariate(1 / self.length_seconds)
            height = self.idle_watts + self._random.random() * self.burst_watts
            for seconds, watts in ((pause, height), (length, self.idle_watts)):
                self._joules.append(self._joules[-1] + self._watts[-1] * seconds)
                self._times.append(self._times[-1] + seconds)
                self._watts.append(watts)
        return bisect.bisect_right(self._times, t) - 1

    def power_watts(self, t: float) -> float:
        return self._watts[self._until(t)]

    def joules(self, t: float) -> float:
        index = self._until(t)
        return self._joules[index] + self._watts[index] * (t - self._times[index])


#: By name, from a seed.
SHAPES: dict[str, Callable[[int], Shape]] = {
    "constant": lambda seed: Constant(20.0 + seed % 80),
    "square": lambda seed: Square(period_seconds=5.0 + seed % 3),
    "ramp": lambda seed: Ramp(period_seconds=20.0 + seed % 40),
    "bursty": Bursty,
}
