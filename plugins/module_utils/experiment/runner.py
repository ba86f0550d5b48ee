# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``period`` does on a host: lock, sweep, measure, write the record."""

from __future__ import annotations

import signal
from typing import Any

from ..errors import KjouleError
from ..lab.process import sweep
from .controller import ControllerWatch
from .host import check_space, host_facts
from .journal import SCHEMA, append_record, check_header, journal_path, read_header, read_text
from .lock import HostLock, controller_lives, release_lease
from .period import Period, _now

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked this process to end. Not an Exception, so that nothing on the way takes it for an ordinary failure."""


def _interrupt(number: int, _frame: object) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # what follows takes a second; a second signal must not stop it
    raise Interrupted(signal.Signals(number).name)


def read_journal(state_dir: str, plan: dict[str, Any]) -> str:
    """The text of the host's journal of this plan, '' when there is none. Raises KjouleError when it belongs to another plan."""
    path = journal_path(state_dir, plan["run_id"])
    header = read_header(path)
    if header is not None:
        check_header(header, plan)
    return read_text(path)


def run_period(
    state_dir: str,
    plan: dict[str, Any],
    item: dict[str, Any],
    binaries: dict[str, dict[str, Any]],
    controller: dict[str, Any],
    host: str,
    detached: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure one period and write it to the host's journal. Returns ``(header, record)``.

    It ends with its controller, if that is on this machine, unless it is ``detached``.

    Raises KjouleError when the period cannot be measured at all; nothing of it is left then, and the journal is as it was.
    """
    handlers = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    watched = {} if detached else controller  # nobody, or a process on another machine, cannot be watched
    watch = ControllerWatch(watched)
    try:
        with watch, HostLock(state_dir, plan["run_id"], controller):
            return _locked_period(state_dir, plan, item, binaries, watched, host)
    except Interrupted as stop:
        raise KjouleError(
            f"period {item['period_id']} was interrupted: {'its ansible-playbook ended' if watch.ended else stop}",
            next_step="run the same command again: it goes on with the first unfinished block",
        ) from stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _locked_period(
    state_dir: str, plan: dict[str, Any], item: dict[str, Any], binaries: dict[str, dict[str, Any]], controller: dict[str, Any], host: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    check_space(state_dir)
    path = journal_path(state_dir, plan["run_id"])
    header = read_header(path)
    if header is not None:
        check_header(header, plan)
        _check_binaries(header, binaries)
    leftovers = sweep(state_dir)
    versions = {name: str(entry["version"]) for name, entry in binaries.items() if entry.get("version")}
    period = Period(plan, item, {name: entry["path"] for name, entry in binaries.items()}, state_dir, versions)
    try:
        if header is None:
            header = _header(plan, binaries, host, period.source_description)
        else:
            _check_source(header["source"], period.source_description)
    except BaseException:
        period.end()
        raise
    try:
        record = period.run()
    except KjouleError:
        raise  # it has ended, or has said what of it stays
    except BaseException:
        period.end()  # once more, for a signal that came while it was ending; there is no second signal
        raise
    record["leftovers"] = leftovers
    if controller_lives(controller) is False:
        raise Interrupted("its ansible-playbook ended")
    if read_header(path) is None:
        append_record(path, header)
    append_record(path, record)
    return header, record


def release(state_dir: str, plan: dict[str, Any], controller: dict[str, Any]) -> bool:
    """Let other runs use the host."""
    return release_lease(state_dir, plan["run_id"], controller)


def _header(plan: dict[str, Any], binaries: dict[str, dict[str, Any]], host: str, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "header",
        "schema": SCHEMA,
        "run_id": plan["run_id"],
        "plan_hash": plan["plan_hash"],
        "tool_version": plan["tool_version"],
        "started_at": _now(),
        "host": host_facts(host),
        "binaries": {name: {key: entry.get(key) for key in ("version", "sha256", "origin")} for name, entry in sorted(binaries.items())},
        "source": source,
    }


def _check_binaries(header: dict[str, Any], binaries: dict[str, dict[str, Any]]) -> None:
    """A run goes on only with the very binaries that it began with."""
    for name in sorted(set(binaries) | set(header["binaries"])):
        before, now = (side.get(name, {}).get("sha256") for side in (header["binaries"], binaries))
        if before != now:
            raise KjouleError(
                f"{name} is not the one that this run began with",
                expected=f"sha256 {before}",
                seen=str(now),
                next_step="begin a new run with another kjoule_run_id",
            )


def _check_source(before: dict[str, Any], now: dict[str, Any]) -> None:
    """A run goes on only with the source and scope that it began with: ``auto`` may find another one after a reboot."""
    keys = ("name", "kind", "scope")
    if any(before.get(key) != now.get(key) for key in keys):
        why = "".join(f"; {reason}" for reason in now.get("unavailable") or [])
        raise KjouleError(
            "the energy source is not the one that this run began with",
            expected=", ".join(f"{key} {before.get(key)}" for key in keys),
            seen=", ".join(f"{key} {now.get(key)}" for key in keys) + why,
            next_step="make the first source work again and run the same command, or begin a new run with another kjoule_run_id",
        )
