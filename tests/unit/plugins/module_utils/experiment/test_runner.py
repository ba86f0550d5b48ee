# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock, sweep, journal and signals around a period. The period itself is a stub here; tests/integration has real ones."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import runner
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.lock import HostLock, read_lease
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import boot_id, identify

PLAN = {"run_id": "r", "plan_hash": "h", "tool_version": "0.1.0", "settings": {"source": "estimate"}, "seed": 1}
ITEM = {"period_id": "b01-p1-a1", "block": 1, "position": 1, "attempt": 1, "arm": "flux", "label": "flux"}
BINARIES = {"etcd": {"path": "/nowhere/etcd", "version": "3.6", "sha256": "ab", "origin": "built", "more": 1}}


SOURCE = {"name": "rapl", "kind": "counter", "scope": "rapl:package+dram", "unavailable": []}


class StubPeriod:
    """Stands for Period: ``run`` does what the test says and returns a record, ``end`` is counted."""

    made: list[StubPeriod]
    during = staticmethod(lambda: None)
    source_description = SOURCE

    def __init__(self, plan, item, binaries, state_dir, versions):
        self.item, self.binaries, self.state_dir, self.ended = item, binaries, state_dir, 0
        self.made.append(self)

    def run(self):
        self.during()
        return {"kind": "period", **self.item, "valid": True}

    def end(self):
        self.ended += 1
        return 0.0


@pytest.fixture
def stub(monkeypatch):
    class Stub(StubPeriod):
        made: list[StubPeriod] = []  # noqa: RUF012 - a new class, and so a new list, for each test

    monkeypatch.setattr(runner, "Period", Stub)
    return Stub


@pytest.fixture
def controller():
    me = identify(os.getpid())
    return {"boot_id": boot_id(), "pid": me.pid, "start_ticks": me.start_ticks, "hostname": socket.gethostname()}


@pytest.fixture
def measure(tmp_path, stub, controller):
    def run(item=ITEM, binaries=BINARIES, plan=PLAN, controller=controller):
        return runner.run_period(str(tmp_path), plan, item, binaries, controller, "web1")

    return run


def lines(tmp_path):
    path = tmp_path / "runs" / "r" / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_free(tmp_path, controller):
    with HostLock(str(tmp_path), "r", controller):
        return True


def test_header_and_record_are_written_and_the_next_period_adds_its_own(tmp_path, measure, stub):
    header, record = measure()
    assert lines(tmp_path) == [header, record]
    assert header["binaries"] == {"etcd": {"version": "3.6", "sha256": "ab", "origin": "built"}}
    assert (header["plan_hash"], header["host"]["name"], header["source"]["kind"]) == ("h", "web1", "counter")
    assert isinstance(record["leftovers"], list)
    assert stub.made[0].binaries == {"etcd": "/nowhere/etcd"}
    _header, second = measure({**ITEM, "period_id": "b01-p2-a1"})
    assert lines(tmp_path) == [header, record, second]
    assert [json.loads(line) for line in runner.read_journal(str(tmp_path), PLAN).splitlines()] == [header, record, second]


def test_other_binaries_than_those_it_began_with_are_refused(tmp_path, measure, stub):
    measure()
    with pytest.raises(KjouleError, match=r"etcd is not the one that this run began with: expected sha256 ab, saw cd"):
        measure(binaries={"etcd": {**BINARIES["etcd"], "sha256": "cd"}})
    with pytest.raises(KjouleError, match="kwok is not the one"):
        measure(binaries={**BINARIES, "kwok": BINARIES["etcd"]})
    assert len(stub.made) == 1
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"scope": "rapl:package"}, "saw name rapl, kind counter, scope rapl:package; no memory."),
        (
            {"name": "estimate", "kind": "estimate", "scope": "estimate:cpu-time", "unavailable": ["rapl: readable by root only"]},
            "saw name estimate, kind estimate, scope estimate:cpu-time; rapl: readable by root only",
        ),
    ],
)
def test_another_scope_than_the_one_it_began_with_is_refused_and_both_are_shown(tmp_path, measure, stub, controller, now, words):
    measure()
    stub.source_description = {**stub.source_description, "unavailable": ["no memory"], **now}
    with pytest.raises(KjouleError) as error:
        measure({**ITEM, "period_id": "b01-p2-a1"})
    assert "expected name rapl, kind counter, scope rapl:package+dram" in str(error.value)
    assert words in str(error.value)
    assert "another kjoule_run_id" in str(error.value)
    assert stub.made[1].ended == 1
    assert len(lines(tmp_path)) == 2
    assert is_free(tmp_path, controller)


def test_a_source_that_is_the_same_in_other_words_is_the_same(tmp_path, measure, stub):
    measure()
    stub.source_description = {**stub.source_description, "update_seconds": 0.002, "unavailable": ["psys: not there"]}
    measure({**ITEM, "period_id": "b01-p2-a1"})
    assert len(lines(tmp_path)) == 3


def test_a_run_goes_on_after_a_reboot(tmp_path, measure):
    header, record = measure()
    before = {**header, "host": {**header["host"], "boot_id": "the boot before"}}
    path = tmp_path / "runs" / "r" / "journal.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (before, record)))
    header, second = measure({**ITEM, "period_id": "b01-p2-a1"})
    assert header == before
    assert lines(tmp_path) == [before, record, second]


def test_a_journal_of_another_plan_is_left_alone(tmp_path, measure):
    measure()
    before = lines(tmp_path)
    for call in (
        lambda: measure(plan={**PLAN, "plan_hash": "other"}),
        lambda: runner.read_journal(str(tmp_path), {**PLAN, "plan_hash": "o"}),
    ):
        with pytest.raises(KjouleError, match="belongs to another plan"):
            call()
    assert lines(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_period_leaves_no_record_and_lets_go_of_the_host(tmp_path, measure, stub, controller, number):
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    stub.during = staticmethod(lambda: os.kill(os.getpid(), number))
    with pytest.raises(KjouleError, match=rf"period b01-p1-a1 was interrupted.*{number.name}.*first unfinished block"):
        measure()
    assert lines(tmp_path) == []
    assert stub.made[0].ended >= 1
    assert is_free(tmp_path, controller)
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    stub.during = staticmethod(lambda: None)
    assert measure()[1]["valid"]


def test_an_error_leaves_no_record_and_lets_go_of_the_host(tmp_path, measure, stub, controller):
    def fail():
        raise KjouleError("the port is taken")

    stub.during = staticmethod(fail)
    with pytest.raises(KjouleError, match="the port is taken"):
        measure()
    assert lines(tmp_path) == []
    assert is_free(tmp_path, controller)


def test_the_record_of_an_invalid_period_of_which_something_stays_is_written(tmp_path, measure, stub, monkeypatch):
    def end(self):
        raise KjouleError("the API server is away")

    monkeypatch.setattr(stub, "end", end)
    assert measure()[1] == lines(tmp_path)[1]


def test_the_record_of_a_controller_that_has_ended_is_not_kept(tmp_path, measure, stub, controller, monkeypatch):
    monkeypatch.setattr(runner, "controller_lives", lambda _controller: False)
    with pytest.raises(KjouleError, match=r"was interrupted.*ansible-playbook ended"):
        measure()
    assert lines(tmp_path) == []


def test_a_host_that_is_measured_by_another_run_is_not_measured(tmp_path, measure, stub, controller):
    with HostLock(str(tmp_path), "other", controller), pytest.raises(KjouleError, match="a period is being measured on this host"):
        measure()
    with pytest.raises(KjouleError, match="belongs to another run"):
        measure()
    assert stub.made == []


def test_between_periods_the_host_is_the_runs_until_it_is_released(tmp_path, measure, controller):
    measure()
    assert read_lease(str(tmp_path))["run_id"] == "r"
    assert runner.release(str(tmp_path), PLAN, controller)
    assert read_lease(str(tmp_path)) is None
    assert not runner.release(str(tmp_path), PLAN, controller)


def test_too_little_space_is_told_before_a_lab_is_made(tmp_path, measure, stub, monkeypatch):
    def full(_state_dir):
        raise KjouleError("there is too little space")

    monkeypatch.setattr(runner, "check_space", full)
    with pytest.raises(KjouleError, match="too little space"):
        measure()
    assert stub.made == []
    assert not (Path(tmp_path) / "runs").exists()
