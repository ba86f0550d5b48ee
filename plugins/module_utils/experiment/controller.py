# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that drives a run, watched from the process that measures: without the first, nobody waits for the second."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from typing import Any

from ..lab.identity import ProcessIdentity, boot_id, identify, pid_namespace
from .lock import controller_lives

POLL_SECONDS = 1.0  # only where the kernel has no pidfd
REPEAT_SECONDS = 1.0  # between two signals, until the first of them was heard


def controller_identity(pid: int) -> dict[str, Any]:
    """What a host needs to recognise the process that drives the run."""
    identity = identify(pid)
    return {
        "boot_id": boot_id(),
        "pid": pid,
        "start_ticks": identity.start_ticks if identity else 0,
        "hostname": socket.gethostname(),
        "pid_namespace": pid_namespace(),
    }


class ControllerWatch:
    """Sends the main thread of this process SIGTERM when the controller ends: ``with ControllerWatch(controller) as watch: ...``.

    Whatever the main thread waits for (a lab that comes up, kubectl, the end of a window) is interrupted by that. The watching thread
    sleeps in the kernel and burns nothing. ``ended`` tells afterwards whether the controller was the reason. One on another machine, or
    in another pid namespace, cannot be seen and is not watched.

    Python runs a handler only between two of its instructions: a signal that comes when the main thread is about to enter a wait would be
    heard when that wait is over. So it is sent again every ``REPEAT_SECONDS`` until the block is left. Signal handlers are the caller's
    business; one that raises has to see to it that the next signals are ignored.
    """

    def __init__(self, controller: dict[str, Any]) -> None:
        self.controller = controller
        self.ended = False
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None

    def __enter__(self) -> ControllerWatch:
        if controller_lives(self.controller) is not None:
            self._wake = os.pipe()
            self._thread = threading.Thread(target=self._run, args=(self._wake[0],), name="controller-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        if self._wake is None or self._thread is None:
            return
        os.close(self._wake[1])
        self._thread.join()
        os.close(self._wake[0])
        self._wake = None

    def _run(self, wake: int) -> None:
        identity = ProcessIdentity(int(self.controller["pid"]), int(self.controller["start_ticks"]), "")
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        handle = None
        with contextlib.suppress(AttributeError, OSError):  # before Linux 5.3, under a filter, or when it has ended already
            handle = os.pidfd_open(identity.pid)
            poll.register(handle, select.POLLIN)
        try:
            while identity.alive():
                if any(number == wake for number, _events in poll.poll(None if handle is not None else POLL_SECONDS * 1000)):
                    return
        finally:
            if handle is not None:
                os.close(handle)
        self.ended = True
        left = select.poll()
        left.register(wake, select.POLLIN)
        while True:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            if left.poll(REPEAT_SECONDS * 1000):
                return
