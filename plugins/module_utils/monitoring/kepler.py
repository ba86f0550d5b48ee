# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold before Kepler starts, and what it has to do once it runs."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from typing import Any, Callable

from ..energy.exposition import parse
from ..energy.kepler import PREFIXES, NodeCounters, node_counters, scrape
from ..energy.rapl import Zone, read_counter, same_counter, zones_by_name
from ..energy.web import WebClient
from ..errors import KjouleError

# Key of the file -> the first version that reads it (config/config.go of the tags v0.10.0 to v0.11.4). Kepler itself ignores what it does
# not know, without a word: a misspelt key would be a setting that is not there.
_SINCE: dict[tuple[int, ...], str] = {
    (0, 10): """
        log.level log.format host.sysfs host.procfs rapl.zones
        monitor.interval monitor.staleness monitor.maxTerminated monitor.minTerminatedEnergyThreshold
        exporter.stdout.enabled exporter.prometheus.enabled exporter.prometheus.debugCollectors exporter.prometheus.metricsLevel
        web.configFile web.listenAddresses debug.pprof.enabled dev.fake-cpu-meter.enabled dev.fake-cpu-meter.zones
        kube.enabled kube.config kube.nodeName
    """,
    (0, 11): """
        experimental.platform.redfish.enabled experimental.platform.redfish.nodeName
        experimental.platform.redfish.configFile experimental.platform.redfish.httpTimeout
    """,
    (0, 11, 4): """
        kube.podInformer.mode kube.podInformer.pollInterval
        experimental.hwmon.enabled experimental.hwmon.zones experimental.hwmon.chipRules
        experimental.gpu.enabled experimental.gpu.idlePower
    """,
}


def check_config(config: dict[str, Any], version: str) -> None:
    """Raises KjouleError for a key that this version of Kepler would ignore, and for values that make its figures worthless."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if match is None or tuple(int(part) for part in match.groups()) < (0, 10):
        raise KjouleError(
            f"settings of Kepler {version}",
            expected="v0.10.0 or newer; older ones have no such file",
            next_step="set kepler_generation: legacy for an older one",
        )
    number = tuple(int(part) for part in match.groups())
    known = {key for since, keys in _SINCE.items() if since <= number for key in keys.split()}
    unknown = sorted(key for key in _paths(config) if key not in known)
    if unknown:
        later = sorted(key for keys in _SINCE.values() for key in keys.split() if key in unknown)
        raise KjouleError(
            f"Kepler {version} does not know {', '.join(unknown)} and would ignore it without a word",
            expected="keys of that version" + (f" ({', '.join(later)} came later)" if later else ""),
            next_step="correct kepler_config, or use a version that knows it",
        )
    kube = config.get("kube") or {}
    if kube.get("enabled") and not kube.get("nodeName"):
        raise KjouleError("Kepler needs kube.nodeName for kube.enabled", next_step="set kepler_node_name to the node's name in the cluster")
    if str((config.get("monitor") or {}).get("staleness", "1")).rstrip("nusmh") in ("0", "0."):
        raise KjouleError("monitor.staleness of 0 makes Kepler read anew within one scrape", next_step="leave it at 500ms")
    if ((config.get("dev") or {}).get("fake-cpu-meter") or {}).get("enabled"):
        raise KjouleError("Kepler's fake meter measures nothing", next_step="take dev.fake-cpu-meter out of kepler_config")


def _paths(value: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, inner in value.items():
        path = f"{prefix}{key}"
        found += _paths(inner, f"{path}.") if isinstance(inner, dict) and inner else [path]
    return found


#: What may stand still beside others that move: core is nought on Xeons (Kepler's issues 1346 and 1675), and uncore counts a graphics unit
#: that may sleep. Both lie inside the package and are in no sum. Packages, memory and the platform always draw something.
_MAY_STAND_STILL = ("core", "uncore")


def preflight(sysfs: str, zones: list[str], seconds: float = 1.0, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """What RAPL offers on this host: the zones that are there, and what those that Kepler will read cover.

    zones: those that Kepler will be told to read ([] for all). Raises KjouleError when there is no RAPL, when it may not be read, when a
    wanted zone is not there, when dies of its packages are left out or counted twice, and when one stands still for ``seconds`` (core and
    uncore may, beside another that moves).
    """
    there = zones_by_name(sysfs)
    chosen = zones or sorted(there)
    missing = sorted(set(chosen) - set(there))
    # Servers have dram, AMD's do not: what is wanted and cannot be had must not go missing in a sum.
    if missing:
        raise KjouleError(
            f"this host has no zone {', '.join(missing)}",
            expected=", ".join(zones),
            seen=", ".join(sorted(there)),
            next_step="set kepler_zones to the zones that it has, and compare it only with hosts of the same",
        )
    read = [(name, zone) for name in dict.fromkeys(chosen) for zone in there[name]]
    first = [read_counter(zone) for _name, zone in read]
    sleep(seconds)
    gained = [read_counter(zone) - before for (_name, zone), before in zip(read, first)]
    still = _still([name for name, _zone in read], gained)
    if still:
        seen = ", ".join(
            f"{zone.label} gained {(more % zone.range_uj if zone.range_uj else more) * 1e-6:.3g} J"
            if more
            else f"{zone.label} stays at {before} uJ ({zone.path})"
            for (_name, zone), before, more in zip(read, first, gained)
        )
        if not any(gained):
            raise KjouleError(
                "the RAPL counters stand still",
                expected=f"growth within {seconds:g} s",
                seen=seen,
                next_step="load intel_rapl_msr; in a virtual machine or with a copied tree there is nothing to measure",
            )
        raise KjouleError(
            f"the RAPL zone {', '.join(read[number][1].label for number in still)} stands still",
            expected=f"growth within {seconds:g} s of {', '.join(chosen)}",
            seen=seen,
            next_step="if this processor does not count it, take it out of kepler_zones and compare the host only with others of the same; "
            "a package that stands still is a fault of the host (read its energy_uj by hand, look at dmesg)",
        )
    # Of counters that move, because what stands still looks like a copy of whatever else does.
    dies = {name: zones[0] for name, zones in sorted(there.items()) if name.startswith("package-")}
    _refuse_other_than_every_die_once(dies, chosen)
    kinds = {"package" if name in dies else name for name in chosen}
    added = [kind for kind in ("package", "dram") if kind in kinds] or chosen
    return {"zones": sorted(there), "scope": "rapl:" + "+".join(added)}


def _refuse_other_than_every_die_once(dies: dict[str, Zone], chosen: list[str]) -> None:
    """Of a processor with several dies, where any is chosen. Kepler adds what it is told to, also those that repeat one another."""
    mine = [name for name in dies if name in chosen]
    twice = next(((one, other) for one, other in itertools.combinations(mine, 2) if same_counter(dies[one], dies[other])), None)
    if twice:
        raise KjouleError(
            f"the zones {twice[0]} and {twice[1]} show the same counter, which Kepler would count twice",
            seen=f"{dies[twice[0]].path} and {dies[twice[1]].path}",
            next_step=f"leave {twice[1]} out of kepler_zones" + ("" if set(dies) - set(mine) else ", which has to name the zones then"),
        )
    left_out = [name for name in dies if mine and name not in mine and not any(same_counter(dies[one], dies[name]) for one in mine)]
    if left_out:
        raise KjouleError(
            f"the zone {', '.join(left_out)} of this host's packages would go missing in the sum",
            expected=", ".join(dies),
            seen=", ".join(chosen),
            next_step="add it to kepler_zones: each die of a package counts for itself",
        )


def _still(names: list[str], gained: Sequence[float]) -> list[int]:
    """Which of the zones should have moved and did not, by number: all of them where none did."""
    moves = any(more > 0 or more < 0 for more in gained)
    return [number for number, more in enumerate(gained) if more == 0 and not (moves and names[number] in _MAY_STAND_STILL)]


def health(
    url: str, seconds: float, timeout: float, sleep: Callable[[float], None] = time.sleep, zones: list[str] | None = None
) -> dict[str, Any]:
    """Kepler's generation, zones and the joules it counted in ``seconds``; waits up to ``timeout`` for it to answer and to count.

    zones: those that it has to show (none for whatever it shows). Raises KjouleError when it does not answer, shows no joules of the node,
    lacks a zone, or those of a zone do not grow (core and uncore need not, beside another that does).
    """
    client = WebClient(url, "Kepler")
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                first = node_counters(scrape(client), client.what)
                sleep(seconds)
                second = node_counters(scrape(client), client.what)
                joules = _gained(first, second)
                _refuse_what_does_not_grow(client.what, joules, second.zones, seconds, zones or [])
                return {"generation": second.generation, "zones": list(joules), "joules": joules}
            except KjouleError:
                if time.monotonic() > deadline:
                    raise
                sleep(0.5)
    finally:
        client.close()


def pods_health(
    read: Callable[[str], str],
    nodes: dict[str, str],
    namespace: str,
    zones: list[str],
    seconds: float,
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, dict[str, float]]:
    """The same of Keplers in a cluster: joules by node and zone. ``read`` gives what a pod shows, ``nodes`` the node of each pod.

    Raises KjouleError that names the node of the first one that does not answer, lacks a zone, or whose joules do not grow.
    """
    if not nodes:
        raise KjouleError(
            "there is no pod of Kepler", expected="one on every node", next_step=f"kubectl get daemonsets,pods -n {namespace}"
        )
    names = {pod: f"Kepler on the node {node} ({pod})" for pod, node in sorted(nodes.items())}
    deadline = clock() + timeout

    def look() -> dict[str, NodeCounters]:
        return {pod: node_counters(parse(read(pod), what, PREFIXES), what) for pod, what in names.items()}

    while True:
        try:
            first = look()
            sleep(seconds)
            second = look()
            found = {}
            for pod, what in names.items():
                joules = _gained(first[pod], second[pod])
                log = f"kubectl logs -n {namespace} {pod}"
                _refuse_what_does_not_grow(what, joules, second[pod].zones, seconds, zones, log)
                found[nodes[pod]] = joules
            return found
        except KjouleError:
            if clock() > deadline:
                raise
            sleep(0.5)


def _gained(first: NodeCounters, second: NodeCounters) -> dict[str, float]:
    return {zone: second.zones[zone] - first.zones.get(zone, second.zones[zone]) for zone in sorted(second.zones)}


def _refuse_what_does_not_grow(
    what: str,
    joules: dict[str, float],
    totals: dict[str, float],
    seconds: float,
    wanted: list[str],
    log: str = "journalctl -u kjoule-kepler",
) -> None:
    missing = sorted(set(wanted) - set(joules))
    if missing:
        raise KjouleError(
            f"{what} answers, but shows no zone {', '.join(missing)}",
            expected=", ".join(wanted),
            seen=", ".join(joules) or "no zone",
            next_step=f"look at rapl.zones in its settings (kepler_zones) and at its log ({log})",
        )
    grown = {zone: max(more, 0.0) for zone, more in joules.items()}
    still = [list(grown)[number] for number in _still(list(grown), list(grown.values()))]
    if still or not grown:
        raise KjouleError(
            f"{what} answers, but its {'zone ' + ', '.join(still) + ' does' if any(grown.values()) else 'joules do'} not grow",
            expected=f"more after {seconds:g} s",
            seen=", ".join(
                f"{zone} gained {more:g} J" if more > 0 else f"{zone} {'fell to' if joules[zone] < 0 else 'stays at'} {totals[zone]:g} J"
                for zone, more in grown.items()
            )
            or "no zone",
            next_step=f"look at its log ({log}) and at energy_uj below /sys/class/powercap",
        )
