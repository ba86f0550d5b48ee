# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold before Kepler starts, and what it has to do once it runs."""

from __future__ import annotations

import re
import time
from typing import Any, Callable

from ..energy.kepler import node_counters, scrape
from ..energy.rapl import RaplSource
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


def preflight(sysfs: str, zones: list[str], seconds: float = 1.0, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """What RAPL offers on this host: the zones, and joules over ``seconds``.

    zones: those that Kepler will be told to read ([] for all). Raises KjouleError when there is no RAPL, when it may not be read, when a
    wanted zone is not there and when the counters stand still.
    """
    source = RaplSource(sysfs, psys=zones == ["psys"])
    kinds = sorted({re.sub(r"-\d+$", "", zone.label.rsplit("/", 1)[-1]) for zone in source.zones})
    missing = sorted(set(zones) - set(kinds)) if zones != ["psys"] else []
    # Servers have dram, AMD's do not: what is wanted and cannot be had must not go missing in a sum.
    if missing:
        raise KjouleError(
            f"this host has no zone {', '.join(missing)}",
            expected=", ".join(zones),
            seen=", ".join(kinds),
            next_step="set kepler_zones to the zones that it has, and compare it only with hosts of the same",
        )
    first = source.read()
    sleep(seconds)
    second = source.read()
    deltas = [new - old for old, new in zip(first.values, second.values)]
    if not any(deltas):
        raise KjouleError(
            "the RAPL counters stand still",
            expected=f"growth within {seconds:g} s",
            seen=", ".join(f"{zone.label} at {zone.path}" for zone in source.zones),
            next_step="load intel_rapl_msr; in a virtual machine or with a copied tree there is nothing to measure",
        )
    return {"zones": kinds, "scope": source.scope}


def health(url: str, seconds: float, timeout: float, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Kepler's generation, zones and the joules it counted in ``seconds``; waits up to ``timeout`` for it to answer and to count.

    Raises KjouleError when it does not answer, shows no joules of the node, or they do not grow.
    """
    client = WebClient(url, "Kepler")
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                first = node_counters(scrape(client), client.what)
                sleep(seconds)
                second = node_counters(scrape(client), client.what)
                joules = {zone: second.zones[zone] - first.zones.get(zone, second.zones[zone]) for zone in second.zones}
                if any(value > 0 for value in joules.values()):
                    return {"generation": second.generation, "zones": sorted(joules), "joules": joules}
                raise KjouleError(
                    f"{client.what} answers, but its joules do not grow",
                    expected=f"more after {seconds:g} s",
                    seen=", ".join(f"{zone}: {value:g} J" for zone, value in sorted(second.zones.items())) or "no zone",
                    next_step="look at its log (journalctl -u kjoule-kepler) and at energy_uj below /sys/class/powercap",
                )
            except KjouleError:
                if time.monotonic() > deadline:
                    raise
                sleep(0.5)
    finally:
        client.close()
