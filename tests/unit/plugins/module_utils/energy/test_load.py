# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes that make load: as much as asked, and none when nobody asks any more."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.energy.load import Load
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def burnt(workers):
    return sum(ProcessClock("w", identify(worker.pid)).read_ns() for worker in workers) / 1e9


def test_there_is_one_process_for_each_processor_and_it_sleeps_until_it_is_told():
    with Load() as load:
        workers = list(load._workers)
        assert len(workers) == len(os.sched_getaffinity(0))
        assert [os.sched_getaffinity(worker.pid) for worker in workers] == [{cpu} for cpu in sorted(os.sched_getaffinity(0))]
        before = burnt(workers)
        load.set(1.0)
        wait_until(lambda: burnt(workers) > before + 0.1)
        load.set(0.0)
        wait_until(lambda: is_still(workers))
    assert all(worker.returncode is not None for worker in workers)


def is_still(workers):
    before = burnt(workers)
    time.sleep(0.15)
    return burnt(workers) == before


def test_a_share_is_less_than_all_of_it():
    with Load() as load:
        load.set(0.2)
        wait_until(lambda: burnt(load._workers) > 0.1)
        begin, before = time.monotonic(), burnt(load._workers)
        time.sleep(0.5)
        share = (burnt(load._workers) - before) / (time.monotonic() - begin) / len(load._workers)
    assert 0.0 < share < 0.6


def test_the_processes_end_with_whoever_started_them():
    code = (
        "import os, sys; from ansible_collections.kjoule.bench.plugins.module_utils.energy.load import Load\n"
        "load = Load().__enter__(); load.set(0.1); print(*[w.pid for w in load._workers], flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == len(os.sched_getaffinity(0))
    wait_until(lambda: not any(identify(pid) and identify(pid).alive() for pid in pids))


def test_a_process_that_ended_is_an_error():
    with Load() as load:
        load._workers[0].kill()
        load._workers[0].wait()
        with pytest.raises(KjouleError, match="has ended"):
            load.set(0.5)
