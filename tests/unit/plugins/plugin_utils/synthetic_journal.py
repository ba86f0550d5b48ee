"""Journals with an injected truth, made without any code that is under test.

``Truth`` says what a CPU costs on each side. ``records`` turns a plan into the period records that a perfect
measurement of that truth would leave, plus noise if asked for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Truth:
    """CPU, cluster side, of one label. Rates in CPU, costs in CPU-seconds."""

    idle: float = 0.050
    reconcile: float = 0.0  # per reconcile; adds to rest
    workload: float = 0.010  # what a deployed workload adds to the rate, reconciles apart
    deploy: float = 1.0
    change: float = 0.2
    deploy_actor: float = 0.8
    change_actor: float = 0.1
    drifted: int = 2
    orphans: int = 6
    root_reconciles: int = 0  # per interval, with or without apps; their cost is part of idle


SNOWFLAKE = Truth()
FLUX = Truth(idle=0.060, reconcile=0.02, deploy=1.5, change=0.5, deploy_actor=0.05, change_actor=0.03, drifted=0, orphans=0)
#: The two sides of a plan with the default arms, by label.
TRUTHS = {"snowflake": SNOWFLAKE, "flux": FLUX}


@dataclass
class Recipe:
    """How records are made from a plan."""

    truths: dict[str, Truth]
    noise_cpu: float = 0.0
    watts_idle: float | None = None
    joules_per_cpu_second: float = 3.0
    scope: str = "rapl:package+dram"
    hash_of: dict[str, str] = field(default_factory=dict)
    simulator: float = 0.004
    tool: float = 0.003
    seed: int = 5
    pods: dict[str, float] | None = None  # CPU of a real pod by its state: desired, drifted, orphan; None where none runs (kwok)


#: A pod that a hand edit made is there so much later than the window.
LATE_SECONDS = 1.0


def pods_of(recipe: Recipe, kind: str, seconds: float, numbers: dict[str, int]) -> dict[str, Any]:
    """What a phase record says of pods: so many of each state, each with the CPU time that the truth gives it, to the nanosecond."""
    assert recipe.pods is not None
    pods = []
    for state, number in numbers.items():
        lived = seconds - LATE_SECONDS if (state, kind) == ("drifted", "drift") else seconds
        used = {"seconds": lived, "cpu_seconds": recipe.pods[state] * lived}
        pods += [
            {
                "namespace": "kjoule-apps",
                "name": f"{state}-{index}",
                "workload": f"Deployment kjoule-apps/{state}",
                "role": "workload",
                **used,
            }
            | {"state": state}
            for index in range(number)
        ]
    # Nobody's figure may hold what is not the workload's.
    other = {"workload": "Pod kube-system/etcd", "role": "other", "state": "desired", "seconds": seconds, "cpu_seconds": 0.5 * seconds}
    pods.append({"namespace": "kube-system", "name": "etcd", **other})
    return {"source": "cgroup v2", "pods": pods, "ended_cpu_seconds": 0.0, "cpu_seconds": sum(pod["cpu_seconds"] for pod in pods)}


def header(plan: dict[str, Any], **source: Any) -> dict[str, Any]:
    return {
        "kind": "header",
        "schema": "kjoule.journal/1",
        "run_id": plan["run_id"],
        "plan_hash": plan["plan_hash"],
        "tool_version": "0.1.0",
        "started_at": "2024-05-01T10:00:00Z",
        "host": {"name": plan["host"], "boot_id": "boot-1", "kernel": "6.1.0", "cpu_model": "Model | X", "cpus": 8, "python": "3.11.2"},
        "binaries": {"etcd": {"version": "3.5.1", "sha256": "ab" * 32, "origin": "built"}},
        "source": source or {"name": None, "kind": None, "scope": None, "unavailable": ["rapl: energy_uj is readable by root only"]},
    }


def period(plan: dict[str, Any], block: int, label: str, recipe: Recipe, *, attempt: int = 1) -> dict[str, Any]:
    """One period record of ``label``, as the truth of that label makes it."""
    settings = plan["settings"]
    truth = recipe.truths[label]
    draw = random.Random(f"{recipe.seed}/{block}/{label}/{attempt}")
    position = next(item for item in plan["blocks"] if item["block"] == block)["order"].index(label) + 1
    arm = settings["arms"][settings["labels"].index(label)]
    flux = arm == "flux"
    idle_rate = truth.idle + draw.gauss(0, recipe.noise_cpu)
    reconciles_per_second = settings["apps"] / settings["interval_seconds"] if flux else 0.0
    rest_rate = idle_rate + truth.workload + truth.reconcile * reconciles_per_second
    root = truth.root_reconciles / settings["interval_seconds"]
    per_second = (root, root + reconciles_per_second)  # idle, every other phase
    phases: list[dict[str, Any]] = []

    def add(
        name: str,
        kind: str,
        seconds: float,
        cpu: float,
        *,
        actor: float = 0.0,
        changes: int = 0,
        state: dict[str, Any] | None = None,
        pods: dict[str, int] | None = None,
    ) -> None:
        simulator = 0.0 if recipe.pods else recipe.simulator * seconds
        own = (cpu - simulator) / 2
        parts = {"etcd": own, "kube-apiserver": own, "kwok-controller": simulator, "kjoule": recipe.tool * seconds}
        roles = {"etcd": "cluster", "kube-apiserver": "cluster", "kwok-controller": "simulator", "kjoule": "tool"}
        if flux:
            parts["etcd"], parts["kustomize-controller"], roles["kustomize-controller"] = own / 2, own / 2, "arm"
        real: dict[str, Any] = {}
        if recipe.pods:
            del parts["kwok-controller"], roles["kwok-controller"]
            real = {"pods": pods_of(recipe, kind, seconds, pods or {})}
            parts["workload-pods"] = sum(pod["cpu_seconds"] for pod in real["pods"]["pods"] if pod["role"] == "workload")
            roles["workload-pods"] = "workload"
        busy = cpu + parts.get("workload-pods", 0.0) + recipe.tool * seconds + actor + 0.1 * seconds
        energy = []
        if recipe.watts_idle is not None:
            joules = recipe.watts_idle * seconds + recipe.joules_per_cpu_second * (cpu + actor + parts.get("workload-pods", 0.0))
            energy = [
                {
                    "source": "rapl",
                    "scope": recipe.scope,
                    "kind": "measured",
                    "joules": joules,
                    "seconds": seconds,
                    "uncertainty_joules": 0.01,
                    "readings": 10,
                    "valid": True,
                    "reasons": [],
                    "parts": {},
                }
            ]
        phases.append(
            {
                "name": name,
                "kind": kind,
                "index": len(phases),
                "start_ns": 0,
                "end_ns": int(seconds * 1e9),
                "seconds": seconds,
                "converged_seconds": None,
                "changes": changes,
                "cpu_seconds": parts,
                "components": roles,
                "actor": {"cpu_seconds": actor, "calls": 1, "seconds": actor},
                "machine": {
                    "busy_seconds": busy,
                    "idle_seconds": 8 * seconds - busy,
                    "iowait_seconds": 0.0,
                    "steal_seconds": 0.0,
                    "cpus": 8,
                    "resolution_seconds": 0.01,
                },
                "energy": energy,
                "counters": {"reconciles": {"kustomization": {"success": round(per_second[kind != "idle"] * seconds), "error": 0}}}
                if flux
                else {},
                "state": state,
                **real,
                "valid": True,
                "reasons": [],
            }
        )

    def objects(drifted: int = 0, orphans: int = 0) -> dict[str, Any]:
        return {
            "hash": recipe.hash_of.get(label, "same"),
            "objects": 15,
            "drifted": drifted,
            "orphans": orphans,
            "missing": 0,
            "names": {"drifted": [], "orphans": [], "missing": []},
        }

    replicas = int(settings["workload"].get("replicas", 1))
    whole = {"desired": settings["apps"] * replicas}
    # Of a removed app three objects stay, one of them the Deployment.
    gone = truth.orphans // 3 * replicas

    add("baseline", "baseline", 2.0, 0.02)
    add("install", "install", 1.0, 0.5)
    for phase in settings["scenario"]:
        hold, kind, name = float(phase["hold_seconds"]), phase["kind"], phase["name"]
        if kind == "idle":
            add(name, kind, hold, idle_rate * hold)
        elif kind == "deploy":
            add(name, kind, 3.0, idle_rate * 3.0 + truth.deploy, actor=truth.deploy_actor, changes=1, state=objects())
        elif kind == "steady":
            add(name, kind, hold, rest_rate * hold, state=objects(), pods=whole)
        elif kind == "update":
            times = phase["times"]
            add(name, kind, 6.0, rest_rate * 6.0 + truth.change * times, actor=truth.change_actor * times, changes=times, state=objects())
        elif kind == "drift":
            edited = whole | {"drifted": truth.drifted}
            add(name, kind, hold, rest_rate * hold, changes=phase["apps"], state=objects(drifted=truth.drifted), pods=edited)
        elif kind == "prune":
            # The hand edits are still there, in apps that nobody removed.
            left = {"desired": whole["desired"] - 2 * replicas, "orphan": gone, "drifted": truth.drifted}
            add(name, kind, hold, rest_rate * hold, changes=1, state=objects(orphans=truth.orphans), pods=left)
        elif kind == "teardown":
            add(name, kind, 1.0, 0.3)
    return {
        "kind": "period",
        "period_id": f"b{block:02d}-p{position}-a{attempt}",
        "block": block,
        "position": position,
        "attempt": attempt,
        "arm": arm,
        "label": label,
        "started_at": "2024-05-01T10:00:00Z",
        "finished_at": f"2024-05-01T10:{block:02d}:00Z",
        "boot_id": "boot-1",
        "seconds": 30.0,
        "valid": True,
        "reasons": [],
        "lab": {"provider": "kwok", "ready_seconds": 3.0, "discard_seconds": 1.0, "versions": {}},
        "phases": phases,
        "samples": {},
        "checks": {"before": [], "after": []},
        "leftovers": [],
        "error": None,
    }


def records(plan: dict[str, Any], recipe: Recipe, blocks: int | None = None) -> list[dict[str, Any]]:
    """Period records of the first ``blocks`` blocks (all without it), in the order of the plan."""
    return [period(plan, item["block"], label, recipe) for item in plan["blocks"][:blocks] for label in item["order"]]


def invalid(record: dict[str, Any], reason: str = "host under load before the period") -> dict[str, Any]:
    return {**record, "valid": False, "reasons": [reason]}
