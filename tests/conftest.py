# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for harness

ROOT = Path(__file__).resolve().parent.parent

#: They make orphans, or end them: a sweep finds what a dead run has left wherever on the machine that is, another test's orphans included.
SWEEPING = {
    "test_process",
    "test_identity",
    "test_directory",
    "test_leftovers",
    "test_detached",
    "test_runner",
    "test_faults",
    "test_kwok_lab",
    "test_site",
}


@pytest.fixture(scope="session")
def sweeping() -> Callable[[], AbstractContextManager[None]]:
    """Holds every other test that sweeps, in whichever process of this test run it is."""

    @contextmanager
    def alone() -> Iterator[None]:
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    return alone


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, sweeping: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with sweeping() if request.path.stem in SWEEPING else nullcontext():
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the project."""
    return ROOT
