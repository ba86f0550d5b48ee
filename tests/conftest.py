# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for harness

ROOT = Path(__file__).resolve().parent.parent

#: A sweep finds what a dead run has left wherever on the machine that is, another test's orphans included, of another checkout as well. So
#: whoever makes orphans is alone, while those that only sweep, as every period does, may run beside each other.
MAKING_ORPHANS = {"test_process", "test_identity", "test_directory", "test_leftovers", "test_detached", "test_runner"}
SWEEPING = {"test_faults", "test_kwok_lab", "test_site"}


@contextmanager
def _held(how: int) -> Iterator[None]:
    """Holds a lock that all tests know which see the same processes, of whatever checkout and user: that of /proc, so no file is left."""
    lock = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # a process that a test forked may have the descriptor as well, and would hold it on
        os.close(lock)


@pytest.fixture(scope="session")
def sweeping() -> Callable[[], AbstractContextManager[None]]:
    """For a fixture that sweeps: keeps those that make orphans waiting meanwhile."""
    return lambda: _held(fcntl.LOCK_SH)


@pytest.fixture(autouse=True)
def _kept_from_others_orphans(request: pytest.FixtureRequest) -> Iterator[None]:
    name = request.path.stem
    if name in MAKING_ORPHANS or request.node.get_closest_marker("orphans"):
        lock: AbstractContextManager[None] = _held(fcntl.LOCK_EX)
    elif name in SWEEPING:
        lock = _held(fcntl.LOCK_SH)
    else:
        lock = nullcontext()
    with lock:
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the project."""
    return ROOT
