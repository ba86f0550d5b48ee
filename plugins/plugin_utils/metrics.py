# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of one period, and of every record that counts. Pure.

Definitions: docs/architecture.md, section "Metrics".
"""

from __future__ import annotations

import math
from typing import Any

from .phases import above_rate, actor_of, changes_of, cpu_of, measured, measured_phases, phases_of, rate_of, usable
from .selection import Selected

#: primary metric -> when it was measured, in a sentence.
WHEN = {"rest": "at rest", "idle": "with nothing to deliver"}
#: metric -> (unit, what it is). The order is the order of the report.
METRICS: dict[str, tuple[str, str]] = {
    "rest": ("CPU", "the deployed workload at rest, cluster side"),
    "idle": ("CPU", "nothing to deliver, cluster side"),
    "deploy": ("CPU-seconds", "a deployment, cluster side, above idle"),
    "deploy_actor": ("CPU-seconds", "a deployment, what the actor runs"),
    "deploy_total": ("CPU-seconds", "a deployment, cluster side above idle and actor together"),
    "change": ("CPU-seconds per change", "a change, cluster side, above rest"),
    "change_actor": ("CPU-seconds per change", "a change, what the actor runs"),
    "change_total": ("CPU-seconds per change", "a change, cluster side above rest and actor together"),
}
#: The same on measured energy of the whole host.
ENERGY_METRICS: dict[str, tuple[str, str]] = {
    "rest_joules": ("W", "the deployed workload at rest, whole host"),
    "idle_joules": ("W", "nothing to deliver, whole host"),
    "deploy_joules": ("J", "a deployment, whole host, above idle"),
    "change_joules": ("J per change", "a change, whole host, above rest"),
}
COUNTS: dict[str, str] = {"drifted": "drift", "orphans": "prune"}
#: block -> label -> the metrics of that record
Values = dict[int, dict[str, dict[str, "float | None"]]]


def primary_metric(plan: dict[str, Any]) -> str | None:
    """``rest`` where the scenario has a steady phase, else ``idle``, else none."""
    kinds = {phase["kind"] for phase in plan["settings"]["scenario"]}
    return "rest" if "steady" in kinds else "idle" if "idle" in kinds else None


def period_metrics(record: dict[str, Any]) -> dict[str, float | None]:
    """The CPU metrics of one period; None where a phase is missing or invalid."""
    idle, deploy, steady, update = measured_phases(record)
    metrics: dict[str, float | None] = {"rest": rate_of(steady, cpu_of), "idle": rate_of(idle, cpu_of)}
    metrics["deploy"] = above_rate(deploy, cpu_of, metrics["idle"])
    metrics["deploy_actor"] = math.fsum(actor_of(phase) for phase in deploy) if usable(deploy) else None
    changes = changes_of(update)
    above = above_rate(update, cpu_of, metrics["rest"])
    metrics["change"] = above / changes if above is not None and changes else None
    metrics["change_actor"] = math.fsum(actor_of(phase) for phase in update) / changes if usable(update) and changes else None
    for name in ("deploy", "change"):
        cluster, actor = metrics[name], metrics[f"{name}_actor"]
        metrics[f"{name}_total"] = None if cluster is None or actor is None else cluster + actor
    return metrics


def values_of(selected: Selected) -> Values:
    """The CPU metrics of every record that counts."""
    return {block: {label: period_metrics(record) for label, record in sides.items()} for block, sides in selected.items()}


def baseline_rate(record: dict[str, Any]) -> float | None:
    """CPU of the cluster side before the arm was there: the covariate of the period."""
    return rate_of(phases_of(record, "baseline"), cpu_of)


def period_energy(record: dict[str, Any], scope: str) -> dict[str, float | None]:
    """The energy metrics of one period in one scope; the seconds are those of the phase."""
    idle, deploy, steady, update = measured_phases(record)

    def joules(phase: dict[str, Any]) -> float | None:
        return measured(phase, scope)

    metrics: dict[str, float | None] = {"rest_joules": rate_of(steady, joules), "idle_joules": rate_of(idle, joules)}
    metrics["deploy_joules"] = above_rate(deploy, joules, metrics["idle_joules"])
    changes = changes_of(update)
    above = above_rate(update, joules, metrics["rest_joules"])
    metrics["change_joules"] = above / changes if above is not None and changes else None
    return metrics


def period_energy_bounds(record: dict[str, Any], scope: str) -> dict[str, tuple[float, float] | None]:
    """Bounds of the meter's error in each energy metric of one period: (independent from window to window, relative and common to all).

    Edges, resolution, update period and sampling differ from window to window: they add as squares. The accuracy of the meter is the
    same error in every window: it scales whatever is computed from them.
    """
    idle, deploy, steady, update = measured_phases(record)
    seconds = {id(phases): math.fsum(phase["seconds"] for phase in phases) for phases in (idle, deploy, steady, update)}

    def bound(phases: list[dict[str, Any]]) -> tuple[float, float] | None:
        windows = [window for phase in phases for window in phase.get("energy") or [] if window.get("scope") == scope]
        if not windows or any(window.get("uncertainty_joules") is None for window in windows):
            return None
        accuracy = [(window.get("parts") or {}).get("accuracy_joules") or 0.0 for window in windows]
        joules = math.fsum(abs(window.get("joules") or 0.0) for window in windows)
        own = math.hypot(*(window["uncertainty_joules"] - part for window, part in zip(windows, accuracy, strict=True)))
        return own, math.fsum(accuracy) / joules if joules else 0.0

    def rate(phases: list[dict[str, Any]]) -> tuple[float, float] | None:
        found = bound(phases)
        return None if found is None or not seconds[id(phases)] else (found[0] / seconds[id(phases)], found[1])

    def above(phases: list[dict[str, Any]], reference: list[dict[str, Any]], divisor: int) -> tuple[float, float] | None:
        found, other = bound(phases), rate(reference)
        if found is None or other is None or not divisor:
            return None
        return math.hypot(found[0], other[0] * seconds[id(phases)]) / divisor, max(found[1], other[1])

    return {
        "rest_joules": rate(steady),
        "idle_joules": rate(idle),
        "deploy_joules": above(deploy, idle, 1),
        "change_joules": above(update, steady, changes_of(update)),
    }


def period_counts(record: dict[str, Any]) -> dict[str, int | None]:
    """Objects that differ after drift and that are left over after prune: the state after the last phase of that kind."""
    counts: dict[str, int | None] = {}
    for name, kind in COUNTS.items():
        phases = phases_of(record, kind)
        counts[name] = (phases[-1].get("state") or {}).get(name) if phases else None
    return counts
