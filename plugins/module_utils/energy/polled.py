# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that asks another machine or program for its figure: what all of them have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable

from ..errors import KjouleError
from .source import Accuracy, Channel, Ledger, Reading, Source, description_of

JOULES_PER_WATT_HOUR = 3600.0
JOULES_PER_KILOWATT_HOUR = 3.6e6


@dataclass(frozen=True)
class Answer:
    """One answer of a meter: its figures in the order and unit of the channels, what changes when it begins anew, its own time."""

    values: tuple[float, ...]
    epoch: str | None = None
    meter_ns: int | None = None


class StaleWatch:
    """Notices a meter whose own time mark stands still, for meters whose mark is not the time of the figure itself (that is
    Answer.meter_ns)."""

    def __init__(self, patience_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience_seconds
        self._clock = clock
        self._mark: Any = None
        self._since = 0.0

    def check(self, mark: Any, what: str) -> None:
        """Raise KjouleError when ``mark`` has been the same for longer than the patience. None marks nothing."""
        now = self._clock()
        if mark is None or mark != self._mark:
            self._mark, self._since = mark, now
        elif now - self._since > self._patience:
            raise KjouleError(
                f"{what} shows a stale figure",
                expected=f"a time mark that moves within {self._patience:g} s",
                seen=f"{mark!r} for {now - self._since:.0f} s",
                next_step="restart the meter",
            )


def _nothing() -> None:
    return None


def _no_children() -> float:
    return 0.0


@dataclass
class PolledSource(Source):
    """A source whose figures come from ``ask``. It is asked once when it is made.

    more: what else ``describe`` tells. give_back: called by ``close``. children: the CPU-seconds of the programs that ``ask`` has started.
    pause_seconds: how long after a question the meter has to be left alone to look again; a reading waits for that.
    """

    name: str
    kind: str
    scope: str
    channels: tuple[Channel, ...]
    resolution: float
    update_seconds: float
    accuracy: Accuracy
    ask: Callable[[], Answer]
    more: dict[str, Any] = field(default_factory=dict)
    give_back: Callable[[], None] = _nothing
    children: Callable[[], float] = _no_children
    ledger: Ledger | None = None
    pause_seconds: float = 0.0
    #: A packet that is lost is no meter that fails.
    asks_again: bool = True
    _asked_ns: int | None = None

    def __post_init__(self) -> None:
        self.read()

    @property
    def children_seconds(self) -> float:
        return self.children()

    def describe(self) -> dict[str, Any]:
        return description_of(self, **self.more)

    def read(self) -> Reading:
        if self._asked_ns is not None and self.pause_seconds:
            time.sleep(max(0.0, self.pause_seconds - (time.monotonic_ns() - self._asked_ns) / 1e9))
        before = self._asked_ns = time.monotonic_ns()
        answer = self.ask()
        return Reading(before, answer.values, time.monotonic_ns(), answer.epoch, answer.meter_ns)

    def close(self) -> None:
        self.give_back()
