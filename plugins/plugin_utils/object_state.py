# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether both sides held the same objects, and what was left over. Pure."""

from __future__ import annotations

from typing import Any

from .metrics import COUNTS, period_counts
from .phases import mean_of
from .selection import Selected


def state_table(plan: dict[str, Any], selected: Selected) -> dict[str, Any]:
    """Whether both sides held the same objects after deploy, steady and update, and what was left after drift and prune."""
    labels = plan["settings"]["labels"]
    flags, compared = [], 0
    counts: dict[str, dict[str, list[int]]] = {name: {label: [] for label in labels} for name in COUNTS}
    for block, sides in selected.items():
        states = {
            label: {
                phase["name"]: phase.get("state") or {} for phase in record["phases"] if phase["kind"] in ("deploy", "steady", "update")
            }
            for label, record in sides.items()
        }
        for phase in dict.fromkeys(name for label in labels for name in states[label]):
            found = {label: states[label].get(phase, {}) for label in labels}
            hashes = {label: found[label].get("hash") for label in labels}
            compared += 1
            if None in hashes.values():
                flags.append({"block": block, "phase": phase, "what": "the state of one side was not read", "hashes": hashes})
            elif len(set(hashes.values())) > 1:
                flags.append({"block": block, "phase": phase, "what": "the two sides hold different objects", "hashes": hashes})
            for label in labels:
                wrong = [f"{found[label][key]} {key}" for key in ("drifted", "orphans", "missing") if found[label].get(key)]
                if wrong:
                    flags.append({"block": block, "phase": phase, "what": f"{label}: " + ", ".join(wrong), "hashes": hashes})
        for label, record in sides.items():
            for name, value in period_counts(record).items():
                if value is not None:
                    counts[name][label].append(value)
    left = {
        name: {label: {"mean": mean_of([float(v) for v in per[label]]), "values": per[label]} for label in labels}
        for name, per in counts.items()
        if any(per.values())
    }
    return {"compared": compared, "equal": compared > 0 and not flags, "flags": flags, "left": left}
