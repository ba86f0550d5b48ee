# SPDX-License-Identifier: GPL-3.0-or-later
"""One program, run to its end, with the CPU time that it and the children it waited for took (wait4(2): microseconds, no polling)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How it ended: exit status (negative: the signal), what it wrote, CPU-seconds, seconds by the clock, and whether that was in time."""

    returncode: int
    stdout: bytes
    stderr: bytes
    cpu_seconds: float
    seconds: float
    in_time: bool


def run_child(
    argv: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: str | None = None, timeout_seconds: float | None = None
) -> Ended:
    """Run a program without input. It has a session of its own, which is ended when the time is up, and when this process is told to end.

    Raises OSError when it cannot be started.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.monotonic()
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=None if environment is None else dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
        in_time = True
        try:
            in_time = _wait(child.pid, timeout_seconds)
        finally:
            if not in_time or _running(child.pid):
                os.killpg(child.pid, signal.SIGKILL)
            _pid, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        output.seek(0)
        errors.seek(0)
        return Ended(child.returncode, output.read(), errors.read(), used.ru_utime + used.ru_stime, seconds, in_time)


def _running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _wait(pid: int, seconds: float | None) -> bool:
    """Wait for the end of a child without reaping it; False when the time is up."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # a kernel before 5.3, or a seccomp filter
        deadline = None if seconds is None else time.monotonic() + seconds
        while _running(pid):
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))
    finally:
        os.close(handle)
