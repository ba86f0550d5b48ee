# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import select
import sys
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm import actor as module
from ansible_collections.kjoule.bench.plugins.module_utils.arm.actor import Actor, Use
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN.format(seconds=0.2)!r}])\n"


def actor(timeout_seconds=30.0, **environment):
    return Actor({"PATH": os.environ["PATH"], **environment}, timeout_seconds)


def python(text):
    return [sys.executable, "-c", text]


def test_output_environment_and_folder_are_those_that_were_asked_for(tmp_path):
    one = actor(WHO="operator")
    assert one.run(["sh", "-c", "echo $WHO; pwd; cat"], cwd=str(tmp_path)) == f"operator\n{os.path.realpath(tmp_path)}\n"
    assert "HOME" not in one.run(["env"])


def test_the_cpu_time_of_a_command_and_of_its_children_is_counted():
    one = actor()
    one.run(python(BURN.format(seconds=0.2)))
    own = one.take_use()
    assert 0.2 <= own.cpu_seconds < 0.4
    assert own.calls == 1
    assert own.seconds >= 0.2
    one.run(python(PARENT))  # itself waits only: the child burns
    assert 0.2 <= one.take_use().cpu_seconds < 0.5


def test_use_adds_up_and_is_taken_once():
    one = actor()
    one.run(["true"])
    one.run(["false"], check=False)
    assert one.take_use().calls == 2
    assert one.take_use() == Use()


def test_a_failure_tells_status_and_what_was_said_on_stderr_and_counts():
    one = actor()
    with pytest.raises(KjouleError, match=r"sh -c .*failed with exit status 3: saw no such manifest.*Next"):
        one.run(["sh", "-c", "echo fine; echo no such manifest >&2; exit 3"])
    with pytest.raises(KjouleError, match="saw only this"):
        one.run(["sh", "-c", "echo only this; exit 1"])
    assert one.take_use().calls == 2
    assert one.run(["sh", "-c", "echo kept; exit 3"], check=False) == "kept\n"


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(KjouleError, match="kubectl cannot be started"):
        actor().run(["/nowhere/kubectl", "apply"])


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_timeout_ends_the_whole_group_and_says_what_was_said(tmp_path, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(module.os, "pidfd_open", raising=False)
    fifo = tmp_path / "open"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # The grandchild holds the write end of the pipe for as long as it lives.
    command = f"echo waiting >&2; exec 5>{fifo}; sleep 600 & wait"
    begin = time.monotonic()
    with pytest.raises(KjouleError, match=r"sh -c .*did not end: expected an end within 1 s, saw waiting"):
        actor(1.0).run(["sh", "-c", command])
    assert time.monotonic() - begin < 60
    hung_up = select.poll()
    hung_up.register(reader, select.POLLHUP)
    assert hung_up.poll(10_000), "somebody still holds the other end"
    os.close(reader)


def test_output_larger_than_a_pipe_does_not_block():
    assert len(actor().run(python("print('x' * 1000000)"))) == 1_000_001
