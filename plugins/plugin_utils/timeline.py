# SPDX-License-Identifier: GPL-3.0-or-later
"""When what happened: the order of the periods, and one period of each side over its time. Pure."""

from __future__ import annotations

import math
from typing import Any

from .metrics import Values
from .phases import CLUSTER_SIDE, cpu_of, measured
from .selection import Selected

#: More points than a picture has pixels would only make the report large.
POINTS = 400


def run_order(selected: Selected, values: Values, primary: str | None) -> list[dict[str, Any]]:
    """Every period that counts, in the order in which they ran: ``{block, label, started_at, value}``, the value of the primary metric
    among ``values`` (``metrics.values_of``)."""
    rows = []
    for block, sides in selected.items():
        for label, record in sides.items():
            value = values[block][label][primary] if primary else None
            rows.append(
                (
                    record["attempt"],
                    block,
                    record["position"],
                    {"block": block, "label": label, "started_at": record.get("started_at"), "value": value},
                )
            )
    # Blocks run in their order; one that is run again comes after all others. Clocks can be set back, numbers cannot.
    return [row for _attempt, _block, _position, row in sorted(rows, key=lambda item: item[:3])]


def typical_block(values: Values, primary: str | None, labels: list[str]) -> int | None:
    """The block whose difference in the primary metric is the median one (the lower of two)."""
    if not primary:
        return min(values, default=None)
    differences = []
    for block, sides in values.items():
        first, second = (sides[label][primary] for label in labels)
        if first is not None and second is not None:
            differences.append((second - first, block))
    return sorted(differences)[(len(differences) - 1) // 2][1] if differences else min(values, default=None)


def timeline(record: dict[str, Any], scope: str | None) -> dict[str, Any] | None:
    """One period over time, in seconds from its first window: ``{label, block, seconds, cpu: {role: [CPU]}, phases}``.

    ``cpu`` holds, for each sample but the first, the mean CPU since the one before, of every role but the tool itself. ``watts`` of a
    phase is what was measured on the whole host in ``scope``. None without at least two samples, or without phases.
    """
    samples, phases = record.get("samples") or {}, record["phases"]
    times = samples.get("t_ns") or []
    if len(times) < 2 or not phases:
        return None
    roles = {name: role for phase in phases for name, role in (phase.get("components") or {}).items()}
    begin = phases[0]["start_ns"]
    step = math.ceil(len(times) / POINTS)
    kept = list(range(0, len(times), step))
    cpu: dict[str, list[float]] = {role: [0.0] * (len(kept) - 1) for role in CLUSTER_SIDE}
    for name, values in (samples.get("cpu_ns") or {}).items():
        role = roles.get(name, "cluster")
        if role not in cpu:
            continue
        for place, (before, after) in enumerate(zip(kept, kept[1:])):
            # 0: the component was not there yet. What it used before it was first seen cannot be put anywhere.
            if values[before] and values[after] >= values[before]:
                cpu[role][place] += (values[after] - values[before]) / (times[after] - times[before])
    return {
        "label": record["label"],
        "block": record["block"],
        "seconds": [(times[index] - begin) / 1e9 for index in kept[1:]],
        "cpu": cpu,
        "phases": [_phase(phase, begin, scope) for phase in phases],
    }


def _phase(phase: dict[str, Any], begin_ns: int, scope: str | None) -> dict[str, Any]:
    joules = measured(phase, scope) if scope else None
    seconds = phase["seconds"]
    return {
        "name": phase["name"],
        "start": (phase["start_ns"] - begin_ns) / 1e9,
        "end": (phase["end_ns"] - begin_ns) / 1e9,
        "cpu": cpu_of(phase) / seconds if seconds else 0.0,
        "watts": joules / seconds if joules is not None and seconds else None,
    }


def timelines(selected: Selected, values: Values, primary: str | None, labels: list[str], scope: str | None) -> list[dict[str, Any]]:
    """The two periods of the typical block, in the order of the labels."""
    block = typical_block(values, primary, labels)
    if block is None:
        return []
    found = [timeline(selected[block][label], scope) for label in labels]
    return [item for item in found if item is not None]
