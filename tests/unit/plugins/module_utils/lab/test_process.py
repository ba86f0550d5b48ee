# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import json
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
from ansible_collections.kjoule.bench.plugins.module_utils.lab import directory, identity, process
from ansible_collections.kjoule.bench.plugins.module_utils.lab.process import (
    find_marked,
    identify,
    spawn,
    sweep,
    terminate,
)

SLEEP = ["sleep", "600"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def dead_owner_marker(lab_id: str) -> dict[str, str]:
    """A pid that runs, with a start time that it does not have: the owner's pid was handed out again."""
    return {**os.environ, "KJOULE_OWNER": f"{lab_id}:{os.getpid()}:1:{identity.boot_id()}"}


def of(lab_id: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in found if entry["lab_id"] == lab_id]


def test_a_recycled_pid_is_not_signalled(started):
    popen = started(SLEEP)
    known = identify(popen.pid)
    assert known is not None
    former = dataclasses.replace(known, start_ticks=known.start_ticks - 1)
    assert not former.alive()
    terminate(former, 0.0)
    assert popen.poll() is None


def test_a_process_that_runs_another_program_now_is_not_signalled(started):
    popen = started(SLEEP)
    known = identify(popen.pid)
    assert known is not None
    terminate(dataclasses.replace(known, exe="/usr/bin/etcd"), 0.0)
    assert popen.poll() is None


@pytest.mark.parametrize("pidfd", [True, False])
def test_terminate_asks_first_and_then_kills(started, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    polite, deaf = started(SLEEP), started(DEAF, stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == b"deaf\n"
    for popen, number in ((polite, signal.SIGTERM), (deaf, signal.SIGKILL)):
        known = identify(popen.pid)
        assert known is not None
        terminate(known, 0.2)
        assert popen.wait() == -number
        terminate(known, 0.2)


def test_a_stopped_process_is_ended_too(started):
    popen = started(SLEEP)
    known = identify(popen.pid)
    assert known is not None
    process.send(known, signal.SIGSTOP)
    terminate(known, 0.05)
    assert popen.wait() < 0


def test_spawn_marks_logs_privately_and_ends_the_whole_group(tmp_path, lab_id):
    log = tmp_path / "log"
    managed = spawn(["sh", "-c", "echo hello; sleep 600 & wait"], name="shell", lab_id=lab_id, log_path=str(log))
    try:
        wait_until(lambda: len(find_marked(lab_id)) == 2)
        wait_until(lambda: managed.log_tail(1) == "hello")
        assert managed.alive()
        assert managed.name == "shell"
        assert log.stat().st_mode & 0o777 == 0o600
        assert os.getsid(managed.identity.pid) == managed.identity.pid
        marked = find_marked(lab_id)
        assert {entry.owner_pid for entry in marked} == {os.getpid()}
        assert all(entry.owner_alive for entry in marked)
    finally:
        managed.terminate(1.0)
    wait_until(lambda: find_marked(lab_id) == [])
    assert not managed.alive()
    assert managed.popen.returncode == -signal.SIGTERM
    managed.terminate()


def test_spawn_uses_the_given_environment_and_directory(tmp_path, lab_id):
    managed = spawn(
        ["/bin/sh", "-c", "echo $PWD:$COLOUR:$HOME"],
        name="x",
        lab_id=lab_id,
        log_path=str(tmp_path / "log"),
        env={"COLOUR": "blue"},
        cwd=str(tmp_path),
    )
    managed.popen.wait()
    assert managed.log_tail(1) == f"{tmp_path}:blue:"
    assert not managed.alive()


@pytest.mark.parametrize(
    ("content", "mode", "seen"),
    [
        (None, 0o755, "no such file"),
        (b"#!/bin/sh\n", 0o644, "permission denied"),
        (b"\x00\x01damaged", 0o755, "damaged"),
        (b"#!/no/such\n", 0o755, "no such"),
    ],
)
def test_a_program_that_cannot_start_is_named(tmp_path, lab_id, content, mode, seen):
    path = tmp_path / "etcd"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(KjouleError, match=f"etcd(.|\n)*{seen}"):
        spawn([str(path)], name="etcd", lab_id=lab_id, log_path=str(tmp_path / "log"))


def test_a_log_that_cannot_be_written_is_named(tmp_path, lab_id):
    with pytest.raises(KjouleError, match="log of etcd"):
        spawn(SLEEP, name="etcd", lab_id=lab_id, log_path=str(tmp_path / "none" / "log"))


def test_sweep_ends_orphans_and_spares_those_of_a_living_owner(started, tmp_path, lab_id):
    orphan = started(SLEEP, env=dead_owner_marker(lab_id))
    owned = spawn(SLEEP, name="owned", lab_id=lab_id, log_path=str(tmp_path / "log"))
    try:
        wait_until(lambda: len(find_marked(lab_id)) == 2)  # their environment cannot be read while they are being started
        predicted = of(lab_id, sweep(str(tmp_path), check=True))
        assert [(entry["kind"], entry["name"], entry["pid"], entry["action"]) for entry in predicted] == [
            ("process", os.path.basename(owned.identity.exe), orphan.pid, "would end")
        ]
        assert orphan.poll() is None
        assert [entry["action"] for entry in of(lab_id, sweep(str(tmp_path)))] == ["ended"]
        assert orphan.wait() == -signal.SIGTERM
        assert owned.alive()
        assert of(lab_id, sweep(str(tmp_path))) == []
    finally:
        owned.terminate(0.0)


def test_an_owner_of_another_boot_is_dead(started, tmp_path, lab_id):
    me = identity.owner()
    popen = started(SLEEP, env={**os.environ, "KJOULE_OWNER": f"{lab_id}:{me.pid}:{me.start_ticks}:another-boot"})
    wait_until(lambda: find_marked(lab_id))
    assert [entry["pid"] for entry in of(lab_id, sweep(str(tmp_path)))] == [popen.pid]


def test_a_process_that_may_not_be_ended_is_reported(started, tmp_path, lab_id, monkeypatch):
    started(SLEEP, env=dead_owner_marker(lab_id))
    wait_until(lambda: find_marked(lab_id))

    def refuse(*_arguments):
        raise PermissionError

    monkeypatch.setattr(process, "find_marked", lambda: find_marked(lab_id))
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    monkeypatch.setattr(os, "kill", refuse)
    found = of(lab_id, sweep(str(tmp_path)))
    monkeypatch.undo()
    assert len(found) == 1
    assert found[0]["action"].startswith("failed: ")
    assert "may not be ended" in found[0]["action"]


# --- directories


def make_abandoned(state: pathlib.Path, lab_id: str, **changes: Any) -> pathlib.Path:
    path = pathlib.Path(directory.create_lab_directory(str(state), lab_id))
    record = json.loads((path / "owner.json").read_text())
    record.update({"start_ticks": 1, **changes})
    (path / "owner.json").write_text(json.dumps(record))
    return path


def test_an_abandoned_directory_is_predicted_then_removed_without_following_links(tmp_path, lab_id):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    path = make_abandoned(tmp_path, lab_id)
    (path / "link").symlink_to(precious)
    (path / "deep" / "er").mkdir(parents=True)
    (path / "deep" / "er" / "file").write_text("x")
    assert [entry["action"] for entry in of(lab_id, sweep(str(tmp_path), check=True))] == ["would remove"]
    assert path.exists()
    assert [(entry["kind"], entry["action"], entry["pid"]) for entry in of(lab_id, sweep(str(tmp_path)))] == [
        ("directory", "removed", os.getpid())
    ]
    assert not path.exists()
    assert (precious / "file").read_text() == "keep"


def test_a_directory_of_another_pid_namespace_cannot_be_judged_and_stays(tmp_path, lab_id):
    path = make_abandoned(tmp_path, lab_id, pid_namespace="pid:[1]")
    assert of(lab_id, sweep(str(tmp_path))) == []
    assert path.exists()


def test_a_damaged_owner_file_counts_as_none_unless_a_process_of_a_living_owner_says_otherwise(tmp_path, lab_id):
    path = make_abandoned(tmp_path, lab_id)
    (path / "owner.json").write_text('{"pid": 1')
    owned = spawn(SLEEP, name="owned", lab_id=lab_id, log_path=str(tmp_path / "log"))
    try:
        wait_until(lambda: find_marked(lab_id))  # its environment cannot be read while it is being started
        assert of(lab_id, sweep(str(tmp_path))) == []
    finally:
        owned.terminate(0.0)
    assert [entry["action"] for entry in of(lab_id, sweep(str(tmp_path)))] == ["removed"]
    assert not path.exists()


def test_sweeping_a_state_directory_that_does_not_exist_creates_nothing(tmp_path):
    sweep(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
