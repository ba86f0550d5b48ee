# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of energy: joules of a source between two moments, how sure they are, and whether they can be trusted.

Counters: the differences of neighbouring readings, corrected for at most one wrap each, are added up. Gauges: the trapezoid rule. What
breaks the chain (a reset, a restart, a freeze, a gap, a suspend, a stepped clock, a figure that cannot be) makes the window invalid with
its reason. Nothing is repaired.

The uncertainty is a bound, the sum of its parts: ``edges`` (a reading takes time), ``late`` (the reading at an edge came later than it was
asked for: it was asked for twice, or the meter had to be waited for), ``update`` (the meter's figure is up to one update old),
``resolution``, ``sampling`` (gauges: what the power did between two readings), and ``accuracy`` of the meter itself, 0 where nobody states
one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from ..errors import KjouleError
from .clocks import machine_time, read_times
from .source import Clock, Reading, Source, Vanished

#: A counter that does not move for so many updates, and a second at least, has stopped.
FROZEN_UPDATES = 10
FROZEN_SECONDS = 1.0
#: Neighbouring readings of a gauge may be so many sampling intervals apart.
GAP_INTERVALS = 3.0
#: Difference of two kernel clocks over a window that only a suspend explains (they are the same clock otherwise).
SUSPEND_SECONDS = 0.01
#: A time service slews by 500 ppm at most (adjtimex(2)); what is beyond that and a tenth of a second was a step.
STEP_SECONDS = 0.1
SLEW = 500e-6
#: Share of all CPU time that a hypervisor may give to others before the window is worth a warning.
STEAL_SHARE = 0.01
#: Standard errors of the mean of samples taken at unrelated moments, for a bound that holds in more than 99 of 100 windows.
SAMPLING_SIGMAS = 3.0
#: A meter has to have renewed its figure so often for the uncertainty to be told from what it showed.
FEW_UPDATES = 10
#: How long a fast counter is watched to see how often it really moves.
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Moment:
    """The clocks of the machine at one moment, beside each other: what one of them did alone can be told from the difference of two, to
    within the doubts of both (clocks.Times)."""

    monotonic_ns: int
    boottime_ns: int
    realtime_ns: int
    steal_seconds: float
    cpus: int
    doubt_ns: int = 0


def moment(read: Callable[[int], int] = time.clock_gettime_ns) -> Moment:
    """Now. read: what reads a clock of the kernel."""
    machine, times = machine_time(), read_times(read)
    return Moment(times.monotonic_ns, times.boottime_ns, times.realtime_ns, machine.steal_seconds, machine.cpus, times.doubt_ns)


@dataclass(frozen=True)
class Miss:
    """A reading that failed. vanished: a channel was gone."""

    t_ns: int
    reason: str
    vanished: bool


def energy_window(
    source: Source, readings: Sequence[Reading], start: Moment, end: Moment, misses: Iterable[Miss] = (), interval_seconds: float = 1.0
) -> dict[str, Any]:
    """The record of a window (docs/architecture.md) from its readings, edges included, in order of time.

    start and end: the clocks at the edges. misses: readings that failed in between. interval_seconds: how far apart readings were meant
    to be.
    """
    first, last = readings[0], readings[-1]
    seconds = (last.t_ns - first.t_ns) / 1e9
    reasons = _of_the_clocks(start, end) + _of_the_meter(source, readings, interval_seconds)
    reasons += [miss.reason for miss in misses if miss.vanished][:1]
    if seconds <= 0:
        reasons.append("the window has no length")
    unusable = _unusable(source, readings)
    reasons += unusable
    compute = _counted if source.kind == "counter" else _integrated
    joules, parts, more = compute(source, readings if not unusable else readings[:1], interval_seconds)
    reasons += more
    total = math.fsum(joules.values())
    parts["accuracy_joules"] = abs(total) * (source.accuracy.relative or 0.0)
    failed = sum(1 for miss in misses if not miss.vanished)
    warnings = [f"{failed} of {failed + len(readings)} readings failed"] if failed else []
    if seconds < FEW_UPDATES * source.update_seconds:
        warnings.append(f"short: fewer than {FEW_UPDATES} updates of the meter, too few to tell how sure the joules are")
    return {
        "source": source.name,
        "scope": source.scope,
        "kind": "measured",
        "joules": total,
        "seconds": seconds,
        "uncertainty_joules": math.fsum(parts.values()),
        "readings": len(readings),
        "valid": not reasons,
        "reasons": reasons,
        "parts": parts,
        "channels": joules,
        "warnings": warnings + _steal(start, end),
    }


def _of_the_clocks(start: Moment, end: Moment) -> list[str]:
    elapsed = (end.monotonic_ns - start.monotonic_ns) / 1e9
    asleep = (end.boottime_ns - start.boottime_ns) / 1e9 - elapsed
    stepped = (end.realtime_ns - start.realtime_ns) / 1e9 - elapsed - asleep
    doubt = (start.doubt_ns + end.doubt_ns) / 1e9
    reasons = []
    if asleep > SUSPEND_SECONDS + doubt:
        reasons.append(f"suspend: the machine slept for {asleep:.2f} s")
    # The time of day is compared with the clock that goes on in a suspend: each may be off by its doubt.
    if abs(stepped) > STEP_SECONDS + SLEW * elapsed + 2 * doubt:
        reasons.append(f"clock step: the time of day was set by {stepped:+.2f} s")
    return reasons


def _steal(start: Moment, end: Moment) -> list[str]:
    capacity = (end.monotonic_ns - start.monotonic_ns) / 1e9 * end.cpus
    stolen = end.steal_seconds - start.steal_seconds
    if capacity <= 0 or stolen <= STEAL_SHARE * capacity:
        return []
    return [f"steal: the hypervisor gave {100 * stolen / capacity:.1f} % of the CPU time to others"]


def _of_the_meter(source: Source, readings: Sequence[Reading], interval_seconds: float) -> list[str]:
    """Whether it is one meter that tells one story: no restart, and its own time goes on as ours does."""
    reasons = []
    if len({reading.epoch for reading in readings}) > 1:
        reasons.append(f"restart: the meter behind {source.name} began anew")
    patience = 3 * max(source.update_seconds, interval_seconds)
    still_since = readings[0]
    for reading in readings[1:]:
        if reading.meter_ns is None or reading.meter_ns != still_since.meter_ns:
            still_since = reading
        elif (reading.t_ns - still_since.t_ns) / 1e9 > patience:
            reasons.append(f"stale: the meter's own time stood still for {(reading.t_ns - still_since.t_ns) / 1e9:.1f} s")
            break
    for earlier, later in zip(readings, readings[1:]):
        if earlier.meter_ns is not None and later.meter_ns is not None:
            ahead = (later.meter_ns - earlier.meter_ns - later.t_ns + earlier.t_ns) / 1e9
            if later.meter_ns < earlier.meter_ns or ahead > patience:
                reasons.append(f"meter clock: it was set by {ahead:+.1f} s")
                break
    return reasons


def _unusable(source: Source, readings: Sequence[Reading]) -> list[str]:
    """Figures that are none, by channel: the first of each kind."""
    reasons: dict[str, str] = {}
    for reading in readings:
        for channel, value in zip(source.channels, reading.values):
            if not math.isfinite(value):
                reasons.setdefault(channel.name + " nan", f"{channel.name}: not a number ({value})")
            elif value < 0:
                reasons.setdefault(channel.name + " negative", f"{channel.name}: negative ({value:g} {channel.unit})")
            elif source.kind == "gauge" and value > channel.limit_watts:
                reasons.setdefault(
                    channel.name + " physics", f"{channel.name}: beyond physics ({value:.3g} W, at most {channel.limit_watts:g} W can be)"
                )
    return list(reasons.values())


def _counted(source: Source, readings: Sequence[Reading], interval_seconds: float) -> tuple[dict[str, float], dict[str, float], list[str]]:
    reasons: dict[str, None] = {}
    joules = dict.fromkeys((channel.name for channel in source.channels), 0.0)
    # A counter that moves in steps shows up to one step too much in a short interval: power is told from longer ones.
    telling = FROZEN_UPDATES * source.update_seconds
    patience = max(FROZEN_SECONDS, telling)
    wraps, stall, longest = 0, 0.0, 0.0
    peaks = [0.0] * len(source.channels)
    moved_at = [readings[0].t_ns] * len(source.channels)
    for earlier, later in zip(readings, readings[1:]):
        dt = (later.t_ns - earlier.t_ns) / 1e9
        longest = max(longest, dt)
        for index, channel in enumerate(source.channels):
            name, delta = channel.name, later.values[index] - earlier.values[index]
            limit = channel.limit_watts * (dt + source.update_seconds)
            if delta < 0:
                if channel.range_joules is None:
                    reasons[f"reset: {name} fell and its range is not known"] = None
                    continue
                delta += channel.range_joules
                if delta > min(limit, channel.range_joules / 4):
                    reasons[f"reset: {name} fell further than a wrap explains"] = None
                    continue
                wraps += 1
            elif delta > limit:
                reasons[f"{name}: beyond physics ({delta:.3g} J in {dt:.3g} s, at most {channel.limit_watts:g} W can be)"] = None
            if delta == 0:
                still = (later.t_ns - moved_at[index]) / 1e9
                stall = max(stall, still)
                if still > patience:
                    reasons[f"frozen: {name} did not move for more than {patience:g} s"] = None
            else:
                moved_at[index] = later.t_ns
            joules[name] += delta
            peaks[index] = max(peaks[index], delta / (dt if dt > telling else dt + source.update_seconds) if dt > 0 else 0.0)
    for channel, peak in zip(source.channels, peaks):
        if channel.range_joules and peak * longest > channel.range_joules / 4:
            wrap = channel.range_joules / peak
            reasons[f"gap: readings of {channel.name} are {longest:.0f} s apart, more than a quarter of its wrap time of {wrap:.0f} s"] = (
                None
            )
    power = math.fsum(peaks)
    parts = {
        **_of_the_edges(power, power, readings[0], readings[-1]),
        "update_joules": 2 * power * max(source.update_seconds, stall),
        "resolution_joules": source.resolution * (2 * len(source.channels) + wraps),
    }
    return joules, parts, list(reasons)


def _integrated(
    source: Source, readings: Sequence[Reading], interval_seconds: float
) -> tuple[dict[str, float], dict[str, float], list[str]]:
    joules = dict.fromkeys((channel.name for channel in source.channels), 0.0)
    limit = GAP_INTERVALS * max(interval_seconds, source.update_seconds)
    longest, squares = 0.0, 0.0
    for earlier, later in zip(readings, readings[1:]):
        dt = (later.t_ns - earlier.t_ns) / 1e9
        longest = max(longest, dt)
        for channel, before, after in zip(source.channels, earlier.values, later.values):
            joules[channel.name] += (before + after) / 2 * dt
        squares += ((math.fsum(later.values) - math.fsum(earlier.values)) * dt) ** 2
    first, last = readings[0], readings[-1]
    totals = [math.fsum(reading.values) for reading in readings]
    spread = max(totals) - min(totals)
    if last.t_ns - first.t_ns < FEW_UPDATES * source.update_seconds * 1e9:
        spread = max(totals)  # too few figures to tell what the power does: it may have been anything between nought and twice that
    parts = {
        **_of_the_edges(spread, max(totals), first, last),
        # At each edge the figure may be one update old, and be the average of the update before that.
        "update_joules": 2 * spread * source.update_seconds,
        "resolution_joules": source.resolution * len(source.channels) * (last.t_ns - first.t_ns) / 1e9,
        # Neighbouring samples of unrelated moments differ by sqrt(2) standard deviations: sqrt(sum of squares / 2) is that of the sum.
        "sampling_joules": SAMPLING_SIGMAS * math.sqrt(squares / 2),
    }
    return joules, parts, [f"gap: {longest:.1f} s without a reading, at most {limit:.1f} s are allowed"] if longest > limit else []


def _of_the_edges(spread_watts: float, power_watts: float, first: Reading, last: Reading) -> dict[str, float]:
    """A reading was made somewhere within the time it took: the edge is known, its power is not. One that came late is another edge than
    was asked for: what the machine used meanwhile is in the window, or missing."""
    return {
        "edges_joules": spread_watts * sum((edge.t_after_ns - edge.t_before_ns) / 2e9 for edge in (first, last)),
        "late_joules": power_watts * (first.late_seconds + last.late_seconds),
    }


def sample_interval(source: Source, sample_seconds: float) -> float:
    """How far apart readings are to be: as asked, but never further than a quarter of the shortest wrap, nor closer than a counter's
    update.

    A gauge is read so that none of its averages is missed (pauses are up to 1.5 intervals long), but at most twice as often as asked.
    """
    if source.kind == "gauge":
        return max(source.update_seconds / 1.5, sample_seconds / 2)
    wraps = [channel.range_joules / channel.limit_watts / 4 for channel in source.channels if channel.range_joules]
    return min([max(sample_seconds, source.update_seconds), *wraps])


def observed_update_seconds(
    source: Source, look_seconds: float = LOOK_SECONDS, sleep: Callable[[float], None] = time.sleep, clock: Clock = time.monotonic_ns
) -> float:
    """How far apart a counter's movements were while it was watched, at most; as long as the look when it hardly moved.

    A counter that says it moves every millisecond and moves every 50 would otherwise have a bound that is 50 times too narrow.
    """
    begin = moved_at = clock()
    values = source.read().values
    steps: list[float] = []
    while len(steps) < 8 and clock() - begin < look_seconds * 1e9:
        sleep(0.0002)
        reading = source.read()
        if reading.values != values:
            steps.append((reading.t_ns - moved_at) / 1e9)
            values, moved_at = reading.values, reading.t_ns
    return max(steps[1:]) if len(steps) >= 3 else look_seconds


class Recorder:
    """Reads a source at edges and, in a thread of its own, between them. A slow meter holds nobody up but itself.

    on_fault is told once when a channel vanished: the window that runs is lost then, and the measuring can end at once.
    """

    def __init__(self, source: Source, sample_seconds: float, on_fault: Callable[[str], None] = lambda reason: None) -> None:
        self.source = source
        self.interval_seconds = sample_interval(source, sample_seconds)
        self._on_fault = on_fault
        self._readings: list[Reading] = []
        self._misses: list[Miss] = []
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start sampling."""
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling and close the source. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.source.close()

    def edge(self) -> tuple[Reading, Moment]:
        """A reading with the clocks beside it. It is asked for once more where the source allows that; the window tells how late it was.

        Raises KjouleError when the source cannot be read.
        """
        asked_ns = time.monotonic_ns()
        with self._guard:
            try:
                reading = self.source.read()
            except KjouleError as error:
                if isinstance(error, Vanished) or not self.source.asks_again:
                    raise
                self._misses.append(Miss(asked_ns, str(error), False))
                reading = self.source.read()
            reading = replace(reading, asked_ns=asked_ns)
            self._readings.append(reading)
            if self.source.ledger is not None:
                self.source.ledger.mark(reading)
        return reading, moment()

    def window(self, start: tuple[Reading, Moment], end: tuple[Reading, Moment]) -> dict[str, Any]:
        """The record of what lies between two edges."""
        begin_ns, end_ns = start[0].t_before_ns, end[0].t_before_ns
        inside = [reading for reading in self._readings if begin_ns <= reading.t_before_ns <= end_ns]
        # A miss at the first edge is no longer ago than that was asked for.
        asked_ns = begin_ns if start[0].asked_ns is None else start[0].asked_ns
        misses = [miss for miss in self._misses if asked_ns <= miss.t_ns <= end_ns]
        record = energy_window(self.source, inside, start[1], end[1], misses, self.interval_seconds)
        if self.source.ledger is not None:
            record["attribution"] = self.source.ledger.between(start[0], end[0])
        return record

    def samples(self) -> dict[str, Any]:
        """All readings: ``{channels, unit, t_ns, values}``, one list of values for each time."""
        readings = list(self._readings)  # more may come meanwhile
        return {
            "channels": [channel.name for channel in self.source.channels],
            "unit": self.source.channels[0].unit,
            "t_ns": [reading.t_ns for reading in readings],
            "values": [list(reading.values) for reading in readings],
        }

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(self._pause(count)):
            count += 1
            with self._guard:
                try:
                    self._readings.append(self.source.read())
                except KjouleError as error:
                    vanished = isinstance(error, Vanished)
                    self._misses.append(Miss(time.monotonic_ns(), str(error), vanished))
                    if vanished:
                        self._on_fault(str(error))
                        return

    def _pause(self, count: int) -> float:
        """The interval; for gauges spread over 0.5 to 1.5 of it in steps of the golden ratio, so that no rhythm of the load hides
        between samples."""
        if self.source.kind == "counter":
            return self.interval_seconds
        return self.interval_seconds * (0.5 + count * 0.6180339887498949 % 1.0)
