# SPDX-License-Identifier: GPL-3.0-or-later
"""A period in a process of its own, which goes on when the connection over which it was asked for is lost.

``start`` returns as soon as the process runs, ``wait`` sleeps in the kernel until it has ended: while a window is open nothing asks, and
nothing answers. What became of the period lies in ``runs/<run_id>/detached.json`` until the next one; its record is in the journal.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import select
import time
from typing import Any

from ..errors import KjouleError
from ..lab.directory import write_private
from ..lab.identity import ProcessIdentity, boot_id, identify
from ..lab.process import terminate
from .journal import journal_path, read_text
from .runner import run_period

END_GRACE_SECONDS = 5.0
POLL_SECONDS = 1.0  # only where the kernel has no pidfd


def _path(state_dir: str, run_id: str) -> str:
    return os.path.join(os.path.dirname(journal_path(state_dir, run_id)), "detached.json")


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as stream:
            state = json.load(stream)
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and "period_id" in state else None


def _process(state: dict[str, Any]) -> ProcessIdentity | None:
    """The process of a period, None when it has ended."""
    if state.get("boot_id") != boot_id():
        return None
    identity = ProcessIdentity(int(state["pid"]), int(state["start_ticks"]), "")
    return identity if identity.alive() else None


def start(
    state_dir: str, plan: dict[str, Any], item: dict[str, Any], binaries: dict[str, dict[str, Any]], controller: dict[str, Any], host: str
) -> str:
    """Begin to measure the item and return its period_id; that of the period of this run that is being measured already, if there is one.

    Raises KjouleError when the process cannot be started. What goes wrong in it later is told by ``wait``.
    """
    path = _path(state_dir, plan["run_id"])
    state = _read(path)
    if state is not None and _process(state) is not None:
        return str(state["period_id"])
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        _run(path, told, state_dir, plan, item, binaries, controller, host)
    os.close(told)
    os.waitpid(child, 0)
    with os.fdopen(ready, "rb") as stream:
        answer = stream.read()
    if answer != b"running":
        raise KjouleError(
            f"period {item['period_id']} could not be started",
            seen=answer.decode(errors="replace") or "its process ended at once",
            next_step=f"look at {path}.log on the host",
        )
    return str(item["period_id"])


def _run(path: str, told: int, state_dir: str, plan: Any, item: Any, binaries: Any, controller: Any, host: str) -> None:
    """What the process does; it never returns. Its own words go into a file, since nobody listens."""
    code = 1
    try:
        null, log = os.open(os.devnull, os.O_RDONLY), os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        me = identify(os.getpid())
        state = {
            "period_id": item["period_id"],
            "pid": os.getpid(),
            "start_ticks": me.start_ticks if me else 0,
            "boot_id": boot_id(),
            "error": None,
            "done": False,
        }
        write_private(path, json.dumps(state))
        os.write(told, b"running")
        os.close(told)
        try:
            run_period(state_dir, plan, item, binaries, controller, host, detached=True)
        except KjouleError as error:
            state["error"] = str(error)
        write_private(path, json.dumps({**state, "done": True}))
        code = 0
    except BaseException as error:  # a forked copy of the module must not go on as if it were the module
        with contextlib.suppress(OSError):
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def end_all(state_dir: str, check: bool = False) -> list[dict[str, Any]]:
    """End every period that is being measured on this host, of whatever run: for a host that is to be given back.

    Its lab then has no owner any more, and is for ``lab.process.sweep`` to end. The journal stays as it is: the period is measured again
    when the run goes on. Returns entries as ``sweep`` does. Raises KjouleError when a process does not end.
    """
    found = []
    for path in sorted(glob.glob(os.path.join(glob.escape(state_dir), "runs", "*", "detached.json"))):
        state = _read(path)
        alive = _process(state) if state is not None else None
        process = identify(alive.pid) if alive is not None else None
        if state is None or alive is None or process is None or process.start_ticks != alive.start_ticks:
            continue
        if not check:
            terminate(process, END_GRACE_SECONDS)
        found.append(
            {
                "kind": "period",
                "name": str(state["period_id"]),
                "pid": process.pid,
                "path": path,
                "lab_id": os.path.basename(os.path.dirname(path)),
                "action": "would end" if check else "ended",
            }
        )
    return found


def wait(state_dir: str, plan: dict[str, Any], patience_seconds: float) -> dict[str, Any]:
    """Wait for the period of this run that is being measured: ``{period_id, running, error}``, period_id None when there was none.

    ``running`` is true when the patience ended first. ``error`` is why there is no record, in words for a person.
    """
    path = _path(state_dir, plan["run_id"])
    state = _read(path)
    if state is None:
        return {"period_id": None, "running": False, "error": None}
    deadline = time.monotonic() + patience_seconds
    while (process := _process(state)) is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            return {"period_id": state["period_id"], "running": True, "error": None}
        _sleep_until_end(process, left)
    state = _read(path) or state
    error = state.get("error")
    if not state.get("done"):
        error = f"the process of period {state['period_id']} ended without a word: killed, or the host was booted"
    return {"period_id": state["period_id"], "running": False, "error": error}


def _sleep_until_end(process: ProcessIdentity, seconds: float) -> None:
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # before Linux 5.3 or Python 3.9, or it has ended already
        time.sleep(min(seconds, POLL_SECONDS))
        return
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if process.alive():  # the handle is of this very process, not of one that got its pid since
            poll.poll(seconds * 1000)
    finally:
        os.close(handle)


def find_record(state_dir: str, run_id: str, period_id: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and record of a period in the journal of this host, None when it is not there."""
    lines = read_text(journal_path(state_dir, run_id)).split("\n")[:-1]
    records = [json.loads(line) for line in lines]
    found = [record for record in records[1:] if record.get("period_id") == period_id]
    return (records[0], found[-1]) if found else None
