# SPDX-License-Identifier: GPL-3.0-or-later
"""A period with real clocks and real processes; lab, API server and arm are stubs. tests/integration has the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock, read_times
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import period as module
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import Period, tool_clocks, window_seconds
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiUnavailable
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify

BURNER = """
import sys, time
print(flush=True)
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end:
        pass
    print(flush=True)
"""
KINDS = {"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "Namespace": "v1"}


GENERATED = {"kind": "generated", "apps": 2, "replicas": 1, "seed": 1}


class Burner:
    """A process that burns CPU time on demand."""

    def __init__(self):
        self.popen = subprocess.Popen([sys.executable, "-c", BURNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.popen.stdout.readline()
        self.identity = identify(self.popen.pid)

    def burn(self, seconds):
        self.popen.stdin.write(f"{seconds}\n")
        self.popen.stdin.flush()
        self.popen.stdout.readline()

    def kill(self):
        self.popen.kill()
        self.popen.communicate()


class StubApi:
    """Keeps objects by path, rolls everything out at once."""

    def __init__(self):
        self.objects, self.namespaces, self.patches, self.labels = {}, [], [], {}

    def resources(self):
        return [{"group_version": version, "kind": kind, "namespaced": kind != "Namespace"} for kind, version in KINDS.items()]

    def path_for(self, version, kind, namespace=None, name=None):
        return "/".join(part for part in (version, kind, namespace, name) if part)

    def create(self, path, item):
        self.namespaces.append(item["metadata"]["name"])
        self.labels[item["metadata"]["name"]] = item["metadata"]["labels"]

    def put(self, item):
        item = {**item, "metadata": {**item["metadata"], "generation": 1, "resourceVersion": "1"}}
        replicas = item.get("spec", {}).get("replicas", 0)
        item["status"] = {"observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas}
        self.objects[self.path_for(item["apiVersion"], item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])] = item

    def patch(self, path, body, field_manager):
        self.patches.append((path, field_manager))
        self.objects[path] = {**self.objects[path], **body}

    def list(self, path):
        return {
            "metadata": {"resourceVersion": "1"},
            "items": [dict(item) for at, item in self.objects.items() if at.startswith(path + "/")],
        }

    @contextmanager
    def watch(self, path, **_options):
        yield iter(())


class StubLab:
    provider = "stub"

    def __init__(self):
        self.api, self.etcd, self.discarded, self.deliveries = StubApi(), Burner(), 0, []
        self.labels = {"lab": "stub"}

    def fresh(self):
        return SimpleNamespace(ready_seconds=1.23456, versions={"etcd": "3.6"})

    def clocks(self):
        return [ProcessClock("etcd", self.etcd.identity)]

    def pods(self):
        return None

    def component_roles(self):
        return {"etcd": "cluster"}

    def command_environment(self):
        return {"PATH": os.environ["PATH"]}

    def adopt(self, path):
        self.adopted = [*getattr(self, "adopted", []), path]

    def refuse_taken(self, paths):
        self.asked = paths

    @contextmanager
    def delivering(self, paths):
        self.deliveries.append(paths)
        yield

    def discard(self):
        self.discarded += 1
        self.etcd.kill()
        return 0.25


class StubArm:
    """Burns what ``cpu`` says in etcd and in a controller of its own, and counts a reconcile for each delivery."""

    cpu = (0.05, 0.03)

    def __init__(self, surroundings):
        self.s, self.reconciles, self.controller, self.ended = surroundings, 0, None, 0

    def install(self):
        self.controller = Burner()
        self.controller.burn(0.1)

    def clocks(self):
        return [ProcessClock("controller", self.controller.identity)]

    def deliver(self, revision):
        self.reconciles += 1
        self.s.actor.run(["true"])
        self.s.lab.etcd.burn(self.cpu[0])
        self.controller.burn(self.cpu[1])
        self.s.lab.api.objects.clear()
        for item in revision.objects():
            self.s.lab.api.put(item)

    def wait_converged(self, handle):
        pass

    def counters(self):
        return {"reconciles": {"kustomization": {"success": self.reconciles, "error": 0}}}

    def uninstall(self):
        self.ended += 1
        if self.controller is not None:
            self.controller.kill()


DAY = [
    {"name": "idle", "kind": "idle", "hold_seconds": 0.05},
    {"name": "deploy", "kind": "deploy", "hold_seconds": 0},
    {"name": "update", "kind": "update", "change": "image", "apps": 1, "times": 2, "hold_seconds": 0},
    {"name": "drift", "kind": "drift", "edit": "config", "apps": 1, "hold_seconds": 0},
    {"name": "prune", "kind": "prune", "remove": 1, "hold_seconds": 0},
]


@pytest.fixture
def make(monkeypatch, tmp_path):
    labs = []

    def period(scenario=DAY, arm=StubArm, checks=None, workload=GENERATED):
        labs.append(StubLab())
        monkeypatch.setattr(module, "make_lab", lambda *_arguments, **_options: labs[-1])
        monkeypatch.setattr(module, "make_arm", lambda _name, surroundings: arm(surroundings))
        settings = {
            "workload": workload,
            "scenario": scenario,
            "source": "estimate",
            "lab": "kwok",
            "apps": 2,
            "sample_seconds": 0.01,
            "interval_seconds": 0.2,
            "settle_seconds": 0.0,
            "baseline_seconds": 0.05,
            "timeout_seconds": 10,
            "checks": checks or {},
        }
        item = {"period_id": "b01-p1-a1", "block": 1, "position": 1, "attempt": 1, "arm": "flux", "label": "flux"}
        return Period({"settings": settings, "seed": 1, "run_id": "r"}, item, {}, str(tmp_path))

    yield period
    for lab in labs:
        assert lab.discarded
        lab.discard()


def test_a_source_that_tells_watts_is_refused_without_sampling(monkeypatch, tmp_path):
    gauge = SimpleNamespace(name="plug", kind="gauge", children_seconds=0.0)
    monkeypatch.setattr(module, "choose_source", lambda _setting: (gauge, {"id": "plug"}))
    settings = {
        "workload": {"kind": "generated", "apps": 1, "replicas": 1, "seed": 1},
        "scenario": DAY,
        "lab": "kwok",
        "sample_seconds": 0.01,
        "sampling": "off",
        "timeout_seconds": 60,
    }
    monkeypatch.setattr(module, "make_lab", lambda *_arguments, **_options: StubLab())
    item = {"period_id": "b01-p1-a1", "block": 1, "position": 1, "attempt": 1, "arm": "flux", "label": "flux"}
    with pytest.raises(KjouleError, match=r"sampling off with the source plug: .*Next: kjoule_sampling: on, or kjoule_source: estimate"):
        Period({"settings": settings, "seed": 1, "run_id": "r"}, item, {}, str(tmp_path))


def by_name(record):
    return {phase["name"]: phase for phase in record["phases"]}


def test_each_phase_holds_what_was_burned_in_it(make):
    one = make()
    record = one.run()
    assert record["valid"], record["reasons"]
    assert [phase["name"] for phase in record["phases"]] == ["baseline", "install", *(phase["name"] for phase in DAY)]
    phases = by_name(record)
    cpu = {name: phase["cpu_seconds"] for name, phase in phases.items()}
    assert "controller" not in cpu["baseline"]
    assert 0.1 <= cpu["install"]["controller"] < 0.25, "all that it has used since it began"
    assert cpu["idle"]["controller"] < 0.01
    for name, deliveries in (("deploy", 1), ("update", 2), ("prune", 1)):
        assert cpu[name]["etcd"] == pytest.approx(deliveries * 0.05, abs=0.02), name
        assert cpu[name]["controller"] == pytest.approx(deliveries * 0.03, abs=0.02), name
        assert phases[name]["actor"]["calls"] == deliveries
        assert phases[name]["converged_seconds"] > 0
    assert phases["idle"]["components"]["controller"] == "arm"
    assert phases["idle"]["components"]["etcd"] == "cluster"
    assert phases["idle"]["components"]["kjoule"] == "tool"
    ends = [(phase["start_ns"], phase["end_ns"]) for phase in record["phases"]]
    assert all(start < end for start, end in ends)
    assert all(end <= after for (_start, end), (after, _end) in zip(ends, ends[1:]))
    assert phases["baseline"]["seconds"] >= 0.05


def test_both_clocks_are_those_of_one_moment_on_a_busy_host_as_well(make, monkeypatch):
    """Whoever reads the two one after the other may lose the processor in between."""
    read = time.time_ns

    def preempted():
        value = read()
        time.sleep(0.05)
        return value

    one = make(DAY[:1])
    monkeypatch.setattr(time, "time_ns", preempted)
    times = read_times()
    clock = one.run()["clock"]
    assert clock["realtime_ns"] - clock["monotonic_ns"] == pytest.approx(times.realtime_ns - times.monotonic_ns, abs=10_000_000)


def test_changes_reconciles_and_the_state_are_told_for_each_phase(make):
    one = make()
    record = one.run()
    phases = by_name(record)
    assert {name: phase["changes"] for name, phase in phases.items()} == {
        "baseline": 0,
        "install": 1,
        "idle": 0,
        "deploy": 2,
        "update": 2,
        "drift": 1,
        "prune": 1,
    }
    assert phases["update"]["counters"] == {"reconciles": {"kustomization": {"success": 2}}}
    assert phases["idle"]["counters"] == {"reconciles": {"kustomization": {}}}
    assert {name: phase["state"]["drifted"] for name, phase in phases.items() if phase["state"]["drifted"]} == {"drift": 1}
    assert [phases[name]["state"]["objects"] for name in ("idle", "deploy", "prune")] == [0, 6, 3]
    assert one._lab.api.patches[0][1] == "somebody"
    assert one._lab.api.namespaces == ["kjoule-apps"]
    assert record["lab"] == {"provider": "stub", "ready_seconds": 1.235, "versions": {"etcd": "3.6"}, "discard_seconds": 0.25}


def test_a_component_that_ends_makes_the_period_invalid_and_is_named(make):
    class Killing(StubArm):
        def deliver(self, revision):
            self.s.lab.etcd.kill()
            raise ApiUnavailable("the API server cannot be reached")

    one = make(arm=Killing)
    record = one.run()
    assert not record["valid"]
    assert record["reasons"] == ["etcd ended during the period"]
    assert record["error"]
    assert [phase["name"] for phase in record["phases"]] == ["baseline", "install", "idle"]
    assert one._arm.ended == 1


def test_the_death_of_an_arms_process_ends_a_long_hold_at_once(make):
    class Dying(StubArm):
        def counters(self):
            if self.controller.popen.poll() is None:
                self.controller.popen.kill()
            return super().counters()

    record = make([{"name": "steady", "kind": "steady", "hold_seconds": 600}], Dying).run()
    assert record["reasons"] == ["controller ended during the period"]
    assert record["seconds"] < 60


def test_what_another_try_would_not_cure_is_raised_and_nothing_is_left(make):
    class Refusing(StubArm):
        def deliver(self, revision):
            raise KjouleError("kubectl apply failed", seen="Invalid value")

    one = make(arm=Refusing)
    with pytest.raises(KjouleError, match="Invalid value"):
        one.run()
    assert one._arm.ended == 1
    with pytest.raises(KjouleError, match="'pause', which is not known"):
        make([{"name": "a", "kind": "pause"}]).run()


def test_the_lab_is_asked_whether_what_the_workload_makes_is_free_and_told_of_every_delivery_of_it(make):
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod"}}]
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "prod"}, "data": {"a": "b"}})
    one = make(
        [*DAY[:2], {"name": "end", "kind": "teardown", "hold_seconds": 0}],
        workload={"kind": "manifests", "apps": [{"name": "a", "objects": objects}]},
    )
    assert one.run()["valid"]
    assert one._lab.api.labels == {"kjoule-apps": {"lab": "stub"}}
    assert [item["metadata"]["labels"] for item in one._workload._base["a"] if item["kind"] == "Namespace"] == [{"lab": "stub"}]
    assert one._lab.asked == ["/api/v1/namespaces/kjoule-apps", "v1/Namespace/prod"]
    assert one._lab.deliveries == [[], [], [], ["v1/Namespace/prod"], ["v1/Namespace/prod"]]


@pytest.fixture
def end_that_fails(monkeypatch):
    def fail(self):
        self.discarded += 1
        self.etcd.kill()
        if self.discarded == 1:
            raise KjouleError("the namespace prod stays", next_step="kubectl delete")

    monkeypatch.setattr(StubLab, "discard", fail)


def test_why_a_period_is_invalid_is_told_as_well_as_what_of_it_stays(make, end_that_fails):
    class Silent(StubArm):
        def deliver(self, revision):
            raise ApiUnavailable("the API server cannot be reached")

    record = make(arm=Silent).run()
    assert not record["valid"]
    assert record["reasons"] == ["the API server cannot be reached", "the namespace prod stays. Next: kubectl delete"]
    assert record["error"] == "the API server cannot be reached. After that: the namespace prod stays. Next: kubectl delete"


def test_why_a_period_cannot_be_measured_is_told_as_well_as_what_of_it_stays(make, end_that_fails):
    class Refusing(StubArm):
        def deliver(self, revision):
            raise KjouleError("kubectl apply failed", seen="Invalid value")

    with pytest.raises(
        KjouleError, match=r"^kubectl apply failed: saw Invalid value\. After that: the namespace prod stays\. Next: kubectl delete$"
    ):
        make(arm=Refusing).run()


def test_a_period_that_was_valid_fails_with_what_of_it_stays(make, end_that_fails):
    with pytest.raises(KjouleError, match=r"^the namespace prod stays\. Next: "):
        make(DAY[:1]).run()


def threshold(fail):
    return {"unit": "MiB free", "worse": "below", "warn": None, "fail": fail, "advice": ""}


def test_a_check_that_fails_before_a_period_saves_measuring_it(make):
    one = make(checks={"disk": threshold(float("inf"))})
    record = one.run()
    assert not record["valid"]
    assert record["phases"] == []
    assert [result["level"] for result in record["checks"]["before"]] == ["fail"]
    assert "the host was not quiet (disk)" in record["reasons"][0]
    assert one._lab.discarded


def test_a_check_that_fails_after_a_period_makes_it_invalid_and_keeps_what_was_measured(make):
    jitter = {"unit": "share", "worse": "above", "warn": None, "fail": -1, "advice": "a less busy host"}
    record = make(checks={"disk": threshold(0), "jitter": jitter}).run()
    assert not record["valid"]
    assert len(record["phases"]) == 2 + len(DAY)
    assert [(result["name"], result["level"]) for result in record["checks"]["after"]] == [("jitter", "fail")]
    assert "the host was not quiet (jitter)" in record["reasons"][0]
    assert record["error"] is None


def test_the_tool_measures_itself():
    clocks = {clock.name: clock for clock in tool_clocks()}
    assert clocks["kjoule"].identity.pid == os.getpid()


@pytest.mark.parametrize(
    ("spent", "hold", "seconds"),
    [
        (0.5, 6, 6),  # converged within the hold: every window is as long as the hold
        (6.1, 6, 9),  # later: one interval of 3 s more, so that no window ends with a burst
        (12.5, 6, 15),
        (4.2, 0, 4.2),  # no hold: it ends with its work
    ],
)
def test_a_window_lasts_its_hold_and_then_whole_intervals(spent, hold, seconds):
    assert window_seconds(spent, hold, 3) == seconds


def test_two_hosts_of_one_run_on_one_kernel_have_labs_of_their_own(tmp_path):
    item = {"period_id": "b01-p1-a1"}
    near, far = ({"run_id": "r" * 90, "host": host} for host in ("near", "far"))
    ids = {module.lab_id(plan, item, str(tmp_path / state)) for plan in (near, far) for state in ("a", "b")}
    assert len(ids) == 4
    assert max(map(len, ids)) <= 100
    assert module.lab_id({"run_id": "r", "host": "near"}, item, str(tmp_path)).startswith("r-b01-p1-a1-")
