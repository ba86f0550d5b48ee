# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures that are not measured but assumed, each ``{value, low, high, unit, what, source}``, and arithmetic on figures with bounds.

Bounds go through every product and quotient at their corners: the result holds for every combination of what went in. That is wider than
adding squares, and right for bounds that are no standard deviations.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
from collections.abc import Callable
from typing import Any

from ..module_utils.errors import KjouleError
from .tables import DATA, read_table

#: What a user may set, with the smallest value that makes sense.
SETTABLE = {"watts_per_pod": 0.0, "pue": 1.0, "embodied_kg": 0.0, "lifetime_years": 0.0}
DEFAULT_GRID = "WOR"

Figure = dict[str, Any]


def corners(function: Callable[..., float], *figures: Figure) -> dict[str, float]:
    """``{value, low, high}`` of a function that is monotone in each of its figures: its extremes over all combinations of their bounds."""
    ends = [function(*chosen) for chosen in itertools.product(*((figure["low"], figure["high"]) for figure in figures))]
    return {"value": function(*(figure["value"] for figure in figures)), "low": min(ends), "high": max(ends)}


def multiplied(figure: Figure, factor: float) -> dict[str, float]:
    """``{value, low, high}`` of a figure times a number of at least 0."""
    return {end: figure[end] * factor for end in ("value", "low", "high")}


def _finite(name: str, value: Any, at_least: float) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < at_least or (at_least == 0 and number == 0):
        raise KjouleError(
            name,
            expected=f"a number {'above 0' if at_least == 0 else f'of at least {at_least:g}'}, with a point for decimals",
            seen=repr(value),
        )
    return number


def _given(name: str, given: Any, default: Figure, at_least: float) -> Figure:
    """A figure of the user's own: a number, or a dictionary of ``value``, ``low``, ``high`` and ``source``."""
    if not isinstance(given, dict):
        number = _finite(f"setting {name}", given, at_least)
        return {**default, "value": number, "low": number, "high": number, "source": "given by the user, without bounds"}
    unknown = sorted(set(given) - {"value", "low", "high", "source"})
    missing = [key for key in ("value", "low", "high", "source") if given.get(key) in (None, "")]
    if unknown or missing:
        raise KjouleError(
            f"setting {name}",
            expected="a number, or value, low, high and source",
            seen=", ".join([*(f"no {key}" for key in missing), *unknown]),
        )
    figure = {**default, **{key: _finite(f"setting {name}, {key}", given[key], at_least) for key in ("value", "low", "high")}}
    if not figure["low"] <= figure["value"] <= figure["high"]:
        raise KjouleError(
            f"setting {name}", expected="low <= value <= high", seen=f"{figure['low']:g}, {figure['value']:g}, {figure['high']:g}"
        )
    return {**figure, "source": str(given["source"])}


def grid_table() -> dict[str, dict[str, str]]:
    """The shipped carbon intensities, by ISO 3166-1 alpha-3 code."""
    with (DATA / "grid.csv").open(encoding="utf-8", newline="") as stream:
        return {row["code"]: row for row in csv.DictReader(stream)}


def _grid(given: Any) -> Figure:
    table = grid_table()
    base = {"unit": "g CO2e per kWh", "what": "carbon intensity of the grid, yearly average", "marginal": None}
    code = str(given).strip().upper()
    if code not in table:
        if isinstance(given, str) and not code.replace(".", "").replace(",", "").isdigit():
            close = difflib.get_close_matches(code, table, 1)
            raise KjouleError(
                "setting grid",
                expected="a country's ISO 3166-1 alpha-3 code, WOR, or g CO2e per kWh",
                seen=repr(given),
                next_step=f"write {close[0]}" if close else "give kjoule_grid as a number, or as value, low, high and source",
            )
        marginal = given.get("marginal") if isinstance(given, dict) else None
        rest = {key: value for key, value in given.items() if key != "marginal"} if isinstance(given, dict) else given
        figure = _given("grid", rest, base, 0.0)
        return {**figure, "marginal": None if marginal is None else _finite("setting grid, marginal", marginal, 0.0)}
    row = table[code]
    return {
        "value": float(row["g_per_kwh"]),
        "low": float(row["low"]),
        "high": float(row["high"]),
        "unit": base["unit"],
        "what": f"{base['what']}, {row['country']}, {row['year']}",
        "marginal": float(row["marginal"]) if row["marginal"] else None,
        "source": f"{row['source']} ({row['licence']})",
    }


def read_assumptions(options: dict[str, Any] | None = None) -> dict[str, Figure]:
    """Every assumption, the user's own where there are some. Raises KjouleError for the first that is wrong.

    ``options``: any of ``watts_per_pod``, ``grid``, ``pue``, ``embodied_kg``, ``lifetime_years``; None or empty counts as not given.
    """
    given = {key: value for key, value in (options or {}).items() if value not in (None, "")}
    figures: dict[str, Figure] = read_table("assumptions.yml")
    for name, at_least in SETTABLE.items():
        if name in given:
            figures[name] = _given(name, given.pop(name), figures[name], at_least)
    figures["grid"] = _grid(given.pop("grid", DEFAULT_GRID))
    if given:
        raise KjouleError("assumptions", expected=", ".join([*SETTABLE, "grid"]), seen=", ".join(sorted(given)))
    return figures
