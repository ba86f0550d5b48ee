# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time and joules of pods that nobody asks for, and of the workload at rest, from the control groups of real pods. Pure.

The unit of analysis is a block: the CPU-seconds of all pods of a kind by the seconds that they lived in the windows, mean and t interval
over the blocks. What a hand edit made is followed into the phase after the edit: a pod may need most of that of the edit only to begin.
Joules are CPU-seconds times what a CPU-second costs: by the host's calibration where the phase has measured energy of the scope that was
calibrated; else, where energy was measured, the share of the phase's active energy (attribution.py), into which static power leaks; else
the estimate of the plan. Idle power that a pod keeps a host from saving is in the second only.
"""

from __future__ import annotations

import math
from typing import Any

from . import statistics
from .assumptions import Figure, corners, multiplied
from .attribution import attribute, choose
from .phases import measured, phases_of
from .selection import Selected

#: The component that the pods of the workload are together (module_utils/experiment/period.py).
WORKLOAD = "workload-pods"
#: name -> (kinds of the phases, state of the pods in them, what they are)
KINDS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "orphans": (("prune",), "orphan", "a pod of a removed app"),
    "drifted": (("drift", "prune"), "drifted", "a pod of a hand edit"),
    "asleep": (("steady",), "desired", "a pod of the workload at rest"),
}
#: The phases of one period, or of one side in a block.
Phases = list[dict[str, Any]]


def pods_in(phase: dict[str, Any], state: str) -> list[dict[str, Any]]:
    """The workload's pods of one state in a phase; none where no pods run."""
    return [pod for pod in (phase.get("pods") or {}).get("pods") or [] if pod["role"] == "workload" and pod["state"] == state]


def table(
    plan: dict[str, Any], selected: Selected, scopes: list[str], without_flux: str | None, calibration: dict[str, Any] | None
) -> dict[str, dict[str, Any]] | None:
    """What pods used, by what they were (``KINDS``); None where no pods ran, and no entry for a kind of which none was seen.

    ``{what, phases, source, blocks, pods, seconds, cpu, cpu_seconds, method, joules_per_cpu_second, watts, joules}``: ``phases`` are the
    kinds in which such pods were seen, ``pods`` how many there were (one that is there in two phases is one), ``cpu`` (CPU) and ``watts``
    rates of one pod, ``cpu_seconds`` and ``joules`` of one pod over the ``seconds`` that it lived in those phases, each
    ``{value, low, high}``. ``without_flux`` is the side on which orphans and drifted pods stay; the workload at rest is that of both.
    """
    if not any(phase.get("pods") for sides in selected.values() for record in sides.values() for phase in record["phases"]):
        return None
    found = {}
    for name, (kinds, state, what) in KINDS.items():
        labels = plan["settings"]["labels"] if name == "asleep" else [without_flux]
        blocks = [[_seen(sides[label], kinds, state) for label in labels if label in sides] for sides in selected.values()]
        blocks = [periods for periods in blocks if any(periods)]
        if blocks:
            seen = {phase["kind"] for periods in blocks for phases in periods for phase in phases}
            phases = [kind for kind in kinds if kind in seen]
            found[name] = {"what": what, "phases": phases, **_figures(plan, blocks, state, scopes, calibration)}
    return found


def _seen(record: dict[str, Any], kinds: tuple[str, ...], state: str) -> Phases:
    phases = [phase for kind in kinds for phase in phases_of(record, kind)]
    return [phase for phase in phases if phase.get("valid", True) and _known(phase) and _lived(phase, state) > 0]


def _count(phases: Phases, state: str) -> int:
    """How many pods there were in one period."""
    return len({(pod["namespace"], pod["name"]) for phase in phases for pod in pods_in(phase, state)})


def _known(phase: dict[str, Any]) -> bool:
    """Not where the pods of a virtual machine were read twice at the same moment of its kubelet."""
    machine = (phase.get("pods") or {}).get("machine")
    return machine is None or machine["read_seconds"] > 0


def _lived(phase: dict[str, Any], state: str) -> float:
    """Seconds that the pods of a state lived in the window, added up."""
    # Journals of before a pod's own seconds were recorded have the window's.
    return math.fsum(pod.get("seconds", phase["seconds"]) for pod in pods_in(phase, state))


def _used(phase: dict[str, Any], state: str) -> float:
    return math.fsum(pod["cpu_seconds"] for pod in pods_in(phase, state))


def _figures(
    plan: dict[str, Any], blocks: list[list[Phases]], state: str, scopes: list[str], calibration: dict[str, Any] | None
) -> dict[str, Any]:
    together = [[phase for phases in periods for phase in phases] for periods in blocks]
    rates = [math.fsum(_used(one, state) for one in phases) / math.fsum(_lived(one, state) for one in phases) for phases in together]
    interval = statistics.mean_interval(rates, 1 - plan["settings"]["alpha"])
    cpu = {
        "value": interval["mean"],
        # What was used is not below nothing, whatever a t interval over few blocks says.
        "low": interval["mean"] if interval["low"] is None else max(0.0, interval["low"]),
        "high": interval["mean"] if interval["high"] is None else interval["high"],
    }
    phases = [phase for block in together for phase in block]
    pods = sum(_count(period, state) for periods in blocks for period in periods)
    seconds = math.fsum(_lived(phase, state) for phase in phases) / pods
    method, coefficient = _coefficient(phases, scopes, plan["settings"]["estimate"], calibration)
    watts = corners(lambda rate, joules: rate * joules, cpu, coefficient)
    return {
        "source": phases[0]["pods"]["source"],
        "blocks": len(blocks),
        "pods": pods,
        "seconds": seconds,
        "cpu": cpu,
        "cpu_seconds": multiplied(cpu, seconds),
        "method": method,
        "joules_per_cpu_second": coefficient,
        "watts": watts,
        "joules": multiplied(watts, seconds),
    }


def _coefficient(phases: Phases, scopes: list[str], row: dict[str, Any], calibration: dict[str, Any] | None) -> tuple[str, Figure]:
    """Joules per CPU-second of these phases, and where from: ``marginal``, ``share`` or ``estimated``. All phases by one method."""
    scope, used = choose(scopes, calibration)
    if scope is None or any(measured(phase, scope) is None for phase in phases):
        return "estimated", {"value": row["joules_per_cpu_second"], "low": row["low"], "high": row["high"]}
    if used is not None:
        return "marginal", {end: used["joules_per_cpu_second"][end] for end in ("value", "low", "high")}
    # Pods in a virtual machine are part of that process: a CPU-second of them is one of its.
    parts = [attribute(phase, scope, None)["parts"][(phase["pods"].get("machine") or {}).get("component", WORKLOAD)] for phase in phases]
    costs = [
        {end: max(0.0, part["share"]["joules"] + sign * part["share"]["uncertainty"]) / part["cpu_seconds"] for end, sign in _ENDS}
        for part in parts
        if part["cpu_seconds"] > 0
    ]
    if not costs:
        return "share", {"value": 0.0, "low": 0.0, "high": 0.0}
    middle = math.fsum(cost["value"] for cost in costs) / len(costs)
    return "share", {"value": middle, "low": min(cost["low"] for cost in costs), "high": max(cost["high"] for cost in costs)}


_ENDS = (("value", 0), ("low", -1), ("high", 1))
