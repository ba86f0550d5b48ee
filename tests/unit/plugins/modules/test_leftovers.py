# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import boot_id, find_marked
from ansible_collections.kjoule.bench.plugins.modules import leftovers
from harness.module import run_module


def run(check: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_module("leftovers", check=check, **arguments)


@pytest.fixture
def lab_id() -> str:
    return f"unit-{uuid.uuid4().hex}"


@pytest.fixture
def orphan(lab_id: str) -> Iterator[subprocess.Popen[bytes]]:
    popen = subprocess.Popen(["sleep", "600"], env={**os.environ, "KJOULE_OWNER": f"{lab_id}:{os.getpid()}:1:{boot_id()}"})
    try:
        deadline = time.monotonic() + 60
        while not find_marked(lab_id):  # its environment cannot be read while it is being started
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)
        yield popen
    finally:
        popen.kill()
        popen.wait()


def test_an_orphan_is_listed_predicted_ended_and_then_gone(tmp_path: pathlib.Path, lab_id: str, orphan: subprocess.Popen[bytes]) -> None:
    def mine(result: dict[str, Any]) -> list[tuple[str, int, str]]:
        return [(entry["kind"], entry["pid"], entry["action"]) for entry in result["leftovers"] if entry["lab_id"] == lab_id]

    listed = run(state="listed", state_dir=str(tmp_path))
    assert mine(listed) == [("process", orphan.pid, "would end")]
    assert listed["changed"] is False
    predicted = run(check=True, state_dir=str(tmp_path))
    assert mine(predicted) == [("process", orphan.pid, "would end")]
    assert predicted["changed"] is True
    assert orphan.poll() is None
    done = run(state_dir=str(tmp_path))
    assert mine(done) == [("process", orphan.pid, "ended")]
    assert done["changed"] is True
    assert orphan.wait() == -signal.SIGTERM
    assert mine(run(state_dir=str(tmp_path))) == []
    assert find_marked(lab_id) == []


def test_the_documentation_and_the_arguments_agree() -> None:
    documentation = yaml.safe_load(leftovers.DOCUMENTATION)
    assert documentation["module"] == "leftovers"
    assert set(documentation["options"]) == {"state", "state_dir", "running"}
    assert documentation["options"]["state"]["choices"] == ["absent", "listed"]
    assert all(task for task in yaml.safe_load(leftovers.EXAMPLES))
    assert set(yaml.safe_load(leftovers.RETURN)["leftovers"]["contains"]) == {"kind", "name", "pid", "path", "lab_id", "action"}


def test_the_state_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert leftovers.default_state_dir() == "/x/kjoule"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/somewhere/u")
    assert leftovers.default_state_dir() == "/somewhere/u/.local/state/kjoule"
