# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that a plan and its period records give, as data: the parts of a report that need no prices or assumptions. Pure."""

from __future__ import annotations

from typing import Any

from . import diagnostics
from .components import component_table
from .detectable import power_table
from .effects import metric_table
from .measured_energy import energy_table
from .metrics import primary_metric, values_of
from .object_state import state_table
from .reconciles import reconcile_table
from .schedule import progress
from .selection import Selected, as_first_measured, exclusions, select


def analyse(plan: dict[str, Any], records: list[dict[str, Any]], preferred_scope: str | None = None) -> dict[str, Any]:
    """Everything that can be computed from a plan and its period records.

    ``records`` are the periods of a journal in any order, ``preferred_scope`` the scope of measured energy that comes first. The keys,
    units and shapes of the result are those of docs/report-schema.md, and ``values``: the metrics per block and label.
    """
    selected = select(plan, records)
    left_out = exclusions(plan, records)
    values = values_of(selected)
    metrics = metric_table(plan, selected, values, as_first_measured(plan, records) if left_out else None)
    return {
        "progress": progress(plan, records),
        "valid_blocks": sorted(selected),
        "primary": primary_metric(plan),
        "values": values,
        "metrics": metrics,
        "measured_energy": energy_table(plan, selected, preferred_scope),
        "reconcile": reconcile_table(plan, selected, values),
        "components": component_table(plan, selected),
        "state": state_table(plan, selected),
        "exclusions": left_out,
        "diagnostics": diagnostics_table(plan, selected, metrics),
        "power": power_table(plan, metrics),
    }


def diagnostics_table(plan: dict[str, Any], selected: Selected, metrics: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Diagnostics of the primary metric, in the order of the run; None where it was not measured."""
    metric = metrics.get(primary_metric(plan) or "")
    if metric is None:
        return None
    control, treatment = plan["settings"]["labels"]
    first = [selected[block][treatment]["position"] < selected[block][control]["position"] for block in metric["blocks"]]
    sides = metric["sides"]
    return diagnostics.diagnose(sides[control]["values"], sides[treatment]["values"], first, metric["blocks"], plan["seed"])
