# SPDX-License-Identifier: GPL-3.0-or-later
"""What the record of a period says of its phases: CPU-seconds, joules, rates, reconciles. Pure.

Amounts are CPU-seconds or joules, rates CPU or watts; None is what a phase does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

#: Roles of components that make up the cluster side of a cost.
CLUSTER_SIDE = ("cluster", "arm", "simulator")


def phases_of(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The phases of one kind, in order."""
    return [phase for phase in record["phases"] if phase["kind"] == kind]


def measured_phases(record: dict[str, Any]) -> tuple[list[dict[str, Any]], ...]:
    """The phases of the kinds that metrics are made of: idle, deploy, steady, update."""
    found: dict[str, list[dict[str, Any]]] = {"idle": [], "deploy": [], "steady": [], "update": []}
    for phase in record["phases"]:
        if phase["kind"] in found:
            found[phase["kind"]].append(phase)
    return tuple(found.values())


def cpu_of(phase: dict[str, Any], roles: tuple[str, ...] = CLUSTER_SIDE) -> float:
    """CPU-seconds of the components that play one of ``roles``. A component without a role counts for the cluster side."""
    components = phase.get("components") or {}
    return math.fsum([seconds for name, seconds in phase["cpu_seconds"].items() if components.get(name, "cluster") in roles])


def actor_of(phase: dict[str, Any]) -> float:
    """CPU-seconds of what the actor ran in a phase; 0 where it ran nothing."""
    return (phase.get("actor") or {}).get("cpu_seconds") or 0.0


def residual_of(phase: dict[str, Any]) -> float | None:
    """Busy time of the machine minus every component minus the actor; None if the machine's clock was not read."""
    busy = (phase.get("machine") or {}).get("busy_seconds")
    return None if busy is None else busy - math.fsum(phase["cpu_seconds"].values()) - actor_of(phase)


def measured(phase: dict[str, Any], scope: str) -> float | None:
    """Measured joules of one scope in a phase; None unless there is exactly one valid window of it."""
    found = [
        entry
        for entry in phase.get("energy") or []
        if entry.get("kind") == "measured" and entry.get("scope") == scope and entry.get("valid")
    ]
    return found[0]["joules"] if len(found) == 1 and found[0].get("joules") is not None else None


def reconciles_of(phase: dict[str, Any], result: str | None = None) -> int:
    """Reconciles counted in a phase, of every kind, with one result (as controller-runtime names it) or any."""
    counted = (phase.get("counters") or {}).get("reconciles") or {}
    return sum(number for results in counted.values() for name, number in results.items() if result in (None, name))


def usable(phases: list[dict[str, Any]]) -> bool:
    """Whether there are phases, all of them valid, that together took some time."""
    return bool(phases) and all(phase.get("valid", True) for phase in phases) and math.fsum(phase["seconds"] for phase in phases) > 0


def total_of(phases: list[dict[str, Any]], amount: Callable[[dict[str, Any]], float | None]) -> float | None:
    """The sum of an amount over phases, in its unit; None where they are not usable or one of them does not tell it."""
    if not usable(phases):
        return None
    amounts = [value for phase in phases if (value := amount(phase)) is not None]
    return math.fsum(amounts) if len(amounts) == len(phases) else None


def rate_of(phases: list[dict[str, Any]], amount: Callable[[dict[str, Any]], float | None]) -> float | None:
    """An amount per second of the phases: CPU of CPU-seconds, watts of joules; None where ``total_of`` is."""
    total = total_of(phases, amount)
    return None if total is None else total / math.fsum(phase["seconds"] for phase in phases)


def above_rate(phases: list[dict[str, Any]], amount: Callable[[dict[str, Any]], float | None], rate: float | None) -> float | None:
    """What the phases took beyond ``rate`` (CPU or watts) for as long as they lasted, in CPU-seconds or joules.

    None where the rate or ``total_of`` is.
    """
    total = total_of(phases, amount)
    return None if total is None or rate is None else total - rate * math.fsum(phase["seconds"] for phase in phases)


def changes_of(phases: list[dict[str, Any]]) -> int:
    """How many changes were delivered in the phases, all together."""
    return sum(phase.get("changes") or 0 for phase in phases)


def mean_of(values: list[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None
