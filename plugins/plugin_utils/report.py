# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of one host: a dictionary, and its JSON, Markdown and HTML texts. Pure, and free of the current time:
the same plan and journal give the same bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from ..module_utils.errors import KjouleError
from . import attribution, carbon, checks, pod_energy, savings, virtual_machine
from . import document as documents
from .analysis import analyse
from .answer import CONTROL_PLANE
from .assumptions import read_assumptions
from .calibration import calibrate
from .cells import cell_table
from .costs import costs, curves, observations
from .journal import Journal, with_energy
from .phases import reconciles_of
from .plan import plan_of_cell
from .schedule import remaining
from .sections import document
from .selection import Selected, select
from .timeline import run_order, timelines

SCHEMA = "kjoule.report/1"
SCHEMA_FILE = Path(__file__).parent / "data" / "report.schema.json"
#: More stolen time than this share of a window is worth a warning.
STEAL_SHARE = 0.01

SETTINGS_SHOWN = (
    "profile",
    "mode",
    "arms",
    "labels",
    "blocks",
    "block_retries",
    "apps",
    "interval_seconds",
    "layout",
    "repositories",
    "sampling",
    "factors",
    "stopping",
    "scenario_name",
    "scenario",
    "lab",
    "warmup_seconds",
    "washout_seconds",
    "baseline_seconds",
    "settle_seconds",
    "sample_seconds",
    "source",
    "inference",
    "alpha",
    "margin_cpu",
    "extra",
)


def build_report(plan: dict[str, Any], journal: Journal, assumed: dict[str, Any] | None = None) -> dict[str, Any]:
    """The report as data, valid against ``data/report.schema.json``. Raises KjouleError if it is not.

    ``assumed``: what the user knows better than the shipped assumptions (``assumptions.read_assumptions``).
    """
    journal = with_energy(journal)
    whole = plan
    # With factors the report is about one cell, and has a table of all of them.
    plan = plan_of_cell(plan, 1 if plan["settings"].get("cells") else 0)
    settings = plan["settings"]
    header = journal.header or {}
    source = header.get("source") or {}
    selected = select(plan, journal.periods)
    analysis = analyse(plan, journal.periods, source.get("scope"))
    done = analysis["progress"]
    scopes = [entry["scope"] for entry in analysis["measured_energy"]]
    rows = observations(whole, journal.periods)
    report = {
        "schema": SCHEMA,
        "run_id": plan["run_id"],
        "host": plan["host"],
        "figure": CONTROL_PLANE if _pretended(settings, journal.periods) else "energy",
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
            "finished": done["finished"] if whole is plan else not remaining(whole, journal.periods),
            "stopped_by": done["stopped_by"],
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
        "components": analysis["components"],
        "attribution": attribution.table(selected, settings["labels"], scopes, settings.get("energy_calibration")),
        "pods": pod_energy.table(plan, selected, scopes, savings.without_flux(plan), settings.get("energy_calibration")),
        "virtual_machine": virtual_machine.table(plan, selected, scopes),
        "run_order": run_order(selected, analysis["values"], analysis["primary"]),
        "timeline": timelines(selected, analysis["values"], analysis["primary"], settings["labels"], (scopes or [None])[0]),
        "state": analysis["state"],
        "checks": checks.summary(journal.periods),
        "exclusions": analysis["exclusions"],
        "diagnostics": analysis["diagnostics"],
        "power": analysis["power"],
        "cells": cell_table(whole, journal.periods),
        "costs": costs(whole, rows),
        **curves(plan, rows, analysis["metrics"].get("rest")),
        "calibration": calibrate(plan, journal.periods),
        "warnings": _warnings(plan, journal, analysis, selected),
        "settings": {key: settings.get(key) for key in SETTINGS_SHOWN},
        "workload": _workload(settings["workload"]),
        "provenance": _provenance(plan, journal, analysis),
    }
    assumptions = read_assumptions(assumed)
    report["assumptions"] = assumptions
    report["savings"] = savings.savings(plan, report, assumptions)
    report["carbon"] = carbon.table(report, assumptions, (header.get("host") or {}).get("cpus"))
    report = _rounded(report)
    validate(report)
    return report


def _pretended(settings: dict[str, Any], periods: list[dict[str, Any]]) -> bool:
    """Whether no containers ran: the lab kwok, or another one whose nodes somebody pretended (kwok ran as a component)."""
    roles = {role for record in periods for phase in record["phases"] for role in (phase.get("components") or {}).values()}
    return settings["lab"] == "kwok" or "simulator" in roles


def validate(report: dict[str, Any]) -> None:
    """Raise KjouleError naming the first place where a report differs from the schema."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(report))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "top level"
        raise KjouleError(f"report, {place}", expected=f"schema {SCHEMA}", seen=error.message[:300])


#: What JSON Schema's types of numbers are in Python; a bool is none of them.
_NUMBERS: dict[str, frozenset[type]] = {"number": frozenset({int, float}), "integer": frozenset({int})}


def _items(validator: Any, items: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """The keyword ``items``, with one look at a list that holds nothing but the numbers it should: a long run has lists of thousands."""
    if isinstance(items, dict) and items.keys() <= {"type", "minimum"} and isinstance(instance, list) and instance:
        wanted = _NUMBERS.get(items.get("type", ""), frozenset())
        if set(map(type, instance)) <= wanted and min(instance) >= items.get("minimum", -math.inf):
            return
    yield from jsonschema.Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"items": _items})


def to_json(report: dict[str, Any]) -> bytes:
    return (json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_report(path: str | Path) -> dict[str, Any] | None:
    """A report that was written before; None if there is no file. Raises KjouleError when it is not one of this schema."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise KjouleError(f"report {path}", expected="JSON", seen=str(error), next_step="make report computes it again") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise KjouleError(f"report {path}", expected=f"schema {SCHEMA}", seen=str(report)[:80], next_step="make report computes it again")
    return report


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
            # Of the last record, not the latest time: a clock can be set back.
            "finished_at": next((record["finished_at"] for record in reversed(journal.periods) if record.get("finished_at")), None),
            "torn_line": journal.torn is not None,
        },
        "host": header.get("host") or {},
        "boot_ids": sorted({str(record["boot_id"]) for record in journal.periods if record.get("boot_id")}),
        "binaries": [
            {"name": name, **{key: binaries[name].get(key) for key in ("version", "sha256", "origin")}} for name in sorted(binaries)
        ],
        "source": header.get("source") or {},
    }


def _warnings(plan: dict[str, Any], journal: Journal, analysis: dict[str, Any], selected: Selected) -> list[str]:
    warnings = []
    if ((journal.header or {}).get("host") or {}).get("virtualization") == "qemu":
        warnings.append(
            "The host was emulated (qemu without KVM). Its time is not that of a real machine: no figure here is one of energy."
        )
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
    errors = sum(reconciles_of(phase, "error") for sides in selected.values() for record in sides.values() for phase in record["phases"])
    if errors:
        warnings.append(f"{errors} reconciles failed in the blocks that count.")
    loud = checks.sentence(checks.summary(journal.periods))
    if loud:
        warnings.append(loud)
    warnings += [f"{finding[0].upper()}{finding[1:]}." for finding in (analysis["diagnostics"] or {"findings": []})["findings"]]
    boots = {record.get("boot_id") for record in journal.periods} - {None}
    if len(boots) > 1:
        warnings.append(f"The host was restarted during the run ({len(boots)} boots).")
    if journal.torn is not None:
        warnings.append("The last line of the journal is torn and was set aside.")
    return warnings


def to_markdown(report: dict[str, Any]) -> bytes:
    """The report for people who read text."""
    return documents.to_markdown(document(report))


def to_html(report: dict[str, Any]) -> bytes:
    """The report as one page for a browser."""
    return documents.to_html(document(report))
