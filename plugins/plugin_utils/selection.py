# SPDX-License-Identifier: GPL-3.0-or-later
"""Which period records count: the last valid attempt of every block. The others, and why they do not. Pure."""

from __future__ import annotations

from typing import Any

from .schedule import attempts_of, is_valid, last_valid

#: block -> label -> the record that counts
Selected = dict[int, dict[str, dict[str, Any]]]


def select(plan: dict[str, Any], records: list[dict[str, Any]]) -> Selected:
    """block -> label -> the record that counts."""
    attempts = attempts_of(plan, records)
    return {block: attempts[block][attempt] for block, attempt in sorted(last_valid(plan, attempts).items())}


def as_first_measured(plan: dict[str, Any], records: list[dict[str, Any]]) -> Selected:
    """block -> label -> record of the first attempt with both sides, whatever the checks said of it, invalid phases taken as valid."""
    labels = set(plan["settings"]["labels"])
    first: Selected = {}
    for block, attempts in sorted(attempts_of(plan, records).items()):
        whole = [number for number, sides in attempts.items() if set(sides) == labels]
        if whole:
            sides = attempts[min(whole)]
            first[block] = {
                label: {**side, "phases": [{**phase, "valid": True} for phase in side.get("phases") or []]} for label, side in sides.items()
            }
    return first


def exclusions(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every period that does not count, and why: interrupted, invalid, partner invalid, superseded."""
    by_block = attempts_of(plan, records)
    chosen = last_valid(plan, by_block)
    labels = set(plan["settings"]["labels"])
    result = []
    for block, attempts in sorted(by_block.items()):
        for attempt, sides in sorted(attempts.items()):
            if chosen.get(block) == attempt:
                continue
            for record in sorted(sides.values(), key=lambda side: side["position"]):
                if not is_valid(record):
                    why = "invalid"
                elif set(sides) != labels:
                    why = "interrupted: the block was not finished"
                elif not all(is_valid(side) for side in sides.values()):
                    why = "the other period of the block is invalid"
                else:
                    why = "superseded by a later attempt"
                result.append(
                    {
                        "period_id": record["period_id"],
                        "block": block,
                        "attempt": attempt,
                        "label": record["label"],
                        "why": why,
                        "reasons": reasons_of(record),
                    }
                )
    return result


def reasons_of(record: dict[str, Any]) -> list[str]:
    """Why a period says that it is not valid: its own reasons, its error, its phases' reasons; each once."""
    reasons = [str(reason) for reason in record.get("reasons") or []]
    error = record.get("error")
    if error:
        reasons.append(str(error.get("message") or error.get("what") or error) if isinstance(error, dict) else str(error))
    for phase in record.get("phases") or []:
        if not phase.get("valid", True):
            reasons += [f"{phase['name']}: {reason}" for reason in phase.get("reasons") or ["invalid"]]
    return list(dict.fromkeys(reasons))
