# SPDX-License-Identifier: GPL-3.0-or-later
"""One period at a time on a host, and one run at a time.

Two things keep measurements apart. ``host.lock`` is held with flock while a period is measured: the kernel lets go of it
when the process ends, however it ends. ``host.lease.json`` says which run the host belongs to between its periods; it can go
stale, so it names a controller that can be looked up and a deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from typing import Any

from ..errors import KjouleError
from ..lab.directory import disk_error, write_private
from ..lab.identity import ProcessIdentity, boot_id, identify, pid_namespace

LOCK_FILE = "host.lock"
LEASE_FILE = "host.lease.json"
LEASE_SECONDS = (
    1800.0  # between two periods of a run lies a copy of one record: half an hour without the next one means that it is not coming
)

#: How long the lock may outlive the process that took it: a child that it had just forked has it until it runs its own program.
_FORK_SECONDS = 10.0

_CONTROLLER_KEYS = ("boot_id", "pid", "start_ticks", "hostname")


def _state_directory(state_dir: str) -> str:
    return os.path.abspath(os.path.expanduser(state_dir))


def read_lease(state_dir: str) -> dict[str, Any] | None:
    """The lease of this host, or None when there is none (a damaged one binds nobody and counts as none)."""
    try:
        with open(os.path.join(_state_directory(state_dir), LEASE_FILE), encoding="utf-8") as stream:
            lease = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(lease, dict) or not isinstance(lease.get("controller"), dict) or not isinstance(lease.get("deadline"), dict):
        return None
    return lease


def stale_because(lease: dict[str, Any]) -> str | None:
    """Why the lease binds nobody any more, or None while it does."""
    deadline = lease["deadline"]
    if deadline.get("boot_id") != boot_id():
        return "the host was booted since"
    try:
        seconds = float(deadline.get("boottime_seconds") or 0.0)
    except (TypeError, ValueError):
        return "its deadline cannot be read"
    if time.clock_gettime(time.CLOCK_BOOTTIME) > seconds:
        return "its deadline has passed"
    if controller_lives(lease["controller"]) is False:
        return "its controller has ended"
    return None


def controller_lives(controller: dict[str, Any]) -> bool | None:
    """Whether the controller runs; None when it is on another machine (or in a container), where this host cannot look."""
    if controller.get("boot_id") != boot_id() or controller.get("hostname") != socket.gethostname():
        return None
    if controller.get("pid_namespace") not in (None, "", pid_namespace()):
        return None
    try:
        return ProcessIdentity(int(controller["pid"]), int(controller["start_ticks"]), "").alive()
    except (KeyError, TypeError, ValueError):
        return None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(str(one.get(key)) == str(other.get(key)) for key in _CONTROLLER_KEYS)


def _describe(lease: dict[str, Any]) -> str:
    controller = lease["controller"]
    by = f"controller pid {controller.get('pid', 'unknown')} on {controller.get('hostname', 'an unknown host')}"
    period = f", its period has pid {lease['pid']}" if lease.get("pid") else ""
    return f"run {lease.get('run_id', 'unknown')} since {lease.get('started_at', 'an unknown time')} ({by}{period})"


class HostLock:
    """Holds the host for one period of a run: ``with HostLock(state_dir, run_id, controller): ...``.

    ``controller`` is ``{boot_id, pid, start_ticks, hostname}`` of the ansible-playbook process. The lease is renewed on entry and on
    exit, each time for ``lease_seconds``, and stays after the exit, so that no other run comes between two periods: see ``release_lease``.

    Entering raises KjouleError when a period is being measured on this host, when the host belongs to another run, or to the same
    run under another controller that lives on this host, and when the lease cannot be written (disk full). A stale lease is taken over.
    ``taken_over`` then says whose it was and why; it is None otherwise.
    """

    def __init__(self, state_dir: str, run_id: str, controller: dict[str, Any], lease_seconds: float = LEASE_SECONDS) -> None:
        self.state_dir = _state_directory(state_dir)
        self.run_id = run_id
        self.controller = dict(controller)
        self.lease_seconds = lease_seconds
        self.taken_over: str | None = None
        self._handle: int | None = None
        self._started_at = ""

    def __enter__(self) -> HostLock:
        handle, deadline = _lock(self.state_dir), time.monotonic() + _FORK_SECONDS
        while handle is None and _holder_is_gone(self.state_dir) and time.monotonic() < deadline:
            time.sleep(0.05)
            handle = _lock(self.state_dir)
        if handle is None:
            lease = read_lease(self.state_dir)
            raise KjouleError(
                "a period is being measured on this host",
                expected="one period at a time",
                seen=_describe(lease) if lease else f"a process that holds {os.path.join(self.state_dir, LOCK_FILE)}",
                next_step="wait until it is done, or stop that run; two at once would measure each other",
            )
        try:
            self._take()
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return self

    def _take(self) -> None:
        lease = read_lease(self.state_dir)
        self._started_at = _now()
        if lease is not None:
            stale = stale_because(lease)
            same_run = lease.get("run_id") == self.run_id
            if stale is not None:
                if not same_run or not _same(lease["controller"], self.controller):
                    self.taken_over = f"{_describe(lease)}: {stale}"
            elif not same_run:
                raise KjouleError(
                    f"the host belongs to another run, not to {self.run_id}",
                    seen=_describe(lease),
                    next_step=(
                        "wait until it is done, or stop its ansible-playbook; its claim ends with that process, or "
                        f"{_remaining(lease)} from now if it is on another machine. If it is gone for certain, remove "
                        f"{os.path.join(self.state_dir, LEASE_FILE)}"
                    ),
                )
            elif not _same(lease["controller"], self.controller) and controller_lives(lease["controller"]):
                raise KjouleError(
                    f"run {self.run_id} is already being continued",
                    expected="one controller for a run",
                    seen=_describe(lease),
                    next_step="let that ansible-playbook go on, or stop it before you start this one",
                )
            if same_run:
                self._started_at = str(lease.get("started_at") or self._started_at)
        self._write(os.getpid())

    def _write(self, pid: int | None) -> None:
        lease = {
            "schema": "kjoule.lease/1",
            "run_id": self.run_id,
            "controller": self.controller,
            "pid": pid,
            "started_at": self._started_at,
            "deadline": {"boot_id": boot_id(), "boottime_seconds": time.clock_gettime(time.CLOCK_BOOTTIME) + self.lease_seconds},
        }
        write_private(os.path.join(self.state_dir, LEASE_FILE), json.dumps(lease, sort_keys=True) + "\n")

    def __exit__(self, *_details: object) -> None:
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            # A period may be longer than the lease, so the lease starts again here. A failure must not cost the period.
            with contextlib.suppress(KjouleError):
                self._write(None)
        finally:
            os.close(handle)


def release_lease(state_dir: str, run_id: str, controller: dict[str, Any]) -> bool:
    """Give the host back at the end of a run. Returns whether a lease of this run and controller was there.

    Another run's lease is left alone, and so is any lease while a period is being measured.
    """
    directory = _state_directory(state_dir)
    if not os.path.isdir(directory):
        return False
    handle = _lock(directory)
    if handle is None:
        return False
    try:
        lease = read_lease(directory)
        if lease is None or lease.get("run_id") != run_id or not _same(lease["controller"], controller):
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, LEASE_FILE))
        return True
    finally:
        os.close(handle)


def _lock(directory: str) -> int | None:
    """A handle with the lock, or None when somebody else has it. The file itself stays for good: removing it would let two hold "it"."""
    path = os.path.join(directory, LOCK_FILE)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error("cannot take the lock of this host", path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        raise disk_error("cannot take the lock of this host", path, error) from error
    return handle


def _holder_is_gone(directory: str) -> bool:
    """Whether the process that took the lock has ended, as far as the lease names it."""
    pid = (read_lease(directory) or {}).get("pid")
    return isinstance(pid, int) and identify(pid) is None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _remaining(lease: dict[str, Any]) -> str:
    seconds = float(lease["deadline"]["boottime_seconds"]) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return f"{max(0.0, seconds) / 60:.0f} minutes"
