# SPDX-License-Identifier: GPL-3.0-or-later
"""The action as Ansible runs it, with a host that answers from a list instead of measuring."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible_collections.kjoule.bench.plugins.action import measure
from ansible_collections.kjoule.bench.plugins.action.measure import ActionModule, Pace, controller_identity, duration
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from ansible_collections.kjoule.bench.plugins.plugin_utils.remote_energy import Collector
from ansible_collections.kjoule.bench.plugins.plugin_utils.schedule import period_seconds, remaining
from harness.query_api import QueryApi


class Host:
    """Answers as the module does on a host, from a journal that it keeps in memory. ``fails_at``: the period that cannot be measured."""

    def __init__(self, plan, fails_at=None, invalid=()):
        self.plan, self.fails_at, self.invalid = plan, fails_at, invalid
        self.journal = ""
        self.phases = []
        self.calls = []
        self.header = {"kind": "header", "schema": "kjoule.journal/1", "run_id": plan["run_id"], "plan_hash": plan["plan_hash"]}

    def append(self, record):
        self.journal += json.dumps(record) + "\n"

    def measure(self, item):
        valid = item["period_id"] not in self.invalid
        record = {
            "kind": "period",
            **item,
            "valid": valid,
            "reasons": [] if valid else ["etcd ended"],
            "phases": self.phases,
            "seconds": 12.3,
            "error": None,
        }
        if not self.journal:
            self.append(self.header)
        self.append(record)
        return record

    def __call__(self, module_name, module_args, task_vars):
        assert module_name == "kjoule.bench.period"
        self.calls.append(module_args)
        if module_args.get("state") == "read":
            return {"changed": False, "journal": self.journal}
        if module_args.get("state") == "released":
            return {"changed": True}
        item = module_args["item"]
        if item["period_id"] == self.fails_at:
            return {"failed": True, "msg": "port 1234 is taken"}
        return {"changed": True, "header": self.header, "record": self.measure(item)}

    def measured(self):
        return [call["item"]["period_id"] for call in self.calls if "item" in call]


@pytest.fixture
def plan():
    return build_plan({"blocks": 2, "inference": False}, "web1", run_id="r", created_at="2024-05-01T09:00:00Z", drawn_seed=7)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(measure.display, "display", lambda text, **_options: lines.append(text))
    return lines


@pytest.fixture
def act(tmp_path, plan, said, monkeypatch):
    def run(host, check_mode=False, **args):
        arguments = {"plan": plan, "binaries": {"etcd": {"path": "/x"}}, "reports_dir": str(tmp_path), **args}
        task = SimpleNamespace(
            args=arguments, check_mode=check_mode, async_val=0, action="kjoule.bench.measure", diff=False, environment=None
        )
        action = ActionModule(task, SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)), SimpleNamespace(), DataLoader(), None, None)
        monkeypatch.setattr(action, "_execute_module", host)
        return action.run(task_vars={"inventory_hostname": "web1"})

    return run


@pytest.fixture
def copy(tmp_path):
    path = tmp_path / "r" / "web1.journal.jsonl"
    return SimpleNamespace(path=path, lines=lambda: [json.loads(line) for line in Path(path).read_text().splitlines()])


def test_every_period_of_the_plan_is_measured_in_its_order_and_copied(act, plan, copy, said):
    host = Host(plan)
    result = act(host, state_dir="/state")
    assert (result["changed"], result["measured"]) == (True, 4)
    assert host.measured() == [item["period_id"] for item in remaining(plan, [])]
    assert copy.path.read_text().count("\n") == 5
    assert copy.lines() == [json.loads(line) for line in host.journal.splitlines()]
    assert host.calls[-1]["state"] == "released"
    assert {call["state_dir"] for call in host.calls} == {"/state"}
    assert {call["controller"]["pid"] for call in host.calls} == {os.getppid()}
    assert "binaries" not in host.calls[0]
    assert said[0].startswith("kjoule  web1  run r: 4 periods, about ")
    assert any("period 4 of 4 (block 2, " in line and line.endswith(": 12 s, valid") for line in said)


def test_what_the_host_has_recorded_is_copied_and_not_measured_again(act, plan, copy, said):
    host = Host(plan)
    items = remaining(plan, [])
    for item in items[:2]:
        host.measure(item)
    assert act(host)["measured"] == 2
    assert host.measured() == [item["period_id"] for item in items[2:]]
    assert len(copy.lines()) == 5
    assert "goes on: 2 periods are recorded" in said[0]
    again = act(host)
    assert (again["changed"], again["measured"]) == (False, 0)


def test_a_period_that_fails_ends_the_run_in_words_and_what_was_recorded_is_kept(act, plan, copy):
    items = remaining(plan, [])
    host = Host(plan, fails_at=items[2]["period_id"])
    with pytest.raises(AnsibleActionFail, match=r"period 3 of 4 .*port 1234 is taken.*2 recorded periods are kept; mend the cause"):
        act(host)
    assert len(copy.lines()) == 3
    assert host.calls[-1]["state"] == "released"
    host.fails_at = None
    assert act(host)["measured"] == 2


def test_an_invalid_block_is_measured_again_whole(act, plan, said):
    host = Host(plan, invalid=("b01-p1-a1",))
    act(host)
    assert host.measured()[-2:] == ["b01-p1-a2", "b01-p2-a2"]
    assert any("INVALID: etcd ended" in line for line in said)
    assert any(", again)" in line for line in said)


class Rest(Host):
    """Ten seconds at rest in every period: Flux uses 50 mCPU more."""

    def measure(self, item):
        used = 1.0 if item["arm"] == "flux" else 0.5
        self.phases = [{"name": "steady", "kind": "steady", "seconds": 10.0, "cpu_seconds": {"etcd": used}}]
        return super().measure(item)


def test_what_is_said_on_the_way_suits_a_log_and_leads_nobody_to_stop(act, plan, said):
    act(Rest(plan))
    assert [line.rpartition("  ")[2] for line in said if "so far" in line] == [
        "flux minus snowflake, rest, so far: +50.0 mCPU (mean of 1 block)",
        "flux minus snowflake, rest, so far: +50.0 mCPU (mean of 2 blocks)",
    ]
    running = [number for number, line in enumerate(said) if ": running, about " in line and line.endswith(" left")]
    effects = [number for number, line in enumerate(said) if "so far" in line]
    assert len(running) == 4
    assert running[1] < effects[0] < running[2] < running[3] < effects[1]
    for line in said:
        assert line.startswith("kjoule  web1  ")
        assert line.isprintable()  # one line, no carriage return, no colours
        assert not re.search(r"\bp\b|significan|different|equivalent|cannot tell", line)


def test_check_mode_measures_and_writes_nothing(act, plan, copy):
    host = Host(plan)
    assert act(host, check_mode=True)["changed"]
    for item in remaining(plan, []):
        host.measure(item)
    result = act(host, check_mode=True)
    assert (result["changed"], result["measured"]) == (False, 0)
    assert host.measured() == []
    assert not copy.path.exists()


def test_a_record_that_differs_from_the_copy_is_not_glossed_over(act, plan):
    host = Host(plan)
    act(host)
    host.journal = host.journal.replace("12.3", "12.4")
    with pytest.raises(AnsibleActionFail, match="the host's record and the controller's copy differ"):
        act(host)


def test_a_journal_that_cannot_be_read_is_told(act, plan):
    def unreachable(**_arguments):
        return {"unreachable": True, "msg": "no route to host"}

    with pytest.raises(AnsibleActionFail, match="the journal on web1 cannot be read: no route to host"):
        act(unreachable)


def test_without_a_plan_there_is_nothing_to_do(act, plan):
    with pytest.raises(AnsibleActionFail, match="expected plan and binaries"):
        act(Host(plan), plan=None)


def test_the_time_left_follows_what_periods_have_taken(plan):
    pace = Pace(plan)
    items = remaining(plan, [])
    expected = sum(period_seconds(plan["settings"], item["arm"]) for item in items)
    assert pace.left(items) == pytest.approx(expected)
    for item in items[:2]:
        pace.add(item, 2 * period_seconds(plan["settings"], item["arm"]))
    assert pace.left(items[2:]) == pytest.approx(2 * sum(period_seconds(plan["settings"], item["arm"]) for item in items[2:]))
    assert pace.left([]) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words


def test_a_host_can_recognise_the_process_that_drives_the_run():
    me = controller_identity(os.getpid())
    assert me["start_ticks"] == identify(os.getpid()).start_ticks
    assert {"boot_id", "pid", "start_ticks", "hostname"} <= set(me)


class TestEnergyThroughPrometheus:
    """A PDU at 42 W, scraped every 5 s; every period has one phase of 60 s."""

    BEGIN = 1_795_574_000.0

    @pytest.fixture
    def api(self, monkeypatch, plan):
        with QueryApi(lambda: self.BEGIN + 200) as double:
            double.series = [("pdu_watts", {}, [(self.BEGIN + 5.0 * n, 42.0) for n in range(41)])]
            plan["settings"]["prometheus"] = {"url": double.url, "sources": {"pdu": {"query": "pdu_watts", "unit": "W"}}}
            clock = SimpleNamespace(time=double.clock, sleep=lambda seconds: None, monotonic=time.monotonic)
            monkeypatch.setattr(measure, "time", clock)
            monkeypatch.setattr("ansible_collections.kjoule.bench.plugins.plugin_utils.prometheus.time", clock)
            monkeypatch.setattr(measure, "Collector", lambda *args: Collector(*args, double.clock, clock.sleep))
            yield double

    def host(self, plan):
        host = Host(plan)
        host.phases = [
            {
                "index": 0,
                "name": "idle",
                "kind": "idle",
                "seconds": 60.0,
                "cpu_seconds": {},
                "start_unix": self.BEGIN + 20,
                "end_unix": self.BEGIN + 80,
            }
        ]
        return host

    def test_is_read_after_every_period_into_the_copy_and_only_there(self, act, plan, copy, api):
        host = self.host(plan)
        act(host)
        kinds = [line["kind"] for line in copy.lines()]
        assert kinds == ["header", *["period", "energy"] * 4]
        assert "energy" not in [json.loads(line)["kind"] for line in host.journal.splitlines()]
        energy = copy.lines()[2]["phases"][0]["energy"][0]
        assert (energy["joules"], energy["valid"]) == (pytest.approx(2520.0), True)
        assert act(host)["measured"] == 0
        assert len(copy.lines()) == 9

    def test_that_could_not_be_read_is_read_by_the_next_call(self, act, plan, copy, api, said):
        host = self.host(plan)
        answers = iter([True])

        def fails_later(*arguments):
            api.fault = None if next(answers, False) else "500"

        host.measure, measured = lambda item: (fails_later(), measured(item))[1], host.measure
        api_checked = act(host)
        assert api_checked["measured"] == 4
        assert any("energy through Prometheus is not read yet" in line for line in said)
        assert [line["kind"] for line in copy.lines()].count("energy") == 1
        api.fault = None
        act(host)
        assert [line["kind"] for line in copy.lines()].count("energy") == 4

    def test_without_samples_nothing_is_measured_at_all(self, act, plan, api):
        api.series = []
        host = self.host(plan)
        with pytest.raises(AnsibleActionFail, match="has no samples of source pdu"):
            act(host)
        assert host.measured() == []


class FarHost(Host):
    """Reached over a connection: periods are started there and waited for. ``losses``: at which calls the connection is lost."""

    def __init__(self, plan, losses=(), running=None, **more):
        super().__init__(plan, **more)
        self.losses, self.number, self.running = set(losses), 0, running
        self.waits_left = 1 if running else 0

    def __call__(self, module_name, module_args, task_vars):
        self.number += 1
        if self.number in self.losses:
            raise AnsibleConnectionFailure("Connection reset by peer")
        state = module_args.get("state")
        if state == "started":
            self.calls.append(module_args)
            self.running, self.waits_left = module_args["item"], 1
            return {"changed": True, "period_id": self.running["period_id"], "running": True}
        if state == "waited":
            if self.running is None:
                return {"period_id": None, "running": False, "error": None}
            if self.waits_left:
                self.waits_left -= 1
                return {"period_id": self.running["period_id"], "running": True, "error": None}
            item, self.running = self.running, None
            if item["period_id"] == self.fails_at:
                return {"period_id": item["period_id"], "running": False, "error": "port 1234 is taken"}
            return {"period_id": item["period_id"], "running": False, "header": self.header, "record": self.measure(item)}
        return super().__call__(module_name, module_args, task_vars)

    def measured(self):
        return [call["item"]["period_id"] for call in self.calls if call.get("state") == "started"]


@pytest.fixture
def far(act, monkeypatch):
    monkeypatch.setattr(ActionModule, "_remote", True)
    monkeypatch.setattr(measure, "RETRY_SECONDS", 0.0)
    return act


def test_on_a_host_over_ssh_a_period_is_started_and_waited_for(far, plan, copy):
    host = FarHost(plan)
    assert far(host)["measured"] == 4
    assert host.measured() == [item["period_id"] for item in remaining(plan, [])]
    assert copy.lines() == [json.loads(line) for line in host.journal.splitlines()]


@pytest.mark.parametrize("lost", range(1, 8))
def test_a_lost_connection_loses_no_period_wherever_it_is_lost(far, plan, copy, said, lost):
    host = FarHost(plan, losses=[lost, lost + 1])
    if lost == 2 or lost == 1:  # the second call reads the journal: nothing is measured yet, and the run says so
        host.losses = {1}
    assert far(host)["measured"] == 4
    assert host.measured() == [item["period_id"] for item in remaining(plan, [])]
    assert [line for line in said if "connection is lost" in line]
    assert [line for line in said if "connection is back" in line]


def test_a_period_from_before_is_waited_for_and_not_measured_again(far, plan, copy, said):
    items = remaining(plan, [])
    host = FarHost(plan)
    host.measure(items[0])
    host.running, host.waits_left = items[1], 1
    assert far(host)["measured"] == 2
    assert host.measured() == [item["period_id"] for item in items[2:]]
    assert len(copy.lines()) == 5
    assert any(f"period {items[1]['period_id']} goes on there from before" in line for line in said)


def test_a_host_that_stays_out_of_reach_is_given_up_in_words(far, plan, monkeypatch):
    monkeypatch.setattr(measure, "RECONNECT_SECONDS", -1.0)
    with pytest.raises(AnsibleActionFail, match=r"web1 has been out of reach.*Connection reset by peer.*that picks the period up"):
        far(FarHost(plan, losses=range(4, 99)))


def test_what_goes_wrong_on_a_host_over_ssh_is_told(far, plan, copy):
    items = remaining(plan, [])
    with pytest.raises(AnsibleActionFail, match=r"period 2 of 4 .*port 1234 is taken"):
        far(FarHost(plan, fails_at=items[1]["period_id"]))
    assert len(copy.lines()) == 2
