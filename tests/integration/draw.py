# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws panels of the dashboards from the answers to their own queries, for docs/monitoring.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

#: Range of a query over time -> (name of the line, minutes, values).
Lines = list[tuple[str, list[float], list[float]]]


def draw(panels: list[dict[str, Any]], ask: Callable[[str], Lines], windows: list[tuple[str, float, float]], note: str, path: Path) -> None:
    """One picture of panels over time, each with the windows (name, first and last minute) of the run behind it."""
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(10, 2.6 * len(panels)), sharex=True, layout="constrained")
    for panel, axis in zip(panels, axes):
        lines = [
            (name or target["legendFormat"], minutes, values)
            for target in panel["targets"]
            for name, minutes, values in ask(target["expr"])
        ]
        if panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking"):
            axis.stackplot(lines[0][1], [values for _name, _minutes, values in lines], labels=[name for name, *_rest in lines], alpha=0.6)
        else:
            for name, minutes, values in lines:
                axis.plot(minutes, values, ".", markersize=3, label=name)
        for name, first, last in windows:
            axis.axvspan(first, last, color="tab:blue", alpha=0.08)
            axis.text(first, axis.get_ylim()[1], f"{name} ", fontsize=6, va="top", rotation=90)
        axis.set_ylim(bottom=0)
        axis.set_title(panel["title"], loc="left", fontsize=10)
        axis.set_ylabel("W")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    axes[-1].set_xlabel(f"minutes. {note}", fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
