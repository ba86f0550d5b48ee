# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU-seconds by phase, side and component, with actor, machine and residual. Pure."""

from __future__ import annotations

import math
from typing import Any

from .phases import CLUSTER_SIDE, actor_of, mean_of, reconciles_of, residual_of
from .selection import Selected


def component_table(plan: dict[str, Any], selected: Selected) -> list[dict[str, Any]]:
    """Mean CPU-seconds per phase and side, by component; actor, machine, residual, steal. In the order of the scenario."""
    rows = []
    order: dict[str, int] = {}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for sides in selected.values():
        for label, record in sides.items():
            for phase in record["phases"]:
                order.setdefault(phase["name"], phase.get("index", len(order)))
                groups.setdefault((phase["name"], label), []).append(phase)
    labels = plan["settings"]["labels"]
    for name, label in sorted(groups, key=lambda key: (order[key[0]], key[0], labels.index(key[1]))):
        phases = groups[(name, label)]
        roles: dict[str, str] = {}
        spent: dict[str, list[float]] = {}
        for phase in phases:
            roles.update(phase.get("components") or {})
            for component, seconds in phase["cpu_seconds"].items():
                spent.setdefault(component, []).append(seconds)
        # A component that is not there in a period used no time in it: the mean is over all periods.
        components: list[dict[str, Any]] = [
            {"name": component, "role": roles.get(component, "cluster"), "cpu_seconds": math.fsum(spent[component]) / len(phases)}
            for component in sorted(spent)
        ]
        converged = [phase["converged_seconds"] for phase in phases if phase.get("converged_seconds") is not None]
        rows.append(
            {
                "phase": name,
                "kind": phases[0]["kind"],
                "label": label,
                "periods": len(phases),
                "seconds": mean_of([phase["seconds"] for phase in phases]),
                "converged_seconds": mean_of(converged),
                "components": components,
                "cluster_side_cpu_seconds": math.fsum(part["cpu_seconds"] for part in components if part["role"] in CLUSTER_SIDE),
                "tool_cpu_seconds": math.fsum(part["cpu_seconds"] for part in components if part["role"] == "tool"),
                "actor_cpu_seconds": mean_of([actor_of(phase) for phase in phases]),
                "machine_busy_seconds": mean_of(_machine(phases, "busy_seconds")),
                "residual_seconds": mean_of([residual for residual in map(residual_of, phases) if residual is not None]),
                "steal_seconds": mean_of(_machine(phases, "steal_seconds")),
                "reconciles": mean_of([float(reconciles_of(phase)) for phase in phases]),
            }
        )
    return rows


def _machine(phases: list[dict[str, Any]], key: str) -> list[float]:
    values = [(phase.get("machine") or {}).get(key) for phase in phases]
    return [value for value in values if value is not None]
