# SPDX-License-Identifier: GPL-3.0-or-later
"""Effects: the paired differences of the metrics over the blocks, with intervals, verdicts and estimated joules. Pure."""

from __future__ import annotations

from typing import Any

from ..module_utils.energy.estimate import estimate_joules
from . import statistics
from .metrics import METRICS, Values, baseline_rate, primary_metric, values_of
from .run_settings import blocks_needed
from .selection import Selected


def metric_table(plan: dict[str, Any], selected: Selected, values: Values, as_first: Selected | None = None) -> dict[str, dict[str, Any]]:
    """Every CPU metric with its sides, effect, verdict and estimated joules; ``values`` as ``values_of`` finds them.

    The primary metric is tested on its own; the others get a p adjusted by Holm, and their verdict uses that. With ``as_first`` (see
    ``as_first_measured``) every effect also says what it would be had no check left a block out.
    """
    settings = plan["settings"]
    labels = settings["labels"]
    baseline = _baseline_differences(labels, selected)
    others = values_of(as_first or {})
    table: dict[str, dict[str, Any]] = {}
    for name, (unit, what) in METRICS.items():
        per_block = {block: {label: sides[label][name] for label in labels} for block, sides in values.items()}
        metric = paired_metric(plan, per_block, settings.get("margin_cpu") if unit == "CPU" else None, baseline)
        if metric is not None:
            table[name] = {"unit": unit, "what": what, **metric}
            if others:
                metric["effect"]["with_excluded"] = _with_excluded(
                    plan, [[sides[label][name] for label in labels] for sides in others.values()]
                )
    primary = primary_metric(plan)
    judge(table, primary, settings["alpha"])
    for metric in table.values():
        metric["estimated"] = _estimated(metric, labels, settings["estimate"])
    return table


def paired_metric(
    plan: dict[str, Any],
    per_block: dict[int, dict[str, float | None]],
    margin: float | None,
    baseline: dict[int, float | None] | None = None,
) -> dict[str, Any] | None:
    """Sides and effect of one metric over the blocks in which both sides have it; None if no block has.

    ``per_block`` is block -> label -> value, ``margin`` the margin of equivalence; both, and the result ``{blocks, sides, effect}``, are in
    the unit of the metric. ``baseline`` is block -> difference of the covariate between the sides, in CPU.
    """
    settings = plan["settings"]
    labels = settings["labels"]
    blocks = [block for block, sides in per_block.items() if all(sides.get(label) is not None for label in labels)]
    if not blocks:
        return None
    values = {label: [value for block in blocks if (value := per_block[block][label]) is not None] for label in labels}
    confidence = 1 - settings["alpha"]
    effect = statistics.compare(
        values[labels[0]],
        values[labels[1]],
        alpha=settings["alpha"],
        margin=margin,
        seed=plan["seed"],
        pairs_needed=blocks_needed(settings["alpha"]),
        inference=settings["inference"],
    )
    covariate = [value for block in blocks if baseline and (value := baseline.get(block)) is not None]
    effect["ancova"] = statistics.ancova(effect["differences"], covariate, confidence) if len(covariate) == len(blocks) else None
    effect["with_excluded"] = None
    return {
        "blocks": blocks,
        "sides": {label: {"values": values[label], **statistics.mean_interval(values[label], confidence)} for label in labels},
        "effect": effect,
    }


def _baseline_differences(labels: list[str], selected: Selected) -> dict[int, float | None]:
    result: dict[int, float | None] = {}
    for block, sides in selected.items():
        first, second = (baseline_rate(sides[label]) for label in labels)
        result[block] = None if first is None or second is None else second - first
    return result


def _with_excluded(plan: dict[str, Any], sides: list[list[float | None]]) -> dict[str, Any] | None:
    pairs = [(first, second) for first, second in sides if first is not None and second is not None]
    if not pairs:
        return None
    differences = [second - first for first, second in pairs]
    allowed = plan["settings"]["inference"] and len(pairs) >= blocks_needed(plan["settings"]["alpha"])
    interval = statistics.mean_interval(differences, 1 - plan["settings"]["alpha"])
    return {**interval, "p": statistics.sign_flip_p(differences, plan["seed"]) if allowed else None}


def judge(table: dict[str, dict[str, Any]], primary: str | None, alpha: float) -> None:
    """Writes ``primary``, ``p_adjusted`` and ``verdict`` into the metrics of a table (name -> metric as ``paired_metric`` gives it)."""
    for name, metric in table.items():
        metric["primary"] = name == primary
    judge_effects({name: metric["effect"] for name, metric in table.items()}, primary, alpha)


def judge_effects(effects: dict[str, dict[str, Any]], primary: str | None, alpha: float) -> None:
    """Writes ``p_adjusted`` and ``verdict`` into effects (name -> effect as ``statistics.compare`` gives it).

    ``primary`` is judged by its own p; those of all others with a p are one family and adjusted by Holm. Where no p was allowed, or none
    that is small enough could have come out, the verdict is None.
    """
    family = {name: effect["p"] for name, effect in effects.items() if name != primary and effect["p"] is not None}
    adjusted = statistics.holm(family)
    for name, effect in effects.items():
        effect["p_adjusted"] = adjusted.get(name)
        word = statistics.verdict(effect, alpha, adjusted.get(name))
        # Where no data could have given a small enough p, "cannot tell" would say something about the data that it does not.
        attainable = (effect["smallest_p"] or 1.0) * (len(family) if name in family else 1) < alpha
        effect["verdict"] = None if word == statistics.CANNOT_TELL and not attainable else word


def estimated_interval(interval: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Estimated joules (or watts) of an interval of CPU-seconds (or CPU): bounds of the coefficient on both ends of the interval.

    ``interval`` is ``{mean, low, high}``, its ends None where there is no interval; ``row`` a coefficient of ``estimate.yml``. Gives
    ``{value, low, high}``.
    """
    ends = [interval["mean"] if interval[end] is None else interval[end] for end in ("low", "high")]
    estimates = [estimate_joules(end, row) for end in ends]
    return {
        "value": estimate_joules(interval["mean"], row)["joules"],
        "low": min(estimate["low"] for estimate in estimates),
        "high": max(estimate["high"] for estimate in estimates),
    }


def _estimated(metric: dict[str, Any], labels: list[str], row: dict[str, Any]) -> dict[str, Any]:
    unit = {"CPU": "W", "CPU-seconds": "J", "CPU-seconds per change": "J per change"}[metric["unit"]]
    sides = {label: estimated_interval(metric["sides"][label], row) for label in labels}
    return {"unit": unit, "scope": "estimate:cpu-time", "sides": sides, "effect": estimated_interval(metric["effect"], row)}
