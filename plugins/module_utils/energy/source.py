# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source of energy is: the one contract behind RAPL, hwmon, a BMC, a plug, an exporter.

A source reads; it computes nothing. ``windows`` makes joules of its readings, and judges them. Counters count joules and may wrap;
gauges show watts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable, Protocol

from ..errors import KjouleError

#: Nanoseconds of the monotonic clock. Sources take one, so that tests can go through an hour in a second.
Clock = Callable[[], int]

#: More than any one machine draws. A figure above is a broken counter, not a hungry machine.
LIMIT_WATTS = 20_000.0


class Vanished(KjouleError):
    """A channel that was there is gone. What it counted meanwhile cannot be known: no later reading makes the window whole again.

    Every other KjouleError of ``read`` is one reading that failed: the next may follow on, as long as the gap is not too long.
    """


@dataclass(frozen=True)
class Channel:
    """One figure of a source. All channels of a source are added up; what overlaps with another one is no channel.

    unit: ``J`` for a counter, ``W`` for a gauge. range_joules: where the counter begins again at nought, None when it never does (or
    that is not known: then a fall is a reset). limit_watts: power above which the figure is beyond physics.
    """

    name: str
    unit: str
    range_joules: float | None = None
    limit_watts: float = LIMIT_WATTS


@dataclass(frozen=True)
class Reading:
    """What all channels showed, in their order and unit, at one moment between two of the monotonic clock.

    asked_ns: of an edge: when it was wanted. Earlier than the question that was answered when one before failed, or the meter is slow.
    epoch: what changes when the meter begins anew (start time of the exporter, boot of the BMC), where the source can tell.
    meter_ns: the meter's own time of this figure, in nanoseconds of whatever clock the meter has, where it tells. Only its progress is
    used: a figure whose time stands still is stale.
    """

    t_before_ns: int
    values: tuple[float, ...]
    t_after_ns: int
    epoch: str | None = None
    meter_ns: int | None = None
    asked_ns: int | None = None

    @property
    def late_seconds(self) -> float:
        """How long after it was wanted it was made."""
        return 0.0 if self.asked_ns is None else (self.t_ns - self.asked_ns) / 1e9

    @property
    def t_ns(self) -> int:
        """The middle of the reading; it was made at most half its duration away from that."""
        return (self.t_before_ns + self.t_after_ns) // 2


@dataclass(frozen=True)
class Accuracy:
    """How far off the meter itself may be, relative to its figure (0.01 is 1 %), and who says so. None: nobody says."""

    relative: float | None
    origin: str


class Ledger(Protocol):
    """What a meter that gives energy to processes, containers and the like has given, up to its last reading."""

    def mark(self, reading: Reading) -> None:
        """Keep the state after this reading, the last one: it is the edge of a window."""

    def between(self, begin: Reading, end: Reading) -> dict[str, Any]:
        """What was given to whom between two readings that were marked."""


class Source(Protocol):
    """The contract of a source. Making one reads it once, and raises KjouleError with why that does not work here and what would cure that.

    name: as in ``kjoule_source``. kind: ``counter`` or ``gauge``. scope: what it covers, as in ``rapl:package+dram``; joules of
    different scopes are never compared or added. resolution: smallest step of a channel, in its unit. update_seconds: how often the
    meter renews its figure; longer is safe, shorter is not. asks_again: a reading at an edge that failed may succeed when it is asked for
    once more. ledger: of a meter that attributes.
    """

    name: str
    kind: str
    scope: str
    channels: tuple[Channel, ...]
    resolution: float
    update_seconds: float
    accuracy: Accuracy
    asks_again: bool = False
    ledger: Ledger | None = None

    @property
    def children_seconds(self) -> float:
        """CPU time of the programs that reading has started: it belongs to the measuring."""
        return 0.0

    def describe(self) -> dict[str, Any]:
        """For the journal's header and ``energy_facts``; ``description_of`` and what else there is to know. No secrets."""

    def read(self) -> Reading:
        """One reading of all channels. Raises Vanished, or KjouleError for an answer that cannot be used."""

    def close(self) -> None:
        """Give back what the source holds: connections, processes. Idempotent."""


def description_of(source: Source, **more: Any) -> dict[str, Any]:
    """What every source says about itself."""
    return {
        "name": source.name,
        "kind": source.kind,
        "scope": source.scope,
        "channels": [asdict(channel) for channel in source.channels],
        "resolution": source.resolution,
        "update_seconds": source.update_seconds,
        "accuracy": asdict(source.accuracy),
        **more,
    }
