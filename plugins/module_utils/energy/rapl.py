# SPDX-License-Identifier: GPL-3.0-or-later
"""RAPL counters of the Linux powercap tree (Documentation/power/powercap), as a source of host energy.

The total is every package and every dram zone once, or psys alone where it is chosen. What counts the same energy again is listed and
not added: core and uncore lie inside the package, psys contains it, memory-mapped twins (intel-rapl-mmio) and the mirrored per-die
counters of some AMD parts repeat it.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any

from ..errors import KjouleError
from .source import Accuracy, Channel, Clock, Reading, Source, description_of
from .sysfs import number_of, read_number, text_of

OPTIONS = ("sysfs_root", "psys")

#: energy_uj shows microjoules; the counter steps by 2^-14 J on most parts (Intel SDM vol. 3B, 15.10.1), by 2^-16 J on AMD's.
RESOLUTION_JOULES = 61e-6
UPDATE_SECONDS = 0.001  # the counters move about once a millisecond (Intel SDM vol. 3B, 15.10)
LIMIT_WATTS = 2000.0  # several times what the largest package of today draws at its peak
ACCURACY = Accuracy(None, "neither Intel nor AMD states one")
MIRROR_LOOKS = 4

UDEV_RULE = 'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chgrp power /sys%p/energy_uj", RUN+="/bin/chmod g+r /sys%p/energy_uj"'


@dataclass(frozen=True)
class Zone:
    """One counter: its label, its energy file and the value at which it wraps (microjoules; 0: not known)."""

    label: str
    path: str
    range_uj: int


class RaplSource(Source):
    """Counters of one host. Raises KjouleError when there are none, or when this user may not read them.

    sysfs_root: where the powercap tree hangs, below ``class/powercap``. psys: take the platform counter instead of packages and memory.
    """

    kind = "counter"
    name = "rapl"

    def __init__(self, sysfs_root: str = "/sys", psys: bool = False, clock: Clock = time.monotonic_ns) -> None:
        self.resolution = RESOLUTION_JOULES
        self.update_seconds = UPDATE_SECONDS
        self.accuracy = ACCURACY
        self.warnings: list[str] = []
        self._clock = clock
        powercap = os.path.join(sysfs_root, "class", "powercap")
        found = _zones(powercap)
        chosen = found["psys"][:1] if psys else found["package"] + found["dram"]
        if not chosen:
            raise KjouleError(
                f"RAPL has no {'psys' if psys else 'package'} zone here",
                expected=f"one below {powercap}",
                seen=", ".join(zone.label for zones in found.values() for zone in zones),
                next_step="leave the option psys out: packages and memory are counted then" if psys else "set the option psys to true",
            )
        self.zones = self._without_mirrors(chosen)
        counted = {zone.path for zone in self.zones}
        self.not_added = [zone.label for zones in found.values() for zone in zones if zone.path not in counted]
        self.scope = "rapl:psys" if psys else "rapl:package+dram" if found["dram"] else "rapl:package"
        self.channels = tuple(Channel(zone.label, "J", zone.range_uj * 1e-6 or None, LIMIT_WATTS) for zone in self.zones)
        self.read()

    def describe(self) -> dict[str, Any]:
        return description_of(
            self,
            resolution_joules=self.resolution,
            zones=[zone.label for zone in self.zones],
            not_added=self.not_added,
            warnings=self.warnings,
        )

    def read(self) -> Reading:
        before = self._clock()
        values = tuple(read_counter(zone) * 1e-6 for zone in self.zones)
        return Reading(before, values, self._clock())

    def close(self) -> None:
        """Nothing is held: files are opened for each reading, so that a zone that was registered again is found."""

    def _without_mirrors(self, zones: list[Zone]) -> list[Zone]:
        """The zones, each counter once.

        A counter read between two readings of another one always lies between them only if both are the same counter; two sockets of one
        machine would have to have used the same energy to the microjoule.
        """
        kept: list[Zone] = []
        for zone in zones:
            twin = next((one for one in kept if same_counter(one, zone)), None)
            if twin is None:
                kept.append(zone)
            else:
                self.warnings.append(f"{zone.label} repeats the counter of {twin.label}: counted once")
        return kept


def make(options: dict[str, Any]) -> RaplSource:
    """The source from ``{sysfs_root, psys}``. Raises KjouleError as RaplSource does."""
    psys = options.get("psys") or False
    if not isinstance(psys, bool):
        raise KjouleError("option psys of rapl", expected="true or false", seen=repr(psys))
    return RaplSource(str(options.get("sysfs_root") or "/sys"), psys)


def zones_by_name(sysfs_root: str = "/sys") -> dict[str, list[Zone]]:
    """Every counter of this host by the name that Kepler gives its zone: package (one for each socket), core, uncore, dram, psys.

    Only a number behind the name goes, as with Kepler: ``package-0-die-1``, of a processor with several dies, is a zone of its own.
    Memory-mapped twins of others are left out. Raises KjouleError where there is no RAPL.
    """
    named: dict[str, list[Zone]] = {}
    for zones in _zones(os.path.join(sysfs_root, "class", "powercap")).values():
        for zone in zones:
            if not zone.label.endswith(")"):  # a twin has its entry behind its name
                named.setdefault(re.sub(r"^([^-]+)-\d+$", r"\1", zone.label.rsplit("/", 1)[-1]), []).append(zone)
    return named


def same_counter(one: Zone, other: Zone) -> bool:
    """Whether one repeats the other, as the dies of some AMD parts do: read between two looks at the other, it lies between them."""
    if one.label.endswith("/dram") != other.label.endswith("/dram") or one.range_uj != other.range_uj:
        return False
    for _look in range(MIRROR_LOOKS):
        before, between, after = read_counter(one), read_counter(other), read_counter(one)
        if between == 0 or not before <= between <= after:
            return False
    return True


def _zones(powercap: str) -> dict[str, list[Zone]]:
    """All zones by kind: package, dram, psys, and ``inside`` for those that lie within a package."""
    try:
        entries = sorted(os.listdir(powercap))
    except OSError:
        raise KjouleError(
            "RAPL cannot be read",
            expected=f"{powercap} with intel-rapl zones",
            seen="no such directory",
            next_step="on bare metal load the module intel_rapl_msr; inside a virtual machine there is none",
        ) from None
    found: dict[str, list[Zone]] = {"package": [], "dram": [], "psys": [], "inside": []}
    labels: dict[str, str] = {}
    # The memory-mapped twins come last: on a host that has only them, they are what there is.
    for entry in sorted(entries, key=lambda name: (name.startswith("intel-rapl-mmio:"), name)):
        prefix, *numbers = entry.split(":")
        directory = os.path.join(powercap, entry)
        name = text_of(os.path.join(directory, "name"))
        if prefix not in ("intel-rapl", "intel-rapl-mmio") or name is None or len(numbers) not in (1, 2):
            continue
        parent = labels.get(f"{prefix}:{numbers[0]}", f"{prefix}:{numbers[0]}")
        top = len(numbers) == 1
        label = labels[entry] = name if top else f"{parent}/{name}"
        kind = name.partition("-")[0] if top else name if name == "dram" else "inside"
        if kind not in found or any(zone.label == label for zone in found[kind]):
            kind, label = "inside", f"{label} ({entry})"
        found[kind].append(
            Zone(label, os.path.join(directory, "energy_uj"), number_of(os.path.join(directory, "max_energy_range_uj")) or 0)
        )
    if not (found["package"] or found["psys"]):
        raise KjouleError(
            "RAPL cannot be read",
            expected=f"a package zone below {powercap}",
            seen=", ".join(entries) or "an empty directory",
            next_step="on bare metal load the module intel_rapl_msr",
        )
    return found


def read_counter(zone: Zone) -> int:
    """Microjoules. Raises KjouleError where this user may not read it, or it is gone."""
    return read_number(zone.path, "RAPL counter", "microjoules", ("root only since the kernel's fix of CVE-2020-8694", UDEV_RULE))
