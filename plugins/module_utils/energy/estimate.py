# SPDX-License-Identifier: GPL-3.0-or-later
"""Joules estimated from CPU time: one coefficient with bounds. Pure functions; always labelled ``estimated``.

The estimate is marginal energy of CPU time only: no idle power, no memory, no disk. Its scope is
``estimate:cpu-time`` and it is never compared with, or added to, joules that were measured.
"""

from __future__ import annotations

import math

from ..errors import KjouleError

SCOPE = "estimate:cpu-time"

#: Keys of a row of the estimate table.
ROW_KEYS = ("id", "joules_per_cpu_second", "low", "high", "what", "source", "year", "licence")

#: The row of the table (plugins/plugin_utils/data/estimate.yml) that is used when nothing is known of the host. Repeated here because
#: what runs on a host reads no YAML; a test holds both equal.
GENERIC_ROW = {
    "id": "generic-x86-server",
    "joules_per_cpu_second": 2.76,
    "low": 1.0,
    "high": 10.0,
    "source": (
        "Cloud Carbon Footprint, Methodology, average minimum and maximum watts per vCPU for AWS, derived from SPECpower_ssj2008 results "
        "(https://www.cloudcarbonfootprint.org/docs/methodology/)"
    ),
}


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise KjouleError(f"{name} of the energy estimate", expected="a number above 0", seen=repr(value))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise KjouleError(f"{name} of the energy estimate", expected="a number above 0", seen=repr(value))
    return number


def checked_row(row: dict) -> dict:
    """A row of the table with its numbers checked: 0 < low <= joules_per_cpu_second <= high.

    Raises KjouleError naming the key that is wrong.
    """
    missing = [key for key in ROW_KEYS if key not in row]
    if missing:
        raise KjouleError("a row of the energy estimate", expected=", ".join(ROW_KEYS), seen="no " + ", ".join(missing))
    result = {key: row[key] for key in ROW_KEYS}
    for key in ("joules_per_cpu_second", "low", "high"):
        result[key] = _number(row[key], key)
    if not result["low"] <= result["joules_per_cpu_second"] <= result["high"]:
        raise KjouleError(
            "the bounds of joules per CPU-second",
            expected="low <= value <= high",
            seen=f"low {result['low']:g}, value {result['joules_per_cpu_second']:g}, high {result['high']:g}",
        )
    return result


def row_from_user(coefficient: dict) -> dict:
    """A row from what a user knows about the own hardware: ``{value, low, high, source}``; bounds and source are required."""
    if not isinstance(coefficient, dict):
        raise KjouleError("joules_per_cpu_second", expected="a dictionary with value, low, high and source", seen=repr(coefficient))
    wanted = ("value", "low", "high", "source")
    unknown = sorted(set(coefficient) - set(wanted))
    missing = [key for key in wanted if coefficient.get(key) in (None, "")]
    if unknown or missing:
        seen = "; ".join(
            part for part in ("no " + ", ".join(missing) if missing else "", "unknown " + ", ".join(unknown) if unknown else "") if part
        )
        raise KjouleError(
            "joules_per_cpu_second",
            expected="value, low, high and source",
            seen=seen,
            next_step="say where the coefficient comes from and how far off it may be; an estimate without bounds is not reported",
        )
    return checked_row(
        {
            "id": "user",
            "joules_per_cpu_second": coefficient["value"],
            "low": coefficient["low"],
            "high": coefficient["high"],
            "what": "Coefficient given by the user",
            "source": str(coefficient["source"]),
            "year": None,
            "licence": None,
        }
    )


def estimate_joules(cpu_seconds: float, row: dict) -> dict:
    """Joules of ``cpu_seconds`` with bounds: ``{joules, low, high, scope, kind: estimated}``.

    A rate works as well: CPU in, watts out. For a negative difference the bounds change places, so that low <= joules <= high.
    """
    bounds = sorted((cpu_seconds * row["low"], cpu_seconds * row["high"]))
    return {"joules": cpu_seconds * row["joules_per_cpu_second"], "low": bounds[0], "high": bounds[1], "scope": SCOPE, "kind": "estimated"}
