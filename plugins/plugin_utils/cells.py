# SPDX-License-Identifier: GPL-3.0-or-later
"""The primary effect in every cell of a plan with factors. Pure."""

from __future__ import annotations

from typing import Any

from . import statistics
from .effects import judge_effects, metric_table
from .metrics import primary_metric, values_of
from .plan import plan_of_cell
from .selection import select


def cell_table(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The primary effect in every cell of a plan with factors, p adjusted by Holm over the cells.

    Empty without factors. The cells are never averaged: each is a comparison of its own. ``against_first`` is how the effect differs from
    that of the first cell, paired by replicate: what a factor changes, since the cells of a replicate were measured next to each other.
    """
    rows: list[dict[str, Any]] = []
    replicates = {block["block"]: block.get("replicate") for block in plan["blocks"]}
    first: dict[Any, float] = {}
    for cell in plan["settings"].get("cells", []):
        own = plan_of_cell(plan, cell["cell"])
        name = primary_metric(own)
        selected = select(own, records)
        metric = metric_table(own, selected, values_of(selected)).get(name or "")
        if metric is not None:
            here = {replicates[block]: value for block, value in zip(metric["blocks"], metric["effect"]["differences"], strict=True)}
            first = first or here
            changes = [here[replicate] - first[replicate] for replicate in here if replicate in first]
            rows.append(
                {
                    "cell": cell["cell"],
                    "levels": cell["levels"],
                    "metric": name,
                    "unit": metric["unit"],
                    "effect": metric["effect"],
                    "against_first": statistics.mean_interval(changes, 1 - plan["settings"]["alpha"]) if rows and changes else None,
                }
            )
    judge_effects({str(row["cell"]): row["effect"] for row in rows}, None, plan["settings"]["alpha"])
    return rows
