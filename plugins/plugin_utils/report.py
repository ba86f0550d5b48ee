# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of one host: a dictionary, its JSON text and its Markdown text. Pure, and free of the current time:
the same plan and journal give the same bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema

from ..module_utils.errors import KjouleError
from . import checks, effects
from .answer import statements
from .journal import Journal
from .words import interval, markdown, probability, seconds, significant

SCHEMA = "kjoule.report/1"
SCHEMA_FILE = Path(__file__).parent / "data" / "report.schema.json"
#: More stolen time than this share of a window is worth a warning.
STEAL_SHARE = 0.01

SETTINGS_SHOWN = (
    "profile",
    "arms",
    "labels",
    "blocks",
    "block_retries",
    "apps",
    "interval_seconds",
    "layout",
    "scenario_name",
    "scenario",
    "lab",
    "baseline_seconds",
    "settle_seconds",
    "sample_seconds",
    "source",
    "inference",
    "alpha",
    "margin_cpu",
    "extra",
)


def build_report(plan: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """The report as data, valid against ``data/report.schema.json``. Raises KjouleError if it is not."""
    settings = plan["settings"]
    header = journal.header or {}
    source = header.get("source") or {}
    analysis = effects.analyse(plan, journal.periods, source.get("scope"))
    done = analysis["progress"]
    scopes = [entry["scope"] for entry in analysis["measured_energy"]]
    control_plane = settings["lab"] == "kwok"
    report = {
        "schema": SCHEMA,
        "run_id": plan["run_id"],
        "host": plan["host"],
        "figure": "control-plane energy" if control_plane else "energy",
        "question": {
            "arms": settings["arms"],
            "labels": settings["labels"],
            "a_against_a": settings["arms"][0] == settings["arms"][1],
            "effect": f"{settings['labels'][1]} minus {settings['labels'][0]}",
        },
        "blocks": {
            "planned": done["blocks_planned"],
            "valid": analysis["valid_blocks"],
            "given_up": done["blocks_given_up"],
            "periods": done["periods_recorded"],
            "finished": done["finished"],
        },
        "primary": analysis["primary"],
        "metrics": analysis["metrics"],
        "energy": {
            "kind": "measured" if scopes else "estimated",
            "scopes": scopes or ["estimate:cpu-time"],
            "estimate": settings["estimate"],
            "why_not_measured": [] if scopes else _why_not_measured(source, analysis),
        },
        "measured_energy": analysis["measured_energy"],
        "reconcile": analysis["reconcile"],
        "extrapolation": analysis["extrapolation"],
        "components": analysis["components"],
        "state": analysis["state"],
        "checks": checks.summary(journal.periods),
        "exclusions": analysis["exclusions"],
        "warnings": _warnings(plan, journal, analysis),
        "settings": {key: settings.get(key) for key in SETTINGS_SHOWN},
        "workload": _workload(settings["workload"]),
        "provenance": _provenance(plan, journal, analysis),
    }
    report = _rounded(report)
    validate(report)
    return report


def validate(report: dict[str, Any]) -> None:
    """Raise KjouleError naming the first place where a report differs from the schema."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(report))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "top level"
        raise KjouleError(f"report, {place}", expected=f"schema {SCHEMA}", seen=error.message[:300])


def to_json(report: dict[str, Any]) -> bytes:
    return (json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _rounded(value: Any) -> Any:
    """Twelve significant digits: what lies beyond differs between machines and means nothing."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _why_not_measured(source: dict[str, Any], analysis: dict[str, Any]) -> list[str]:
    reasons = [str(reason) for reason in source.get("unavailable") or []]
    if not analysis["valid_blocks"]:
        reasons.append("no valid block")
    elif source.get("kind") in ("counter", "gauge"):
        reasons.append(f"{source.get('name')}: not one valid window in every period that counts")
    return reasons or ["no source of energy was found on this host"]


def _workload(workload: dict[str, Any]) -> dict[str, Any]:
    if workload["kind"] == "manifests":
        return {"kind": "manifests", "apps": [{"name": app["name"], "objects": len(app["objects"])} for app in workload["apps"]]}
    return dict(workload)


def _provenance(plan: dict[str, Any], journal: Journal, analysis: dict[str, Any]) -> dict[str, Any]:
    header = journal.header or {}
    binaries = header.get("binaries") or {}
    return {
        "plan": {key: plan.get(key) for key in ("created_at", "tool_version", "seed", "settings_hash", "plan_hash")},
        "journal": {
            "tool_version": header.get("tool_version"),
            "started_at": header.get("started_at"),
            "finished_at": max((record["finished_at"] for record in journal.periods if record.get("finished_at")), default=None),
            "torn_line": journal.torn is not None,
        },
        "host": header.get("host") or {},
        "boot_ids": sorted({str(record["boot_id"]) for record in journal.periods if record.get("boot_id")}),
        "binaries": [
            {"name": name, **{key: binaries[name].get(key) for key in ("version", "sha256", "origin")}} for name in sorted(binaries)
        ],
        "source": header.get("source") or {},
    }


def _warnings(plan: dict[str, Any], journal: Journal, analysis: dict[str, Any]) -> list[str]:
    warnings = []
    flags = analysis["state"]["flags"]
    if flags:
        first = flags[0]
        warnings.append(
            f"Not a fair comparison: state differs in {len(flags)} places, "
            f"the first in block {first['block']}, phase {first['phase']}: {first['what']}."
        )
    primary = analysis["metrics"].get(analysis["primary"] or "")
    if plan["settings"]["arms"][0] == plan["settings"]["arms"][1] and primary and primary["effect"]["verdict"] == "different":
        warnings.append("A against A found a difference: a false alarm (one in twenty is expected) or a carry-over between periods.")
    stolen = [row for row in analysis["components"] if row["steal_seconds"] and row["steal_seconds"] > STEAL_SHARE * row["seconds"]]
    if stolen:
        worst = max(stolen, key=lambda row: row["steal_seconds"] / row["seconds"])
        share = 100 * worst["steal_seconds"] / worst["seconds"]
        warnings.append(f"Other guests took CPU time: up to {share:.1f} % of a CPU in phase {worst['phase']} (steal).")
    negative = [
        row
        for row in analysis["components"]
        # /proc/stat counts in ticks, the process clocks in nanoseconds: short phases may differ by some ticks on every processor.
        if row["residual_seconds"] is not None and row["residual_seconds"] < -0.05 * (row["machine_busy_seconds"] + 1)
    ]
    if negative:
        warnings.append(f"Components add up to more than the machine was busy in phase {negative[0]['phase']}: the attribution is off.")
    errors = sum(
        number
        for sides in effects.select(plan, journal.periods).values()
        for record in sides.values()
        for phase in record["phases"]
        for results in ((phase.get("counters") or {}).get("reconciles") or {}).values()
        for result, number in results.items()
        if result == "error"
    )
    if errors:
        warnings.append(f"{errors} reconciles failed in the blocks that count.")
    loud = checks.sentence(checks.summary(journal.periods))
    if loud:
        warnings.append(loud)
    boots = {record.get("boot_id") for record in journal.periods} - {None}
    if len(boots) > 1:
        warnings.append(f"The host was restarted during the run ({len(boots)} boots).")
    if journal.torn is not None:
        warnings.append("The last line of the journal is torn and was set aside.")
    return warnings


# --- Markdown ----------------------------------------------------------------------------------------------------------------------


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    lines = ["| " + " | ".join(markdown(cell) for cell in head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in rows] + [""]


def to_markdown(report: dict[str, Any]) -> bytes:
    """The report for people: the answer first, then what it rests on."""
    control, treatment = report["question"]["labels"]
    title = f"{report['figure'][0].upper()}{report['figure'][1:]}: {treatment} against {control} on {report['host']}"
    lines = [f"# {markdown(title)}", ""]
    said = statements(report)
    lines += [f"- {markdown(statement)}" for statement in said[1:]] + [""]
    lines += _markdown_measured(report)
    if report["metrics"]:
        lines += _markdown_effects(report)
        lines += _markdown_components(report)
        lines += _markdown_state(report)
    lines += _markdown_checks(report)
    lines += _markdown_exclusions(report)
    lines += _markdown_method(report)
    lines += _markdown_provenance(report)
    return ("\n".join(lines).rstrip("\n") + "\n").encode()


def _markdown_measured(report: dict[str, Any]) -> list[str]:
    settings, blocks, energy = report["settings"], report["blocks"], report["energy"]
    host = report["provenance"]["host"]
    phases = ", ".join(
        f"{phase['name']} {seconds(phase['hold_seconds'])}" if phase["hold_seconds"] else phase["name"] for phase in settings["scenario"]
    )
    rows = [
        ["host", ", ".join(str(host[key]) for key in ("name", "cpu_model", "kernel") if host.get(key)) or report["host"]],
        ["lab", settings["lab"] + (": API server, etcd and controllers are real, no containers ran" if settings["lab"] == "kwok" else "")],
        ["workload", f"{settings['apps']} apps, {report['workload']['kind']}, layout {settings['layout']}"],
        ["reconcile interval", seconds(settings["interval_seconds"])],
        ["scenario", f"{settings['scenario_name']}: {phases}"],
        ["blocks", f"{len(blocks['valid'])} valid of {blocks['planned']} planned, {blocks['given_up']} given up"],
        ["CPU time", "measured: process clocks of every component, exited threads included"],
    ]
    if energy["kind"] == "measured":
        rows.append(["energy", "measured: " + ", ".join(energy["scopes"]) + "; idle power and everything else on the machine is in it"])
    else:
        row = energy["estimate"]
        rows.append(
            [
                "energy",
                f"estimated: {row['joules_per_cpu_second']:g} J per CPU-second ({row['low']:g} to {row['high']:g}), {row['id']}, "
                f"{row['source']}; marginal CPU energy only",
            ]
        )
        rows += [["why not measured", reason] for reason in energy["why_not_measured"]]
    return [
        "## What was measured, and how sure this is",
        "",
        *_table(["what", "how"], rows),
        *_warned(report),
    ]


def _warned(report: dict[str, Any]) -> list[str]:
    return [*(f"- **{markdown(warning)}**" for warning in report["warnings"]), ""] if report["warnings"] else []


def _scaled(unit: str) -> tuple[float, str]:
    return (1000, "mCPU") if unit == "CPU" else (1, unit)


def _markdown_effects(report: dict[str, Any]) -> list[str]:
    control, treatment = report["question"]["labels"]
    rows = []
    for name in [*effects.METRICS]:
        metric = report["metrics"].get(name)
        if metric is None:
            continue
        scale, unit = _scaled(metric["unit"])
        effect, estimate = metric["effect"], metric["estimated"]["effect"]
        rows.append(
            [
                name + (" (primary)" if metric["primary"] else ""),
                unit,
                significant(metric["sides"][control]["mean"] * scale),
                significant(metric["sides"][treatment]["mean"] * scale),
                interval(effect, scale, sign=True),
                significant(effect["hodges_lehmann"] * scale),
                probability(effect["p"]) + ("" if effect["p_adjusted"] is None else f", Holm {effect['p_adjusted']:.2g}"),
                effect["verdict"] or "-",
                f"{significant(estimate['value'])} ({significant(estimate['low'])} to {significant(estimate['high'])}) "
                + metric["estimated"]["unit"],
            ]
        )
    head = ["metric", "unit", control, treatment, "effect", "Hodges-Lehmann", "p", "verdict", "energy of the effect, estimated"]
    lines = ["## Effects", "", f"An effect is {markdown(report['question']['effect'])}, paired by block.", "", *_table(head, rows)]
    lines += _table(["metric", "what"], [[name, report["metrics"][name]["what"]] for name in effects.METRICS if name in report["metrics"]])
    for entry in report["measured_energy"]:
        rows = [
            [
                name,
                metric["unit"],
                significant(metric["sides"][control]["mean"]),
                significant(metric["sides"][treatment]["mean"]),
                interval(metric["effect"], sign=True),
                probability(metric["effect"]["p"]),
                metric["effect"]["verdict"] or "-",
            ]
            for name, metric in ((name, entry["metrics"][name]) for name in effects.ENERGY_METRICS if name in entry["metrics"])
        ]
        lines += [f"### Measured energy, {markdown(entry['scope'])}", ""]
        lines += _table(["metric", "unit", control, treatment, "effect", "p", "verdict"], rows)
    if report["reconcile"]:
        rows = [
            [label, interval(item, 1000, "CPU-ms"), item["reconciles"], significant(item["reconciles_per_second"])]
            for label, item in sorted(report["reconcile"].items())
        ]
        lines += ["### Reconciles", "", *_table(["side", "CPU time per reconcile", "reconciles counted", "per second"], rows)]
    item = report["extrapolation"]
    if item is not None:
        watts = item["estimated_watts"]
        lines += [
            f"Extrapolated, not measured: at an interval of {seconds(item['interval_seconds'])} instead of "
            f"{seconds(item['measured_interval_seconds'])} "
            f"the effect at rest would lie between {significant(1000 * item['low'])} and {significant(1000 * item['high'])} mCPU, "
            f"{significant(watts['value'])} W estimated ({significant(watts['low'])} to {significant(watts['high'])}). "
            f"It is a {markdown(item['what'])}; to know better, measure with another kjoule_interval.",
            "",
        ]
    return lines


def _markdown_components(report: dict[str, Any]) -> list[str]:
    labels = report["question"]["labels"]
    lines = ["## Where the CPU time went", "", "Mean CPU-seconds per period, over the blocks that count.", ""]
    rows_of: dict[str, dict[str, dict[str, Any]]] = {}
    for row in report["components"]:
        rows_of.setdefault(row["phase"], {})[row["label"]] = row
    table = []
    for phase, sides in rows_of.items():
        values = [{part["name"]: part for part in sides[label]["components"]} if label in sides else {} for label in labels]
        for name in sorted(set(values[0]) | set(values[1])):
            role = next(side[name]["role"] for side in values if name in side)
            table.append([phase, name, role, *[significant(side[name]["cpu_seconds"]) if name in side else "-" for side in values]])
        extra = (
            ("actor", "actor", "actor_cpu_seconds"),
            ("residual", "not attributed", "residual_seconds"),
            ("machine busy", "machine", "machine_busy_seconds"),
            ("steal", "other guests", "steal_seconds"),
            ("duration", "seconds", "seconds"),
        )
        for title, role, key in extra:
            table.append([phase, title, role, *[significant(sides[label][key]) if label in sides else "-" for label in labels]])
    lines += _table(["phase", "component", "role", *labels], table)
    lines += ["Residual = machine busy - components - actor: what else the machine did. It is shown, and in no figure above.", ""]
    return lines


def _markdown_state(report: dict[str, Any]) -> list[str]:
    state = report["state"]
    lines = ["## State", ""]
    if state["compared"]:
        same = "Both sides held the same objects" if state["equal"] else "**The sides did not always hold the same objects**"
        lines += [f"{same} after deploy, steady and update ({state['compared']} comparisons by hash).", ""]
    if state["flags"]:
        lines += _table(["block", "phase", "what"], [[flag["block"], flag["phase"], flag["what"]] for flag in state["flags"]])
    if state["left"]:
        labels = report["question"]["labels"]
        rows = [
            [name, *[f"{per[label]['mean']:g} ({', '.join(str(v) for v in per[label]['values'])})" for label in labels]]
            for name, per in sorted(state["left"].items())
        ]
        lines += _table(["objects left, mean (per block)", *labels], rows)
    return lines


def _markdown_checks(report: dict[str, Any]) -> list[str]:
    """Checks that warned or failed, each with its worst result; the others by name."""
    if not report["checks"]:
        return []
    by_level: dict[str, list[dict[str, Any]]] = {level: [] for level in checks.LEVELS}
    for row in report["checks"]:
        by_level[row["worst"]["level"]].append(row)
    rows = []
    for row in by_level["fail"] + by_level["warn"]:
        worst, periods = row["worst"], row["periods"]
        counted = f"{periods['fail'] + periods['warn']} of {sum(periods.values())}"
        limit = "-" if worst["threshold"] is None else f"{worst['threshold']:g} {worst['unit']}"
        rows.append([row["name"], worst["level"], counted, worst["text"], limit, worst["advice"]])
    lines = ["## Was the host quiet?", ""]
    lines += _table(["check", "level", "periods", "worst", "threshold", "what to do"], rows) if rows else ["Every check was ok.", ""]
    for level, title in (("ok", "Ok"), ("unknown", "Not known on this host")):
        if by_level[level]:
            lines += [f"{title}: {markdown(', '.join(row['name'] for row in by_level[level]))}.", ""]
    return lines


def _markdown_exclusions(report: dict[str, Any]) -> list[str]:
    lines = ["## Left out", ""]
    if not report["exclusions"]:
        return [*lines, "Nothing.", ""]
    rows = [[item["period_id"], item["label"], item["why"], "; ".join(item["reasons"]) or "-"] for item in report["exclusions"]]
    return lines + _table(["period", "side", "why", "reasons"], rows)


def _markdown_method(report: dict[str, Any]) -> list[str]:
    settings = report["settings"]
    return [
        "## Method",
        "",
        "- The unit of analysis is one phase of one period; samples within a window are not replicates.",
        "- Randomised complete blocks: each holds one period of either side in a fresh lab, in an order drawn from the recorded seed.",
        f"- Test: exact paired sign-flip permutation, two-sided, alpha {settings['alpha']:g}. Interval: t. "
        f"Equivalence: two one-sided t tests with a margin of {settings['margin_cpu'] * 1000:g} mCPU (rest and idle), fixed in the plan.",
        "- One primary metric; the p of the others is adjusted by Holm. With few blocks it cannot reach alpha, whatever the data: then "
        "there is no verdict, read the interval.",
        "- Different: p below alpha and an interval clear of 0. Equivalent: the interval lies inside the margin. Otherwise: cannot tell.",
        "- No value is left out for being large or small. An invalid period leaves out its whole block; different objects on the two sides "
        "are a warning, which stands first.",
        "- A delivery is seen to have ended through a watch on the API. What the watch costs the API server is part of the cluster side, "
        "in both arms.",
        "- Bounds of an estimate join both uncertainties: the coefficient's bounds at the ends of the interval of the CPU time.",
        "",
    ]


def _markdown_provenance(report: dict[str, Any]) -> list[str]:
    item = report["provenance"]
    host = item["host"]
    rows = [["run", report["run_id"]]]
    rows += [[f"plan {key}", value] for key, value in item["plan"].items() if value not in (None, "")]
    rows += [[f"journal {key}", value] for key, value in item["journal"].items() if value not in (None, "", False)]
    rows += [[f"host {key}", host[key]] for key in sorted(host) if host[key] not in (None, "")]
    source = item["source"]
    rows += [[f"source {key}", source[key]] for key in ("name", "kind", "scope") if source.get(key)]
    lines = ["## Provenance", "", *_table(["what", "value"], rows)]
    if item["binaries"]:
        table = [[row["name"], row["version"] or "-", row["sha256"] or "-", row["origin"] or "-"] for row in item["binaries"]]
        lines += _table(["binary", "version", "sha256", "origin"], table)
    return lines
