# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs at other sizes, as a section of the report: cells, marginal costs, intervals and numbers of apps. Pure."""

from __future__ import annotations

from typing import Any

from . import pictures
from .document import Block, Table, Text
from .words import interval, layout, probability, significant


def other_sizes(report: dict[str, Any]) -> list[Block]:
    """The section, or nothing where nothing was varied or counted."""
    blocks: list[Block] = []
    if report["cells"]:
        rows = [
            [
                ", ".join(f"{name} {level}" for name, level in cell["levels"].items()),
                interval(cell["effect"], 1000, "mCPU", sign=True),
                probability(cell["effect"]["p_adjusted"]),
                cell["effect"]["verdict"] or "-",
                "-" if cell["against_first"] is None else interval(cell["against_first"], 1000, "mCPU", sign=True),
            ]
            for cell in report["cells"]
        ]
        said = (
            f"{report['question']['effect']}, {report['primary']}; p by Holm over the cells. The last column is paired by replicate. The "
            "rest of this report is about the first."
        )
        blocks += [Text(said), Table("The effect in every cell", ["cell", "effect", "p", "verdict", "effect less that of the first"], rows)]
    found = report["costs"]
    if found is None:
        return blocks
    blocks += fitted(found)
    drawn = [pictures.interval_curve(report), pictures.apps_curve(report)]
    if any(drawn):
        blocks.append(
            Text(
                "What Flux adds at rest elsewhere is the price of a reconcile times the reconciles of a round, and what runs all the "
                "time. It was measured at the marks only; to know, measure there."
            )
        )
    return [*blocks, *(picture for picture in drawn if picture is not None)]


def fitted(found: dict[str, Any]) -> list[Block]:
    """Marginal costs and deployments by number of apps (``costs.costs``) as tables."""
    rows = [
        [
            _side(entry),
            cost["what"],
            f"{_band(cost)} {cost['unit']}",
            f"{_band(cost['estimated'])} {cost['unit'].replace('CPU-seconds', 'J').replace('CPU', 'W')}",
        ]
        for entry in found["marginal"]
        for cost in entry["costs"].values()
    ]
    blocks: list[Block] = [
        Text(
            "Fitted over the phases of all valid periods with the counts that were really done. A band holds the sampling error of the fit."
        ),
        Table("Marginal costs", ["side", "what", "CPU time", "energy, estimated"], rows),
    ]
    for curve in found["scale"]:
        law = curve["law"] if curve["exponent"] is None else f"power law, exponent {curve['exponent']:.2f}"
        rows = [
            [point["apps"], f"{_band(point)} CPU-seconds", point["kind"], significant(curve["ready_seconds"].get(str(point["apps"])))]
            for point in curve["points"]
        ]
        what = f"A deployment by {_side(curve)}: {law}"
        blocks.append(Table(what, ["apps", "cluster side", "kind", "seconds until all were ready"], rows, folded=True))
    return blocks


def _side(fit: dict[str, Any]) -> str:
    return str(fit["arm"]) if fit["layout"] is None else f"{fit['arm']}, {layout(fit)}"


def _band(item: dict[str, Any], scale: float = 1.0) -> str:
    return f"{significant(item['value'] * scale)} ({significant(item['low'] * scale)} to {significant(item['high'] * scale)})"
