# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import socket
import subprocess
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import controller as module
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.controller import ControllerWatch
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import boot_id, identify


class Told(Exception):
    """The signal that the watch sends."""


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "600"]) as popen:
        yield popen
        popen.kill()


@pytest.fixture
def told():
    def handler(_number, _frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Told

    before = signal.signal(signal.SIGTERM, handler)
    yield
    signal.signal(signal.SIGTERM, before)


def controller_of(popen, **changes):
    identity = identify(popen.pid)
    return {"boot_id": boot_id(), "pid": popen.pid, "start_ticks": identity.start_ticks, "hostname": socket.gethostname(), **changes}


@pytest.mark.parametrize("pidfd", [True, False])
def test_the_end_of_the_controller_interrupts_whatever_waits(child, told, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(module.os, "pidfd_open", raising=False)
        monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    watch = ControllerWatch(controller_of(child))
    begin = time.monotonic()

    def period():
        with watch:
            child.kill()
            time.sleep(60)  # what a period does; it does not take that long

    with pytest.raises(Told):
        period()
    assert time.monotonic() - begin < 30
    assert watch.ended


def test_a_signal_that_no_wait_was_interrupted_by_is_sent_again(child, monkeypatch):
    """As when the first comes between the last instruction and the system call that waits: its handler changes nothing then."""
    monkeypatch.setattr(module, "REPEAT_SECONDS", 0.01)
    heard = []

    def handler(number, _frame):
        heard.append(number)
        if len(heard) >= 2:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise Told

    watch = ControllerWatch(controller_of(child))

    def period():
        with watch:
            child.kill()
            begin = time.monotonic()
            while time.monotonic() - begin < 30:
                time.sleep(0.01)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Told):
            period()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(heard) >= 2  # a third may come before the handler is gone
    assert set(heard) == {signal.SIGTERM}
    assert not watch._thread.is_alive()


def test_a_controller_that_lives_interrupts_nothing(child, told):
    with ControllerWatch(controller_of(child)) as watch:
        thread = watch._thread
        assert thread.is_alive()
    assert not thread.is_alive()
    assert not watch.ended


@pytest.mark.parametrize("changes", [{"boot_id": "another"}, {"hostname": "another"}, {"pid_namespace": "pid:[1]"}])
def test_one_that_cannot_be_seen_from_here_is_not_watched(child, told, changes):
    controller = controller_of(child, **changes)
    child.kill()
    child.wait()
    with ControllerWatch(controller) as watch:
        assert watch._thread is None
    assert not watch.ended
