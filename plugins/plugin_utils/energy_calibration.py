# SPDX-License-Identifier: GPL-3.0-or-later
"""From the points of a calibration to what a CPU-second costs on that host: a line through watts over busy processors. Pure.

Ordinary least squares of ``watts = idle + joules_per_cpu_second x busy + drift x time``; every window is one point. Intervals are those of
Student's t. Time is in the model because a host warms up while it is calibrated; the random order keeps it apart from the load.
"""

from __future__ import annotations

import math
from typing import Any

import numpy
from scipy import stats

from ..module_utils.energy.estimate import checked_row
from ..module_utils.errors import KjouleError

CONFIDENCE = 0.95
#: Fewer valid windows than this leave too little to judge the line by.
POINTS_NEEDED = 6
#: Share of all processors up to which a point counts as low load, where controllers live.
LOW_SHARE = 0.35
#: Cooled down: so many readings in a row within so many standard deviations of the idle power.
COOL_READINGS, COOL_SIGMAS = 4, 3.0


def fit(points: dict[str, Any]) -> dict[str, Any]:
    """What a calibration comes to, as it is written into plans and reports (docs/calibration.md). ``points`` are those of energy_calibrate.

    Raises KjouleError when the points carry no line: too few valid ones, or power that does not grow with the load.
    """
    windows = [*points["idle"], *points["steps"]]
    valid = [window for window in windows if window["valid"]]
    left_out = [f"{window.get('level', 'idle')}: {'; '.join(window['reasons'])}" for window in windows if not window["valid"]]
    if len(valid) < POINTS_NEEDED:
        raise KjouleError(
            "the calibration has too few valid windows",
            expected=f"at least {POINTS_NEEDED}",
            seen=f"{len(valid)}; " + "; ".join(left_out[:3]),
            next_step="calibrate again on a quieter host, or with longer steps",
        )
    busy = numpy.array([window["busy_seconds"] / window["seconds"] for window in valid])
    watts = numpy.array([window["joules"] / window["seconds"] for window in valid])
    hours = numpy.array([window["at_seconds"] for window in valid]) / 3600
    middle = float(hours.mean())
    line = _line(watts, numpy.column_stack([numpy.ones_like(busy), busy, hours - middle]))
    slope = line["coefficients"][1]
    if slope["low"] <= 0:
        raise KjouleError(
            "the power of this host does not follow its load",
            expected="more watts at more load",
            seen=f"{slope['value']:.3g} J per CPU-second ({slope['low']:.3g} to {slope['high']:.3g})",
            next_step="does the source cover the processor? Longer steps make the interval narrower",
        )
    low = busy <= LOW_SHARE * valid[0]["cpus"]
    low_load = None
    if low.sum() >= POINTS_NEEDED:
        low_load = _line(watts[low], numpy.column_stack([numpy.ones(int(low.sum())), busy[low]]))["coefficients"][1]
    idle_powers = [watt for window in points["idle"] if window["valid"] for watt in window["powers_watts"]]
    idle_valid = [window for window in points["idle"] if window["valid"]]
    own = sum(window["own_cpu_seconds"] for window in valid) / sum(window["seconds"] for window in valid)
    relative = (points["source"].get("accuracy") or {}).get("relative")
    return {
        "measured_at": points["measured_at"],
        "host": points["host"],
        "source": {key: points["source"].get(key) for key in ("name", "scope", "accuracy")},
        "seed": points["seed"],
        "confidence": CONFIDENCE,
        "points": len(valid),
        "left_out": left_out,
        "idle_watts": line["coefficients"][0],
        "joules_per_cpu_second": slope,
        "low_load": low_load,
        "drift_watts_per_hour": line["coefficients"][2],
        "covariance": line["covariance"],
        "t": line["t"],
        "r_squared": line["r_squared"],
        "residual_sd_watts": line["sd"],
        "residuals": [{"busy": float(x), "watts": float(y), "residual_watts": float(r)} for x, y, r in zip(busy, watts, line["residuals"])],
        "idle_measured_watts": math.fsum(w["joules"] for w in idle_valid) / math.fsum(w["seconds"] for w in idle_valid)
        if idle_valid
        else None,
        "noise_floor_watts": float(numpy.std(idle_powers, ddof=1)) if len(idle_powers) > 1 else None,
        "lag1_autocorrelation": lag1(idle_powers),
        "meter": {"cpu": own, "watts": own * slope["value"]},
        "accuracy_relative": relative,
        "cooldown_seconds": cooldown_seconds(points["cooldown"], idle_powers),
    }


def _line(y: Any, x: Any) -> dict[str, Any]:
    """Ordinary least squares with intervals: ``{coefficients: [{value, low, high}], covariance, t, r_squared, sd, residuals}``."""
    solution, _squares, _rank, _singular = numpy.linalg.lstsq(x, y, rcond=None)
    residuals = y - x @ solution
    freedom = len(y) - x.shape[1]
    variance = float(residuals @ residuals) / freedom
    covariance = variance * numpy.linalg.pinv(x.T @ x)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    halves = t * numpy.sqrt(numpy.diag(covariance))
    total = float(((y - y.mean()) ** 2).sum())
    return {
        "coefficients": [
            {"value": float(value), "low": float(value - half), "high": float(value + half)} for value, half in zip(solution, halves)
        ],
        "covariance": [[float(value) for value in row[:2]] for row in covariance[:2]],
        "t": t,
        "r_squared": 1 - float(residuals @ residuals) / total if total > 0 else None,
        "sd": math.sqrt(variance),
        "residuals": residuals,
    }


def lag1(values: list[float]) -> float | None:
    """Autocorrelation of neighbours; None where there are fewer than three values, or they are all the same."""
    if len(values) < 3:
        return None
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return math.fsum((a - mean) * (b - mean) for a, b in zip(values, values[1:])) / squares if squares > 0 else None


def cooldown_seconds(rows: list[list[float | None]], idle_powers: list[float]) -> float | None:
    """Seconds after full load until the power is that of idle and stays there for some readings; None when it did not get there."""
    if len(idle_powers) < 2:
        return None
    limit = float(numpy.mean(idle_powers) + COOL_SIGMAS * numpy.std(idle_powers, ddof=1))
    calm = 0
    for index, (_seconds, watts, _celsius) in enumerate(rows):
        calm = calm + 1 if watts is not None and watts <= limit else 0
        if calm == COOL_READINGS:
            return rows[index - COOL_READINGS + 1][0]
    return None


def estimate_row(calibration: dict[str, Any]) -> dict[str, Any]:
    """The row of the estimate table that a calibration stands for. The bounds hold both intervals, that of the whole line and that at low
    load, widened by the meter's accuracy where one is stated."""
    slope, low_load, source = calibration["joules_per_cpu_second"], calibration["low_load"], calibration["source"]
    ends = [slope] + ([low_load] if low_load is not None and low_load["low"] > 0 else [])
    off = calibration["accuracy_relative"] or 0.0
    return checked_row(
        {
            "id": "calibrated",
            "joules_per_cpu_second": slope["value"],
            "low": min(end["low"] for end in ends) * (1 - off),
            "high": max(end["high"] for end in ends) * (1 + off),
            "what": f"What one more busy CPU-second cost on this host, {source['scope']}",
            "source": f"energy_calibrate on this host, {calibration['measured_at']}, {calibration['points']} windows of {source['name']}",
            "year": calibration["measured_at"][:4],
            "licence": None,
        }
    )


def sentence(calibration: dict[str, Any]) -> str:
    """The result in one line."""
    idle, slope = calibration["idle_watts"], calibration["joules_per_cpu_second"]
    fit_quality = "" if calibration["r_squared"] is None else f", R² {calibration['r_squared']:.4f}"
    return (
        f"{calibration['source']['scope']}: {idle['value']:.2f} W idle ({idle['low']:.2f} to {idle['high']:.2f}), "
        f"{slope['value']:.3f} J per CPU-second ({slope['low']:.3f} to {slope['high']:.3f}){fit_quality}, {calibration['points']} windows"
    )
