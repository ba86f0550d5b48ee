# SPDX-License-Identifier: GPL-3.0-or-later
"""A load that is asked for: one process on every processor, busy for a set share of the time."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from ..errors import KjouleError

#: Short against a window, long against a tick of the scheduler.
CYCLE_SECONDS = 0.05

# Ends with its standard input, so that it never outlives who started it, however that ended.
_WORKER = f"""
import os, select, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
share, cycle = 0.0, {CYCLE_SECONDS}
os.write(1, b"ready")
while True:
    begin = time.monotonic()
    while time.monotonic() < begin + share * cycle:
        pass
    rest = max(0.0, begin + cycle - time.monotonic()) if share else None
    if select.select([0], [], [], rest)[0]:
        told = os.read(0, 4096).split()
        if not told:
            break
        share = float(told[-1])
"""


class Load:
    """``with Load() as load: load.set(0.3)``; without it, or with 0, the processes sleep."""

    def __init__(self) -> None:
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Load:
        try:
            for cpu in sorted(os.sched_getaffinity(0)):
                worker = subprocess.Popen([sys.executable, "-c", _WORKER, str(cpu)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self._workers.append(worker)
            for worker in self._workers:
                assert worker.stdout is not None
                if worker.stdout.read(5) != b"ready":
                    raise KjouleError("a process that makes load did not start", expected="one on every processor", seen="it ended at once")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: Any) -> None:
        self.close()

    def set(self, share: float) -> None:
        """Be busy for this share of the time, 0 to 1, on every processor."""
        for worker in self._workers:
            assert worker.stdin is not None
            try:
                worker.stdin.write(f"{share:.6f}\n".encode())
                worker.stdin.flush()
            except BrokenPipeError:
                raise KjouleError(
                    "a process that makes load has ended", seen=f"exit status {worker.wait()}", next_step="calibrate again"
                ) from None

    def close(self) -> None:
        """End the processes. Idempotent."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.communicate()
        self._workers.clear()
