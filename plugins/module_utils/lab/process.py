# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting processes of a lab, ending exactly those, and sweeping up what a crashed run left behind."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import KjouleError
from .directory import disk_error, is_owned, labs_directory, labs_locked, read_owner, remove_lab_directory, remove_payload
from .identity import MARKER, MarkedProcess, ProcessIdentity, boot_id, find_marked, identify, marker_environment

__all__ = [
    "KILL_SECONDS",
    "MARKER",
    "ManagedProcess",
    "MarkedProcess",
    "ProcessIdentity",
    "boot_id",
    "find_marked",
    "identify",
    "log_tail",
    "marker_environment",
    "send",
    "spawn",
    "sweep",
    "terminate",
    "terminate_all",
    "wait_gone",
]

KILL_SECONDS = 5.0  # how long a SIGKILL may take before the process counts as stuck (uninterruptible input/output)


def log_tail(path: str, lines: int = 20, limit_bytes: int = 65536) -> str:
    """The last lines of a log, or '' when there is none."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - limit_bytes))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


class ManagedProcess:
    """A process that this one started, in a session of its own, with its output in a log file."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], identity: ProcessIdentity, log_path: str) -> None:
        self.name = name
        self.popen = popen
        self.identity = identity
        self.log_path = log_path

    def alive(self) -> bool:
        """Whether it still runs. Does not reap it: its pid stays reserved until ``terminate``."""
        return self.popen.returncode is None and self.identity.alive()

    def terminate(self, grace_seconds: float = 2.0) -> None:
        """SIGTERM, then SIGKILL after the grace, to it and to what is left of its process group; reaps it. Idempotent.

        Raises KjouleError when the kernel cannot end it.
        """
        if self.popen.returncode is not None:
            return
        # Not reaped yet, so neither the pid nor the process group can belong to anybody else.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.popen.pid, signal.SIGTERM)
        gone = self._wait_unreaped(grace_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        if not gone and not self._wait_unreaped(KILL_SECONDS):
            raise _stuck(self.identity, self.name)
        self.popen.wait()

    def _wait_unreaped(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return True
            except ChildProcessError:
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            time.sleep(min(0.01, remaining))

    def log_tail(self, n: int = 20) -> str:
        """The last ``n`` lines of its output."""
        return log_tail(self.log_path, n)


def spawn(
    argv: Sequence[str],
    *,
    name: str,
    lab_id: str,
    log_path: str,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> ManagedProcess:
    """Start a process of the lab: own session, no input, output to ``log_path`` (0600, appended), marked with the owner.

    ``env`` replaces the environment (None: this process's own); the marker is added to it either way.
    Raises KjouleError when the program is missing, not executable or damaged, or the log cannot be written.
    """
    environment = dict(os.environ if env is None else env)
    environment.update(marker_environment(lab_id))
    try:
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(f"cannot write the log of {name}", log_path, error) from error
    try:
        popen = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        if cwd is not None and error.filename == cwd:
            raise KjouleError(f"{name} cannot be started in {cwd}", seen=error.strerror, next_step="check that directory") from error
        raise cannot_start(name, argv[0], error) from error
    finally:
        os.close(log)
    # Popen returns after the exec, so this is the program itself. It may have ended already: then its zombie still has the start time.
    identity = identify(popen.pid) or ProcessIdentity(popen.pid, 0, os.path.realpath(argv[0]))
    return ManagedProcess(name, popen, identity, log_path)


def cannot_start(name: str, path: str, error: OSError) -> KjouleError:
    """Why a program could not be started, by errno of the exec."""
    next_step = "run playbooks/lab.yml again: it checks the binaries and replaces damaged ones"
    if error.errno == errno.ENOENT:
        return KjouleError(
            f"{name} cannot be started", expected=f"a program at {path}", seen="no such file (or no such interpreter)", next_step=next_step
        )
    if error.errno == errno.EACCES:
        return KjouleError(
            f"{name} cannot be started",
            expected=f"an executable file at {path}",
            seen="permission denied",
            next_step="check its mode, and that its file system is not mounted noexec",
        )
    if error.errno == errno.ENOEXEC:
        return KjouleError(
            f"{name} cannot be started",
            expected=f"a program for this machine at {path}",
            seen="a damaged file or another architecture",
            next_step=next_step,
        )
    return KjouleError(f"{name} cannot be started from {path}", seen=str(error), next_step=next_step)


def _stuck(identity: ProcessIdentity, name: str = "") -> KjouleError:
    return KjouleError(
        f"process {identity.pid} ({name or os.path.basename(identity.exe)}) does not end",
        seen=f"still there {KILL_SECONDS:g} s after SIGKILL",
        next_step="look at its state in /proc/PID/status: a process in state D waits for a disk or a network file system",
    )


def terminate(identity: ProcessIdentity, grace_seconds: float) -> None:
    """End this very process: SIGTERM, then SIGKILL after the grace. Nothing happens when it is gone.

    A process of the same pid with another start time or another executable is never signalled.
    Raises KjouleError when it may not be signalled or does not end.
    """
    terminate_all([identity], grace_seconds)


def terminate_all(identities: Iterable[ProcessIdentity], grace_seconds: float) -> None:
    """End all of them, with one grace for all. See ``terminate``."""
    targets: list[tuple[ProcessIdentity, int | None]] = []
    try:
        for identity in identities:
            handle = _pidfd(identity.pid)
            # The check comes after the open: from here on the pidfd names the process that is checked, whatever happens to the pid.
            if identity.same_as(identify(identity.pid)):
                targets.append((identity, handle))
            elif handle is not None:
                os.close(handle)
        if grace_seconds > 0:
            for target in targets:
                _signal(target, signal.SIGTERM)
            _wait(targets, grace_seconds)
        left = [target for target in targets if _present(target)]
        for target in left:
            _signal(target, signal.SIGKILL)
        stuck = _wait(left, KILL_SECONDS)
        if stuck:
            raise _stuck(stuck[0][0])
    finally:
        for _identity, handle in targets:
            if handle is not None:
                os.close(handle)


def wait_gone(identities: Iterable[ProcessIdentity], seconds: float) -> bool:
    """Wait, without a signal, until all of them have ended with all their threads. Returns whether they have."""
    deadline = time.monotonic() + seconds
    for identity in identities:
        while identity.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
    return True


def send(identity: ProcessIdentity, number: signal.Signals) -> bool:
    """Send a signal to this very process. Returns whether it was there. See ``terminate`` for the checks."""
    handle = _pidfd(identity.pid)
    try:
        if not identity.same_as(identify(identity.pid)):
            return False
        _signal((identity, handle), number)
        return True
    finally:
        if handle is not None:
            os.close(handle)


def _pidfd(pid: int) -> int | None:
    """A handle of the process, or None where it is gone or the kernel (before 5.3) or a seccomp filter has no pidfd."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _signal(target: tuple[ProcessIdentity, int | None], number: signal.Signals) -> None:
    identity, handle = target
    try:
        if handle is not None and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(handle, number)
        elif identity.same_as(identify(identity.pid)):
            os.kill(identity.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise KjouleError(
            f"process {identity.pid} ({identity.exe}) may not be ended by this user",
            seen="permission denied",
            next_step="run this as the user who started it, or as root",
        ) from error


def _wait(targets: list[tuple[ProcessIdentity, int | None]], seconds: float) -> list[tuple[ProcessIdentity, int | None]]:
    """Wait until all are gone, or the time is up; returns those that are still there."""
    deadline = time.monotonic() + seconds
    left = [target for target in targets if _present(target)]
    while left:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return left
        handle = left[0][1]
        if handle is not None:
            _ended(handle, remaining)
        else:
            time.sleep(min(0.01, remaining))
        left = [target for target in left if _present(target)]
    return left


def _ended(handle: int, seconds: float) -> bool:
    """Whether the process of a pidfd has ended with all its threads, reaped or not: then its files and ports are closed too."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(math.ceil(seconds * 1000)))


def _present(target: tuple[ProcessIdentity, int | None]) -> bool:
    identity, handle = target
    return identity.alive() if handle is None else not _ended(handle, 0.0)


def sweep(state_dir: str, *, check: bool = False) -> list[dict[str, Any]]:
    """Find, and unless ``check`` end and remove, what runs that are gone left on this host.

    Leftovers are marked processes whose owner is dead, and directories below <state_dir>/labs whose owner is dead.
    What belongs to a living owner is never touched. Returns one dictionary for each leftover:
    ``{kind: process|directory, name, pid, path, lab_id, action}``, where action is "ended", "removed", "would end",
    "would remove" or "failed: why". Raises KjouleError only when the state directory itself cannot be used.
    """
    orphans = [process for process in find_marked() if not process.owner_alive]
    found = [
        {
            "kind": "process",
            "name": os.path.basename(process.identity.exe) or "unknown",
            "pid": process.identity.pid,
            "path": process.identity.exe,
            "lab_id": process.lab_id,
            "action": "would end" if check else "ended",
        }
        for process in orphans
    ]
    if not check:
        try:
            terminate_all([process.identity for process in orphans], 0.5)
        except KjouleError:  # tell which: one by one
            for entry, process in zip(found, orphans):
                try:
                    terminate(process.identity, 0.0)
                except KjouleError as error:
                    entry["action"] = f"failed: {error}"
    if os.path.isdir(labs_directory(state_dir)):
        found += _sweep_directories(state_dir, check)
    return found


def _sweep_directories(state_dir: str, check: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        labs = labs_directory(state_dir) if check else stack.enter_context(labs_locked(state_dir))
        for name in sorted(os.listdir(labs)):
            path = os.path.join(labs, name)
            if name.startswith(".") or os.path.islink(path) or not os.path.isdir(path) or is_owned(path):
                continue
            record = read_owner(path) or {}
            entry = {"kind": "directory", "name": name, "pid": record.get("pid"), "path": path, "lab_id": name, "action": "would remove"}
            if not check:
                try:
                    remove_payload(record.get("payload"))
                    remove_lab_directory(path)
                    entry["action"] = "removed"
                except KjouleError as error:
                    entry["action"] = f"failed: {error}"
            found.append(entry)
    return found
