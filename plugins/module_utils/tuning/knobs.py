# SPDX-License-Identifier: GPL-3.0-or-later
"""The knobs of a host that make it measure more quietly, one small class each: what there is, what is wanted, how it is set.

A knob has items (a frequency domain, a timer, a swap device), each with a value in words of its own. Reading never changes anything.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
from typing import Any

from ..errors import KjouleError

COMMAND_SECONDS = 60


class Refused(Exception):
    """A value could not be set; the text says why."""


class FileKnob:
    """Items are files with one word each, all to hold ``wanted_value``.

    only_from: only items that hold this are touched. choices_file: a file beside the item that must list the wanted value.
    """

    def __init__(
        self, name: str, pattern: str, wanted_value: str, *, only_from: str | None, choices_file: str | None, absent: str, gain: str
    ):
        self.name = name
        self.absent = absent
        self.gain = gain
        self._pattern = pattern
        self._wanted = wanted_value
        self._only_from = only_from
        self._choices_file = choices_file

    def items(self) -> dict[str, str]:
        """Every item with its value now."""
        values = {path: self.read(path) for path in sorted(glob.glob(self._pattern))}
        return {path: value for path, value in values.items() if value is not None}

    def read(self, item: str) -> str | None:
        """The value of one item now; None when it is gone."""
        try:
            with open(item, encoding="ascii", errors="replace") as stream:
                return stream.read().strip()
        except OSError:
            return None

    def wanted(self, item: str, value: str) -> str:
        """What the item is to be: ``value`` itself where it is to stay, or cannot be what it should."""
        if self._only_from is not None and value != self._only_from:
            return value
        if self._choices_file is not None and self._wanted not in self._choices(item):
            return value
        return self._wanted

    def note(self, found: dict[str, str]) -> str:
        """What is to be said of its items."""
        return "" if found else self.absent

    def set(self, item: str, value: str) -> None:
        try:
            with open(item, "w", encoding="ascii") as stream:
                stream.write(value)
        except OSError as error:
            why = "needs root" if isinstance(error, PermissionError) else error.strerror or str(error)
            raise Refused(f"{item} cannot be written: {why}") from error

    def _choices(self, item: str) -> list[str]:
        return (self.read(os.path.join(os.path.dirname(item), self._choices_file or "")) or "").split()


_TRANSIENT = "transient"


class Timers:
    """systemd timers that are active; to pause one is to stop it until it is started again, or the host is.

    A transient one (systemd-run --on-calendar=...) is gone when it is stopped, and could not be started again. It goes on.
    """

    name = "timers"
    absent = "systemd does not run here"
    gain = "no update, backup or index starts within a window"

    def __init__(self, root: str, systemctl: str, keep: list[str]) -> None:
        self._booted = os.path.join(root, "run/systemd/system")  # sd_booted(3)
        self._systemctl = systemctl
        self._keep = set(keep)

    def items(self) -> dict[str, str]:
        if not os.path.isdir(self._booted):
            return {}
        listed = _run([self._systemctl, "list-units", "--type=timer", "--state=active", "--plain", "--no-legend", "--no-pager"])
        units = [line.split()[0] for line in listed.splitlines() if line.split()]
        shown = self._show(units) if units else []
        return {
            unit["Id"]: _TRANSIENT if unit.get("FragmentPath", "").startswith("/run/systemd/transient/") else "active"
            for unit in shown
            if unit.get("LoadState") != "not-found"
        }

    def read(self, item: str) -> str | None:
        if not os.path.isdir(self._booted):
            return None
        (unit,) = self._show([item])
        return None if unit.get("LoadState") == "not-found" else unit.get("ActiveState")

    def wanted(self, item: str, value: str) -> str:
        return value if item in self._keep or value == _TRANSIENT else "inactive"

    def note(self, found: dict[str, str]) -> str:
        left_out = [item for item, value in found.items() if value == _TRANSIENT and item not in self._keep]
        if left_out:
            return f"left out, as they would be gone when they are stopped: {', '.join(left_out)}"
        return "" if found else self.absent

    def _show(self, units: list[str]) -> list[dict[str, str]]:
        """The properties of each unit, in the same order. Of one that is not there systemd says so in LoadState."""
        text = _run([self._systemctl, "show", "--property=Id,LoadState,ActiveState,FragmentPath", "--", *units])
        blocks = [block.splitlines() for block in re.split(r"\n{2,}", text.strip())]
        shown = [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]
        if len(shown) != len(units) or not all("Id" in unit for unit in shown):
            raise Refused(f"{self._systemctl} show was to tell of {len(units)} timers, and told of {len(shown)}: {text.strip()[:200]!r}")
        return shown

    def set(self, item: str, value: str) -> None:
        _run([self._systemctl, "start" if value == "active" else "stop", "--", item])


class Swap:
    """Swap devices in use, with their priority; to be off. swapoff(8) refuses by itself when the memory does not hold what is in it."""

    name = "swap"
    absent = "no swap is in use"
    gain = "pages do not come back when nobody expects it"

    def __init__(self, root: str, commands: str) -> None:
        self._list = os.path.join(root, "proc/swaps")
        self._commands = commands

    def items(self) -> dict[str, str]:
        try:
            with open(self._list, encoding="utf-8") as stream:
                rows = [line.split() for line in stream.read().splitlines()[1:]]
        except OSError:
            return {}
        return {_plain_path(row[0]): f"priority {row[4]}" for row in rows if len(row) == 5}

    def read(self, item: str) -> str | None:
        return self.items().get(item, "off")

    def wanted(self, item: str, value: str) -> str:
        return "off"

    def note(self, found: dict[str, str]) -> str:
        return "" if found else self.absent

    def set(self, item: str, value: str) -> None:
        if value == "off":
            _run([os.path.join(self._commands, "swapoff"), item])
            return
        priority = value.split()[-1]
        # a negative one is the kernel's own choice and cannot be asked for
        options = [] if priority.startswith("-") else ["-p", priority]
        _run([os.path.join(self._commands, "swapon"), *options, item])


def _plain_path(text: str) -> str:
    """/proc/swaps writes a blank as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _run(arguments: list[str]) -> str:
    try:
        answer = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{' '.join(arguments)}: {error}") from error
    if answer.returncode != 0:
        raise Refused(f"{' '.join(arguments)}: {(answer.stderr or answer.stdout).strip() or f'exit status {answer.returncode}'}")
    return answer.stdout


#: Names of all knobs, in the order in which they are set. They are restored in the opposite one: processors first, then their governors.
NAMES = ("governor", "turbo", "nmi_watchdog", "timers", "swap", "smt")
DEFAULT_NAMES = ("governor", "turbo", "nmi_watchdog", "timers")


def make_knobs(
    names: list[str], *, root: str = "/", keep_timers: list[str] | None = None, systemctl: str = "systemctl", commands: str = ""
) -> list[Any]:
    """The knobs of these names on the host below ``root``. Raises KjouleError for a name that is none."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise KjouleError(f"the knob {unknown[0]!r} is not known", expected=", ".join(NAMES), next_step="correct kjoule_tuning_knobs")
    cpu = os.path.join(root, "sys/devices/system/cpu")
    intel = os.path.join(cpu, "intel_pstate/no_turbo")
    turbo_on_intel = os.path.exists(intel)
    knobs: list[Any] = [
        FileKnob(
            "governor",
            os.path.join(cpu, "cpufreq/policy*/scaling_governor"),
            "performance",
            only_from=None,
            choices_file="scaling_available_governors",
            absent="no cpufreq: a virtual machine, or the firmware decides",
            gain="the frequency does not follow the load, so a CPU-second costs the same joules throughout",
        ),
        FileKnob(
            "turbo",
            intel if turbo_on_intel else os.path.join(cpu, "cpufreq/boost"),
            "1" if turbo_on_intel else "0",
            only_from=None,
            choices_file=None,
            absent="no switch for turbo: a virtual machine, or it is off in the firmware",
            gain="one busy core is not faster and dearer than several",
        ),
        FileKnob(
            "nmi_watchdog",
            os.path.join(root, "proc/sys/kernel/nmi_watchdog"),
            "0",
            only_from="1",
            choices_file=None,
            absent="no NMI watchdog",
            gain="no processor is woken up just to see that it is alive",
        ),
        Timers(root, systemctl, keep_timers or []),
        Swap(root, commands),
        FileKnob(
            "smt",
            os.path.join(cpu, "smt/control"),
            "off",
            only_from="on",
            choices_file=None,
            absent="no switch for SMT",
            gain="two threads do not share the energy of one core",
        ),
    ]
    return [knob for knob in knobs if knob.name in names]
