# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a plan is done, what is left to do, in which order and for how long. Pure: a plan and the records of its journal."""

from __future__ import annotations

import math
from typing import Any

from .plan import arm_of, plan_of_cell
from .run_settings import polls

#: Rough seconds around the windows of a period, for the estimated run time only: a lab that comes up and goes away, controllers that start.
LAB_SECONDS = 5.0
INSTALL_SECONDS = {"snowflake": 0.5, "flux": 4.0}
CHECK_SECONDS = 0.5
SECONDS_PER_APP = 0.2


def period_seconds(settings: dict[str, Any], arm: str) -> float:
    """Estimated seconds of one period: the windows, and a rough guess for everything around them."""
    total = LAB_SECONDS + INSTALL_SECONDS.get(arm, 2.0) + settings["baseline_seconds"]
    total += settings.get("warmup_seconds", 0) + settings.get("washout_seconds", 0)
    wait = settings["interval_seconds"] if arm == "flux" and polls(settings) else 0.0
    for phase in settings["scenario"]:
        total += phase["hold_seconds"] + settings["settle_seconds"] + CHECK_SECONDS
        if phase["kind"] == "deploy":
            total += wait + SECONDS_PER_APP * settings["apps"]
        elif phase["kind"] == "update":
            total += phase["times"] * (wait + SECONDS_PER_APP * phase["apps"])
        elif phase["kind"] == "teardown":
            total += SECONDS_PER_APP * settings["apps"]
    return total


def estimate_seconds(plan: dict[str, Any], records: list[dict[str, Any]] | None = None) -> float:
    """Estimated seconds of what is left of a plan."""
    settings = {cell: plan_of_cell(plan, cell)["settings"] for cell in {block.get("cell", 0) for block in plan["blocks"]}}
    left = sum(period_seconds(settings[item["cell"]], item["arm"]) for item in remaining(plan, records or []))
    limit = plan["settings"].get("stopping", {}).get("max_hours")
    return left if limit is None else min(left, max(0.0, 3600 * limit - measured_seconds(records or [])))


def measured_seconds(records: list[dict[str, Any]]) -> float:
    """What the recorded periods took, by their own monotonic clocks: no clock that somebody sets is part of it."""
    return math.fsum(record.get("seconds") or 0.0 for record in records)


def stopped_by(plan: dict[str, Any], records: list[dict[str, Any]]) -> str | None:
    """The rule of the plan by which the run ends at the next border between blocks, in words; None while none holds.

    It looks at time alone, never at a result: stopping when the result pleases would make the test wrong.
    """
    limit = plan["settings"].get("stopping", {}).get("max_hours")
    if limit is None or measured_seconds(records) < 3600 * limit:
        return None
    return f"max_hours {limit:g}: the recorded periods took {measured_seconds(records) / 3600:.2f} h"


#: block -> attempt -> label -> record
Attempts = dict[int, dict[int, dict[str, dict[str, Any]]]]


def is_valid(record: dict[str, Any]) -> bool:
    """Whether a period counts: it says so itself and ended without an error."""
    return bool(record.get("valid")) and not record.get("error")


def attempts_of(plan: dict[str, Any], records: list[dict[str, Any]]) -> Attempts:
    """Period records by block, attempt and label."""
    result: Attempts = {block["block"]: {} for block in plan["blocks"]}
    for record in records:
        if record.get("kind", "period") == "period" and record["block"] in result:
            result[record["block"]].setdefault(record["attempt"], {})[record["label"]] = record
    return result


def selected_attempts(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[int, int]:
    """For each block that counts: its last attempt in which every side is there and valid."""
    return last_valid(plan, attempts_of(plan, records))


def last_valid(plan: dict[str, Any], attempts_by_block: Attempts) -> dict[int, int]:
    """``selected_attempts`` of what ``attempts_of`` found."""
    labels = set(plan["settings"]["labels"])
    chosen = {}
    for block, attempts in attempts_by_block.items():
        good = [number for number, sides in attempts.items() if set(sides) == labels and all(is_valid(side) for side in sides.values())]
        if good:
            chosen[block] = max(good)
    return chosen


def remaining(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Periods still to be measured, in order: ``{period_id, block, position, label, arm, attempt, cell}``; none once a stopping rule holds.

    Blocks without a whole attempt come first, run whole from their first period with a fresh attempt number. Then
    come blocks whose whole attempts hold an invalid period, as long as ``block_retries`` allows. Ask once, measure all
    of it, ask again: periods that turned out invalid come up then. The list gets empty after at most block_retries rounds more.
    """
    if stopped_by(plan, records):
        return []
    settings = plan["settings"]
    labels = set(settings["labels"])
    attempts = attempts_of(plan, records)
    chosen = last_valid(plan, attempts)
    first: list[dict[str, Any]] = []
    again: list[dict[str, Any]] = []
    for block in plan["blocks"]:
        number = block["block"]
        if number in chosen:
            continue
        whole = [sides for sides in attempts[number].values() if set(sides) == labels]
        attempt = max(attempts[number], default=0) + 1
        items = [
            {
                "period_id": f"b{number:02d}-p{position}-a{attempt}",
                "block": number,
                "position": position,
                "label": label,
                "arm": arm_of(plan, label),
                "attempt": attempt,
                "cell": block.get("cell", 0),
            }
            for position, label in enumerate(block["order"], start=1)
        ]
        if not whole:
            first += items
        elif len(whole) <= settings["block_retries"]:
            again += items
    return first + again


def progress(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """How far a run is: blocks planned, valid, given up; periods recorded and left; seconds left by estimate."""
    left = remaining(plan, records)
    attempts = attempts_of(plan, records)
    valid = len(last_valid(plan, attempts))
    open_blocks = {item["block"] for item in left}
    touched = {number for number, sides in attempts.items() if sides}
    return {
        "blocks_planned": len(plan["blocks"]),
        "blocks_valid": valid,
        "blocks_given_up": len(touched) - valid - len(touched & open_blocks),
        "periods_recorded": sum(1 for record in records if record.get("kind", "period") == "period"),
        "periods_left": len(left),
        "finished": not left,
        "stopped_by": stopped_by(plan, records),
        "estimate_seconds": estimate_seconds(plan, records),
    }
