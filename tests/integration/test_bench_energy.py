# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench of energy readers starts ends with it, also when it is killed without a chance to end anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import energy
with energy.crowd(30) as pids, energy.running(["sleep", "3600"]) as reader, energy.injected(Path(sys.argv[1]), "square"):
    print(*pids, reader.pid, flush=True)
    time.sleep(3600)
"""


def test_a_bench_that_is_killed_leaves_nothing_behind(tmp_path, root):
    environment = {**os.environ, "PYTHONPATH": f"{root / 'collections'}:{root / 'tests'}"}
    command = [sys.executable, "-c", HOLD, str(tmp_path), str(root / "bench")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as bench:
        pids = [int(pid) for pid in bench.stdout.readline().split()]
        pids += children_of(bench.pid)
        assert len(pids) >= 33
        os.kill(bench.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
