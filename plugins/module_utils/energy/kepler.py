# SPDX-License-Identifier: GPL-3.0-or-later
"""Node energy and attribution from Kepler's metrics, both generations: legacy (up to 0.9, eBPF) and the rewrite (from 0.10).

Node energy is active + idle (dynamic + idle with legacy): ``kepler_node_cpu_joules_total`` falls when RAPL wraps, their sum does not.
Zones overlap; the total is psys, or else packages + dram. A restart of Kepler sets idle to the raw counter, up or down: nothing is known
across it. What is read here directly and what comes through Prometheus goes through the same functions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import KjouleError
from .exposition import ACCEPT, Sample, parse
from .polled import Answer, PolledSource
from .source import LIMIT_WATTS, Accuracy, Channel, Reading
from .web import WEB_OPTIONS, WebClient, finite, text_option

OPTIONS = (*WEB_OPTIONS, "node", "zones")

URL = "http://127.0.0.1:28282"
#: A scrape makes Kepler read its counters anew when its last look is older than this (monitor.staleness, its default).
UPDATE_SECONDS = 0.5
RESOLUTION_JOULES = 1e-6
ACCURACY = Accuracy(
    0.05, "Khan et al. 2018 (RAPL in action): package RAPL against wall power; what the node draws outside its zones is not in it"
)

ACTIVE = "kepler_node_cpu_active_joules_total"
IDLE = "kepler_node_cpu_idle_joules_total"
START = "process_start_time_seconds"
#: Domains of the legacy generation that make zones. ``platform`` is another scope (ACPI, Redfish), ``other`` and ``gpu`` are models or
#: other devices.
LEGACY_DOMAINS = ("package", "core", "uncore", "dram")
#: What the legacy generation writes into ``source`` and node_info when it guesses. Fake zones have it in their path.
MODELS = ("trained_power_model", "estimator", "model_server")

#: A node's metrics, for a query: what ``node_counters`` needs.
NODE_METRICS = (ACTIVE, IDLE, *(f"kepler_node_{domain}_joules_total" for domain in LEGACY_DOMAINS), START)


def make(options: dict[str, Any]) -> PolledSource:
    """Options: WEB_OPTIONS (url without /metrics, default http://127.0.0.1:28282; legacy: port 9102 or 8888); node, zones."""
    node = text_option(options, "node", "kepler", "")
    zones = zones_option(options.get("zones"))
    client = WebClient.from_options(options, "kepler", URL)

    try:
        first = node_counters(scrape(client), client.what, node)
        chosen = choose_zones(first.zones, zones, client.what)
        restarts = RestartWatch()
        ledger = KeplerLedger(chosen, node)

        def ask() -> Answer:
            samples = scrape(client)
            now = node_counters(samples, client.what, node)
            missing = [zone for zone in chosen if zone not in now.zones]
            if missing:
                raise KjouleError(f"{client.what} shows zone {missing[0]} no longer")
            ledger.look(samples)
            return Answer(tuple(now.zones[zone] for zone in chosen), epoch=restarts.epoch(now))

        return PolledSource(
            name="kepler",
            kind="counter",
            scope=scope_of(chosen),
            channels=tuple(Channel(zone, "J") for zone in chosen),
            resolution=RESOLUTION_JOULES,
            update_seconds=UPDATE_SECONDS,
            accuracy=ACCURACY,
            ask=ask,
            more={
                "at": client.what,
                "generation": first.generation,
                "restart_seen_by": START if first.started else "a fall of active energy; debugCollectors: [go, process] would be surer",
            },
            give_back=client.close,
            ledger=ledger,
        )
    except BaseException:
        client.close()
        raise


def zones_option(value: Any) -> tuple[str, ...]:
    """Names of zones; none means: choose."""
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(zone, str) and zone.strip() for zone in value):
        raise KjouleError("option zones of the energy source kepler", expected="a list of names, such as [package, dram]", seen=repr(value))
    return tuple(zone.strip() for zone in value)


def scope_of(zones: Iterable[str]) -> str:
    """As for RAPL: joules of different scopes are never compared."""
    return "kepler:" + "+".join(dict.fromkeys(_kind_of(zone) for zone in zones))


def _kind_of(zone: str) -> str:
    return zone.split("-")[0]


def choose_zones(offered: Iterable[str], wanted: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The zones that make up the node, each once: as wanted, or psys, or packages and dram.

    Raises KjouleError for zones that are not there, or that contain each other.
    """
    names = sorted(offered)
    if wanted:
        missing = [zone for zone in wanted if zone not in names]
        if missing:
            raise KjouleError(f"{what} has no zone {missing[0]}", expected="one of " + ", ".join(names), next_step="correct zones")
        kinds = {_kind_of(zone) for zone in wanted}
        overlap = [kind for kind in ("core", "uncore") if kind in kinds and "package" in kinds]
        if overlap or ("psys" in kinds and len(kinds) > 1):
            raise KjouleError(
                f"zones {', '.join(wanted)} of {what} overlap",
                expected="psys alone, or package and dram",
                next_step="core and uncore lie inside package, psys contains package: added up they count twice",
            )
        return wanted
    if "psys" in names:
        return ("psys",)
    chosen = tuple(zone for kind in ("package", "dram") for zone in names if _kind_of(zone) == kind)
    if not any(_kind_of(zone) == "package" for zone in chosen):
        raise KjouleError(
            f"{what} shows no package",
            seen="zones " + (", ".join(names) or "none"),
            next_step="choose with the option zones what stands for the node",
        )
    return chosen


@dataclass(frozen=True)
class NodeCounters:
    """Joules of one node by zone, active and idle together, at one scrape. started: what changes when Kepler restarts, if it tells."""

    generation: str
    zones: dict[str, float]
    active: dict[str, float]
    started: str | None


def node_counters(samples: list[Sample], what: str, node: str = "") -> NodeCounters:
    """The node's counters of one scrape. Raises KjouleError when there are none, those of several nodes, or figures that nobody
    measured."""
    active = [s for s in samples if s.name == ACTIVE and node in ("", s.labels.get("node_name"))]
    idle = [s for s in samples if s.name == IDLE and node in ("", s.labels.get("node_name"))]
    starts = [s.value for s in samples if s.name == START]
    started = repr(starts[0]) if len(starts) == 1 else None
    if active:
        nodes = {s.labels.get("node_name", "") for s in active}
        if len(nodes) > 1:
            raise KjouleError(
                f"{what} shows several nodes", expected="one", seen=", ".join(sorted(nodes)), next_step="choose with the option node"
            )
        for sample in active:
            if "fake" in sample.labels.get("path", ""):
                raise KjouleError(
                    f"{what} runs on its fake meter", seen=sample.labels["path"], next_step="set dev.fake-cpu-meter.enabled: false"
                )
        per_zone: dict[str, dict[str, float]] = {}
        for sample in (*active, *idle):
            zone = sample.labels.get("zone", "")
            per_zone.setdefault(zone, {ACTIVE: 0.0, IDLE: 0.0})[sample.name] += finite(sample.value, f"{sample.name} of {what}")
        if {s.labels.get("zone", "") for s in idle} != set(per_zone):
            raise KjouleError(
                f"{what} shows active energy without idle energy", next_step="raise exporter.prometheus.metricsLevel to hold node"
            )
        return NodeCounters(
            "rewrite",
            {zone: parts[ACTIVE] + parts[IDLE] for zone, parts in per_zone.items()},
            {zone: parts[ACTIVE] for zone, parts in per_zone.items()},
            started,
        )
    return _legacy_counters(samples, what, node, started)


class RestartWatch:
    """Tells runs of Kepler apart: by its start time, or else by active energy that fell, because it begins at nought with every start."""

    def __init__(self) -> None:
        self._falls = 0
        self._active: dict[str, float] = {}

    def epoch(self, now: NodeCounters) -> str:
        """A text that changes with every restart."""
        if any(now.active.get(zone, 0.0) < joules for zone, joules in self._active.items()):
            self._falls += 1
        self._active = now.active
        return f"{now.started or 'start unknown'}, {self._falls} falls"


def _legacy_counters(samples: list[Sample], what: str, node: str, started: str | None) -> NodeCounters:
    total: dict[str, float] = {}
    active: dict[str, float] = {}
    nodes = set()
    for sample in samples:
        for domain in LEGACY_DOMAINS:
            if sample.name == f"kepler_node_{domain}_joules_total":
                name = sample.labels.get("exported_instance", sample.labels.get("instance", ""))
                if node not in ("", name):
                    continue
                _refuse_models(sample.labels.get("source", ""), what)
                nodes.add(name)
                value = finite(sample.value, f"{sample.name} of {what}")
                total[domain] = total.get(domain, 0.0) + value
                if sample.labels.get("mode") != "idle":
                    active[domain] = active.get(domain, 0.0) + value
        if sample.name == "kepler_node_info":
            _refuse_models(sample.labels.get("components_power_source", ""), what)
    if len(nodes) > 1:
        raise KjouleError(
            f"{what} shows several nodes", expected="one", seen=", ".join(sorted(nodes)), next_step="choose with the option node"
        )
    if not total:
        raise KjouleError(
            f"{what} shows no energy of {'node ' + node if node else 'a node'}",
            expected=f"{ACTIVE}, or kepler_node_package_joules_total",
            seen=f"{len(samples)} samples of Kepler",
            next_step="is it Kepler, does it see RAPL, and does metricsLevel hold node?",
        )
    # A domain that Kepler knows and the processor lacks stays at nought.
    return NodeCounters("legacy", {zone: joules for zone, joules in total.items() if joules > 0 or zone == "package"}, active, started)


def _refuse_models(source: str, what: str) -> None:
    if source in MODELS:
        raise KjouleError(
            f"{what} guesses: its energy comes from a model",
            expected="rapl",
            seen=source,
            next_step="inside a virtual machine use the source kepler on its host, or kjoule_source: estimate with bounds",
        )


# --- series over time: the same for both ways of reading


class Point(NamedTuple):
    """One sample: seconds of some clock, and the value."""

    t: float
    value: float


@dataclass
class Series:
    """One time series: metric, labels, points in order of time."""

    name: str
    labels: dict[str, str]
    points: list[Point] = field(default_factory=list)


def scrapes(series: Iterable[Series], names: tuple[str, ...]) -> list[tuple[float, list[Sample]]]:
    """Samples of one time together: one scrape of an exporter has one time."""
    at: dict[float, list[Sample]] = {}
    for one in series:
        if one.name in names:
            for point in one.points:
                at.setdefault(point.t, []).append(Sample(one.name, one.labels, point.value, None))
    return sorted(at.items())


#: Labels that the metrics of a node have of themselves. What else is there says which target of Prometheus they come from.
_OF_THE_METRIC = ("zone", "path", "package", "mode", "source", "node_name", "exported_instance")


def targets(series: list[Series], what: str, node: str = "") -> list[list[Series]]:
    """The series of every Kepler among them, one after another in time: one that ended before the next began was followed by it.

    The start time of a process comes from every exporter; that of a target without Kepler's counters is left out. Raises KjouleError for
    Keplers beside one another.
    """
    found: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for one in series:
        name = one.labels.get("node_name", one.labels.get("exported_instance", one.labels.get("instance", "")))
        if one.name in NODE_METRICS and one.name != START and one.points and node in ("", name):
            of = {label: value for label, value in one.labels.items() if label not in _OF_THE_METRIC}
            of["node"] = one.labels.get("node_name", one.labels.get("exported_instance", ""))
            found.setdefault(tuple(sorted(of.items())), []).append(one)
    spans = sorted((min(one.points[0].t for one in mine), max(one.points[-1].t for one in mine), who) for who, mine in found.items())
    if any(later[0] <= earlier[1] for earlier, later in zip(spans, spans[1:])):
        differing = sorted({label for who in found for label, value in who if any(dict(other).get(label) != value for other in found)})
        seen = sorted(", ".join(f"{label} {dict(who)[label] or 'none'}" for label in differing if label in dict(who)) for who in found)
        raise KjouleError(
            f"{what} shows {len(found)} Keplers",
            expected="one",
            seen="; ".join(seen[:4]),
            next_step="choose one with labels (its instance, for example) or with node",
        )
    if len(spans) < 2:
        others = [one for one in series if one.name not in NODE_METRICS]
        return [[*mine, *_of_target(series, who, (START,)), *others] for who, mine in found.items()] or [series]
    return [[*found[who], *_of_target(series, who, (START, *ATTRIBUTION_METRICS))] for _first, _last, who in spans]


def _of_target(series: list[Series], who: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> list[Series]:
    """Series of these names that have the labels of a target; a node of their own has to be its node."""
    of = dict(who)
    node = of.pop("node")
    return [
        one
        for one in series
        if one.name in names
        and one.labels.get("node_name", node) == node
        and all(one.labels.get(label) == value for label, value in of.items())
    ]


def increase(points: Iterable[Point], first_look: float, end: float) -> float:
    """What a counter that may begin again gained between the last look at or before a window's begin and the last sample at or before end.

    A fall is a new beginning at nought. A series whose first sample is later than ``first_look`` was born since, and its first value
    counts. Nothing is extrapolated.
    """
    return math.fsum(_gains({point.t: (point.value, ()) for point in points}, {}, first_look, end).values())


#: level -> (metric of the rewrite, labels that say who it is)
LEVELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "processes": ("kepler_process_cpu_joules_total", ("pid", "comm", "exe", "type", "container_id", "vm_id")),
    "containers": ("kepler_container_cpu_joules_total", ("container_id", "container_name", "runtime", "pod_id")),
    "pods": ("kepler_pod_cpu_joules_total", ("pod_id", "pod_name", "pod_namespace")),
    "vms": ("kepler_vm_cpu_joules_total", ("vm_id", "vm_name", "hypervisor")),
}
_LEGACY_LEVELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "processes": ("kepler_process_{zone}_joules_total", ("pid", "command", "container_id", "vm_id")),
    "containers": ("kepler_container_{zone}_joules_total", ("container_id", "container_name", "pod_name", "container_namespace")),
    "vms": ("kepler_vm_{zone}_joules_total", ("vm_id",)),
}
ATTRIBUTION_METRICS = (
    *(metric for metric, _labels in LEVELS.values()),
    *(metric.format(zone=zone) for metric, _labels in _LEGACY_LEVELS.values() for zone in LEGACY_DOMAINS),
)
#: What Kepler counts processes and containers by. Their other names are read anew while they run (a kworker has another comm all the time),
#: and the counter goes on under those.
_COUNTED_BY = {"processes": "pid", "containers": "container_id"}
_NAMES = {
    metric.format(zone=zone): (label, frozenset(keys) - {label})
    for levels in (LEVELS, _LEGACY_LEVELS)
    for (metric, keys), label in ((levels[level], label) for level, label in _COUNTED_BY.items())
    for zone in LEGACY_DOMAINS
}


def counter_of(metric: str, labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Labels that are the same for as long as a counter goes on: none of its state, and none of the names that Kepler reads anew."""
    label, names = _NAMES.get(metric, ("", frozenset()))
    changing = {"state", *(names if labels.get(label) else ())}
    return frozenset(item for item in labels.items() if item[0] not in changing)


_LEDGER_METRICS = frozenset((*NODE_METRICS, *ATTRIBUTION_METRICS)) - {IDLE, START}
#: What is read of all that Kepler shows.
PREFIXES = (*NODE_METRICS, "kepler_node_info", *ATTRIBUTION_METRICS)
#: What is attributed lies between two looks. They may cover this much more or less than the window.
COVERAGE = 0.3
#: How many of a level are listed; the rest is added up.
LISTED = 40
#: Parts may be ahead of the node by what their interval differs. Beyond that the attribution is off.
TOLERANCE = 0.05


def attribution(
    series: list[Series], zones: tuple[str, ...], begin: float, end: float, node: str = "", apart: bool = False
) -> dict[str, Any]:
    """What Kepler gives to whom between two moments of the series' clock, in the zones chosen (summed).

    ``{node: {active_joules}, zones, covered_seconds, processes|containers|pods|vms: {joules, share_of_active, listed: [{label..., joules}],
    others_joules}, reasons}``. Idle energy is given to nobody. Running and terminated series of one thing are one thing, and what a
    counter gained between two looks is given to the names at the later one (apart: the series are so already). A level with figures that
    cannot be is listed in ``reasons`` and has no figures.
    """
    series = [one for one in series if node in ("", one.labels.get("node_name", ""))]
    node_series = [one for one in series if _node_zone(one) in zones]
    looks = sorted({point.t for one in node_series for point in one.points})
    first = bisect_right(looks, begin) - 1
    last = bisect_right(looks, end) - 1
    if first < 0 or last <= first:
        return {"zones": list(zones), "reasons": ["there are no two looks at the node that span the window"]}
    first_look = looks[first]
    seconds = looks[last] - first_look
    active = math.fsum(increase(one.points, first_look, end) for one in node_series)
    result: dict[str, Any] = {"zones": list(zones), "covered_seconds": seconds, "node": {"active_joules": active}, "reasons": []}
    if abs(seconds - (end - begin)) > COVERAGE * (end - begin):
        return {
            **result,
            "reasons": [f"the looks at the node are {seconds:.1f} s apart, the window is {end - begin:.1f} s: too short to attribute"],
        }
    if active > LIMIT_WATTS * seconds:
        return {**result, "reasons": [f"{active:.4g} J of the node in {seconds:.4g} s are beyond physics"]}
    legacy = any(one.name != ACTIVE for one in node_series)
    for level, (metric, keys) in (_LEGACY_LEVELS if legacy else LEVELS).items():
        wanted = {metric.format(zone=zone): zone for zone in zones} if legacy else {metric: None}
        mine = [
            one for one in series if one.name in wanted and one.labels.get("mode") != "idle" and (legacy or one.labels.get("zone") in zones)
        ]
        if mine:
            entry, reasons = _level(mine, keys, () if apart else looks, first_look, end, active)
            result["reasons"] += [f"{level}: {reason}" for reason in reasons]
            if not reasons:
                result[level] = entry
    return result


def _node_zone(series: Series) -> str | None:
    if series.name == ACTIVE:
        return series.labels.get("zone")
    for domain in LEGACY_DOMAINS:
        if series.name == f"kepler_node_{domain}_joules_total" and series.labels.get("mode") != "idle":
            return domain
    return None


def _level(
    series: list[Series], keys: tuple[str, ...], looks: Sequence[float], first_look: float, end: float, active: float
) -> tuple[dict[str, Any], list[str]]:
    """One level, and why it cannot be used. looks: at everything; none where each series is a counter of its own."""
    # A thing that ends moves from state="running" to state="terminated", with the same counter: one counter, by zone. Where a number was
    # taken over at once, both stand in one look, and the counter that ended is the greater one.
    counters: dict[tuple[Any, ...], dict[float, tuple[float, tuple[str, ...]]]] = {}
    for one in series:
        who = tuple(one.labels.get(key, "") for key in keys)
        which = counter_of(one.name, dict(zip(keys, who))) if looks else who
        shown = counters.setdefault((which, one.name, one.labels.get("zone", "")), {})
        for point in one.points:
            if point.t not in shown or point.value > shown[point.t][0]:
                shown[point.t] = point.value, who
    reasons = _duplicates(series)
    number = {t: index for index, t in enumerate(looks)}
    joules: dict[tuple[str, ...], float] = {}
    for shown in counters.values():
        for who, gained in _gains(shown, number, first_look, end).items():
            joules[who] = joules.get(who, 0.0) + gained
    worst = max(joules.items(), key=lambda item: item[1], default=((), 0.0))
    if not worst[1] <= active * (1 + TOLERANCE) + 1e-3:
        name = " ".join(part for part in worst[0] if part)[:80]
        reasons.append(f"{name} is given {worst[1]:.4g} J, more than the {active:.4g} J of the whole node")
    total = math.fsum(joules.values())
    ranked = sorted(((gained, who) for who, gained in joules.items() if gained > 0), reverse=True)
    listed = [{**{key: part for key, part in zip(keys, who) if part}, "joules": gained} for gained, who in ranked[:LISTED]]
    return {
        "joules": total,
        "share_of_active": total / active if active > 0 else None,
        "listed": listed,
        "others_joules": math.fsum(gained for gained, _who in ranked[LISTED:]),
    }, reasons


def _gains(
    shown: dict[float, tuple[float, tuple[str, ...]]], number: dict[float, int], first_look: float, end: float
) -> dict[tuple[str, ...], float]:
    """What a counter gained since ``first_look``, by the names that it had at the later of two readings.

    Its first value counts where it was born since, and so does what it has after a look that did not show it: Kepler forgets what is gone,
    and who has its number later begins at nought.
    """
    gained: dict[tuple[str, ...], float] = {}
    before: tuple[float, float] | None = None
    for t, (value, who) in sorted(shown.items()):
        if t > end:
            break
        if t > first_look:
            away = before is not None and t in number and before[0] in number and number[t] - number[before[0]] > 1
            had = before[1] if before is not None and value >= before[1] and not away else 0.0
            gained[who] = gained.get(who, 0.0) + (value - had)
        before = t, value
    return gained


def _duplicates(series: list[Series]) -> list[str]:
    """Virtual machines that cannot be told apart: several names under one id, or an id that is the beginning of a command line in
    hexadecimal,
    which every machine without -uuid and -name gets."""
    reasons = []
    names: dict[str, set[str]] = {}
    for one in series:
        if "hypervisor" in one.labels or one.name.startswith("kepler_vm_"):
            vm_id = one.labels.get("vm_id", "")
            names.setdefault(vm_id, set()).add(one.labels.get("vm_name", ""))
    for vm_id, seen in sorted(names.items()):
        if len(seen) > 1:
            reasons.append(f"{len(seen)} machines share the id {vm_id}: {', '.join(sorted(seen))}")
        elif _is_command(vm_id):
            reasons.append(f"the id {vm_id} is a piece of a command line: machines without -uuid and -name cannot be told apart")
    return reasons


def _is_command(vm_id: str) -> bool:
    try:
        return len(vm_id) == 16 and bytes.fromhex(vm_id).startswith(b"/") and bytes.fromhex(vm_id).decode("ascii").isprintable()
    except ValueError:
        return False


class KeplerLedger:
    """What Kepler read directly gives to whom (source.Ledger). Every look adds what the counters gained since the one before; kept is their
    sum at the edges of windows, so that a long period with many looks takes no more memory than its edges."""

    def __init__(self, zones: tuple[str, ...], node: str = "") -> None:
        self._zones, self._node = zones, node
        self._looked = False
        self._shown: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._gained: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._series: dict[tuple[str, frozenset[tuple[str, str]]], Series] = {}

    def look(self, samples: Iterable[Sample]) -> None:
        """Take one scrape in. What was not there at the scrape before was born since, and what a counter gained goes to the names it has
        now (``attribution``)."""
        now: dict[tuple[str, frozenset[tuple[str, str]]], tuple[float, frozenset[tuple[str, str]]]] = {}
        for sample in samples:
            if sample.name in _LEDGER_METRICS and sample.labels.get("zone", self._zones[0]) in self._zones:
                # A thing that ends moves from state="running" to state="terminated", with the same counter.
                who = frozenset(item for item in sample.labels.items() if item[0] != "state")
                counter = sample.name, counter_of(sample.name, sample.labels)
                if counter not in now or sample.value > now[counter][0]:
                    now[counter] = sample.value, who
        for counter, (value, who) in now.items():
            before = self._shown.get(counter, 0.0 if self._looked else value)
            key = counter[0], who
            self._gained[key] = self._gained.get(key, 0.0) + (value - before if value >= before else value)
        kept = {counter: value for counter, value in self._shown.items() if counter[0] in NODE_METRICS}
        self._shown = {**kept, **{counter: value for counter, (value, _who) in now.items()}}
        self._looked = True

    def mark(self, reading: Reading) -> None:
        """Keep the sums after this reading."""
        for key, joules in self._gained.items():
            name, who = key
            series = self._series.setdefault(key, Series(name, dict(who)))
            if name in NODE_METRICS or not series.points or series.points[-1].value != joules:
                series.points.append(Point(reading.t_ns / 1e9, joules))

    def between(self, begin: Reading, end: Reading) -> dict[str, Any]:
        """As ``attribution``."""
        return attribution(list(self._series.values()), self._zones, begin.t_ns / 1e9, end.t_ns / 1e9, self._node, apart=True)


def scrape(client: WebClient) -> list[Sample]:
    """One look at everything that Kepler shows; the client's URL may end in /metrics or not."""
    path = "" if client.base.endswith("/metrics") else "/metrics"
    return parse(client.get(path, ACCEPT).decode("utf-8", errors="replace"), client.what, PREFIXES)
