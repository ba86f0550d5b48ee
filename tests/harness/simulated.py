# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of one's own, in which an hour of windows takes a second."""

from __future__ import annotations

import random
from typing import Callable


class SimulatedTime:
    """The clock of a source: called before and after a reading, which takes some seeded microseconds.

    ``show`` is told the moment, in seconds, of which the meter is to show its figures: half-way through the reading.
    """

    def __init__(self, show: Callable[[float], None], seed: int = 1) -> None:
        self._show = show
        self._random = random.Random(seed)
        self.now_ns = self._origin_ns = 1_000_000_000
        self._reading = False

    def __call__(self) -> int:
        before = self.now_ns
        self.now_ns += int(self._random.random() * 50_000)
        self._reading = not self._reading
        if self._reading:
            self._show(self.seconds(self.now_ns))
            return before
        return self.now_ns

    def seconds(self, ns: int) -> float:
        """The time of the shapes at a moment of this clock."""
        return (ns - self._origin_ns) / 1e9

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
