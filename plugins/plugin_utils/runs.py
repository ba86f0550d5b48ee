# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the controller's disk: file names, which run to continue, stored plans."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..module_utils.errors import KjouleError
from . import journal as journals
from .calibration import SCHEMA as CALIBRATION_SCHEMA
from .calibration import conditions_hash
from .plain import write_if_different
from .plan import SCHEMA, build_plan, differing_settings, plan_hash
from .schedule import estimate_seconds, progress, remaining

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def file_stem(host: str) -> str:
    """The name of a host as part of a file name."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", host)
    return re.sub(r"^[.-]", "_", stem) or "_"


def run_files(reports_dir: str | Path, run_id: str, host: str) -> dict[str, str]:
    """Paths of a host's files in a run: plan, journal, json, md, html; calibration is there only for the same arm twice."""
    base = Path(reports_dir) / run_id
    stem = file_stem(host)
    return {
        "plan": str(base / f"{stem}.plan.json"),
        "journal": str(base / f"{stem}.journal.jsonl"),
        "json": str(base / f"{stem}.json"),
        "md": str(base / f"{stem}.md"),
        "html": str(base / f"{stem}.html"),
        "calibration": str(base / f"{stem}.calibration.json"),
    }


def fleet_files(reports_dir: str | Path, run_id: str) -> dict[str, str]:
    """Paths of the reports over all hosts of a run: json, md, html."""
    return {kind: str(Path(reports_dir) / run_id / f"fleet.{kind}") for kind in ("json", "md", "html")}


def check_hosts(hosts: list[str]) -> None:
    """Refuse host names whose files would be the same, also on a file system that ignores case."""
    owners: dict[str, str] = {path.casefold(): "all of them, the fleet" for path in fleet_files("", "run").values()}
    for host in hosts:
        for path in run_files("", "run", host).values():
            other = owners.setdefault(path.casefold(), host)
            if other != host:
                raise KjouleError(
                    f"hosts {other!r} and {host!r} would write to the same file {Path(path).name}",
                    next_step="rename one of them in the inventory",
                )


def short_path(path: str) -> str:
    """The path relative to the working directory, when that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path


def check_run_id(run_id: str) -> str:
    """A run_id that is safe as the name of a folder."""
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id) or ".." in run_id:
        raise KjouleError("run_id", expected="letters, digits, '.', '_' and '-', at most 100", seen=repr(run_id))
    return run_id


def read_plan(path: str | Path) -> dict[str, Any] | None:
    """A stored plan, checked against its own hash; None if there is no file."""
    path = Path(path)
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise KjouleError(
            f"plan {path}", expected="JSON", seen=str(error), next_step="restore the file, or remove that run's folder"
        ) from error
    if not isinstance(plan, dict) or plan.get("schema") != SCHEMA:
        seen = repr(plan.get("schema")) if isinstance(plan, dict) else type(plan).__name__
        raise KjouleError(f"plan {path.name}", expected=f"schema {SCHEMA}", seen=seen, next_step="read it with the version that wrote it")
    if plan_hash(plan) != plan.get("plan_hash"):
        raise KjouleError(
            f"plan {path.name} was changed after it was written",
            expected=f"plan_hash {plan_hash(plan)}",
            seen=str(plan.get("plan_hash")),
            next_step="restore the file, or start a run with another run_id",
        )
    return plan


def plan_bytes(plan: dict[str, Any]) -> bytes:
    return (json.dumps(plan, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def newest_calibration(reports_dir: str | Path, host: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The newest calibration of this host under the conditions of these settings; None if there is none. Damaged ones are not used."""
    wanted = conditions_hash(settings)
    found = []
    for path in sorted(Path(reports_dir).glob(f"*/{Path(run_files('', 'run', host)['calibration']).name}")):
        try:
            calibration = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        known = isinstance(calibration, dict) and calibration.get("schema") == CALIBRATION_SCHEMA
        if known and calibration["conditions"] == wanted and calibration["host"] == host:
            found.append((calibration["created_at"], calibration["run_id"], calibration))
    newest = max(found, default=None, key=lambda item: item[:2])
    return None if newest is None else {key: newest[2][key] for key in ("run_id", "created_at", "unit", "noise")}


@dataclass
class Choice:
    """What the plan action found or made."""

    run_id: str
    plans: dict[str, dict[str, Any]]
    new_hosts: list[str]
    continued: bool
    estimate_seconds: float
    progress: dict[str, dict[str, Any]]


def _records(reports_dir: str | Path, run_id: str, host: str, plan: dict[str, Any]) -> list[dict[str, Any]]:
    return journals.read(run_files(reports_dir, run_id, host)["journal"], plan).periods


def _unfinished_run(reports_dir: str | Path, wanted: dict[str, dict[str, Any]]) -> str | None:
    """The newest run of this version with the same settings on these hosts and periods left on one of them. Damaged ones are not picked."""
    candidates: list[tuple[str, str]] = []
    root = Path(reports_dir)
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not folder.is_dir() or not _RUN_ID.fullmatch(folder.name):
            continue
        created, unfinished = "", False
        for host, plan in wanted.items():
            try:
                stored = read_plan(run_files(root, folder.name, host)["plan"])
                if stored is None:
                    continue
                if any(stored[key] != plan[key] for key in ("settings_hash", "host", "tool_version")):
                    break
                unfinished = unfinished or bool(remaining(stored, _records(root, folder.name, host, stored)))
            except KjouleError:
                break
            created = max(created, stored["created_at"])
        else:
            if unfinished:
                candidates.append((created, folder.name))
    return max(candidates)[1] if candidates else None


def choose_run(
    reports_dir: str | Path,
    options_by_host: dict[str, dict[str, Any]],
    *,
    run_id: str | None,
    now: str,
    stamp: str,
    drawn_seed: int,
    tool_version: str = "",
    base_dir: str | None = None,
) -> Choice:
    """Continue a run or start one, for all hosts at once; reads, but writes nothing.

    ``now`` is the ISO time for new plans, ``stamp`` the same as ``YYYYmmdd-HHMMSS``. With ``run_id`` the run is continued
    if the stored plans are of this version and have the same settings, and refused otherwise; without it the newest
    unfinished run for which that holds is continued.
    """
    if not options_by_host:
        raise KjouleError("hosts", expected="at least one host", seen="none", next_step="check the inventory and --limit")
    check_hosts(list(options_by_host))

    def build(host: str, run: str, seed: int) -> dict[str, Any]:
        try:
            return build_plan(
                options_by_host[host],
                host,
                run_id=run,
                created_at=now,
                drawn_seed=seed,
                tool_version=tool_version,
                base_dir=base_dir,
                calibration=lambda settings: newest_calibration(reports_dir, host, settings),
            )
        except KjouleError as error:
            if len(options_by_host) == 1:
                raise
            raise KjouleError(f"host {host}: {error.what}", expected=error.expected, seen=error.seen, next_step=error.next_step) from error

    wanted = {host: build(host, "", drawn_seed) for host in options_by_host}
    explicit = run_id is not None and run_id != ""
    if explicit:
        chosen = check_run_id(str(run_id))
    else:
        profile = next(iter(wanted.values()))["settings"]["profile"]
        chosen = _unfinished_run(reports_dir, wanted) or _free_id(reports_dir, f"{stamp}-{profile}")

    plans: dict[str, dict[str, Any]] = {}
    new_hosts = []
    stored_seed = drawn_seed
    stored_plans = {host: read_plan(run_files(reports_dir, chosen, host)["plan"]) for host in wanted}
    for stored in stored_plans.values():
        if stored is not None:
            stored_seed = stored["seed"]
            break
    for host, plan in wanted.items():
        stored = stored_plans[host]
        if stored is None:
            if Path(run_files(reports_dir, chosen, host)["journal"]).exists():
                raise KjouleError(
                    f"run {chosen}: a journal of {host} without its plan", next_step="restore the plan, or use another run_id"
                )
            plans[host] = build(host, chosen, stored_seed)
            new_hosts.append(host)
            continue
        if stored["host"] != host or stored["run_id"] != chosen:
            raise KjouleError(
                f"run {chosen}: the stored plan is of another run or host",
                expected=f"{chosen} on {host}",
                seen=f"{stored['run_id']} on {stored['host']}",
                next_step="use another run_id",
            )
        if stored["settings_hash"] != plan["settings_hash"]:
            differences = differing_settings(stored, plan) or ["the seed was given for one of the two only"]
            raise KjouleError(
                f"run {chosen} on {host} was planned with other settings",
                expected="the same settings to continue it",
                seen="; ".join(differences),
                next_step="use the settings of the stored plan, or another run_id",
            )
        if stored["tool_version"] != tool_version:
            raise KjouleError(
                f"run {chosen} on {host} was begun with another version of kjoule",
                expected=f"version {stored['tool_version'] or 'unknown'}",
                seen=tool_version or "unknown",
                next_step=f"install version {stored['tool_version']} again to finish it, or begin a new run with another kjoule_run_id",
            )
        plans[host] = stored
    records = {host: [] if host in new_hosts else _records(reports_dir, chosen, host, plan) for host, plan in plans.items()}
    return Choice(
        run_id=chosen,
        plans=plans,
        new_hosts=new_hosts,
        continued=len(new_hosts) < len(plans),
        estimate_seconds=max(estimate_seconds(plan, records[host]) for host, plan in plans.items()),
        progress={host: progress(plan, records[host]) for host, plan in plans.items()},
    )


def _free_id(reports_dir: str | Path, wanted: str) -> str:
    candidate, number = wanted, 2
    while (Path(reports_dir) / candidate).exists():
        candidate, number = f"{wanted}-{number}", number + 1
    return candidate


def write_plans(reports_dir: str | Path, choice: Choice) -> bool:
    """Write the plans that are new, each in one step; True if anything was written."""
    changed = False
    for host in choice.new_hosts:
        changed |= write_if_different(run_files(reports_dir, choice.run_id, host)["plan"], plan_bytes(choice.plans[host]))
    return changed


def newest_run(reports_dir: str | Path, host: str) -> str | None:
    """The run with the newest plan of this host; None if there is none."""
    root = Path(reports_dir)
    created = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.is_dir() and _RUN_ID.fullmatch(folder.name):
            try:
                plan = read_plan(run_files(root, folder.name, host)["plan"])
            except KjouleError:  # one damaged run does not hide the others; asked for by name, it says what is wrong
                continue
            if plan is not None:
                created.append((plan["created_at"], folder.name))
    return max(created)[1] if created else None
