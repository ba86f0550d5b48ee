# SPDX-License-Identifier: GPL-3.0-or-later
"""Two runs of one host beside each other, if they can be compared at all. Pure.

Both effects have a control of their own, measured at the same time. That makes two runs comparable, as long as the control itself is the
same: where it moved between the runs, what moved it may have moved the effect as well.
"""

from __future__ import annotations

import math
from typing import Any

from scipy import stats

from ..module_utils.errors import KjouleError
from .metrics import METRICS
from .words import interval, probability

#: Settings that decide what was measured. Others (blocks, seed) decide how precisely.
SAME_SETTINGS = ("arms", "apps", "interval_seconds", "layout", "repositories", "sampling", "scenario", "lab", "extra", "baseline_seconds")
SAME_HOST = ("name", "cpu_model", "cpus", "kernel", "virtualization")
#: What the arms run. That it differs may be the question; then it is said.
OF_THE_ARMS = ("source-controller", "kustomize-controller", "kubectl")


def obstacles(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Why two reports cannot be compared, each reason in a sentence; empty if they can."""
    found = []
    if first["host"] != second["host"]:
        found.append(f"the hosts differ: {first['host']} and {second['host']}")
    for report in (first, second):
        if not report["blocks"]["valid"]:
            found.append(f"run {report['run_id']} has no valid block")
    one, other = first["provenance"]["host"], second["provenance"]["host"]
    found += [f"{key} of the host differs: {one.get(key)} and {other.get(key)}" for key in SAME_HOST if one.get(key) != other.get(key)]
    settings = (first["settings"], second["settings"])
    for key in SAME_SETTINGS:
        if settings[0].get(key) != settings[1].get(key):
            found.append(f"the plans differ in {key}: {_short(settings[0].get(key))} and {_short(settings[1].get(key))}")
    if first["workload"] != second["workload"]:
        found.append("the workloads differ")
    if first["energy"]["scopes"] != second["energy"]["scopes"]:
        scopes = [", ".join(report["energy"]["scopes"]) for report in (first, second)]
        found.append(f"the scopes of energy differ: {scopes[0]} and {scopes[1]}")
    versions = [{row["name"]: row["sha256"] for row in report["provenance"]["binaries"]} for report in (first, second)]
    for name in sorted(set(versions[0]) | set(versions[1])):
        if name not in OF_THE_ARMS and versions[0].get(name) != versions[1].get(name):
            found.append(f"{name} is another binary")
    if first["provenance"]["journal"].get("tool_version") != second["provenance"]["journal"].get("tool_version"):
        found.append("the runs were measured by different versions of kjoule")
    return found or _historical(first, second)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _historical(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The control of a run stands for the machine of that day. Welch's t test at 5 % says whether it is the same."""
    name, control = first["primary"], first["question"]["labels"][0]
    sides = [report["metrics"][name]["sides"][control] for report in (first, second) if name in report["metrics"]]
    if len(sides) < 2:
        return ["the primary metric is missing in one of the runs"]
    values = [side["values"] for side in sides]
    if min(map(len, values)) < 2:
        return ["one block cannot tell whether the control is the same in both runs"]
    if max(side["sd"] for side in sides) == 0:
        p = 1.0 if sides[0]["mean"] == sides[1]["mean"] else 0.0
    else:
        p = float(stats.ttest_ind(*values, equal_var=False).pvalue)
    if p >= 0.05:
        return []
    means = [f"{1000 * side['mean']:.4g}" for side in sides]
    return [
        f"the control itself moved: {control} took {means[0]} mCPU and {means[1]} mCPU ({probability(p)}). What moved it may have moved "
        "the effect as well: measure both in one run"
    ]


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Second run minus first, of every CPU effect that both have: ``{metric, unit, n, mean, low, high, confidence}``; Welch's intervals."""
    rows = []
    for name, (unit, _what) in METRICS.items():
        effects = [report["metrics"][name]["effect"] for report in (first, second) if name in report["metrics"]]
        if len(effects) < 2 or any(effect["sd"] is None for effect in effects):
            continue
        errors = [effect["sd"] ** 2 / effect["n"] for effect in effects]
        mean, error = effects[1]["mean"] - effects[0]["mean"], math.sqrt(math.fsum(errors))
        half = 0.0
        if error > 0:
            freedom = error**4 / math.fsum(part**2 / (effect["n"] - 1) for part, effect in zip(errors, effects))
            half = float(stats.t.ppf(0.5 + effects[0]["confidence"] / 2, freedom)) * error
        span = {"n": min(effect["n"] for effect in effects), "mean": mean, "low": mean - half, "high": mean + half}
        rows.append({"metric": name, "unit": unit, "confidence": effects[0]["confidence"], **span})
    return rows


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """``differences`` of two runs of one host. Raises KjouleError with every reason why they cannot be compared."""
    reasons = obstacles(first, second)
    if reasons:
        raise KjouleError(
            f"runs {first['run_id']} and {second['run_id']} cannot be compared",
            expected="one host, one plan, one scope, the same versions and a control that stayed",
            seen="; ".join(reasons),
            next_step="measure both with the same settings, on the same host, soon after each other",
        )
    return differences(first, second)


def lines(first: dict[str, Any], second: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """The comparison for a terminal."""
    said = [f"{first['host']}: effect of {second['question']['effect']} in run {second['run_id']}, less that in run {first['run_id']}"]
    changed = [
        f"{row['name']} {row['version']}"
        for row, other in zip(second["provenance"]["binaries"], first["provenance"]["binaries"])
        if row["sha256"] != other["sha256"]
    ]
    if changed:
        said.append("New in the second run: " + ", ".join(changed))
    for row in rows:
        scale, unit = (1000, "mCPU") if row["unit"] == "CPU" else (1, row["unit"])
        clear = row["low"] > 0 or row["high"] < 0
        said.append(f"{row['metric']}: {interval(row, scale, unit, sign=True)}{', clear of 0' if clear else ''}")
    return said
