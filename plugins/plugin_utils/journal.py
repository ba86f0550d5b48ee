# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading journals, and keeping the controller's copy of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..module_utils.errors import KjouleError
from ..module_utils.experiment.journal import SCHEMA, append_record
from . import collector
from .plan import arm_of

__all__ = ["SCHEMA", "Journal", "append_record", "merge", "parse", "read", "with_energy"]

#: What every period record must have for the plan to place it, and every phase of it to be computed with.
PERIOD_KEYS: dict[str, Any] = {
    **{key: str for key in ("period_id", "arm", "label")},
    **{key: int for key in ("block", "position", "attempt")},
    "valid": bool,
    "phases": list,
}
PHASE_KEYS: dict[str, Any] = {"name": str, "kind": str, "seconds": (int, float), "cpu_seconds": dict}


@dataclass
class Journal:
    """A parsed journal. ``energy`` is what the controller read of periods through Prometheus (remote_energy). ``torn`` is what stands
    after the last whole line, if anything; it is set aside, not used."""

    header: dict[str, Any] | None = None
    periods: list[dict[str, Any]] = field(default_factory=list)
    energy: list[dict[str, Any]] = field(default_factory=list)
    torn: str | None = None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 is JSON
        raise ValueError(f"{digits} is beyond all numbers")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


@collector.paused()
def parse(text: str, name: str = "journal", plan: dict[str, Any] | None = None) -> Journal:
    """Header and periods of a journal's text, checked against the plan if one is given.

    A last line without its newline is torn: set aside. Raises KjouleError with the line number for anything else that is wrong.
    """
    journal = Journal()
    lines = text.split("\n")
    tail = lines.pop()
    if tail:
        journal.torn = tail
    seen: dict[str, int] = {}
    places: dict[tuple[int, int, str], int] = {}
    blocks = {item["block"]: item for item in plan["blocks"]} if plan is not None else {}
    read_energy: set[tuple[str, str]] = set()
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        try:
            record = _DECODER.decode(line)
        except ValueError as error:
            raise KjouleError(
                where, expected="one JSON record", seen=str(error), next_step="restore the file from the host's copy"
            ) from error
        if not isinstance(record, dict):
            raise KjouleError(where, expected="one JSON record", seen=type(record).__name__)
        if number == 1:
            _check_header(record, where, plan)
            journal.header = record
            continue
        if record.get("kind") == "header":
            raise KjouleError(where, expected="a period", seen="a second header")
        if record.get("kind") == "energy":
            _check_energy(record, where, seen, read_energy)
            journal.energy.append(record)
            continue
        if record.get("kind") != "period":
            raise KjouleError(where, expected="a period", seen=f"kind {record.get('kind')!r}")
        _check_period(record, where)
        period_id = record["period_id"]
        place = (record["block"], record["attempt"], record["label"])
        if period_id in seen or place in places:
            first = seen.get(period_id) or places[place]
            raise KjouleError(where, expected=f"period {period_id} once", seen=f"it in line {first} as well")
        seen[period_id] = places[place] = number
        if plan is not None:
            _check_place(record, where, plan, blocks.get(record["block"]))
        journal.periods.append(record)
    return journal


def _check_period(record: dict[str, Any], where: str) -> None:
    """What the analysis takes for granted of a period is there and of its type."""
    for what, item, kinds in (("period", record, PERIOD_KEYS), *(("phase", phase, PHASE_KEYS) for phase in _phases(record))):
        if not isinstance(item, dict):
            raise KjouleError(where, expected=f"a whole {what} record", seen=type(item).__name__)
        missing = [key for key in kinds if key not in item]
        if missing:
            raise KjouleError(where, expected=f"a whole {what} record", seen="no " + ", ".join(missing))
        for key, kind in kinds.items():
            if not isinstance(item[key], kind):
                raise KjouleError(where, expected=f"{key} of a {what}", seen=f"{item[key]!r:.80}")
        for name, seconds in item.get("cpu_seconds", {}).items():
            if not isinstance(seconds, (int, float)):
                raise KjouleError(where, expected=f"CPU-seconds of {name}", seen=f"{seconds!r:.80}")


def _phases(record: dict[str, Any]) -> list[Any]:
    phases = record.get("phases")
    return phases if isinstance(phases, list) else []


def _check_energy(record: dict[str, Any], where: str, periods: dict[str, int], known: set[tuple[str, str]]) -> None:
    """Energy belongs to a period above it, and to one source of it once."""
    missing = [key for key in ("period_id", "source", "phases") if key not in record]
    if missing:
        raise KjouleError(where, expected="a whole energy record", seen="no " + ", ".join(missing))
    key = (record["period_id"], record["source"].get("name"))
    if record["period_id"] not in periods:
        raise KjouleError(where, expected="energy of a period above it", seen=repr(record["period_id"]))
    if key in known:
        raise KjouleError(where, expected=f"energy of {key[0]} by {key[1]} once", seen="it twice")
    known.add(key)


def with_energy(journal: Journal) -> Journal:
    """The same journal with what the controller read put into the phases of the periods: ``energy`` is longer, ``remote_attribution`` is
    there by source."""
    if not journal.energy:
        return journal
    periods = [{**record, "phases": [dict(phase) for phase in record["phases"]]} for record in journal.periods]
    by_id = {record["period_id"]: record for record in periods}
    for record in journal.energy:
        phases = {phase["index"]: phase for phase in by_id[record["period_id"]]["phases"]}
        for entry in record["phases"]:
            phase = phases[entry["index"]]
            phase["energy"] = [*(phase.get("energy") or []), *entry["energy"]]
            if entry.get("attribution"):
                phase["remote_attribution"] = {**(phase.get("remote_attribution") or {}), record["source"]["name"]: entry["attribution"]}
    return replace(journal, periods=periods)


def _check_header(record: dict[str, Any], where: str, plan: dict[str, Any] | None) -> None:
    if record.get("kind") != "header":
        raise KjouleError(where, expected="the header", seen=f"kind {record.get('kind')!r}")
    if record.get("schema") != SCHEMA:
        raise KjouleError(
            where, expected=f"schema {SCHEMA}", seen=repr(record.get("schema")), next_step="read it with the version that wrote it"
        )
    if plan is None:
        return
    for key in ("run_id", "plan_hash"):
        if record.get(key) != plan[key]:
            raise KjouleError(
                f"{where}: the journal belongs to another plan",
                expected=f"{key} {plan[key]}",
                seen=str(record.get(key)),
                next_step="give the run a run_id of its own",
            )


def _check_place(record: dict[str, Any], where: str, plan: dict[str, Any], block: dict[str, Any] | None) -> None:
    if block is None:
        raise KjouleError(where, expected=f"a block from 1 to {len(plan['blocks'])}", seen=repr(record["block"]))
    position = record["position"]
    if not 1 <= position <= len(block["order"]) or block["order"][position - 1] != record["label"]:
        raise KjouleError(
            where,
            expected=f"the order of block {record['block']}: " + ", ".join(block["order"]),
            seen=f"{record['label']} at position {position}",
        )
    if record["arm"] != arm_of(plan, record["label"]):
        raise KjouleError(where, expected=f"arm {arm_of(plan, record['label'])} as {record['label']}", seen=f"arm {record['arm']}")


def read(path: str | Path, plan: dict[str, Any] | None = None) -> Journal:
    """The journal at ``path``; an empty one if there is no file."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Journal()
    whole, newline, tail = raw.rpartition(b"\n")
    try:
        text = (whole + newline).decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise KjouleError(f"{path.name}, line {line}", expected="UTF-8", seen=str(error)) from error
    return parse(text + tail.decode(errors="replace"), path.name, plan)


def merge(copy: Journal, host: Journal) -> list[dict[str, Any]]:
    """Records that the host's journal has and the controller's copy lacks, header included, in the host's order.

    Raises KjouleError when the two disagree about a record: one of them was changed.
    """
    missing: list[dict[str, Any]] = []
    if host.header is not None:
        if copy.header is None:
            missing.append(host.header)
        elif (copy.header.get("run_id"), copy.header.get("plan_hash")) != (host.header.get("run_id"), host.header.get("plan_hash")):
            raise KjouleError(
                "the journal of the host belongs to another plan",
                expected=str(copy.header.get("run_id")),
                seen=str(host.header.get("run_id")),
            )
    known = {record["period_id"]: record for record in copy.periods}
    for record in host.periods:
        if record["period_id"] not in known:
            missing.append(record)
        elif known[record["period_id"]] != record:
            raise KjouleError(
                f"period {record['period_id']}: the host's record and the controller's copy differ",
                next_step="keep both files; one of them was changed by hand",
            )
    return missing
