# SPDX-License-Identifier: GPL-3.0-or-later
"""A period in a process of its own: real processes, with a stub where the measuring would be."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import detached
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.journal import append_record, journal_path
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import ProcessIdentity

PLAN = {"run_id": "r", "plan_hash": "h"}
ITEM = {"period_id": "b01-p1-a1"}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The period lasts until the file that this returns is there, or the test has ended; then it does what is written in it."""
    gate = tmp_path / "gate"

    def stub(state_dir: str, plan: Any, item: Any, *_rest: Any, detached: bool) -> None:
        assert detached
        deadline = time.monotonic() + 120  # for a test that was killed
        while not gate.exists():
            if time.monotonic() > deadline:
                raise KjouleError("nobody opened the gate")
            time.sleep(0.01)
        if gate.read_text():
            raise KjouleError(gate.read_text())
        append_record(journal_path(state_dir, plan["run_id"]), {"kind": "header"})
        append_record(journal_path(state_dir, plan["run_id"]), {"kind": "period", **item})

    monkeypatch.setattr(detached, "run_period", stub)
    yield gate
    gate.touch()
    detached.end_all(str(tmp_path))


def begin(tmp_path: Path, item: dict[str, str] = ITEM) -> str:
    return detached.start(str(tmp_path), PLAN, item, {}, {}, "web1")


def process(tmp_path: Path) -> ProcessIdentity:
    state = json.loads((tmp_path / "runs/r/detached.json").read_text())
    return ProcessIdentity(state["pid"], state["start_ticks"], "")


def test_it_runs_on_its_own_and_its_record_is_found(measured: Path, tmp_path: Path) -> None:
    assert begin(tmp_path) == "b01-p1-a1"
    pid = process(tmp_path).pid
    assert os.getsid(pid) != os.getsid(0)
    assert detached.wait(str(tmp_path), PLAN, 0) == {"period_id": "b01-p1-a1", "running": True, "error": None}
    measured.write_text("")
    assert detached.wait(str(tmp_path), PLAN, 60) == {"period_id": "b01-p1-a1", "running": False, "error": None}
    found = detached.find_record(str(tmp_path), "r", "b01-p1-a1")
    assert found == ({"kind": "header"}, {"kind": "period", **ITEM})
    assert detached.find_record(str(tmp_path), "r", "b01-p2-a1") is None


def test_while_one_is_measured_no_other_is_started(measured: Path, tmp_path: Path) -> None:
    begin(tmp_path)
    pid = process(tmp_path).pid
    assert begin(tmp_path, {"period_id": "b01-p2-a1"}) == "b01-p1-a1"
    assert process(tmp_path).pid == pid
    measured.write_text("")
    detached.wait(str(tmp_path), PLAN, 60)
    assert begin(tmp_path, {"period_id": "b01-p2-a1"}) == "b01-p2-a1"
    detached.wait(str(tmp_path), PLAN, 60)


def test_why_there_is_no_record_is_told(measured: Path, tmp_path: Path) -> None:
    begin(tmp_path)
    measured.write_text("port 1234 is taken")
    assert detached.wait(str(tmp_path), PLAN, 60)["error"] == "port 1234 is taken"


def test_one_that_was_killed_is_not_waited_for(measured: Path, tmp_path: Path) -> None:
    begin(tmp_path)
    os.kill(process(tmp_path).pid, signal.SIGKILL)
    answer = detached.wait(str(tmp_path), PLAN, 60)
    assert not answer["running"]
    assert "ended without a word: killed, or the host was booted" in answer["error"]


def test_one_of_another_boot_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "runs/r/detached.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"period_id": "b01-p1-a1", "pid": os.getpid(), "start_ticks": 1, "boot_id": "another", "done": False}))
    assert "the host was booted" in detached.wait(str(tmp_path), PLAN, 60)["error"]


def test_where_nothing_was_started_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    assert detached.wait(str(tmp_path), PLAN, 60)["period_id"] is None


def test_a_disk_that_cannot_be_written_is_told_at_once(measured: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where a directory is to be")
    with pytest.raises((KjouleError, OSError)):
        begin(tmp_path)


def test_a_host_that_is_given_back_ends_what_is_measured(measured: Path, tmp_path: Path) -> None:
    begin(tmp_path)
    running = process(tmp_path)
    predicted = detached.end_all(str(tmp_path), check=True)
    assert [(entry["kind"], entry["name"], entry["lab_id"], entry["action"]) for entry in predicted] == [
        ("period", "b01-p1-a1", "r", "would end")
    ]
    assert running.alive()
    assert detached.end_all(str(tmp_path))[0]["action"] == "ended"
    assert not running.alive()
    assert detached.end_all(str(tmp_path)) == []
    assert "ended without a word" in detached.wait(str(tmp_path), PLAN, 60)["error"]
