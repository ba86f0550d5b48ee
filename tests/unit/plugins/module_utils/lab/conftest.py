# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def lab_id() -> str:
    return f"unit-{uuid.uuid4().hex}"


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    processes = []

    def start(argv: list[str], **kwargs: Any) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(argv, **kwargs))
        return processes[-1]

    yield start
    for popen in processes:
        popen.kill()
        popen.wait()
        if popen.stdout:
            popen.stdout.close()
