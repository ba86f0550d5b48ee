# SPDX-License-Identifier: GPL-3.0-or-later
"""Energy of a period's phases that is read on the controller, through Prometheus: Kepler, Scaphandre, or any expression in watts or joules.

A window is given by its edges in time of day, as the host recorded them. The samples that bracket an edge are interpolated in a straight
line; how far
off that can be is part of the uncertainty: a counter that gained E between two samples had gained something between nought and E at the
edge. Nothing
outside of the samples is extrapolated: an edge that no sample lies beyond makes the window invalid.

What is read is written into the controller's copy of the journal (a record of kind ``energy``), so that a result can be computed again
without Prometheus.
"""

from __future__ import annotations

import datetime
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from ..module_utils.energy import kepler, scaphandre
from ..module_utils.energy.exposition import Sample
from ..module_utils.energy.source import LIMIT_WATTS, Accuracy, Channel, Reading, Source
from ..module_utils.energy.web import finite, seconds_option, text_option
from ..module_utils.energy.windows import Miss, Moment, energy_window
from ..module_utils.errors import KjouleError
from .plain import to_plain
from .prometheus import PrometheusServer
from .promql import check_expression, checked_unit
from .remote_setting import labels_of, reader_of

#: How far before and after a window samples are looked for: more than one scrape of any reasonable interval.
LOOK_AROUND_SECONDS = 120.0
#: Clocks of host, controller and server that differ by more than this make windows of time of day meaningless.
SKEW_SECONDS = 1.0
#: A record takes at most so long from the host to the controller.
TRANSFER_SECONDS = 15.0
_NANO = 1e9


@dataclass
class Facts:
    """What windows.energy_window needs to know of a source."""

    name: str
    kind: str
    scope: str
    channels: tuple[Channel, ...]
    resolution: float
    update_seconds: float
    accuracy: Accuracy


@dataclass
class Look:
    """What one question brought: readings in order of time (seconds of the epoch), readings that failed, the whole series for the
    attribution."""

    facts: Facts
    readings: list[Reading]
    misses: list[Miss]
    series: list[kepler.Series] = field(default_factory=list)
    interval_seconds: float = 1.0


@dataclass
class Reader:
    """One entry of ``sources``. look: between two moments. attribute: from a look and a window, or None."""

    name: str
    reader: str
    look: Callable[[float, float], Look]
    attribute: Callable[[Look, float, float, float], dict[str, Any]] | None = None


# --- readers
# ---------------------------------------------------------------------------------------------------------------------------------


def make_readers(setting: dict[str, Any], server: PrometheusServer) -> list[Reader]:
    """The readers of a checked setting, each with its expression checked against what the server knows of it."""
    makers = {"kepler": _kepler_reader, "scaphandre": _scaphandre_reader, "promql": _promql_reader}
    return [
        makers[reader_of(source, options or {})](source, options or {}, server) for source, options in sorted(setting["sources"].items())
    ]


def _selector(metrics: tuple[str, ...], labels: dict[str, str]) -> str:
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in labels.items()}
    return f'{{__name__=~"{"|".join(metrics)}"' + "".join(f',{name}="{value}"' for name, value in quoted.items()) + "}"


def _common(facts: Facts, options: dict[str, Any]) -> Facts:
    if options.get("accuracy") is not None:
        facts.accuracy = Accuracy(finite(options["accuracy"], f"accuracy of {facts.name}"), "given by the user")
    facts.update_seconds = seconds_option(options, "update_seconds", facts.name, facts.update_seconds)
    return facts


def _reading(t: float, values: tuple[float, ...], epoch: str | None) -> Reading:
    return Reading(round(t * _NANO), values, round(t * _NANO), epoch)


def _interval(readings: list[Reading]) -> float:
    gaps = [(b.t_ns - a.t_ns) / _NANO for a, b in zip(readings, readings[1:])]
    return statistics.median(gaps) if gaps else 1.0


def _kepler_reader(name: str, options: dict[str, Any], server: PrometheusServer) -> Reader:
    """Node energy is active + idle of the zones chosen; everything is asked for in one question, so that parts and sum have the same
    moments."""
    labels, node, zones = labels_of(options, name), str(options.get("node") or ""), kepler.zones_option(options.get("zones"))
    selector = _selector((*kepler.NODE_METRICS, *kepler.ATTRIBUTION_METRICS), labels)

    def look(begin: float, end: float) -> Look:
        series = server.samples(selector, begin, end)
        restarts, readings, misses = kepler.RestartWatch(), [], []
        chosen: tuple[str, ...] = ()
        found = kepler.targets(series, f"source {name} in {server.what}", node)
        for number, mine in enumerate(found):
            for t, samples in kepler.scrapes(mine, kepler.NODE_METRICS):
                try:
                    now = kepler.node_counters(samples, f"Kepler in {server.what}", node)
                    chosen = chosen or kepler.choose_zones(now.zones, zones, f"Kepler in {server.what}")
                    values = tuple(finite(now.zones.get(zone), f"zone {zone} of {name}") for zone in chosen)
                except KjouleError as error:
                    misses.append(Miss(round(t * _NANO), str(error), False))
                    continue
                readings.append(_reading(t, values, f"target {number}: {restarts.epoch(now)}"))
        if not readings:
            raise _nothing(name, selector, server, misses)
        facts = Facts(
            name,
            "counter",
            f"prometheus:{kepler.scope_of(chosen)}",
            tuple(Channel(zone, "J") for zone in chosen),
            kepler.RESOLUTION_JOULES,
            kepler.UPDATE_SECONDS,
            kepler.ACCURACY,
        )
        return Look(_common(facts, options), readings, misses, [one for mine in found for one in mine], _interval(readings))

    def attribute(seen: Look, begin: float, end: float, _joules: float) -> dict[str, Any]:
        return kepler.attribution(seen.series, tuple(channel.name for channel in seen.facts.channels), begin, end, node)

    return Reader(name, "kepler", look, attribute)


def _scaphandre_reader(name: str, options: dict[str, Any], server: PrometheusServer) -> Reader:
    metrics = (scaphandre.ENERGY, scaphandre.POWER, scaphandre.DOMAIN, scaphandre.PROCESS)
    selector = _selector(metrics, labels_of(options, name))

    def look(begin: float, end: float) -> Look:
        series = server.samples(selector, begin, end)
        counter = any(one.name == scaphandre.ENERGY for one in series)
        metric = scaphandre.ENERGY if counter else scaphandre.POWER
        readings, misses = [], []
        for t, samples in kepler.scrapes(series, (metric,)):
            try:
                readings.append(_reading(t, (scaphandre.host_figure(samples, metric, f"Scaphandre in {server.what}"),), None))
            except KjouleError as error:
                misses.append(Miss(round(t * _NANO), str(error), False))
        if not readings:
            raise _nothing(name, selector, server, misses)
        scope = scaphandre.scope_of([Sample(one.name, one.labels, 0.0, None) for one in series])
        facts = Facts(
            name,
            "counter" if counter else "gauge",
            f"prometheus:{scope}",
            (Channel("host", "J" if counter else "W"),),
            1e-6,
            scaphandre.UPDATE_SECONDS,
            scaphandre.ACCURACY,
        )
        return Look(_common(facts, options), readings, misses, series, _interval(readings))

    def attribute(seen: Look, begin: float, end: float, joules: float) -> dict[str, Any]:
        return {"processes": scaphandre.process_joules(seen.series, begin, end, joules)}

    return Reader(name, "scaphandre", look, attribute)


def _promql_reader(name: str, options: dict[str, Any], server: PrometheusServer) -> Reader:
    query, unit = text_option(options, "query", name), options.get("unit")
    kind, factor = checked_unit(unit)
    found = check_expression(query, str(unit), server.types, options.get("type"))
    plain = len(found) == 1 and found[0].text == "".join(query.split())

    def look(begin: float, end: float) -> Look:
        raw = [one for text in dict.fromkeys(selector.text for selector in found) for one in server.samples(text, begin, end)]
        if not raw:
            raise _nothing(name, query, server, [])
        # The expression is as old as the oldest of the samples it is made of, and moves as often as they do.
        interval = max(_interval([_reading(point.t, (), None) for point in one.points]) for one in raw)
        series = raw if plain else server.evaluated(query, begin, min(end, min(one.points[-1].t for one in raw)), interval)
        if len(series) != 1:
            raise KjouleError(
                f"source {name} gives {len(series)} series",
                expected="one",
                seen="; ".join(str(one.labels)[:60] for one in series[:3]),
                next_step="choose with labels, or sum() what belongs together and does not overlap",
            )
        readings, misses = [], []
        for point in series[0].points:
            try:
                readings.append(_reading(point.t, (finite(point.value, f"source {name}") * factor,), None))
            except KjouleError as error:
                misses.append(Miss(round(point.t * _NANO), str(error), False))
        if not readings:
            raise _nothing(name, query, server, misses)
        steps = sorted({abs(b.values[0] - a.values[0]) for a, b in zip(readings, readings[1:])} - {0.0})
        given = options.get("resolution")
        facts = Facts(
            name,
            kind,
            f"prometheus:{name}",
            (Channel(name, "J" if kind == "counter" else "W"),),
            finite(given, f"resolution of {name}") * factor if given is not None else steps[0] if steps else 0.0,
            interval,
            Accuracy(None, "not stated; set accuracy"),
        )
        return Look(_common(facts, options), readings, misses, [], _interval(readings))

    return Reader(name, "promql", look)


def _nothing(name: str, query: str, server: PrometheusServer, misses: list[Miss]) -> KjouleError:
    if misses:
        return KjouleError(f"source {name}: no sample can be used", seen=misses[0].reason)
    return KjouleError(
        f"{server.what} has no samples of source {name}",
        expected="samples of " + query[:120],
        seen="none in the time asked for",
        next_step="is the exporter scraped, and do the labels match?",
    )


# --- windows
# ---------------------------------------------------------------------------------------------------------------------------------


def _still(t_ns: int) -> Moment:
    return Moment(t_ns, t_ns, t_ns, 0.0, 1)


def _judged(look: Look, readings: list[Reading], misses: list[Miss]) -> dict[str, Any]:
    # energy_window reads the facts of a source only; it never asks it anything.
    source = cast(Source, look.facts)
    return energy_window(source, readings, _still(readings[0].t_ns), _still(readings[-1].t_ns), misses, look.interval_seconds)


def _between(earlier: Reading, later: Reading, t_ns: int) -> tuple[Reading, float]:
    """The reading at a moment between two, on a straight line, and the larger of the two shares that the moment cuts the stretch into."""
    share = (t_ns - earlier.t_ns) / (later.t_ns - earlier.t_ns) if later.t_ns > earlier.t_ns else 0.0
    values = tuple(a + (b - a) * share for a, b in zip(earlier.values, later.values))
    return Reading(t_ns, values, t_ns, earlier.epoch), 0.0 if share in (0.0, 1.0) else max(share, 1 - share)


def window(look: Look, begin: float, end: float, skew_seconds: float = 0.0) -> dict[str, Any]:
    """The record of a window (docs/architecture.md) between two moments in time of day, with ``covered_seconds``: from the first to the
    last sample
    inside it.

    skew_seconds: by how much the clocks that are compared may be apart.
    """
    begin_ns, end_ns = round(begin * _NANO), round(end * _NANO)
    readings = look.readings
    before = max((index for index, reading in enumerate(readings) if reading.t_ns <= begin_ns), default=None)
    after = min((index for index, reading in enumerate(readings) if reading.t_ns >= end_ns), default=None)
    if before is None or after is None or after <= before:
        missing = "before its begin" if before is None else "after its end" if after is None else "around it"
        return _empty(look, end - begin, f"not covered: there is no sample {missing}")
    inside = readings[before : after + 1]
    within = [miss for miss in look.misses if begin_ns <= miss.t_ns <= end_ns]
    whole = _judged(look, inside, within)
    first, first_share = _between(inside[0], inside[1], begin_ns)
    last, last_share = _between(inside[-2], inside[-1], end_ns)
    middle = [reading for reading in inside if begin_ns < reading.t_ns < end_ns]
    record = _judged(look, [first, *middle, last], within)
    reasons = list(dict.fromkeys(whole["reasons"] + record["reasons"]))
    powers = [_power(look, a, b) for a, b in zip(inside, inside[1:])]
    if look.facts.kind == "counter":
        gained = [math.fsum(inside[at + 1].values) - math.fsum(inside[at].values) for at in (0, len(inside) - 2)]
        record["parts"]["interpolation_joules"] = max(0.0, gained[0]) * first_share + max(0.0, gained[1]) * last_share
    else:
        record["warnings"].append(
            f"power was read every {look.interval_seconds:.3g} s: load that comes and goes in this rhythm does not show"
        )
    record["parts"]["clock_joules"] = max(powers, default=0.0) * abs(skew_seconds)
    if abs(skew_seconds) > SKEW_SECONDS:
        reasons.append(f"clock skew: the clocks differ by {skew_seconds:+.1f} s, at most {SKEW_SECONDS:g} s are allowed")
    record.update(
        seconds=end - begin,
        covered_seconds=(middle[-1].t_ns - middle[0].t_ns) / _NANO if middle else 0.0,
        readings=len(middle),
        interval_seconds=look.interval_seconds,
        uncertainty_joules=math.fsum(record["parts"].values()),
        reasons=reasons,
        valid=not reasons,
    )
    return record


def _power(look: Look, earlier: Reading, later: Reading) -> float:
    if look.facts.kind == "gauge":
        return max(math.fsum(earlier.values), math.fsum(later.values))
    seconds = (later.t_ns - earlier.t_ns) / _NANO
    return min(LIMIT_WATTS, abs(math.fsum(later.values) - math.fsum(earlier.values)) / seconds) if seconds > 0 else 0.0


def _empty(look: Look, seconds: float, reason: str) -> dict[str, Any]:
    return {
        "source": look.facts.name,
        "scope": look.facts.scope,
        "kind": "measured",
        "joules": 0.0,
        "seconds": seconds,
        "covered_seconds": 0.0,
        "uncertainty_joules": 0.0,
        "readings": 0,
        "valid": False,
        "reasons": [reason],
        "parts": {},
        "channels": {},
        "warnings": [],
    }


# --- records
# ---------------------------------------------------------------------------------------------------------------------------------


def host_ahead_seconds(record: dict[str, Any], received_unix: float | None) -> float:
    """By how much the host's clock is at least ahead of the controller's (negative: behind), from when a record was finished and when it
    came."""
    finished = record.get("finished_unix")
    if finished is None or received_unix is None:
        return 0.0
    if finished > received_unix:
        return float(finished - received_unix)
    return float(min(0.0, finished + TRANSFER_SECONDS - received_unix))


def energy_record(reader: Reader, server: PrometheusServer, record: dict[str, Any], received_unix: float | None = None) -> dict[str, Any]:
    """The windows of all phases of a period by one reader, to be appended to the controller's journal.

    Raises KjouleError when the server or the exporter gives nothing: nothing is recorded then, and it can be asked again.
    """
    phases = [phase for phase in record["phases"] if phase.get("start_unix") is not None and phase.get("end_unix") is not None]
    if not phases:
        raise KjouleError(f"period {record['period_id']} has no phase with edges in time of day", next_step="measure with this version")
    begin, end = min(phase["start_unix"] for phase in phases), max(phase["end_unix"] for phase in phases)
    ahead, doubt = server.ahead_seconds()
    host = host_ahead_seconds(record, received_unix)
    look = reader.look(begin - LOOK_AROUND_SECONDS, end + LOOK_AROUND_SECONDS)
    skew = ahead - host
    entries = []
    for phase in phases:
        window_record = window(look, phase["start_unix"], phase["end_unix"], math.copysign(abs(skew) + doubt, skew))
        entry = {"index": phase["index"], "name": phase["name"], "energy": [window_record]}
        if reader.attribute is not None:
            entry["attribution"] = reader.attribute(look, phase["start_unix"], phase["end_unix"], window_record["joules"])
        entries.append(entry)
    facts = asdict(look.facts)
    return cast(
        dict[str, Any],
        to_plain(
            {
                "kind": "energy",
                "period_id": record["period_id"],
                "source": {
                    **facts,
                    "reader": reader.reader,
                    "via": "prometheus",
                    "server": server.url,
                    "interval_seconds": look.interval_seconds,
                },
                "read_at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "clocks": {"server_ahead_seconds": ahead, "doubt_seconds": doubt, "host_ahead_seconds": host},
                "phases": entries,
            }
        ),
    )


def missing_records(
    periods: list[dict[str, Any]], energy: list[dict[str, Any]], readers: list[Reader]
) -> list[tuple[dict[str, Any], Reader]]:
    """``(period, reader)`` for which there is no record yet, in order."""
    known = {(record["period_id"], record["source"]["name"]) for record in energy}
    return [
        (record, reader) for record in periods if record["phases"] for reader in readers if (record["period_id"], reader.name) not in known
    ]


class Collector:
    """Reads what is missing of a run's energy, period by period, and hands each record to ``keep``. ``say`` gets what a person should know.

    Without a setting it does nothing. What cannot be read now is asked for again the next time, as long as Prometheus keeps its samples.
    """

    def __init__(
        self,
        setting: dict[str, Any],
        keep: Callable[[dict[str, Any]], None],
        say: Callable[[str], None],
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._setting, self._keep, self._say, self._now, self._sleep = setting, keep, say, now, sleep
        self._server: PrometheusServer | None = None
        self._readers: list[Reader] = []
        self._interval = 0.0

    def check(self) -> None:
        """Raise KjouleError unless every source shows something now: better before hours of measuring than after."""
        if not self._setting:
            return
        server, readers = self._open()
        ahead, _doubt = server.ahead_seconds()
        if abs(ahead) > SKEW_SECONDS:
            raise KjouleError(
                f"the clock of {server.what} differs from this one's",
                expected=f"at most {SKEW_SECONDS:g} s",
                seen=f"{ahead:+.1f} s",
                next_step="let a time service set both",
            )
        for reader in readers:
            now = self._now()
            look = reader.look(now - LOOK_AROUND_SECONDS, now)
            age = now - look.readings[-1].t_ns / _NANO
            if age > LOOK_AROUND_SECONDS / 2:
                raise KjouleError(
                    f"source {reader.name} is stale",
                    seen=f"its last sample is {age:.0f} s old",
                    next_step="is the exporter up, and scraped?",
                )
            self._interval = max(self._interval, look.interval_seconds)

    def collect(
        self, periods: list[dict[str, Any]], energy: list[dict[str, Any]], received_unix: float | None = None
    ) -> list[dict[str, Any]]:
        """Read what these periods lack. received_unix: when the last of them came from the host. Returns the new records."""
        found: list[dict[str, Any]] = []
        if not self._setting:
            return found
        try:
            server, readers = self._open()
            for record, reader in missing_records(periods, energy, readers):
                self._wait(record)
                found.append(energy_record(reader, server, record, received_unix if record is periods[-1] else None))
                self._keep(found[-1])
        except KjouleError as error:
            self._say(f"energy through Prometheus is not read yet: {error}")
        return found

    def close(self) -> None:
        """Give the connections back."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _open(self) -> tuple[PrometheusServer, list[Reader]]:
        if self._server is None:
            server = PrometheusServer({key: value for key, value in self._setting.items() if key != "sources"})
            self._readers = make_readers(self._setting, server)
            self._server = server
        return self._server, self._readers

    def _wait(self, record: dict[str, Any]) -> None:
        """Until the scrape after the period's last edge should be there."""
        edges = [phase["end_unix"] for phase in record["phases"] if phase.get("end_unix") is not None]
        if edges:
            self._sleep(max(0.0, min(LOOK_AROUND_SECONDS, max(edges) + 2 * self._interval + 1.0 - self._now())))
