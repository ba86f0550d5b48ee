# SPDX-License-Identifier: GPL-3.0-or-later
"""How sure an answer is, as a section of the report: companions of the primary test, power, diagnostics. Pure."""

from __future__ import annotations

from typing import Any

from .document import Block, Table, Text
from .words import interval, probability, significant


def sureness(report: dict[str, Any]) -> list[Block]:
    """The section on the primary metric, or nothing where it was not measured."""
    metric = report["metrics"].get(report["primary"] or "")
    if metric is None:
        return []
    scale, unit = (1000, "mCPU") if metric["unit"] == "CPU" else (1, metric["unit"])
    rows = _companions(metric["effect"], scale, unit) + _power(report["power"], scale)
    blocks: list[Block] = [
        Text(f"Every way of looking at the same paired differences of the primary metric, {report['primary']}."),
        Table("The primary effect, looked at in several ways", ["what", "result"], rows),
    ]
    if report["calibration"] is not None:
        blocks += _calibration(report["calibration"], scale, unit)
    if report["diagnostics"] is not None:
        rows = _diagnostics(report["diagnostics"], scale, unit)
        blocks += [Text("Diagnostics remove nothing."), Table("Diagnostics of the primary effect", ["what", "result"], rows)]
    return blocks


def _companions(effect: dict[str, Any], scale: float, unit: str) -> list[list[Any]]:
    confidence = round(100 * effect["confidence"], 1)
    rows: list[list[Any]] = [["mean, t interval", interval(effect, scale, unit, sign=True)]]
    ends = effect["permutation"]
    if ends["low"] is not None and ends["high"] is not None:
        exact = {"mean": effect["mean"], "low": ends["low"], "high": ends["high"], "confidence": effect["confidence"]}
        rows.append(["mean, interval by inverting the sign-flip test", interval(exact, scale, unit, sign=True)])
    rows.append(["Hodges-Lehmann", f"{significant(effect['hodges_lehmann'] * scale)} {unit}"])
    if effect["ratio"] is not None:
        ratio = {**effect["ratio"], "mean": effect["ratio"]["ratio"], "confidence": effect["confidence"]}
        rows.append(["ratio of the two, on the log scale", interval(ratio)])
    if effect["ancova"] is not None:
        rows.append(
            [
                "adjusted for the baseline of each period (ANCOVA)",
                interval({**effect["ancova"], "confidence": effect["confidence"]}, scale, unit, sign=True),
            ]
        )
    equivalence = effect["equivalence"]
    if equivalence is not None:
        inside = "inside" if equivalence["equivalent"] else "not inside"
        margin = f"{significant(scale * equivalence['margin'])} {unit}"
        rows.append([f"two one-sided tests, margin {margin}", f"{probability(equivalence['p'])}, {inside} the margin"])
    elif effect["p"] is not None:
        rows.append(["two one-sided tests", "not made: the plan states no margin for this metric"])
    if effect["with_excluded"] is not None:
        other = effect["with_excluded"]
        rows.append(
            [
                f"with what the checks left out, {other['n']} blocks as first measured",
                f"{interval({**other, 'confidence': effect['confidence']}, scale, unit, sign=True)}, {probability(other['p'])}",
            ]
        )
    rows.append(["smallest p that so many blocks can give", significant(effect["smallest_p"], 2)])
    return [[what, result if isinstance(result, str) else f"{result} ({confidence:g} %)"] for what, result in rows]


def _power(power: dict[str, Any] | None, scale: float) -> list[list[Any]]:
    if power is None:
        return []
    unit = "mCPU" if power["unit"] == "CPU" else power["unit"]
    rows: list[list[Any]] = []
    planned = power["planned"]
    if planned is not None:
        text = (
            f"{significant(scale * planned['detectable'])} {unit} with {planned['blocks']} blocks"
            if planned["detectable"] is not None
            else "nothing"
        )
        rows.append([f"expected before the run, by the noise calibration {planned['run_id']}: smallest effect found with power 0.8", text])
        if planned["power_at_margin"] is not None:
            rows.append(["expected before the run: power for an effect as large as the margin", significant(planned["power_at_margin"], 2)])
    if power["sd"] is not None:
        rows.append(["standard deviation of the paired differences", f"{significant(scale * power['sd'])} {unit}"])
    if power["detectable"] is not None:
        rows.append(
            ["by the noise of this run: smallest effect found with power 0.8", f"{significant(scale * power['detectable'])} {unit}"]
        )
    if power["pairs_for_margin"] is not None:
        rows.append(["blocks that an effect as large as the margin would take", power["pairs_for_margin"]])
    return rows


def _calibration(found: dict[str, Any], scale: float, unit: str) -> list[Block]:
    noise = found["noise"]
    drift = "-" if noise["drift_per_block"] is None else f"{significant(scale * noise['drift_per_block'])} {unit}"
    rows: list[list[Any]] = [
        ["noise floor: standard deviation of the paired differences", f"{significant(scale * noise['sd'])} {unit}"],
        ["lag-1 autocorrelation of the differences", f"{noise['lag_1']:.2f}"],
        ["drift of the level per block", drift],
    ]
    rows += [
        [f"smallest effect found with power 0.8, {item['blocks']} blocks", f"{significant(scale * item['effect'])} {unit}"]
        for item in found["detectable"]
        if item["effect"] is not None
    ]
    rows += [
        [
            f"blocks for an effect of {significant(scale * item['effect'])} {unit}",
            "more than 10 000" if item["blocks"] is None else item["blocks"],
        ]
        for item in found["blocks_for"]
    ]
    said = (
        "Both sides are the same arm: what is seen is the noise of this host. Later comparisons of the same kind state their power by it."
    )
    return [Text(said), Table("What this host can show", ["what", "result"], rows)]


def _diagnostics(found: dict[str, Any], scale: float, unit: str) -> list[list[Any]]:
    rows: list[list[Any]] = [["finding", finding] for finding in found["findings"]] or [["finding", "nothing"]]
    order, dependence, drift, step, variance = (found[key] for key in ("order", "autocorrelation", "drift", "change_point", "variance"))
    if order is not None:
        rows.append(
            [
                "effect where the second side came first, minus where it came second",
                f"{significant(scale * order['difference'])} {unit}, {probability(order['p'])}",
            ]
        )
    if dependence is not None:
        rows.append(
            ["lag-1 autocorrelation of the differences", f"{dependence['lag_1']:.2f}, Ljung-Box {probability(dependence['ljung_box_p'])}"]
        )
    if drift is not None:
        rows.append(
            [
                "drift of the level per block (Theil-Sen)",
                f"{significant(scale * drift['per_block'])} {unit}, Kendall {probability(drift['p'])}",
            ]
        )
    if step is not None:
        rows.append(
            [
                f"largest step of the level, after block {step['after_block']}",
                f"{significant(scale * step['step'])} {unit}, {probability(step['p'])}",
            ]
        )
    if variance is not None:
        rows.append(
            [
                "ratio of the variances, second side to first",
                f"{significant(variance['ratio'], 2)}, Pitman-Morgan {probability(variance['p'])}",
            ]
        )
    return rows
