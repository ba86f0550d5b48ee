# SPDX-License-Identifier: GPL-3.0-or-later
"""What Kepler counted in a window of a run: the difference of its counters between the edges, from the readings that Prometheus has.

An edge between two readings lies on the straight line between them, so the windows of a period that touch never count a joule twice and
lose none. Nothing is extrapolated, and nothing is averaged over what lies beyond those two readings. Zones are those that the rules add
(``kjoule:zones``). A window that cannot have a figure says why.
"""

from __future__ import annotations

import json
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from ..energy import kepler
from ..errors import KjouleError
from .query import result

#: Why a window has no figure, as the dashboards show it.
TOO_SHORT = "too short"
RESTART = "restart of Kepler"
NOT_READ = "not read by Prometheus"
NO_KEPLER = "no Kepler"
MORE_THAN_ALL = "components are more than the host"

#: How far before and after a window readings are looked for.
LOOK_AROUND_SECONDS = 60.0
#: How long the reading after a window's end is waited for.
WAIT_SECONDS = 60.0
#: The rules say every 15 s which zones they add.
_ZONES_AROUND_SECONDS = 20.0
#: So many times as long as the others, and a stretch between two readings holds some that were lost.
_GAP = 3.0
#: A look at a counter: the moment, its value, and the name of the process then.
_Look = tuple[float, float, str]
#: What a counter gained: from, to, joules, and the name that they go to.
_Step = tuple[float, float, float, str]
#: Kepler can count a process that took over the number of another with 1.8e13 J: what no host can draw is left out, as by the rules.
_LIMIT_WATTS = 1e5
_PROCESSES = (
    "kepler_process_cpu_joules_total",
    *(f"kepler_process_{zone}_joules_total" for zone in kepler.LEGACY_DOMAINS),
)


@dataclass(frozen=True)
class Counted:
    """joules: of the host, and by component. watts: between the first and the last reading inside the window. None: no_energy, no_power say
    why. no_energy also says why the components have none where the host has."""

    joules: float | None
    watts: float | None
    components: dict[str, float] = field(default_factory=dict)
    no_energy: str = ""
    no_power: str = ""


def counted(url: str, host: str, begin: float, end: float) -> Counted:
    """Between two moments (seconds of the epoch). Raises KjouleError when Prometheus cannot be asked."""
    series, zones = _series(url, host, begin, end), _zones(url, host, begin, end)
    try:
        readings = _readings(series, zones)
    except KjouleError:  # two Keplers beside one another, or zones that cannot be added
        readings = []
    if not readings:
        return _without(NO_KEPLER)
    before = max((number for number, one in enumerate(readings) if one.t <= begin), default=None)
    after = min((number for number, one in enumerate(readings) if one.t >= end), default=None)
    if before is None or after is None:
        return _without(NOT_READ)
    around = readings[before : after + 1]
    pairs = list(zip(around, around[1:]))
    if any(earlier.run != later.run or later.joules < earlier.joules for earlier, later in pairs):
        return _without(RESTART)
    interval = statistics.median(later.t - earlier.t for earlier, later in zip(readings, readings[1:]))
    if any(later.t - earlier.t > _GAP * interval for earlier, later in pairs):
        return _without(NOT_READ)
    inside = [one for one in around if begin <= one.t <= end]
    watts = (inside[-1].joules - inside[0].joules) / (inside[-1].t - inside[0].t) if len(inside) > 1 else None
    no_power = TOO_SHORT if watts is None else ""
    if end - begin < 0.99 * interval:  # readings are not to the millisecond
        return Counted(None, watts, no_energy=TOO_SHORT, no_power=no_power)
    joules = sum(_inside(earlier.t, later.t, later.joules - earlier.joules, begin, end) for earlier, later in pairs)
    active = sum(_inside(earlier.t, later.t, later.active - earlier.active, begin, end) for earlier, later in pairs)
    components = _components(series, zones, begin, end)
    if sum(components.values()) > active * (1 + kepler.TOLERANCE) + 1e-3:
        return Counted(joules, watts, no_energy=MORE_THAN_ALL, no_power=no_power)
    return Counted(joules, watts, components, no_power=no_power)


def wait_for_reading(
    url: str, host: str, end: float, now: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Until Prometheus has tried to read the host's Kepler after ``end``, where that is only a moment ago."""
    while now() < end + WAIT_SECONDS:
        tried = [float(one["value"][1]) for one in result(url, f'timestamp(up{{job="kepler",host={json.dumps(host)}}})')]
        if not tried or max(tried) >= end:
            return
        sleep(1.0)


@dataclass(frozen=True)
class _Reading:
    t: float
    joules: float
    active: float
    run: str


def _without(reason: str) -> Counted:
    return Counted(None, None, no_energy=reason, no_power=reason)


def _series(url: str, host: str, begin: float, end: float) -> list[kepler.Series]:
    names = "|".join((*kepler.NODE_METRICS, *_PROCESSES))
    selector = f'{{__name__=~"{names}",job="kepler",host={json.dumps(host)}}}'
    span = round((end - begin + 2 * LOOK_AROUND_SECONDS) * 1000)
    found = []
    for entry in result(url, f"{selector}[{span}ms]", end + LOOK_AROUND_SECONDS):
        labels = dict(entry["metric"])
        points = [kepler.Point(float(t), float(value)) for t, value in entry["values"]]
        found.append(kepler.Series(labels.pop("__name__"), labels, points))
    return found


def _zones(url: str, host: str, begin: float, end: float) -> tuple[str, ...]:
    span = round((end - begin + 2 * _ZONES_AROUND_SECONDS) * 1000)
    said = result(url, f"last_over_time(kjoule:zones{{host={json.dumps(host)}}}[{span}ms])", end + _ZONES_AROUND_SECONDS)
    return tuple(sorted(str(one["metric"]["zone"]) for one in said))


def _readings(series: list[kepler.Series], zones: tuple[str, ...]) -> list[_Reading]:
    """Joules of the zones at every reading, those of them that are given to processes, and which run of Kepler counted them.

    None where the zones hold no package: their sum is not the host's. Raises KjouleError for what cannot be told apart or added.
    """
    if not any(zone == "psys" or zone.startswith("package") for zone in zones):
        return []
    found = []
    restarts = kepler.RestartWatch()
    for number, mine in enumerate(kepler.targets(series, "Prometheus")):
        for t, samples in kepler.scrapes(mine, kepler.NODE_METRICS):
            try:
                now = kepler.node_counters(samples, "Kepler")
                chosen = kepler.choose_zones(now.zones, zones, "Kepler")
            except KjouleError:  # nothing of the node, a zone missing, a model: no reading
                continue
            joules, active = (sum(of.get(zone, 0.0) for zone in chosen) for of in (now.zones, now.active))
            found.append(_Reading(t, joules, active, f"{number} {restarts.epoch(now)}"))
    return found


def _inside(first: float, last: float, joules: float, begin: float, end: float) -> float:
    """What lies between two moments of joules that are even from first to last."""
    return joules * max(0.0, min(last, end) - max(first, begin)) / (last - first)


def _components(series: list[kepler.Series], zones: tuple[str, ...], begin: float, end: float) -> dict[str, float]:
    """Joules by the name of the process. What Kepler shows as ended goes on with the counter that it had while it ran."""
    looks = [t for t, _samples in kepler.scrapes(series, kepler.NODE_METRICS)]
    counters: dict[tuple[str, frozenset[tuple[str, str]]], dict[float, _Look]] = {}
    for one in series:
        if one.name not in _PROCESSES or one.labels.get("mode") == "idle" or one.labels.get("source", "") in kepler.MODELS:
            continue
        legacy = one.name != _PROCESSES[0]
        if (one.name.split("_")[2] if legacy else one.labels.get("zone", "")) not in zones:
            continue
        component = one.labels.get("command" if legacy else "comm", "")
        shown = counters.setdefault((one.name, kepler.counter_of(one.name, one.labels)), {})
        for point in one.points:
            if point.t not in shown or point.value > shown[point.t][1]:
                shown[point.t] = point.t, point.value, component
    found: dict[str, float] = {}
    for shown in counters.values():
        for first, last, gained, component in _steps(sorted(shown.values()), looks):
            joules = _inside(first, last, gained, begin, end)
            if joules > 0:
                found[component] = found.get(component, 0.0) + joules
    return found


def _steps(shown: list[_Look], looks: list[float]) -> list[_Step]:
    """What a counter gained from look to look, for the name at the later one: a process can be renamed, and its counter goes on.

    It began at nought where it fell, and after the last look that did not show it: who has a number again is another process.
    """
    steps: list[_Step] = []
    before: tuple[float, float] | None = None
    for t, value, component in shown:
        number = bisect_left(looks, t)
        since = looks[number - 1] if number else None
        if before is not None and (since is None or before[0] >= since):
            steps.append((before[0], t, value - before[1] if value >= before[1] else value, component))
        elif since is not None:
            steps.append((since, t, value, component))
        before = t, value
    return [step for step in steps if step[2] <= _LIMIT_WATTS * (step[1] - step[0])]
