# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer in words: statements for the report, and the same in at most 15 lines for a terminal. Pure: reads a report only."""

from __future__ import annotations

import textwrap
from typing import Any

from .effects import HOURS_PER_YEAR
from .words import interval, probability, seconds, signed, significant

WIDTH = 110
LINES = 15


def kilowatt_hours_a_year(watts: float) -> float:
    return watts * HOURS_PER_YEAR / 1000


def statements(report: dict[str, Any]) -> list[str]:
    """The answer, one statement after the other, the most important first."""
    question = report["question"]
    if not report["blocks"]["valid"]:
        return [_title(report), *_nothing(report)]
    said = [_title(report)]
    if question["a_against_a"]:
        said.append(f"A against A: both sides are {question['arms'][0]}. What is seen here is noise of the method, not an effect.")
    said += _rest(report)
    said += _controllers(report)
    said += _cost(report, "deploy", "A deployment")
    said += _cost(report, "change", "A change")
    said += _left(report)
    said += _extrapolated(report)
    said.append(_sureness(report))
    said.append(_kind_of_figure(report))
    said += report["warnings"][:2]
    return said


def terminal(report: dict[str, Any], paths: list[str] | None = None) -> list[str]:
    """The answer as at most 15 lines of at most 110 characters; the paths of the reports come last."""
    tail = [_cut(f"Report: {path}") for path in (paths or [])[:2]]
    lines: list[str] = []
    for statement in statements(report):
        wrapped = textwrap.wrap(statement, WIDTH, subsequent_indent="  ", break_long_words=True, break_on_hyphens=False)
        if len(lines) + len(wrapped) + len(tail) > LINES:
            if len(lines) + len(tail) < LINES:
                lines.append("More in the report.")
            break
        lines += wrapped
    return lines + tail


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH // 3] + "..." + line[-(WIDTH - WIDTH // 3 - 3) :]


def _title(report: dict[str, Any]) -> str:
    settings, blocks, (control, treatment) = report["settings"], report["blocks"], report["question"]["labels"]
    host = " ".join(report["host"].split())
    host = host if len(host) <= 30 else host[:27] + "..."
    return (
        f"{host}: {report['figure']} of {treatment} against {control}, {settings['apps']} apps, "
        f"interval {seconds(settings['interval_seconds'])}, {len(blocks['valid'])} of {blocks['planned']} blocks"
    )


def _nothing(report: dict[str, Any]) -> list[str]:
    blocks, excluded = report["blocks"], report["exclusions"]
    if not blocks["periods"]:
        return ["No answer: nothing was measured yet.", "Next: run playbooks/measure.yml; it starts with the first block."]
    reasons = list(dict.fromkeys(reason for item in excluded for reason in item["reasons"]))
    said = [f"No answer: none of the {blocks['periods']} recorded periods is part of a valid block."]
    said += [f"Reason: {reason[:300]}" for reason in reasons[:3]] or [
        f"Reason: {why}" for why in dict.fromkeys(item["why"] for item in excluded)
    ]
    if blocks["finished"]:
        said.append("Next: remove the reason, then start a run with another kjoule_run_id or more kjoule_block_retries.")
    else:
        said.append("Next: remove the reason and run playbooks/measure.yml again; it continues this run.")
    return said


def _judged(report: dict[str, Any], metric: dict[str, Any]) -> str:
    effect = metric["effect"]
    if effect["p"] is None:
        return f"no p: {effect['why_no_p']}"
    p = effect["p"] if effect.get("p_adjusted") is None else effect["p_adjusted"]
    adjusted = "" if effect.get("p_adjusted") is None else " (Holm)"
    word = effect["verdict"]
    if report["question"]["a_against_a"] and word == "different":
        word = "different, a false alarm"
    return f"{probability(p)}{adjusted}: {word}"


def _rest(report: dict[str, Any]) -> list[str]:
    name = report["primary"]
    metric = report["metrics"].get(name) if name else None
    if metric is None:
        return ["At rest: not measured; the scenario has no steady phase, or it was not valid on both sides."]
    control, treatment = report["question"]["labels"]
    where = "At rest" if name == "rest" else "With nothing to deliver"
    said = [f"{where} {treatment} adds to {control}: {interval(metric['effect'], 1000, 'mCPU', sign=True)}, {_judged(report, metric)}."]
    estimated = metric["estimated"]["effect"]
    measured = _measured(report, f"{name}_joules")
    if measured is not None:
        scope, energy = measured
        effect = energy["effect"]
        year = kilowatt_hours_a_year(effect["mean"])
        said.append(f"  Measured on the whole host ({scope}): {interval(effect, 1, 'W', sign=True)}, {significant(year)} kWh a year.")
    else:
        watts = f"{significant(estimated['value'])} W (bounds {significant(estimated['low'])} to {significant(estimated['high'])})"
        low, high = (significant(kilowatt_hours_a_year(estimated[end])) for end in ("low", "high"))
        said.append(
            f"  That is {watts}, {significant(kilowatt_hours_a_year(estimated['value']))} kWh a year ({low} to {high}), estimated from CPU time."
        )
    return said


def _measured(report: dict[str, Any], name: str) -> tuple[str, dict[str, Any]] | None:
    for entry in report["measured_energy"][:1]:
        if name in entry["metrics"]:
            return entry["scope"], entry["metrics"][name]
    return None


def _controllers(report: dict[str, Any]) -> list[str]:
    metric = report["metrics"].get("idle")
    if metric is None or report["primary"] == "idle":
        return []
    effect = interval(metric["effect"], 1000, "mCPU", sign=True)
    return [f"Of that with nothing to deliver (controllers alone): {effect}, {_judged(report, metric)}."]


def _cost(report: dict[str, Any], name: str, title: str) -> list[str]:
    metric, actor = report["metrics"].get(name), report["metrics"].get(f"{name}_actor")
    if metric is None:
        return []
    parts = []
    for label in report["question"]["labels"]:
        text = f"{label} {significant(metric['sides'][label]['mean'])}"
        if actor is not None:
            text += f" + actor {significant(actor['sides'][label]['mean'])}"
        parts.append(text)
    measured = _measured(report, f"{name}_joules")
    if measured is not None:
        effect = measured[1]["effect"]
        energy = f"{interval(effect, 1, 'J', sign=True)} measured on the host"
    else:
        estimate = metric["estimated"]["effect"]
        energy = (
            f"cluster side {signed(metric['effect']['mean'], 2)} = {significant(estimate['value'])} J estimated "
            f"({significant(estimate['low'])} to {significant(estimate['high'])})"
        )
    return [f"{title} in CPU-seconds: {', '.join(parts)}; {energy}."]


def _left(report: dict[str, Any]) -> list[str]:
    words = {"drifted": "still drifted after hand edits", "orphans": "orphaned after removals"}
    parts = []
    for name, word in words.items():
        left = report["state"]["left"].get(name)
        if left:
            counts = [f"{label} {significant(left[label]['mean'], 2)}" for label in report["question"]["labels"]]
            parts.append(f"{word}: " + ", ".join(counts))
    return [f"Objects {'; '.join(parts)}."] if parts else []


def _extrapolated(report: dict[str, Any]) -> list[str]:
    item = report["extrapolation"]
    if item is None:
        return []
    return [
        f"Extrapolated to a {seconds(item['interval_seconds'])} interval, not measured: {interval(item, 1000, 'mCPU', sign=True)} at rest."
    ]


def _sureness(report: dict[str, Any]) -> str:
    blocks, primary = report["blocks"], report["metrics"].get(report["primary"] or "")
    text = f"How sure: {len(blocks['valid'])} valid of {blocks['planned']} planned blocks"
    if primary is not None and primary["effect"]["p"] is not None:
        text += f", exact sign-flip test (smallest possible p {significant(primary['effect']['smallest_p'], 2)}), t intervals"
    elif primary is not None:
        text += f", no test ({primary['effect']['why_no_p']})"
    if report["exclusions"]:
        text += f", {len(report['exclusions'])} periods left out (see report)"
    if not blocks["finished"]:
        text += "; the run is not finished, measure.yml continues it"
    return text + "."


def _kind_of_figure(report: dict[str, Any]) -> str:
    energy = report["energy"]
    text = "CPU time is measured; "
    if energy["kind"] == "measured":
        text += f"joules are measured ({', '.join(energy['scopes'])}), the machine's idle power is in them"
    else:
        row = energy["estimate"]
        text += f"joules are estimated at {row['joules_per_cpu_second']:g} J per CPU-second ({row['low']:g} to {row['high']:g})"
    if report["settings"]["lab"] == "kwok":
        text += "; control-plane energy: no containers ran"
    return text + "."
