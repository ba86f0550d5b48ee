# SPDX-License-Identifier: GPL-3.0-or-later
"""All hosts of a run on one page: effects pooled over hosts by a random-effects model. Pure.

What is pooled are effects, each of one host against its own control; never joules or CPU times of hosts, which differ by more than the
arms do. Hosts that measured something else (lab, workload, interval, scope of energy) form a group of their own.

Method: between-host variance by Paule and Mandel 1982, interval by Hartung and Knapp 2001 and Sidik and Jonkman 2002, as implemented by
statsmodels; prediction interval for another host by Higgins, Thompson and Spiegelhalter 2009.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from . import pictures
from .document import Block, Document, Heading, Section, Table, Text, Tile
from .metrics import ENERGY_METRICS, METRICS, WHEN
from .pictures import scaled
from .plain import sha256_of
from .words import interval, significant

SCHEMA = "kjoule.fleet/1"
#: What hosts must have in common for their effects to be of one kind.
COMMON = ("arms", "apps", "interval_seconds", "layout", "repositories", "scenario", "lab", "extra")


def _group_of(report: dict[str, Any]) -> dict[str, Any]:
    settings = report["settings"]
    return {**{key: settings.get(key) for key in COMMON}, "workload": sha256_of(report["workload"])[:12], "figure": report["figure"]}


def host_row(report: dict[str, Any]) -> dict[str, Any]:
    """What the fleet keeps of a host's report: its effects, by metric and scope, each ``{n, mean, low, high, sd}``."""
    kept = ("n", "mean", "low", "high", "sd", "confidence", "verdict")

    def effect(metric: dict[str, Any]) -> dict[str, Any]:
        return {key: metric["effect"].get(key) for key in kept}

    scopes = {entry["scope"]: {name: effect(metric) for name, metric in entry["metrics"].items()} for entry in report["measured_energy"]}
    return {
        "host": report["host"],
        "labels": report["question"]["labels"],
        "primary": report["primary"],
        "blocks": len(report["blocks"]["valid"]),
        "blocks_planned": report["blocks"]["planned"],
        "warnings": len(report["warnings"]),
        "cpu_model": report["provenance"]["host"].get("cpu_model"),
        "group": _group_of(report),
        "alpha": report["settings"]["alpha"],
        "effects": {"cpu": {name: effect(metric) for name, metric in report["metrics"].items()}, **scopes},
    }


def pool(found: dict[str, dict[str, Any]], alpha: float) -> dict[str, Any] | None:
    """Random-effects mean of the hosts' effects, in their unit; None with fewer than two hosts that have an error of their own.

    ``{hosts, mean, low, high, confidence, tau2, i2, q, q_p, prediction, left_out}``; ``prediction`` is where the effect on one more host
    is to be expected.
    """
    usable = {host: effect for host, effect in found.items() if effect["sd"]}
    if len(usable) < 2:
        return None
    means = [effect["mean"] for effect in usable.values()]
    variances = [effect["sd"] ** 2 / effect["n"] for effect in usable.values()]
    with np.errstate(divide="ignore"):  # where the hosts agree to the last digit, H2 is 0 and I2, 1 - 1 / H2, is cut off at 0 below
        result = combine_effects(np.asarray(means), np.asarray(variances), method_re="iterated", use_t=True, alpha=alpha)
    low, high = (float(end) for end in result.conf_int(alpha=alpha, use_t=True)[3])
    mean, count = float(result.mean_effect_re), len(usable)
    prediction = None
    if count > 2:
        half = float(stats.t.ppf(1 - alpha / 2, count - 2)) * math.sqrt(max(0.0, float(result.tau2)) + 1 / float(result.weights_re.sum()))
        prediction = {"low": mean - half, "high": mean + half}
    return {
        "hosts": count,
        "mean": mean,
        "low": low,
        "high": high,
        "confidence": 1 - alpha,
        "tau2": max(0.0, float(result.tau2)),
        "i2": max(0.0, float(result.i2)),
        "q": float(result.q),
        "q_p": float(stats.chi2.sf(result.q, count - 1)),
        "prediction": prediction,
        "left_out": sorted(set(found) - set(usable)),
    }


def build_fleet(run_id: str, reports: list[dict[str, Any]], missing: list[str]) -> dict[str, Any]:
    """The fleet's report as data. ``missing``: hosts of the run without a report."""
    rows = sorted((host_row(report) for report in reports), key=lambda row: str(row["host"]))
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = sha256_of([row["group"], row["labels"]])
        group = groups.setdefault(
            key, {"labels": row["labels"], "common": row.pop("group"), "primary": row["primary"], "alpha": row["alpha"], "hosts": []}
        )
        row.pop("group", None)
        group["hosts"].append(row)
    for group in groups.values():
        group["pooled"] = []
        for scope in sorted({scope for row in group["hosts"] for scope in row["effects"]}, key=lambda name: (name != "cpu", name)):
            for name, (unit, what) in (METRICS if scope == "cpu" else ENERGY_METRICS).items():
                found = {row["host"]: row["effects"][scope][name] for row in group["hosts"] if name in row["effects"].get(scope, {})}
                pooled = pool(found, group["alpha"])
                if pooled is not None:
                    group["pooled"].append({"scope": scope, "metric": name, "unit": unit, "what": what, **pooled})
    ordered = sorted(groups.values(), key=lambda group: (-len(group["hosts"]), str(group["hosts"][0]["host"])))
    return {"schema": SCHEMA, "run_id": run_id, "hosts": len(rows), "missing": sorted(missing), "groups": ordered}


def to_json(fleet: dict[str, Any]) -> bytes:
    return (json.dumps(fleet, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n").encode()


# --- the page ----------------------------------------------------------------------------------------------------------------------


def _primary(group: dict[str, Any]) -> dict[str, Any] | None:
    return next((row for row in group["pooled"] if row["scope"] == "cpu" and row["metric"] == group["primary"]), None)


def _verdict(pooled: dict[str, Any] | None) -> str:
    if pooled is None:
        return "no verdict"
    return "different" if pooled["low"] > 0 or pooled["high"] < 0 else "cannot tell"


def _headline(fleet: dict[str, Any]) -> str:
    if not fleet["groups"]:
        return "No answer yet: no host has a report"
    group = fleet["groups"][0]
    pooled, (control, treatment) = _primary(group), group["labels"]
    if pooled is None:
        return "No pooled answer: fewer than two hosts have an effect with an error of its own"
    size, when = interval(pooled, 1000, "mCPU", sign=True), WHEN[group["primary"]]
    if _verdict(pooled) == "cannot tell":
        return f"{pooled['hosts']} hosts cannot tell whether {treatment} costs more than {control} {when}: {size}"
    return f"Over {pooled['hosts']} hosts {treatment} uses {'more' if pooled['mean'] > 0 else 'less'} CPU than {control} {when}: {size}"


def lines(fleet: dict[str, Any], path: str) -> list[str]:
    """The answer over all hosts for a terminal; ``path`` is that of the page."""
    said = [f"Fleet of {fleet['hosts']} hosts: {_headline(fleet)}."]
    apart = sum(len(group["hosts"]) for group in fleet["groups"][1:])
    if apart:
        said.append(f"{apart} hosts measured something else and stand apart.")
    if fleet["missing"]:
        said.append(f"{len(fleet['missing'])} hosts have no report: {', '.join(map(str, fleet['missing'][:5]))}.")
    return [*said, f"Report: {path}, .md and .json"]


def _tiles(fleet: dict[str, Any]) -> list[Tile]:
    group = fleet["groups"][0] if fleet["groups"] else None
    pooled = _primary(group) if group else None
    if group is None or pooled is None:
        return []
    size, _space, certainty = interval(pooled, 1000, "mCPU", sign=True).partition(" (")
    tiles = [Tile(f"CPU {WHEN[group['primary']]}, pooled over hosts", size, certainty.rstrip(")"))]
    if pooled["prediction"]:
        low, high = (significant(1000 * pooled["prediction"][end]) for end in ("low", "high"))
        tiles.append(Tile("To be expected on one more host", f"{low} to {high} mCPU", "prediction interval"))
    tiles.append(Tile("Hosts differ", f"I² {100 * pooled['i2']:.0f} %", f"tau {significant(1000 * math.sqrt(pooled['tau2']))} mCPU"))
    words = [row["effects"]["cpu"].get(group["primary"], {}).get("verdict") or "no verdict" for row in group["hosts"]]
    counts = ", ".join(f"{word} {words.count(word)}" for word in sorted(set(words)))
    tiles.append(Tile("Hosts", f"{pooled['hosts']} of {fleet['hosts']}", counts))
    return tiles


def _group_blocks(group: dict[str, Any]) -> list[Block]:
    control, treatment = group["labels"]
    common = group["common"]
    blocks: list[Block] = [
        Text(
            f"{len(group['hosts'])} hosts measured {treatment} against {control} with {common['apps']} apps at an interval of "
            f"{common['interval_seconds']:g} s on {common['lab']}. An effect is that of a host against its own control."
        )
    ]
    picture = pictures.forest(group, _primary(group))
    blocks += [picture] if picture else []
    rows = []
    for row in group["pooled"]:
        factor, unit = scaled(row["unit"])
        prediction = row["prediction"]
        expected = f"{significant(factor * prediction['low'])} to {significant(factor * prediction['high'])}" if prediction else "-"
        rows.append(
            [
                row["metric"],
                "CPU time" if row["scope"] == "cpu" else row["scope"],
                unit,
                row["hosts"],
                interval(row, factor, sign=True),
                expected,
                f"{100 * row['i2']:.0f} %",
                significant(factor * math.sqrt(row["tau2"])),
                f"{row['q_p']:.2g}",
                ", ".join(row["left_out"]) or "-",
            ]
        )
    head = [
        "metric",
        "scope",
        "unit",
        "hosts",
        "pooled effect",
        "one more host",
        "I²",
        "tau",
        "p of no heterogeneity",
        "left out: no error of its own",
    ]
    if rows:
        blocks.append(Table("Pooled effects", head, rows))
    host_rows = []
    for row in group["hosts"]:
        effect = row["effects"]["cpu"].get(group["primary"] or "")
        host_rows.append(
            [
                row["host"],
                row["cpu_model"] or "-",
                f"{row['blocks']} of {row['blocks_planned']}",
                interval(effect, 1000, sign=True) if effect else "-",
                (effect or {}).get("verdict") or "-",
                row["warnings"],
            ]
        )
    blocks.append(Table("Hosts", ["host", "CPU", "blocks", f"{group['primary']}, mCPU", "verdict", "warnings"], host_rows))
    return blocks


def document(fleet: dict[str, Any]) -> Document:
    """The fleet's page."""
    sections = []
    for number, group in enumerate(fleet["groups"], start=1):
        title = (
            "All hosts"
            if len(fleet["groups"]) == 1
            else f"Group {number}: {len(group['hosts'])} host{'s' if len(group['hosts']) != 1 else ''}"
        )
        sections.append(Section(title, _group_blocks(group)))
    apart = len(fleet["groups"]) > 1
    if fleet["missing"]:
        sections.append(Section("Without a report", [Table("Hosts without a report", ["host"], [[host] for host in fleet["missing"]])]))
    sections.append(
        Section(
            "Method",
            [
                Heading("Pooling"),
                Text(
                    "Random effects: hosts differ in what they cost, by more than their own errors. Between-host variance by Paule and "
                    "Mandel, interval by Hartung, Knapp, Sidik and Jonkman. Effects are pooled, never joules or CPU times of different "
                    "machines. Energy of different scopes stands in rows of its own."
                ),
            ],
        )
    )
    statements = [f"{fleet['hosts']} hosts have a report, {len(fleet['missing'])} have none."]
    if apart:
        statements.append("The hosts did not all measure the same: each group is pooled on its own. The first is the largest.")
    primary = _primary(fleet["groups"][0]) if fleet["groups"] else None
    return Document(
        title=f"Fleet: run {fleet['run_id']}",
        scope=f"{fleet['hosts']} hosts in {len(fleet['groups'])} group{'s' if len(fleet['groups']) != 1 else ''}",
        headline=_headline(fleet),
        verdict=_verdict(primary),
        tiles=_tiles(fleet),
        statements=statements,
        sections=sections,
        footer=f"Run {fleet['run_id']}, computed from the reports of its hosts by kjoule. Schema {fleet['schema']}.",
    )
