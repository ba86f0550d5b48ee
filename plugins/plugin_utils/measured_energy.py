# SPDX-License-Identifier: GPL-3.0-or-later
"""Measured energy of the whole host by scope: metrics, effects, and what the error of the meter adds to them. Pure."""

from __future__ import annotations

import math
from typing import Any

from .effects import judge, paired_metric
from .metrics import ENERGY_METRICS, period_energy, period_energy_bounds, primary_metric
from .phases import measured, phases_of
from .selection import Selected


def energy_table(plan: dict[str, Any], selected: Selected, preferred: str | None = None) -> list[dict[str, Any]]:
    """Measured energy metrics, one entry per scope, the preferred scope first. Scopes stand beside each other, never added."""
    settings = plan["settings"]
    labels = settings["labels"]
    result = []
    for scope in sorted(measured_scopes(plan, selected), key=lambda name: (name != preferred, name)):
        values = {block: {label: period_energy(record, scope) for label, record in sides.items()} for block, sides in selected.items()}
        bounds = {
            block: {label: period_energy_bounds(record, scope) for label, record in sides.items()} for block, sides in selected.items()
        }
        metrics = {}
        for name, (unit, what) in ENERGY_METRICS.items():
            per_block = {block: {label: sides[label][name] for label in labels} for block, sides in values.items()}
            metric = paired_metric(plan, per_block, None)
            if metric is not None:
                metric["effect"]["meter"] = _meter(
                    metric, [bounds[block][label][name] for block in metric["blocks"] for label in labels], len(metric["blocks"])
                )
                metrics[name] = {"unit": unit, "what": what, **metric}
        judge(metrics, None, settings["alpha"])
        result.append({"scope": scope, "sources": _sources(selected, scope), "metrics": metrics})
    return result


def measured_scopes(plan: dict[str, Any], selected: Selected) -> list[str]:
    """Scopes with one valid measured window in the phase of the primary metric of every period that counts."""
    kind = {"rest": "steady", "idle": "idle", None: None}[primary_metric(plan)]
    common: set[str] | None = None
    for sides in selected.values():
        for record in sides.values():
            for phase in phases_of(record, kind) if kind else []:
                scopes = {entry.get("scope") for entry in phase.get("energy") or [] if measured(phase, entry.get("scope")) is not None}
                common = scopes if common is None else common & scopes
    return sorted(scope for scope in common or () if scope)


def _meter(metric: dict[str, Any], bounds: list[tuple[float, float] | None], pairs: int) -> dict[str, Any] | None:
    """Uncertainty of the meter in a mean effect, and the interval with it: ``{expanded, low, high}``; None where a window states none.

    ``low`` and ``high`` are None where the effect has no interval of its own (one block): its sampling error is not known, and is not 0.

    Bounds are taken as rectangular (standard uncertainty: bound / sqrt(3)) and expanded by 2; independent ones shrink with the number of
    windows, the accuracy does not: it scales the effect (JCGM 100:2008, 4.3.7, 5.1.2 and 6.2). Sampling error and meter add as squares.
    """
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds):
        return None
    effect = metric["effect"]
    independent = math.hypot(*(own for own, _relative in known)) / pairs
    common = abs(effect["mean"]) * max(relative for _own, relative in known)
    expanded = 2 * math.hypot(independent, common) / math.sqrt(3)
    ends = {
        end: None if effect[end] is None else effect["mean"] + sign * math.hypot(effect[end] - effect["mean"], expanded)
        for end, sign in (("low", -1), ("high", 1))
    }
    return {"expanded": expanded, **ends}


def _sources(selected: Selected, scope: str) -> list[str]:
    return sorted(
        {
            str(entry.get("source"))
            for sides in selected.values()
            for record in sides.values()
            for phase in record["phases"]
            for entry in phase.get("energy") or []
            if entry.get("scope") == scope and entry.get("kind") == "measured"
        }
    )
