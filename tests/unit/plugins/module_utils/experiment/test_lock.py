# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import lock as module
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.lock import HostLock, read_lease, release_lease
from ansible_collections.kjoule.bench.plugins.module_utils.lab import directory
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import boot_id, identify


def controller_of(pid: int, **changes: Any) -> dict[str, Any]:
    known = identify(pid)
    assert known is not None
    return {"boot_id": boot_id(), "pid": pid, "start_ticks": known.start_ticks, "hostname": socket.gethostname(), **changes}


@pytest.fixture
def me() -> dict[str, Any]:
    return controller_of(os.getpid())


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    popen = subprocess.Popen(["sleep", "600"])
    yield popen
    popen.kill()
    popen.wait()


HOLD = """
import json, os, sys
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.lock import HostLock
with HostLock(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])):
    if len(sys.argv) > 4 and os.fork() == 0:
        os.close(1)
        open(sys.argv[4]).close()  # a child that has not come to run its own program yet
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: pathlib.Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def hold(run_id: str, controller: dict[str, Any], *more: str) -> subprocess.Popen[str]:
        popen = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), run_id, json.dumps(controller), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(popen)
        assert popen.stdout is not None
        assert popen.stdout.readline() == "held\n"
        return popen

    yield hold
    for popen in started:
        popen.kill()
        popen.communicate()


def test_a_second_period_is_refused_and_told_who_measures(tmp_path, holder, me):
    popen = holder("run-1", me)
    with pytest.raises(KjouleError) as error, HostLock(str(tmp_path), "run-1", me):
        pass
    assert "run-1 since 2" in str(error.value)
    assert str(popen.pid) in str(error.value)
    assert "Next: " in str(error.value)


def test_a_killed_period_gives_the_lock_back_and_its_run_goes_on(tmp_path, holder, me):
    popen = holder("run-1", me)
    popen.kill()
    popen.wait()
    with HostLock(str(tmp_path), "run-1", me) as lock:
        assert lock.taken_over is None


def test_a_child_that_a_killed_period_had_just_forked_is_waited_for(tmp_path, holder, me, monkeypatch):
    """It has the lock until it runs its own program."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    popen = holder("run-1", me, str(fifo))
    popen.kill()
    popen.wait()
    waited = []

    def sleep(seconds):
        if not waited:
            fifo.open("w").close()  # now it goes on
        waited.append(seconds)
        slept(seconds)

    slept = module.time.sleep
    monkeypatch.setattr(module.time, "sleep", sleep)
    with HostLock(str(tmp_path), "run-1", me) as lock:
        assert lock.taken_over is None
    assert waited


def test_files_are_private_and_the_lease_stays_between_periods(tmp_path, me):
    with HostLock(str(tmp_path / "state"), "run-1", me, lease_seconds=50):
        lease = read_lease(str(tmp_path / "state"))
        assert lease is not None
        assert lease["run_id"] == "run-1"
        assert lease["pid"] == os.getpid()
        assert lease["controller"] == me
        assert lease["deadline"]["boot_id"] == boot_id()
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    after = read_lease(str(tmp_path / "state"))
    assert after is not None
    assert after["pid"] is None
    assert after["started_at"] == lease["started_at"]
    assert after["deadline"]["boottime_seconds"] >= lease["deadline"]["boottime_seconds"]


def test_another_run_between_two_periods_is_refused(tmp_path, me, other):
    with HostLock(str(tmp_path), "run-1", controller_of(other.pid)):
        pass
    with pytest.raises(KjouleError, match=rf"another run.*run-1 since .*pid {other.pid}") as error, HostLock(str(tmp_path), "run-2", me):
        pass
    assert "host.lease.json" in str(error.value)


def test_the_same_run_from_a_second_living_controller_is_refused(tmp_path, me, other):
    with HostLock(str(tmp_path), "run-1", controller_of(other.pid)):
        pass
    with pytest.raises(KjouleError, match="already being continued"), HostLock(str(tmp_path), "run-1", me):
        pass


def test_a_dead_controllers_lease_is_taken_over(tmp_path, me, other):
    with HostLock(str(tmp_path), "run-1", controller_of(other.pid)):
        pass
    other.kill()
    other.wait()
    with HostLock(str(tmp_path), "run-2", me) as lock:
        assert lock.taken_over is not None
        assert "run-1" in lock.taken_over
        assert "controller has ended" in lock.taken_over


def test_a_recycled_controller_pid_is_not_the_controller(tmp_path, me, other):
    with HostLock(str(tmp_path), "run-1", controller_of(other.pid, start_ticks=1)):
        pass
    with HostLock(str(tmp_path), "run-2", me) as lock:
        assert lock.taken_over is not None


def test_a_remote_controllers_lease_holds_until_its_deadline(tmp_path, me):
    remote = {"boot_id": "far-away", "pid": 1, "start_ticks": 1, "hostname": "controller"}
    with HostLock(str(tmp_path), "run-1", remote, lease_seconds=600):
        pass
    with pytest.raises(KjouleError, match="another run"), HostLock(str(tmp_path), "run-2", me):
        pass
    with HostLock(str(tmp_path), "run-1", remote, lease_seconds=-1):
        pass
    with HostLock(str(tmp_path), "run-2", me) as lock:
        assert "deadline" in str(lock.taken_over)


def test_a_restarted_remote_controller_continues_its_run(tmp_path):
    remote = {"boot_id": "far-away", "pid": 1, "start_ticks": 1, "hostname": "controller"}
    with HostLock(str(tmp_path), "run-1", remote):
        pass
    with HostLock(str(tmp_path), "run-1", {**remote, "pid": 2}):
        pass


def test_a_lease_of_another_boot_is_stale(tmp_path, me, other):
    with HostLock(str(tmp_path), "run-1", controller_of(other.pid)):
        pass
    path = tmp_path / "host.lease.json"
    lease = json.loads(path.read_text())
    lease["deadline"]["boot_id"] = "former"
    path.write_text(json.dumps(lease))
    with HostLock(str(tmp_path), "run-2", me) as lock:
        assert "booted" in str(lock.taken_over)


@pytest.mark.parametrize("content", ["", '{"run_id": "run-1"', "[]", '{"run_id": "x", "controller": 3}'])
def test_a_damaged_lease_binds_nobody(tmp_path, me, content):
    (tmp_path / "host.lease.json").write_text(content)
    with HostLock(str(tmp_path), "run-2", me):
        lease = read_lease(str(tmp_path))
        assert lease is not None
        assert lease["run_id"] == "run-2"


def test_release_removes_only_ones_own_lease(tmp_path, me, other):
    assert release_lease(str(tmp_path / "none"), "run-1", me) is False
    assert not (tmp_path / "none").exists()
    with HostLock(str(tmp_path), "run-1", me):
        assert release_lease(str(tmp_path), "run-1", me) is False
    assert release_lease(str(tmp_path), "run-2", me) is False
    assert release_lease(str(tmp_path), "run-1", controller_of(other.pid)) is False
    assert release_lease(str(tmp_path), "run-1", me) is True
    assert read_lease(str(tmp_path)) is None
    assert release_lease(str(tmp_path), "run-1", me) is False


def full_disk(path: str, _content: str) -> None:
    raise directory.disk_error("cannot write", path, OSError(28, "No space left on device"))


def test_a_full_disk_on_entry_is_told_and_the_lock_is_free_again(tmp_path, me, monkeypatch):
    monkeypatch.setattr(module, "write_private", full_disk)
    with pytest.raises(KjouleError, match="no space left"), HostLock(str(tmp_path), "run-1", me):
        pass
    monkeypatch.undo()
    with HostLock(str(tmp_path), "run-1", me):
        pass


def test_a_full_disk_on_exit_does_not_cost_the_period(tmp_path, me, monkeypatch):
    with HostLock(str(tmp_path), "run-1", me):
        monkeypatch.setattr(module, "write_private", full_disk)
    monkeypatch.undo()
    with HostLock(str(tmp_path), "run-1", me):
        pass


def test_a_child_does_not_inherit_the_lock(tmp_path, me):
    with HostLock(str(tmp_path), "run-1", me):
        child = subprocess.Popen(["sleep", "600"])
    try:
        with HostLock(str(tmp_path), "run-1", me):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path, me):
    (tmp_path / "file").write_text("")
    with pytest.raises(KjouleError, match="file"), HostLock(str(tmp_path / "file" / "state"), "run-1", me):
        pass
