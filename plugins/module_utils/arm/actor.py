# SPDX-License-Identifier: GPL-3.0-or-later
"""Who delivers: commands that an operator or a CI job runs, with the CPU time that each of them took."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import KjouleError
from ..lab.process import cannot_start


@dataclass(frozen=True)
class Use:
    """CPU-seconds (descendants that were waited for included), number of commands, seconds by the clock."""

    cpu_seconds: float = 0.0
    calls: int = 0
    seconds: float = 0.0


class Actor:
    """Runs commands one after the other and adds up their use (wait4(2): microseconds, no polling)."""

    def __init__(self, environment: Mapping[str, str], timeout_seconds: float) -> None:
        self.environment = dict(environment)
        self.timeout_seconds = timeout_seconds
        self._use = Use()

    def take_use(self) -> Use:
        """What was used since the last call."""
        use, self._use = self._use, Use()
        return use

    def run(self, argv: Sequence[str], cwd: str | None = None, check: bool = True) -> str:
        """Run one command and return its standard output.

        Raises KjouleError with the end of its error output when it fails, cannot be started or takes longer than the timeout.
        """
        name = os.path.basename(argv[0])
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            begin = time.monotonic()
            try:
                child = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=self.environment,
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise cannot_start(name, argv[0], error) from error
            in_time = True
            try:
                in_time = _wait(child.pid, self.timeout_seconds)
            finally:
                if not in_time or _running(child.pid):
                    os.killpg(child.pid, signal.SIGKILL)
                _pid, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - begin
            self._use = Use(self._use.cpu_seconds + used.ru_utime + used.ru_stime, self._use.calls + 1, self._use.seconds + seconds)
            output.seek(0)
            errors.seek(0)
            text = output.read().decode("utf-8", "replace")
            said = errors.read().decode("utf-8", "replace").strip()
        command = " ".join([name, *argv[1:3]])
        if not in_time:
            raise KjouleError(
                f"{command} did not end", expected=f"an end within {self.timeout_seconds:g} s", seen=said[-500:] or "no output"
            )
        if check and child.returncode != 0:
            raise KjouleError(
                f"{command} failed with exit status {child.returncode}",
                seen=said[-1500:] or text[-500:] or "no output",
                next_step="correct what it names; if it is a manifest, try it with kubectl apply --dry-run=server",
            )
        return text


def _running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _wait(pid: int, seconds: float) -> bool:
    """Wait for the end of a child without reaping it; False when the time is up."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # a kernel before 5.3, or a seccomp filter
        deadline = time.monotonic() + seconds
        while _running(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(handle)
