# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils import child
from ansible_collections.kjoule.bench.plugins.module_utils.child import run_child


@pytest.fixture(params=["pidfd", "without pidfd"])
def kernel(request, monkeypatch):
    """Both ways of waiting."""
    if request.param == "without pidfd":
        monkeypatch.delattr(child.os, "pidfd_open", raising=False)


def test_what_it_wrote_how_it_ended_and_what_it_took_come_back(kernel, tmp_path):
    script = "import sys, time\nprint('out'); print('err', file=sys.stderr)\nwhile time.process_time() < 0.1: pass\nsys.exit(3)"
    done = run_child([sys.executable, "-c", script], cwd=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr, done.in_time) == (3, b"out\n", b"err\n", True)
    assert 0.1 <= done.cpu_seconds < 0.6
    assert done.seconds >= 0.1


def test_its_time_is_up_and_so_is_that_of_what_it_started(kernel, tmp_path):
    pids = tmp_path / "pids"
    done = run_child(["sh", "-c", f"sleep 60 & echo $! > {pids}; wait"], timeout_seconds=1.0)
    assert (done.in_time, done.returncode) == (False, -9)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pids.read_text().strip()}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pids.read_text().strip()}")


def test_it_has_no_input_and_the_environment_it_was_given():
    assert run_child(["/bin/sh", "-c", "cat; echo $WHO"], environment={"WHO": "meter"}).stdout == b"meter\n"


def test_what_cannot_be_started_is_an_error_of_the_system():
    with pytest.raises(FileNotFoundError):
        run_child(["/nonexistent/program"])


def test_an_interruption_ends_it(monkeypatch):
    class Stop(BaseException):
        pass

    seen = []

    def interrupted(pid, seconds):
        seen.append(pid)
        raise Stop

    monkeypatch.setattr(child, "_wait", interrupted)
    with pytest.raises(Stop):
        run_child(["sleep", "600"])
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)
