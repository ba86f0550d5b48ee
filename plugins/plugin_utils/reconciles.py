# SPDX-License-Identifier: GPL-3.0-or-later
"""What one reconcile costs, from idle to steady. Pure."""

from __future__ import annotations

import math
from typing import Any

from . import statistics
from .metrics import Values
from .phases import phases_of, reconciles_of, usable
from .plan import arm_of
from .selection import Selected


def reconcile_table(plan: dict[str, Any], selected: Selected, values: Values) -> dict[str, dict[str, Any]]:
    """label -> cost of a reconcile with its interval, for the sides that are flux."""
    result = {}
    for label in plan["settings"]["labels"]:
        if arm_of(plan, label) != "flux":
            continue
        costs = _reconcile_costs(plan, selected, values, label)
        if costs:
            confidence = 1 - plan["settings"]["alpha"]
            result[label] = {
                "unit": "CPU-seconds per reconcile",
                "what": "CPU time per reconcile from idle to steady, less what the workload adds without Flux",
                **statistics.mean_interval([cost["cpu_seconds"] for cost in costs], confidence),
                "reconciles": sum(int(cost["reconciles"]) for cost in costs),
                "reconciles_per_second": math.fsum(cost["per_second"] for cost in costs) / len(costs),
            }
    return result


def reconcile_rate(record: dict[str, Any], kind: str) -> float | None:
    """Reconciles per second in the phases of one kind; None where there is none."""
    phases = phases_of(record, kind)
    return sum(reconciles_of(phase) for phase in phases) / math.fsum(phase["seconds"] for phase in phases) if usable(phases) else None


def reconcile_cost(
    record: dict[str, Any], metrics: dict[str, float | None], without: dict[str, float | None] | None
) -> dict[str, float] | None:
    """What a reconcile costs in one block: ``{cpu_seconds, per_second, reconciles}``; None if too little was counted.

    The slope between two points of this side: idle (Flux looks after itself only) and steady (and after the apps). ``metrics`` are those of
    the record, ``without`` those of the other side of the block where it has no Flux: its own difference between steady and idle, the cost
    of having the workload at all, is taken off.
    """
    idle_rate, steady_rate = reconcile_rate(record, "idle"), reconcile_rate(record, "steady")
    rest, idle = metrics["rest"], metrics["idle"]
    if rest is None or idle is None or idle_rate is None or steady_rate is None or steady_rate <= idle_rate:
        return None
    if without is not None:
        if without["rest"] is None or without["idle"] is None:
            return None
        rest, idle = rest - without["rest"], idle - without["idle"]
    cost = (rest - idle) / (steady_rate - idle_rate)
    number = sum(reconciles_of(phase) for phase in phases_of(record, "steady"))
    return {"cpu_seconds": cost, "per_second": steady_rate, "reconciles": number}


def _reconcile_costs(plan: dict[str, Any], selected: Selected, values: Values, label: str) -> list[dict[str, float]]:
    other = next(name for name in plan["settings"]["labels"] if name != label)
    without = arm_of(plan, other) != "flux"
    costs = (
        reconcile_cost(sides[label], values[block][label], values[block][other] if without else None) for block, sides in selected.items()
    )
    return [cost for cost in costs if cost]
