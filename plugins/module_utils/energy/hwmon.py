# SPDX-License-Identifier: GPL-3.0-or-later
"""Power and energy sensors of the kernel's hardware monitoring (Documentation/hwmon/sysfs-interface), as a source of host energy.

One chip is the source. Which of its sensors contain others cannot be seen from outside, so only chips whose documentation says it are taken
without being asked for; of any other the user names the chip, and the sensors when there are several. Counters (``energyN_input``) are
preferred to watts, averages (``powerN_average``) to momentary values.
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

OPTIONS = ("sysfs_root", "chip", "sensors")

UPDATE_SECONDS = {
    "J": 0.001,
    "W": 1.0,
}  # a counter is watched once (windows.observed_update_seconds); watts are renewed about once a second
UDEV_RULE = 'SUBSYSTEM=="hwmon", ACTION=="add", RUN+="/bin/sh -c \'chgrp power /sys%p/*_input; chmod g+r /sys%p/*_input\'"'
REFUSAL = ("some drivers let only root read, as energy can betray what a processor computes", UDEV_RULE)

#: Chips whose documentation says which sensors make a total, the best first: which labels are counted, and what they cover.
KNOWN = {
    # Documentation/hwmon/amd_energy: Ecore000.. lie inside Esocket0..; the driver adds wraps up itself.
    "amd_energy": (r"Esocket\d+", "processor sockets"),
    # Documentation/hwmon/acpi_power_meter: one sensor, the power of the machine.
    "power_meter": (r"power1", "whole machine"),
}


@dataclass(frozen=True)
class Sensor:
    """One file with a figure in micro-units. unit: J or W."""

    label: str
    path: str
    unit: str


class HwmonSource(Source):
    """Sensors of one chip. Raises KjouleError when there are none, when it has to be said which, or when this user may not read them.

    chip: the name of its driver, as in ``/sys/class/hwmon/*/name``. sensors: labels of those to count.
    """

    name = "hwmon"

    def __init__(
        self, sysfs_root: str = "/sys", chip: str | None = None, sensors: list[str] | None = None, clock: Clock = time.monotonic_ns
    ) -> None:
        self._clock = clock
        folder, self.chip, self.sensors, found = _choose(os.path.join(sysfs_root, "class", "hwmon"), chip, sensors)
        unit = self.sensors[0].unit
        self.kind = "counter" if unit == "J" else "gauge"
        self.scope = f"hwmon:{self.chip}" + (f":{'+'.join(sensors)}" if sensors else "")
        self.channels = tuple(Channel(sensor.label, unit) for sensor in self.sensors)
        self.not_added = [sensor.label for sensor in found if sensor not in self.sensors]
        self.resolution = 1e-6
        interval = number_of(os.path.join(folder, "power1_average_interval")) or number_of(os.path.join(folder, "update_interval"))
        self.update_seconds = interval / 1000 if interval and unit == "W" else UPDATE_SECONDS[unit]
        self.accuracy = _accuracy(folder, self.chip)
        self.read()

    def describe(self) -> dict[str, Any]:
        return description_of(self, chip=self.chip, not_added=self.not_added)

    def read(self) -> Reading:
        before = self._clock()
        values = tuple(
            read_number(sensor.path, "hwmon sensor", "microjoules" if sensor.unit == "J" else "microwatts", REFUSAL) * 1e-6
            for sensor in self.sensors
        )
        return Reading(before, values, self._clock())

    def close(self) -> None:
        """Nothing is held."""


def make(options: dict[str, Any]) -> HwmonSource:
    """The source from ``{sysfs_root, chip, sensors}``. Raises KjouleError as HwmonSource does."""
    sensors = options.get("sensors")
    if sensors is not None and not (isinstance(sensors, list) and sensors and all(isinstance(label, str) for label in sensors)):
        raise KjouleError("option sensors of hwmon", expected="a list of labels", seen=repr(sensors))
    return HwmonSource(str(options.get("sysfs_root") or "/sys"), options.get("chip"), sensors)


def _choose(root: str, chip: str | None, labels: list[str] | None) -> tuple[str, str, list[Sensor], list[Sensor]]:
    """``(folder, chip, sensors to count, all its sensors)``."""
    chips = _chips(root)
    there = "; ".join(f"{name}: {', '.join(sensor.label for sensor in sensors)}" for _folder, name, sensors in chips)
    wanted = [chip] if chip is not None else list(KNOWN)
    matching = [entry for name in wanted for entry in chips if entry[1] == name]
    if not matching:
        raise KjouleError(
            "hwmon cannot be used for energy",
            expected=f"a chip named {' or '.join(wanted)} below {root}",
            seen=there or "no sensor of power or energy",
            next_step="name one of those as kjoule_source: {hwmon: {chip: NAME}}" if there else "load the driver of the board's sensor",
        )
    folder, name, found = matching[0]
    if len(matching) > 1 and chip is not None:
        raise KjouleError(
            f"hwmon has {len(matching)} chips named {name}", expected="one", seen=", ".join(entry[0] for entry in matching),
            next_step="read one of them by a source of its own, for example promql",
        )  # fmt: skip
    if labels is not None:
        counted = [sensor for label in labels for sensor in found if sensor.label == label]
    elif name in KNOWN:
        counted = [sensor for sensor in found if re.fullmatch(KNOWN[name][0], sensor.label)]
    else:
        counted = found
    if labels is None and name not in KNOWN and len(found) > 1:
        raise KjouleError(
            f"the hwmon chip {name} has {len(found)} sensors, and some may contain others",
            expected="which of them to add up",
            seen=", ".join(sensor.label for sensor in found),
            next_step=f"kjoule_source: {{hwmon: {{chip: {name}, sensors: [{found[0].label}]}}}}",
        )
    if not counted or len(counted) < len(labels or []) or len({sensor.unit for sensor in counted}) > 1:
        raise KjouleError(
            f"the hwmon chip {name} does not have the sensors to add up",
            expected=", ".join(labels or [KNOWN[name][0]]) + ", all of energy or all of power",
            seen=", ".join(f"{sensor.label} ({sensor.unit})" for sensor in found),
        )
    return folder, name, counted, found


def _chips(root: str) -> list[tuple[str, str, list[Sensor]]]:
    """``(folder, name, sensors)`` of every chip that has sensors of energy or power."""
    try:
        entries = sorted(os.listdir(root), key=lambda entry: (len(entry), entry))
    except OSError:
        return []
    found = []
    for entry in entries:
        folder = os.path.join(root, entry)
        name = text_of(os.path.join(folder, "name"))
        sensors = _sensors(folder) if name else []
        if name and sensors:
            found.append((folder, name, sensors))
    return found


def _sensors(folder: str) -> list[Sensor]:
    """Energy and power sensors. One that has an average is that, not its momentary value."""
    files = set(os.listdir(folder))
    sensors = []
    for kind, unit, endings in (("energy", "J", ("input",)), ("power", "W", ("average", "input"))):
        numbers = sorted({int(match[1]) for match in (re.fullmatch(rf"{kind}(\d+)_(?:average|input)", file) for file in files) if match})
        for number in numbers:
            stem = f"{kind}{number}"
            ending = next((ending for ending in endings if f"{stem}_{ending}" in files), None)
            if ending is not None:
                sensors.append(
                    Sensor(text_of(os.path.join(folder, f"{stem}_label")) or stem, os.path.join(folder, f"{stem}_{ending}"), unit)
                )
    return sensors


def _accuracy(folder: str, chip: str) -> Accuracy:
    """What an ACPI power meter says of itself in ``power1_accuracy``: how far off it is (1 %) or how right (99 %), boards differ."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text_of(os.path.join(folder, "power1_accuracy")) or "")
    percent = float(match[1]) if match else 0.0
    if 0 < percent < 100:
        return Accuracy(round(min(percent, 100 - percent) / 100, 6), "power1_accuracy of the meter")
    return Accuracy(None, f"the driver {chip} states none")
