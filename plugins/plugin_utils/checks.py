# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a quiet host on the controller's side: the table with the user's thresholds, and what a run's results come to.
Pure, but for reading the table."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any

import yaml

from ..module_utils.errors import KjouleError

TABLE = Path(__file__).parent / "data" / "checks.yml"
LEVELS = ("fail", "warn", "ok", "unknown")
#: What a user may set of a check, beside its thresholds.
PARAMETERS = {"temperature": ("base",)}


def table() -> dict[str, dict[str, Any]]:
    """Every check: ``{unit, worse: above|below, warn, fail, advice}`` by name, in the order of the report."""
    rows: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return rows


def checked(name: str, value: Any) -> dict[str, dict[str, Any]]:
    """The checks of a run, from the table and what the user says about it.

    ``value`` is ``true`` (the table), ``false`` (none), or a dictionary of names to ``false`` (leave this one out), ``true``, or new
    thresholds ``{warn, fail}``, null for never. Raises KjouleError naming what is wrong.
    """
    rows = table()
    value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(value, bool):
        return rows if value else {}
    if not isinstance(value, dict):
        raise KjouleError(f"setting {name}", expected="true, false or a dictionary of checks", seen=repr(value))
    for check, wanted in value.items():
        if check not in rows:
            close = difflib.get_close_matches(str(check), rows, 1)
            raise KjouleError(
                f"setting {name}: check {check!r} is not known",
                expected="one of " + ", ".join(rows),
                next_step=f"write {close[0]!r}" if close else None,
            )
        if wanted is False:
            del rows[check]
        elif wanted is not True:
            rows[check] = _with_thresholds(f"setting {name}: {check}", rows[check], wanted, PARAMETERS.get(check, ()))
    return rows


def _with_thresholds(where: str, row: dict[str, Any], wanted: Any, parameters: tuple[str, ...]) -> dict[str, Any]:
    known = ("warn", "fail", *parameters)
    if not isinstance(wanted, dict) or set(wanted) - set(known):
        raise KjouleError(where, expected="true, false, or a dictionary of " + ", ".join(known), seen=repr(wanted))
    for key, threshold in wanted.items():
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool) and math.isfinite(threshold)
        if threshold is not None and not number:
            raise KjouleError(f"{where}: {key}", expected=f"a number ({row['unit']}), or null for never", seen=repr(threshold))
    result = {**row, **wanted}
    pair = (result["warn"], result["fail"])
    if None not in pair and (pair[0] < pair[1]) == (row["worse"] == "below") and pair[0] != pair[1]:
        raise KjouleError(
            where, expected=f"a warning before the failure: worse is {row['worse']}", seen=f"warn {pair[0]:g}, fail {pair[1]:g}"
        )
    return result


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the checks of all periods come to, one row for each check: how often each level, and the worst result of all.

    ``{name, periods: {fail, warn, ok, unknown}, worst: {result, period_id, moment}}``; a period counts with its worse moment.
    """
    order = {name: index for index, name in enumerate(table())}
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        of_period: dict[str, dict[str, Any]] = {}
        for moment in ("before", "after"):
            for result in (record.get("checks") or {}).get(moment) or []:
                found = {**result, "period_id": record["period_id"], "moment": moment}
                name = result["name"]
                of_period[name] = min(of_period.get(name, found), found, key=_rank)
        for name, found in of_period.items():
            row = rows.setdefault(name, {"name": name, "periods": dict.fromkeys(LEVELS, 0), "worst": found})
            row["periods"][found["level"]] += 1
            row["worst"] = min(row["worst"], found, key=_rank)
    return sorted(rows.values(), key=lambda row: order.get(row["name"], len(order)))


def _rank(result: dict[str, Any]) -> tuple[int, float]:
    """Worst first: by level, then by how far the figure is from its threshold; equal ones stay in the order of time."""
    figure, threshold = result["figure"], result["threshold"]
    beyond = abs(figure - threshold) if figure is not None and threshold is not None and result["level"] in ("fail", "warn") else 0.0
    return LEVELS.index(result["level"]), -beyond


def sentence(rows: list[dict[str, Any]]) -> str | None:
    """One sentence for a reader who has to know before trusting the figures; None when nothing warned or failed."""
    loud = [row for row in rows if row["worst"]["level"] in ("fail", "warn")]
    if not loud:
        return None
    told = [f"{row['name']} in {row['periods']['fail'] + row['periods']['warn']} of {sum(row['periods'].values())} periods" for row in loud]
    return "The host was not quiet: " + ", ".join(told) + "."
