# SPDX-License-Identifier: GPL-3.0-or-later
"""RAPL counters of the Linux powercap tree (Documentation/power/powercap), as a source of host energy.

Package zones plus their dram sub-zones, each once. core and uncore lie inside the package, psys contains it, and the
memory-mapped twins (intel-rapl-mmio) count the same energy again: none of these is added.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from ..errors import KjouleError

RESOLUTION_JOULES = 1e-6
UPDATE_SECONDS = 0.001  # the counters move about once a millisecond (Intel SDM vol. 3B, 15.10)


@dataclass(frozen=True)
class Zone:
    """One counter: its energy file and the value at which it wraps (microjoules)."""

    name: str
    path: str
    range_uj: int


@dataclass(frozen=True)
class Reading:
    """Counter values in microjoules, zone by zone, read between two moments of the monotonic clock."""

    t_before_ns: int
    values_uj: tuple[int, ...]
    t_after_ns: int


class RaplSource:
    """Counters of one host. Raises KjouleError when there are none, or when this user may not read them."""

    kind = "counter"
    name = "rapl"

    def __init__(self, sysfs_root: str = "/sys") -> None:
        self.sysfs_root = sysfs_root
        self.zones = _zones(os.path.join(sysfs_root, "class", "powercap"))
        self.scope = "rapl:package+dram" if any(zone.name.endswith("dram") for zone in self.zones) else "rapl:package"
        self.read()

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "scope": self.scope,
            "resolution_joules": RESOLUTION_JOULES,
            "update_seconds": UPDATE_SECONDS,
            "zones": [zone.name for zone in self.zones],
        }

    def read(self) -> Reading:
        before = time.monotonic_ns()
        values = tuple(_read_counter(zone) for zone in self.zones)
        return Reading(before, values, time.monotonic_ns())


def _zones(powercap: str) -> list[Zone]:
    try:
        entries = sorted(os.listdir(powercap))
    except OSError:
        raise KjouleError(
            "RAPL cannot be read",
            expected=f"{powercap} with intel-rapl zones",
            seen="no such directory",
            next_step="on bare metal load the module intel_rapl_msr; inside a virtual machine there is none",
        ) from None
    zones: dict[str, Zone] = {}
    packages: dict[str, str] = {}
    for entry in entries:
        if not entry.startswith("intel-rapl:"):
            continue
        directory = os.path.join(powercap, entry)
        name = _text(os.path.join(directory, "name"))
        parts = entry.split(":")
        if name is None or len(parts) not in (2, 3):
            continue
        if len(parts) == 2 and name.startswith("package"):
            label = packages[entry] = name
        elif len(parts) == 3 and name == "dram":
            label = f"{packages.get(':'.join(parts[:2]), ':'.join(parts[:2]))}/dram"
        else:
            continue
        if label not in zones:  # a second zone of one name is a mirror of the first
            zones[label] = Zone(
                label, os.path.join(directory, "energy_uj"), int(_text(os.path.join(directory, "max_energy_range_uj")) or 0)
            )
    if not zones:
        raise KjouleError(
            "RAPL cannot be read",
            expected=f"a package zone below {powercap}",
            seen=", ".join(entries) or "an empty directory",
            next_step="on bare metal load the module intel_rapl_msr",
        )
    return list(zones.values())


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return None


def _read_counter(zone: Zone) -> int:
    try:
        with open(zone.path, "rb") as stream:
            return int(stream.read())
    except PermissionError as error:
        raise KjouleError(
            f"RAPL counter {zone.path} may not be read",
            seen="permission denied (root only since the kernel's fix of CVE-2020-8694)",
            next_step="run as root, or let a group of your choice read energy_uj by a udev rule",
        ) from error
    except (OSError, ValueError) as error:
        raise KjouleError(f"RAPL counter {zone.path} cannot be read", expected="a number of microjoules", seen=str(error)) from error


def energy_window(source: RaplSource, readings: list[Reading]) -> dict[str, Any]:
    """Energy between the first and the last reading: joules, seconds, uncertainty with its parts, and whether it can be trusted.

    Sums the differences of neighbouring readings, corrected for at most one wrap each; readings further apart than a quarter of
    the shortest wrap time (at the power seen) make the window invalid, because a wrap could have been missed.
    """
    reasons: list[str] = []
    joules = 0.0
    for earlier, later in zip(readings, readings[1:]):
        for zone, old, new in zip(source.zones, earlier.values_uj, later.values_uj):
            delta = new - old
            if delta < 0:
                if zone.range_uj <= 0:
                    reasons.append(f"{zone.name}: the counter fell and its range is not known")
                    continue
                delta += zone.range_uj
                if delta > zone.range_uj // 4:
                    reasons.append(f"{zone.name}: the counter fell further than a wrap explains: it was reset")
                    continue
            joules += delta * 1e-6
    first, last = readings[0], readings[-1]
    seconds = ((last.t_before_ns + last.t_after_ns) - (first.t_before_ns + first.t_after_ns)) / 2e9
    power = joules / seconds if seconds > 0 else 0.0
    if seconds <= 0:
        reasons.append("the window has no length")
    elif seconds >= 1.0 and joules == 0.0:
        reasons.append("the counters did not move: frozen")
    if power > 0:
        gap = max(((b.t_before_ns - a.t_after_ns) / 1e9 for a, b in zip(readings, readings[1:])), default=0.0)
        wraps = [zone.range_uj * 1e-6 / power for zone in source.zones if zone.range_uj > 0]
        if wraps and gap > min(wraps) / 4:
            reasons.append(f"readings are {gap:.0f} s apart, more than a quarter of the wrap time of {min(wraps):.0f} s")
    edges = power * sum((reading.t_after_ns - reading.t_before_ns) / 2e9 for reading in (first, last))
    update = 2 * power * UPDATE_SECONDS
    resolution = 2 * RESOLUTION_JOULES * len(source.zones)
    return {
        "source": source.name,
        "scope": source.scope,
        "kind": "measured",
        "joules": joules,
        "seconds": seconds,
        "uncertainty_joules": edges + update + resolution,
        "readings": len(readings),
        "valid": not reasons,
        "reasons": reasons,
        "parts": {"edges_joules": edges, "update_joules": update, "resolution_joules": resolution},
    }


def choose_source(setting: Any) -> tuple[RaplSource | None, dict[str, Any]]:
    """The source of a run and its description for the journal's header.

    ``setting`` is ``auto``, ``rapl``, ``estimate`` or ``{rapl: {sysfs_root: DIRECTORY}}``. ``auto`` falls back to the estimate and says
    why; ``rapl`` raises KjouleError where it cannot be read.
    """
    unavailable: list[str] = []
    root = "/sys"
    wanted = setting or "auto"
    if isinstance(wanted, dict) and list(wanted) == ["rapl"]:
        root = str((wanted["rapl"] or {}).get("sysfs_root") or "/sys")
        wanted = "rapl"
    if wanted not in ("auto", "rapl", "estimate"):
        raise KjouleError(
            "the energy source is not known", expected="auto, rapl or estimate", seen=repr(setting), next_step="set kjoule_source"
        )
    if wanted != "estimate":
        try:
            source = RaplSource(root)
            return source, {**source.describe(), "unavailable": []}
        except KjouleError as error:
            if wanted == "rapl":
                raise
            unavailable.append(str(error))
    return None, {
        "name": "estimate",
        "kind": "estimate",
        "scope": "estimate:cpu-time",
        "unavailable": unavailable,
    }
