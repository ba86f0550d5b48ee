# SPDX-License-Identifier: GPL-3.0-or-later
"""From the host to a virtual machine to the pods in it: who used the CPU time and the energy of its process. Pure.

The rule. On the host the machine is one process; its energy is its CPU time times what a CPU-second costs (as for every component: by
calibration, by share, or estimated). Inside, the kubelet counts the CPU time of pods and of the whole guest. A CPU-second of a pod is a
CPU-second of a virtual processor and so of that process: every pod gets the part of the machine's energy that its CPU time is of the
machine's, on the host. What is left has two names: ``guest``, what the guest used outside of pods (its kernel, kubelet, container runtime),
and ``overhead``, what the process used beyond all of that (emulation of devices, exits). Pods, guest and overhead add up to the machine
exactly. A negative overhead is the error of guest counters that are read every 10 to 15 s, and is shown as it is.
"""

from __future__ import annotations

import math
from typing import Any

from .attribution import attribute, choose
from .phases import measured
from .selection import Selected

#: state of a pod of the workload -> the part that it belongs to; pods of the node and of Flux are ``other pods``.
PARTS = {"desired": "workload", "orphan": "orphaned pods", "drifted": "drifted pods"}
OTHER, ENDED, GUEST, OVERHEAD = "other pods", "pods that ended", "guest", "overhead"


def split(phase: dict[str, Any]) -> dict[str, float] | None:
    """CPU-seconds of the machine's process by part, adding up to it exactly; None where no guest was read, or twice the same reading."""
    machine = (phase.get("pods") or {}).get("machine")
    if machine is None or machine["read_seconds"] <= 0:
        return None
    parts = dict.fromkeys([*PARTS.values(), OTHER], 0.0)
    for pod in phase["pods"]["pods"]:
        parts[PARTS[pod["state"]] if pod["role"] == "workload" else OTHER] += pod["cpu_seconds"]
    parts[ENDED] = phase["pods"]["ended_cpu_seconds"]
    parts[GUEST] = machine["cpu_seconds"] - math.fsum(parts.values())
    parts[OVERHEAD] = phase["cpu_seconds"][machine["component"]] - machine["cpu_seconds"]
    return parts


def joules_of(phase: dict[str, Any], scope: str | None, calibration: dict[str, Any] | None, row: dict[str, Any]) -> tuple[str, float]:
    """Joules of the machine's process in a phase, and how: ``marginal``, ``share`` or ``estimated``."""
    component = phase["pods"]["machine"]["component"]
    if scope is None or measured(phase, scope) is None:
        return "estimated", phase["cpu_seconds"][component] * row["joules_per_cpu_second"]
    part = attribute(phase, scope, calibration)["parts"][component]
    method = "share" if part["marginal"] is None else "marginal"
    return method, part[method]["joules"]


def table(plan: dict[str, Any], selected: Selected, scopes: list[str]) -> list[dict[str, Any]]:
    """One row per phase and side: ``{phase, label, periods, method, cpu_seconds, joules, parts: [{name, cpu_seconds, joules}]}``, means.

    Empty where no virtual machine was looked into.
    """
    scope, calibration = choose(scopes, plan["settings"].get("energy_calibration"))
    groups: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    for sides in selected.values():
        for label, record in sides.items():
            for phase in record["phases"]:
                if split(phase) is not None:
                    groups.setdefault((phase["index"], phase["name"], label), []).append(phase)
    labels = plan["settings"]["labels"]
    rows = []
    for (_index, name, label), phases in sorted(groups.items(), key=lambda item: (item[0][0], labels.index(item[0][2]))):
        found = [split(phase) or {} for phase in phases]
        used = [joules_of(phase, scope, calibration, plan["settings"]["estimate"]) for phase in phases]
        methods = sorted({method for method, _joules in used})
        cpu = [math.fsum(parts.values()) for parts in found]
        costs = [joules / seconds if seconds else 0.0 for (_method, joules), seconds in zip(used, cpu, strict=True)]
        rows.append(
            {
                "phase": name,
                "label": label,
                "periods": len(phases),
                "method": "+".join(methods),
                "cpu_seconds": math.fsum(cpu) / len(cpu),
                "joules": math.fsum(joules for _method, joules in used) / len(used),
                "parts": [
                    {
                        "name": part,
                        "cpu_seconds": math.fsum(parts[part] for parts in found) / len(found),
                        "joules": math.fsum(parts[part] * cost for parts, cost in zip(found, costs, strict=True)) / len(found),
                    }
                    for part in found[0]
                ],
            }
        )
    return rows
