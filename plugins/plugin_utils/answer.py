# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer in words: statements for the report, and the same in at most 15 lines for a terminal. Pure: reads a report only."""

from __future__ import annotations

import textwrap
from typing import Any

from .carbon import HOURS_PER_YEAR
from .document import Tile
from .metrics import WHEN
from .words import interval, probability, seconds, significant

WIDTH = 110
LINES = 15
#: The figure of a report on a lab in which no containers ran.
CONTROL_PLANE = "control-plane energy"
#: From here on "times" is easier to read than per cent.
MANY_TIMES = 3.0
#: What many clusters run with: the quick profile measures at a much shorter one.
USUAL_INTERVAL_SECONDS = 600


def kilowatt_hours_a_year(watts: float) -> float:
    return watts * HOURS_PER_YEAR / 1000


def statements(report: dict[str, Any]) -> list[str]:
    """The answer, one statement after the other, the most important first."""
    return [text for _rank, text in _ranked(report)]


def _ranked(report: dict[str, Any]) -> list[tuple[int, str]]:
    """Statements with a rank: where space is short, the highest rank goes first; 0 always stays."""
    if not report["blocks"]["valid"]:
        return [(0, _title(report)), *((0, text) for text in _nothing(report))]
    ranked = [(0, _title(report))]
    if report["question"]["a_against_a"]:
        arm = report["question"]["arms"][0]
        ranked.append((0, f"A against A: both sides are {arm}. What is seen here is noise of the method, not an effect."))
    serious = 1 if report["warnings"] and not report["state"]["equal"] else 0
    ranked += [(0, text) for text in report["warnings"][:serious]]
    ranked += [(0, text) for text in _rest(report)]
    ranked += [(2, text) for text in _controllers(report)]
    ranked += [(3, text) for text in _cost(report, "deploy", "A deployment")]
    ranked += [(3, text) for text in _cost(report, "change", "A change")]
    ranked += [(2, text) for text in _left(report)]
    ranked += [(1, text) for text in _extrapolated(report)]
    ranked += [(0, _sureness(report)), (0, _kind_of_figure(report))]
    ranked += [(5, text) for text in report["warnings"][serious : serious + 2]]
    return ranked


def terminal(report: dict[str, Any], paths: list[str] | None = None) -> list[str]:
    """The answer as at most 15 lines of at most 110 characters; the paths of the reports come last."""
    tail = [_cut(f"Report: {path}") for path in (paths or [])[:2]]
    groups = [
        (rank, textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=True, break_on_hyphens=False))
        for rank, text in _ranked(report)
    ]
    while sum(len(lines) for _rank, lines in groups) + len(tail) > LINES:
        worst = max(range(len(groups)), key=lambda index: (groups[index][0], index))
        if groups[worst][0] == 0:
            break
        del groups[worst]
    lines = [line for _rank, group in groups for line in group]
    return lines[: LINES - len(tail)] + tail


def verdict_word(report: dict[str, Any]) -> str:
    """The verdict of the primary metric, or why there is none, in a word or two."""
    if not report["blocks"]["valid"]:
        return "no answer"
    metric = report["metrics"].get(report["primary"] or "")
    return (metric["effect"]["verdict"] if metric else None) or "no verdict"


def headline(report: dict[str, Any]) -> str:
    """The answer in one sentence."""
    metric = report["metrics"].get(report["primary"] or "")
    control, treatment = report["question"]["labels"]
    if metric is None:
        return (
            "No answer yet: no block is valid" if not report["blocks"]["valid"] else "Nothing at rest was measured; the figures are below"
        )
    where = WHEN[report["primary"]]
    effect, word = metric["effect"], metric["effect"]["verdict"]
    size = interval(effect, 1000, "mCPU", sign=True)
    if word == "different" and report["question"]["a_against_a"]:
        return f"The same against the same differs {where} by {size}: a false alarm, or something carried over"
    if word == "different":
        base, other = (metric["sides"][label]["mean"] for label in (control, treatment))
        if base > 0 and other >= MANY_TIMES * base:
            return f"{_first_up(treatment)} uses {significant(other / base, 2)} times the CPU of {control} {where}: {size}"
        share = f"{abs(100 * effect['mean'] / base):.0f} % " if base > 0 else ""
        return f"{_first_up(treatment)} uses {share}{'more' if effect['mean'] > 0 else 'less'} CPU than {control} {where}: {size}"
    if word == "equivalent":
        margin = significant(1000 * effect["equivalence"]["margin"])
        return f"{_first_up(treatment)} and {control} cost the same {where}: {size}, inside the margin of {margin} mCPU"
    if word == "cannot tell" and report["question"]["a_against_a"]:
        return f"The same against the same {where}: {size}, which this run cannot tell from nothing"
    if word == "cannot tell":
        return f"This run cannot tell whether {treatment} costs more than {control} {where}: {size}"
    return f"{_first_up(treatment)} minus {control} {where}: {size}; no verdict, {effect['why_no_p'] or 'too few blocks'}"


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


def tiles(report: dict[str, Any]) -> list[Tile]:
    """The figures of the first screen."""
    if not report["blocks"]["valid"]:
        return []
    found = []
    name = report["primary"]
    metric = report["metrics"].get(name or "")
    control, treatment = report["question"]["labels"]
    if metric is not None:
        effect = metric["effect"]
        of = ", ".join(f"{significant(1000 * metric['sides'][label]['mean'])} for {label}" for label in (control, treatment))
        size, _space, certainty = interval(effect, 1000, "mCPU", sign=True).partition(" (")
        found.append(Tile(f"CPU at rest, {report['question']['effect']}", size, f"{certainty.rstrip(')')}; {of}" if certainty else of))
        measured = _measured(report, f"{name}_joules")
        if measured is not None:
            size, _space, certainty = interval(measured[1]["effect"], 1, "W", sign=True).partition(" (")
            year = significant(kilowatt_hours_a_year(measured[1]["effect"]["mean"]))
            found.append(Tile("Power at rest, measured", size, f"{certainty.rstrip(')')}; {year} kWh a year; {measured[0]}"))
        else:
            watts = metric["estimated"]["effect"]
            low, high = significant(watts["low"], 2), significant(watts["high"], 2)
            year = significant(kilowatt_hours_a_year(watts["value"]), 2)
            found.append(Tile("Power at rest, estimated", f"{_plus(watts['value'])} W", f"{low} to {high} W; {year} kWh a year"))
    for kind, title in (("deploy", "A deployment"), ("change", "A change")):
        total = report["metrics"].get(f"{kind}_total")
        if total is not None:
            low, high = (significant(total["estimated"]["effect"][end], 2) for end in ("low", "high"))
            size, _space, certainty = interval(total["effect"], 1, "CPU-s", sign=True).partition(" (")
            note = f"{certainty.rstrip(')')}; {_plus(total['estimated']['effect']['value'])} J estimated ({low} to {high})"
            found.append(Tile(f"{title}, cluster and actor", size, note))
    for key, words in (("drifted", "Still drifted after hand edits"), ("orphans", "Orphaned after removals")):
        left = report["state"]["left"].get(key)
        if left:
            counts = [f"{round(left[label]['mean'], 1):g}" for label in (control, treatment)]
            found.append(Tile(words, " / ".join(counts), f"objects, {control} / {treatment}"))
    blocks = report["blocks"]
    test = metric["effect"]["why_no_p"] or f"{probability(metric['effect']['p'])}, exact sign-flip test" if metric else "no primary metric"
    found.append(Tile("Blocks that count", f"{len(blocks['valid'])} of {blocks['planned']}", test))
    return found


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
    equivalence = effect["equivalence"]
    if effect["verdict"] == "different" and equivalence and equivalence["equivalent"]:
        word += f", but inside the margin of {significant(1000 * equivalence['margin'])} mCPU"
    return f"{probability(p)}{adjusted}: {word}"


def _rest(report: dict[str, Any]) -> list[str]:
    name = report["primary"]
    metric = report["metrics"].get(name) if name else None
    if metric is None:
        return ["At rest: not measured; the scenario has no steady phase, or it was not valid on both sides."]
    control, treatment = report["question"]["labels"]
    where = WHEN[name].capitalize()
    said = [f"{where} {treatment} adds to {control}: {interval(metric['effect'], 1000, 'mCPU', sign=True)}, {_judged(report, metric)}."]
    measured = _measured(report, f"{name}_joules")
    if measured is not None:
        scope, energy = measured
        year = significant(kilowatt_hours_a_year(energy["effect"]["mean"]))
        said.append(f"  Measured on the whole host ({scope}): {interval(energy['effect'], 1, 'W', sign=True)}, {year} kWh a year.")
        return said
    estimate = metric["estimated"]["effect"]
    watts, low, high = (significant(estimate[key]) for key in ("value", "low", "high"))
    year, year_low, year_high = (significant(kilowatt_hours_a_year(estimate[key])) for key in ("value", "low", "high"))
    at = f"at this {seconds(report['settings']['interval_seconds'])} interval"
    said.append(f"  Estimated from CPU time, {at}: {watts} W ({low} to {high}), {year} kWh a year ({year_low} to {year_high}).")
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
    word = metric["effect"]["verdict"]
    judged = f", {_judged(report, metric)}" if word in ("different", "equivalent") else ""
    return [f"With nothing to deliver (controllers alone): {interval(metric['effect'], 1000, 'mCPU', sign=True)}{judged}."]


def _cost(report: dict[str, Any], name: str, title: str) -> list[str]:
    metric, actor = report["metrics"].get(name), report["metrics"].get(f"{name}_actor")
    if metric is None:
        return []
    parts = []
    for label in report["question"]["labels"]:
        text = f"{label} {significant(metric['sides'][label]['mean'], 2)}"
        if actor is not None:
            text += f" + {significant(actor['sides'][label]['mean'], 2)}"
        parts.append(text)
    measured = _measured(report, f"{name}_joules")
    if measured is not None:
        energy = f"host {interval(measured[1]['effect'], 1, 'J', sign=True)} measured"
    else:
        total = report["metrics"].get(f"{name}_total") or metric
        estimate = total["estimated"]["effect"]
        low, high = significant(estimate["low"], 2), significant(estimate["high"], 2)
        energy = f"in all {_plus(estimate['value'])} J est. ({low} to {high})"
    unit = "CPU-s" if actor is None else "CPU-s cluster + actor"
    return [f"{title}, {unit}: {', '.join(parts)}; {energy}."]


def _plus(value: float) -> str:
    text = significant(value, 2)
    return text if text == "0" or text.startswith("-") else f"+{text}"


def _left(report: dict[str, Any]) -> list[str]:
    words = {"drifted": "still drifted after hand edits", "orphans": "orphaned after removals"}
    parts = []
    for name, word in words.items():
        left = report["state"]["left"].get(name)
        if left:
            counts = [f"{label} {round(left[label]['mean'], 1):g}" for label in report["question"]["labels"]]
            parts.append(f"{word}: " + ", ".join(counts))
    return [f"Objects {'; '.join(parts)}."] if parts else []


def _extrapolated(report: dict[str, Any]) -> list[str]:
    found = [point for point in report["interval_curve"] if point["interval_seconds"] == USUAL_INTERVAL_SECONDS]
    if not found or found[0]["kind"] == "measured":
        return []
    how = "Fitted" if found[0]["kind"] == "fitted" else "Extrapolated"
    return [
        f"{how} to a {seconds(USUAL_INTERVAL_SECONDS)} interval, not measured: between {_plus(1000 * found[0]['low'])} and "
        f"{_plus(1000 * found[0]['high'])} mCPU at rest."
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
    text = "Control-plane energy, no containers ran: " if report["figure"] == CONTROL_PLANE else ""
    if energy["kind"] == "measured":
        return f"{text}CPU time and joules measured ({', '.join(energy['scopes'])}; with idle power)."
    row = energy["estimate"]
    return f"{text}CPU time measured, joules estimated at {row['joules_per_cpu_second']:g} J per CPU-s ({row['low']:g} to {row['high']:g})."
