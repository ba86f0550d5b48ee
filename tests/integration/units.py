# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what a rendered systemd unit would run, where there is no systemd to run it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of a unit, in order; one that stands more than once has more than one value."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        setting = re.fullmatch(r"([A-Za-z]+)=(.*)", line)
        if setting:
            found.setdefault(setting[1], []).append(setting[2])
    return found


def command(unit: Path, state: Path) -> list[str]:
    """The command line of a unit, with ``%S`` (the folder of states) replaced."""
    (line,) = settings(unit)["ExecStart"]
    return shlex.split(line.replace("%S", str(state)))
