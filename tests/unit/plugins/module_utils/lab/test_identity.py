# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import identity
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import ProcessIdentity, find_marked, identify, marker_environment

SLEEP = ["sleep", "600"]


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def dead_owner_marker(lab_id: str) -> dict[str, str]:
    """A pid that runs, with a start time that it does not have: the owner's pid was handed out again."""
    return {**os.environ, "KJOULE_OWNER": f"{lab_id}:{os.getpid()}:1:{identity.boot_id()}"}


def test_a_running_process_is_identified_and_a_zombie_is_dead(started):
    popen = started(SLEEP)
    known = identify(popen.pid)
    assert known is not None
    assert known.alive()
    assert known.exe == os.path.realpath(known.exe)
    assert known.as_dict() == {"pid": popen.pid, "start_ticks": known.start_ticks, "exe": known.exe}
    os.kill(popen.pid, signal.SIGKILL)
    wait_until(lambda: pathlib.Path(f"/proc/{popen.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
    assert not known.alive()
    assert identify(popen.pid) is None


def test_a_name_with_blanks_and_parentheses_does_not_shift_the_fields(started, tmp_path):
    odd = tmp_path / "a ) R 1 (b"
    odd.symlink_to(sys.executable)
    popen = started([str(odd), "-c", "import time; time.sleep(600)"])
    known = identify(popen.pid)
    assert known is not None
    assert known.start_ticks > 1
    assert known.alive()


def test_a_process_whose_first_thread_has_ended_is_alive(started):
    code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); ctypes.CDLL(None).pthread_exit(None)"
    popen = started([sys.executable, "-c", code])
    known = identify(popen.pid)
    wait_until(lambda: pathlib.Path(f"/proc/{popen.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
    assert known is not None
    assert known.alive()


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "a:b", "a b", "-a", "x" * 101])
def test_a_lab_id_that_fits_no_file_name_is_refused(wrong):
    with pytest.raises(KjouleError, match="lab id"):
        marker_environment(wrong)


def test_markers_that_are_not_ours_are_ignored(started, lab_id):
    popen = started(SLEEP, env={**os.environ, "KJOULE_OWNER": f"{lab_id}:and:more:of:it"})
    wait_until(lambda: identity.environment_value(popen.pid, identity.MARKER))
    assert popen.pid not in [entry.identity.pid for entry in find_marked()]


def test_a_process_started_within_a_marked_environment_does_not_sweep_itself(tmp_path, lab_id):
    code = (
        "import sys; from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import find_marked; "
        f"print([p.lab_id for p in find_marked({lab_id!r})])"
    )
    environment = {**dead_owner_marker(lab_id), "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_process_is_found_as_soon_as_it_was_started(started, lab_id, monkeypatch):
    """Popen returns in the middle of the exec, when there is no environment yet."""
    monkeypatch.setattr(identity, "EXEC_SECONDS", 60.0)
    for count in range(1, 11):
        started(SLEEP, env=dead_owner_marker(lab_id))
        assert len(find_marked(lab_id)) == count


@pytest.fixture
def hidden(monkeypatch):
    """Returns a function that hides files of a process at the first so many looks."""
    content = identity._content

    def hide(pid, looks):
        left = dict(looks)

        def look(asked, name):
            if asked == pid and left.get(name, 0) > 0:
                left[name] -= 1
                return b""
            return content(asked, name)

        monkeypatch.setattr(identity, "_content", look)

    return hide


@pytest.mark.parametrize("looks", [{"environ": 3, "cmdline": 3}, {"environ": 1}])
def test_one_in_its_exec_is_looked_at_again(started, lab_id, hidden, monkeypatch, looks):
    popen = started(SLEEP, env=dead_owner_marker(lab_id))
    wait_until(lambda: find_marked(lab_id))
    monkeypatch.setattr(identity, "EXEC_SECONDS", 60.0)
    hidden(popen.pid, looks)
    assert [entry.identity.pid for entry in find_marked(lab_id)] == [popen.pid]


def test_one_in_its_exec_is_looked_at_again_after_a_first_look_that_took_long(started, lab_id, hidden, monkeypatch):
    """With the real ``EXEC_SECONDS``, on a machine so busy that looking at all processes takes longer."""
    popen = started(SLEEP, env=dead_owner_marker(lab_id))
    wait_until(lambda: find_marked(lab_id))
    hidden(popen.pid, {"environ": 1, "cmdline": 1})
    look, slept = identity._content, []

    def slow(pid, name):
        if not slept:
            slept.append(time.sleep(2 * identity.EXEC_SECONDS))
        return look(pid, name)

    monkeypatch.setattr(identity, "_content", slow)
    assert [entry.identity.pid for entry in find_marked(lab_id)] == [popen.pid]


@pytest.mark.parametrize("looks", [{"environ": 10**9, "cmdline": 10**9}, {"environ": 10**9}])
def test_one_that_never_shows_an_environment_is_not_waited_for(started, lab_id, hidden, looks):
    popen = started(SLEEP, env=dead_owner_marker(lab_id))
    wait_until(lambda: find_marked(lab_id))
    hidden(popen.pid, looks)
    begin = time.monotonic()
    assert find_marked(lab_id) == []
    assert time.monotonic() - begin < 30


def test_identity_knows_only_pid_start_and_exe():
    me = identity.owner()
    assert me.same_as(identify(os.getpid()))
    assert not me.same_as(None)
    assert not ProcessIdentity(me.pid, me.start_ticks + 1, me.exe).alive()
    with contextlib.suppress(FileNotFoundError):
        assert me.pid in identity.own_line()


def test_the_parent_of_a_process_is_told():
    assert identity.parent(os.getpid()) == os.getppid()
    assert identity.parent(2**22 + 1) is None
