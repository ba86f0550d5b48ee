# SPDX-License-Identifier: GPL-3.0-or-later
"""One period: a fresh lab, one arm, the phases of the scenario, each in a window of its own.

Order of work around a window: counters, edge, what the phase does, edge, counters, then the state of the cluster. Between the edges run
the phase and the sampler; and, while a delivery converges, a watch on what has to become ready: that is how its end is seen. What the
watch costs this process is the component ``kjoule``; what it costs the API server cannot be told apart and counts for the cluster, in
both arms.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import time
from typing import Any, Callable

from ..arm.actor import Actor
from ..arm.base import Arm, Surroundings
from ..arm.flux import PORT_NAMES as FLUX_PORTS
from ..arm.registry import make_arm
from ..energy.clocks import ProcessClock, read_times
from ..energy.meter import Edge, Meter
from ..energy.registry import choose_source
from ..energy.source import Source
from ..errors import KjouleError, PeriodInvalid
from ..lab.api import ApiUnavailable, KubeApi
from ..lab.base import READY_TIMEOUT_SECONDS
from ..lab.identity import boot_id, identify, own_line
from ..lab.provider import Lab, make_lab
from .checks.quiet import QuietHost, failures
from .pods import PodMeter, workload_cpu_seconds
from .state import StateChecker
from .workload import Revision, Workload, wait_rolled_out

#: The component that the pods of the workload are together.
WORKLOAD = "workload-pods"
_NAMESPACES = "/api/v1/namespaces"
_DELIVERIES = ("deploy", "update", "prune", "teardown")


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def tool_clocks(source: Source | None = None) -> list[ProcessClock]:
    """This process with the programs that reading ``source`` starts and, on a controller that is itself the host, the ansible-playbook
    processes above it."""
    me = identify(os.getpid())
    children = None if source is None else lambda: source.children_seconds
    clocks = [ProcessClock("kjoule", me, children_seconds=children)] if me is not None else []
    ansible = []
    for pid in sorted(own_line() - {os.getpid()}):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                arguments = stream.read().split(b"\0")[:3]
        except OSError:
            continue
        identity = identify(pid)
        if identity is not None and any(os.path.basename(part).startswith(b"ansible") for part in arguments):
            ansible.append(identity)
    return clocks + [ProcessClock("ansible" if index == 0 else f"ansible-{index + 1}", one) for index, one in enumerate(ansible)]


def lab_id(plan: dict[str, Any], item: dict[str, Any], state_dir: str) -> str:
    """The name of a period's lab: run, period and, since two hosts of one run can share a kernel, what tells those two apart."""
    where = hashlib.sha256(f"{plan.get('host')}:{os.path.realpath(state_dir)}".encode()).hexdigest()[:6]
    return f"{plan['run_id']}-{item['period_id']}"[:93] + f"-{where}"


#: Between the edges nothing is read with ``sampling: off``, but counters that wrap: those as often as they have to be, whatever is asked.
HARDLY_EVER_SECONDS = 86400.0


class Period:
    """Runs one period and makes its record (docs/architecture.md). ``item`` is one entry of the plan's remaining periods."""

    def __init__(
        self,
        plan: dict[str, Any],
        item: dict[str, Any],
        binaries: dict[str, str],
        state_dir: str,
        versions: dict[str, str] | None = None,
    ) -> None:
        self.settings = plan["settings"]
        self.item = item
        self.binaries = binaries
        self._versions = versions or {}
        self._scenario = [dict(phase) for phase in self.settings["scenario"]]
        self._workload = Workload(self.settings["workload"], int(plan["seed"]) * 1000 + int(item["block"]))
        source, self.source_description = choose_source(self.settings.get("source"))
        self._quiet = QuietHost(self.settings, state_dir, plan["run_id"])
        ports = self.settings.get("ports") or {}
        self._lab: Lab = make_lab(
            self.settings["lab"],
            binaries,
            state_dir,
            lab_id=lab_id(plan, item, state_dir),
            fixed_ports={name: port for name, port in ports.items() if name not in FLUX_PORTS},
            options=self.settings.get(self.settings["lab"]),
            ready_timeout=max(READY_TIMEOUT_SECONDS, float(self.settings["timeout_seconds"])),
        )
        self._sampling = self.settings.get("sampling", "on") == "on"
        if not self._sampling and source is not None and source.kind == "gauge":
            raise KjouleError(
                f"sampling off with the source {source.name}",
                expected="a source that counts joules: one that tells watts knows no energy without samples",
                next_step="kjoule_sampling: on, or kjoule_source: estimate",
            )
        sample_seconds = float(self.settings["sample_seconds"]) if self._sampling else HARDLY_EVER_SECONDS
        self._meter = Meter(tool_clocks(source), source, sample_seconds, lambda: None)
        self._roles = {clock.name: "tool" for clock in self._meter.clocks}
        self._actor: Actor | None = None
        self._arm: Arm | None = None
        self._checker: StateChecker | None = None
        self._pods: PodMeter | None = None
        self._revision = Revision(0, {})

    def run(self) -> dict[str, Any]:
        """Run it and return the record, valid or not.

        Raises KjouleError for what another try would not cure (a port taken, a manifest refused, a damaged binary); the lab is gone then,
        too.
        """
        self._meter.hold(float(self.settings.get("washout_seconds") or 0.0))
        begin, times = time.monotonic(), read_times()
        record: dict[str, Any] = {
            "kind": "period",
            **{key: self.item[key] for key in ("period_id", "block", "position", "attempt", "arm", "label")},
            "started_at": _now(),
            # Both clocks at one moment: where the windows, which are monotonic, lie in the time of other people's readings.
            "clock": {"realtime_ns": times.realtime_ns, "monotonic_ns": times.monotonic_ns},
            "boot_id": boot_id(),
            "valid": True,
            "reasons": [],
            "lab": {"provider": self._lab.provider},
            "phases": [],
            "checks": {"before": [], "after": []},
            "leftovers": [],
            "error": None,
        }
        fatal: KjouleError | None = None
        try:
            record["checks"]["before"] = self._quiet.before()
            loud = failures(record["checks"]["before"])
            if loud:
                raise PeriodInvalid("; ".join(loud))
            self._measure(record)
        except KjouleError as error:
            # What fails after a component has ended (kubectl, git push, a request) fails for that reason: say which component it was.
            dead = self._dead()
            if not dead and not isinstance(error, (PeriodInvalid, ApiUnavailable)):
                fatal = error
                raise
            record["valid"] = False
            record["reasons"].append(f"{', '.join(dead)} ended during the period" if dead else str(error))
            record["error"] = str(error)
        finally:
            self._end_and_tell(record, fatal)
        record["samples"] = self._meter.samples()
        record["checks"]["after"] = self._quiet.after(record["phases"], record["samples"]["t_ns"])
        loud = failures(record["checks"]["after"])
        record["valid"] = record["valid"] and not loud
        record["reasons"] += loud
        for phase in record["phases"]:
            if not phase["valid"]:
                record["valid"] = False
                record["reasons"] += [f"{phase['name']}: {reason}" for reason in phase["reasons"]]
        record["finished_at"] = _now()
        record["finished_unix"] = round(time.time(), 3)
        record["seconds"] = round(time.monotonic() - begin, 3)
        return record

    def _end_and_tell(self, record: dict[str, Any], fatal: KjouleError | None) -> None:
        """End it. Where that fails, why the period failed before is told as well, and a period that is invalid stays a record."""
        try:
            record["lab"]["discard_seconds"] = round(self.end(), 3)
        except KjouleError as error:
            if fatal is not None:
                raise KjouleError(_both(fatal, error)) from error
            if record["valid"]:
                raise
            record["reasons"].append(str(error))
            record["error"] = _both(record["error"], error)

    def end(self) -> float:
        """End what the period started and remove its lab; returns the seconds that the lab took. Idempotent."""
        self._meter.stop()
        try:
            if self._arm is not None:
                self._arm.uninstall()
        finally:
            seconds = self._lab.discard()
        return seconds

    def _dead(self) -> list[str]:
        """Components of lab and arm that were measured and run no longer."""
        return [clock.name for clock in self._meter.clocks if not clock.identity.alive()]

    def _check(self) -> None:
        """Raise PeriodInvalid when something spoils the period. Asked in every wait; who does not sample looks for the dead here."""
        self._meter.check()
        if not self._sampling and (dead := self._dead()):
            raise PeriodInvalid(f"{', '.join(dead)} ended during the period")

    def _measure(self, record: dict[str, Any]) -> None:
        info = self._lab.fresh()
        record["lab"].update(ready_seconds=round(info.ready_seconds, 3), versions=info.versions)
        roles = self._lab.component_roles()
        self._meter.add(self._lab.clocks())
        reader = self._lab.pods()
        if reader is not None:
            self._pods = PodMeter(reader)
            self._meter.pods = self._pods.read
        self._roles.update(roles)
        self._actor = Actor(self._lab.command_environment(), float(self.settings["timeout_seconds"]))
        surroundings = Surroundings(
            self._lab,
            self._actor,
            self.binaries,
            self.settings,
            self._check,
            self.settings.get("extra") or {},
            self._versions,
        )
        self._arm = make_arm(self.item["arm"], surroundings)
        self._checker = StateChecker(self._lab.api)
        needed = self._workload.adapt(self._lab.api, self._lab.labels)
        self._lab.refuse_taken([*(f"{_NAMESPACES}/{namespace}" for namespace in needed), *self._workload.outside])
        for namespace in needed:
            if namespace not in ("default", "kube-system", "kube-public", "kube-node-lease"):
                metadata = {"name": namespace, "labels": self._lab.labels}
                self._lab.api.create(_NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
                self._lab.adopt(f"{_NAMESPACES}/{namespace}")
        self._meter.start()
        self._meter.hold(float(self.settings["settle_seconds"]) + float(self.settings.get("warmup_seconds") or 0.0))
        self._phase(record, {"name": "baseline", "kind": "baseline", "hold_seconds": float(self.settings["baseline_seconds"])})
        self._phase(record, {"name": "install", "kind": "install", "hold_seconds": 0.0})
        self._meter.add(self._arm.clocks())
        self._roles.update({clock.name: "arm" for clock in self._arm.clocks()})
        for phase in self._scenario:
            self._meter.hold(float(self.settings["settle_seconds"]))
            self._phase(record, phase)

    # --- one phase

    def _phase(self, record: dict[str, Any], phase: dict[str, Any]) -> None:
        assert self._arm is not None
        assert self._actor is not None
        assert self._checker is not None
        installed = phase["kind"] not in ("baseline", "install")
        before = self._arm.counters() if installed else {"reconciles": {}}
        work = self._prepare(phase)
        self._actor.take_use()
        with self._lab.delivering(self._workload.outside if phase["kind"] in _DELIVERIES else []):
            start = self._meter.edge()
            changes, converged = work()
            spent = (time.monotonic_ns() - start.t_ns) / 1e9
            hold = window_seconds(spent, float(phase.get("hold_seconds") or 0.0), float(self.settings["interval_seconds"]))
            self._meter.hold(hold - spent)
            end = self._end_edge(phase, start)
            use = self._actor.take_use()
        after = self._arm.counters() if installed else {"reconciles": {}}
        window = self._meter.window(start, end)
        entry: dict[str, Any] = {
            "name": phase["name"],
            "kind": phase["kind"],
            "index": len(record["phases"]),
            **window,
            "converged_seconds": converged,
            "changes": changes,
            "components": {name: self._roles[name] for name in window["cpu_seconds"]},
            "actor": {"cpu_seconds": use.cpu_seconds, "calls": use.calls, "seconds": use.seconds},
            "counters": {"reconciles": _difference(before["reconciles"], after["reconciles"])},
            "valid": True,
            "reasons": [],
        }
        entry["state"] = self._checker.compare(self._revision)
        if self._pods is not None:
            edges = (start.unix_seconds, end.unix_seconds)
            entry["pods"] = self._pods.describe(
                self._lab.api, start.pods, end.pods, self._revision, entry["state"], self._workload.namespaces, edges
            )
            if self._pods.inside is None:
                entry["cpu_seconds"][WORKLOAD] = workload_cpu_seconds(entry["pods"])
                entry["components"][WORKLOAD] = "workload"
        for energy in entry["energy"]:
            if not energy["valid"]:
                entry["valid"] = False
                entry["reasons"] += energy["reasons"]
        record["phases"].append(entry)
        self._meter.check()

    def _end_edge(self, phase: dict[str, Any], start: Edge) -> Edge:
        edge = self._meter.edge()
        if phase["kind"] == "install":
            # The arm's processes began inside this window: all the CPU time they have ever used belongs to it.
            assert self._arm is not None
            for clock in self._arm.clocks():
                self._roles[clock.name] = "arm"
                start.cpu_ns[clock.name] = 0
                edge.cpu_ns[clock.name] = clock.checked_read_ns()
        return edge

    def _prepare(self, phase: dict[str, Any]) -> Callable[[], tuple[int, float | None]]:
        """What the phase does between its edges: a function that returns the number of changes and the seconds until converged."""
        kind = phase["kind"]
        if kind in ("baseline", "idle", "steady"):
            return lambda: (0, None)
        if kind == "install":
            return self._install
        if kind == "drift":
            edited = self._workload.drift(phase["edit"], int(phase["apps"]))
            return lambda: (self._drift(edited), None)
        if kind == "deploy":
            revisions = [(self._workload.deploy(), int(self.settings["apps"]))]
        elif kind == "update":
            revisions = [self._workload.update(phase["change"], int(phase["apps"])) for _ in range(int(phase["times"]))]
            revisions = [(revision, 1) for revision, _count in revisions]
        elif kind == "prune":
            revisions = [(self._workload.prune(int(phase["remove"])), int(phase["remove"]))]
        elif kind == "teardown":
            revisions = [(self._workload.teardown(), 1)]
        else:
            raise KjouleError(f"phase {phase['name']!r} is of kind {kind!r}, which is not known", next_step="correct the scenario")
        return lambda: self._deliver(revisions)

    def _install(self) -> tuple[int, float | None]:
        assert self._arm is not None
        begin = time.monotonic()
        self._arm.install()
        return 1, round(time.monotonic() - begin, 6)

    def _deliver(self, revisions: list[tuple[Revision, int]]) -> tuple[int, float]:
        assert self._arm is not None
        begin = time.monotonic()
        changes = 0
        for revision, count in revisions:
            self._revision = revision
            handle = self._arm.deliver(revision)
            self._arm.wait_converged(handle)
            wait_rolled_out(self._lab.api, revision, self._check, float(self.settings["timeout_seconds"]))
            changes += count
        return changes, round(time.monotonic() - begin, 6)

    def _drift(self, edited: list[dict[str, Any]]) -> int:
        """Somebody edits live objects with a merge patch, past the delivery. Whoever that is, is not the actor: not counted as one."""
        api: KubeApi = self._lab.api
        for item in edited:
            meta = item["metadata"]
            path = api.path_for(item["apiVersion"], item["kind"], meta.get("namespace"), meta["name"])
            body = {name: value for name, value in item.items() if name in ("spec", "data")}
            api.patch(path, body, field_manager="somebody")
        return len(edited)


def _both(first: object, second: object) -> str:
    return f"{str(first).rstrip('.')}. After that: {second}"


def window_seconds(spent_seconds: float, hold_seconds: float, interval_seconds: float) -> float:
    """How long a window is to last: its hold, and beyond that whole reconcile intervals.

    Flux works in bursts, one for each interval. A window that ends with a delivery ends right after a burst, and would hold one burst more
    than its length accounts for; one of whole intervals does not. A phase without a hold ends when its work is done.
    """
    if hold_seconds <= 0 or spent_seconds <= hold_seconds:
        return max(hold_seconds, spent_seconds)
    return hold_seconds + math.ceil((spent_seconds - hold_seconds) / interval_seconds) * interval_seconds


def _difference(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    changes = {
        name: {result: number - before.get(name, {}).get(result, 0) for result, number in results.items()}
        for name, results in after.items()
    }
    return {name: {result: number for result, number in results.items() if number} for name, results in changes.items()}
