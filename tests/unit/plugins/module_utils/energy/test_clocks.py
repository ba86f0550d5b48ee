# SPDX-License-Identifier: GPL-3.0-or-later
"""Process clocks against what the kernel told the process itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import (
    ProcessClock,
    machine_difference,
    machine_time,
    parse_machine_time,
    read_times,
)
from ansible_collections.kjoule.bench.plugins.module_utils.errors import PeriodInvalid
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import ProcessIdentity, identify

# Burns CPU time on a line from the input, half of it in a thread that ends, then says how much it has used in all by its own rusage.
BURNER = """
import resource, sys, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
print("{}", flush=True)
for line in sys.stdin:
    thread = threading.Thread(target=burn, args=(float(line) / 2,))
    thread.start()
    thread.join()
    burn(float(line) / 2)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, flush=True)
"""


@pytest.fixture
def burner():
    with subprocess.Popen([sys.executable, "-c", BURNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert json.loads(child.stdout.readline()) == {}
        yield child
        child.kill()


def clock_of(child, **options):
    return ProcessClock("burner", identify(child.pid), **options)


def test_the_clock_agrees_with_the_rusage_of_the_process_ended_threads_included(burner):
    clock = clock_of(burner)
    before = clock.checked_read_ns()
    burner.stdin.write("0.2\n")
    burner.stdin.flush()
    used = float(burner.stdout.readline())
    after = clock.checked_read_ns()
    assert (after - before) / 1e9 >= 0.2
    assert after / 1e9 == pytest.approx(used, abs=0.02)


def test_a_process_that_rests_uses_nothing(burner):
    clock = clock_of(burner)
    os.kill(burner.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, burner.pid, os.WSTOPPED)
    assert clock.read_ns() == clock.read_ns()


def test_a_process_that_ended_spoils_the_period_zombie_or_not(burner):
    clock = clock_of(burner)
    burner.kill()
    os.waitid(os.P_PID, burner.pid, os.WEXITED | os.WNOWAIT)  # a zombie: its clock can still be read
    with pytest.raises(PeriodInvalid, match=rf"burner ended during the period.*process {burner.pid}"):
        clock.checked_read_ns()
    burner.wait()
    with pytest.raises(PeriodInvalid, match="burner ended"):
        clock.read_ns()


def test_a_recycled_pid_is_another_process(burner):
    identity = identify(burner.pid)
    clock = ProcessClock("etcd", ProcessIdentity(identity.pid, identity.start_ticks - 1, identity.exe))
    with pytest.raises(PeriodInvalid, match="etcd ended"):
        clock.checked_read_ns()


def test_the_cpu_time_of_children_is_added_from_their_file(burner, tmp_path):
    file = tmp_path / "cpu"
    file.write_text("00000000005000000000\n")
    os.kill(burner.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, burner.pid, os.WSTOPPED)
    assert clock_of(burner, extra_file=str(file)).read_ns() - clock_of(burner).read_ns() == 5_000_000_000
    with pytest.raises(PeriodInvalid, match="children cannot be read"):
        clock_of(burner, extra_file=str(tmp_path / "none")).read_ns()


STAT = """cpu  1000 100 300 5000 70 10 20 40 900 50
cpu0 500 50 150 2500 35 5 10 20 450 25
cpu1 500 50 150 2500 35 5 10 20 450 25
intr 1
"""


def test_guests_are_contained_in_user_time_and_steal_is_apart():
    seen = parse_machine_time(STAT, 100)
    assert seen.busy_seconds == pytest.approx(10 + 1 + 3 + 0.1 + 0.2)
    assert (seen.idle_seconds, seen.iowait_seconds, seen.steal_seconds) == pytest.approx((50, 0.7, 0.4))
    assert (seen.cpus, seen.resolution_seconds) == (2, 0.01)


def test_an_old_kernel_without_the_later_columns_is_understood():
    assert parse_machine_time("cpu 1 2 3 4\ncpu0 1 2 3 4\n", 100).steal_seconds == 0.0


def test_the_machine_was_busy_for_at_least_as_long_as_a_process_burned(burner):
    before = machine_time()
    burner.stdin.write("0.3\n")
    burner.stdin.flush()
    burner.stdout.readline()
    seen = machine_difference(before, machine_time())
    assert seen["busy_seconds"] >= 0.3 - 2 * seen["cpus"] * seen["resolution_seconds"]
    assert seen["cpus"] == os.sysconf("SC_NPROCESSORS_ONLN")


class Kernel:
    """Clocks that go on by a microsecond with each reading, and by ``losing`` nanoseconds before the n-th where it was preempted."""

    def __init__(self, losing: dict[int, int], asleep_ns: int = 0) -> None:
        self.losing, self.asleep_ns, self.now, self.count = losing, asleep_ns, 10**12, 0

    def read(self, clock: int) -> int:
        self.now += 1000 + self.losing.get(self.count, 0)
        self.count += 1
        return self.now + {time.CLOCK_MONOTONIC: 0, time.CLOCK_BOOTTIME: self.asleep_ns, time.CLOCK_REALTIME: 10**18}[clock]


@pytest.mark.parametrize("preempted", [1, 2, 3])
def test_times_that_were_not_read_at_one_moment_are_read_again(preempted):
    kernel = Kernel({preempted: 12_000_000})
    times = read_times(kernel.read)
    assert kernel.count == 8
    assert times.doubt_ns == 1500
    assert abs(times.boottime_ns - times.monotonic_ns) <= times.doubt_ns
    assert abs(times.realtime_ns - 10**18 - times.monotonic_ns) <= times.doubt_ns


def test_where_every_reading_was_preempted_the_closest_counts_and_says_how_far_apart_it_is():
    kernel = Kernel({4 * count + 1: 12_000_000 - 1_000_000 * (count == 6) for count in range(20)})
    times = read_times(kernel.read)
    assert kernel.count == 40
    assert times.doubt_ns == 5_501_500
    assert abs(times.boottime_ns - times.monotonic_ns) <= times.doubt_ns


def test_the_times_are_those_of_the_kernel():
    before = time.monotonic_ns()
    times = read_times()
    assert before <= times.monotonic_ns <= time.monotonic_ns()
    assert abs(times.realtime_ns - time.time_ns()) < 10**10
    assert times.boottime_ns >= times.monotonic_ns - times.doubt_ns
