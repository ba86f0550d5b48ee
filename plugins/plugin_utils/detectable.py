# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run can show: the smallest effect that it detects, and its power at the margin. Pure."""

from __future__ import annotations

from typing import Any

from . import statistics
from .metrics import primary_metric

#: The power at which a smallest detectable effect is stated.
WANTED_POWER = 0.8


def power_table(plan: dict[str, Any], metrics: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What the run can show of its primary metric: smallest detectable effect at power 0.8, before (from a calibration) and after.

    None where the metric was not measured or nothing was to be inferred.
    """
    settings = plan["settings"]
    name = primary_metric(plan)
    metric = metrics.get(name or "")
    if metric is None or not settings["inference"]:
        return None
    effect, pairs, alpha = metric["effect"], metric["effect"]["n"], settings["alpha"]
    margin = settings.get("margin_cpu")
    deviation = effect["sd"]
    calibration = plan.get("calibration")
    return {
        "metric": name,
        "unit": metric["unit"],
        "pairs": pairs,
        "wanted": WANTED_POWER,
        "sd": deviation,
        "detectable": None if deviation is None else statistics.smallest_detectable(deviation, pairs, alpha, WANTED_POWER),
        "power_at_margin": statistics.power(margin / deviation, pairs, alpha) if margin and deviation else None,
        "pairs_for_margin": statistics.pairs_for(margin, deviation, alpha, WANTED_POWER) if margin and deviation else None,
        "planned": None if calibration is None else expected_power(calibration, settings),
    }


def expected_power(calibration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What the noise of a calibration lets a plan with these settings expect: ``{run_id, blocks, sd, detectable, power_at_margin}``."""
    deviation, alpha, blocks, margin = calibration["noise"]["sd"], settings["alpha"], settings["blocks"], settings.get("margin_cpu")
    return {
        "run_id": calibration["run_id"],
        "blocks": blocks,
        "sd": deviation,
        "detectable": statistics.smallest_detectable(deviation, blocks, alpha, WANTED_POWER),
        "power_at_margin": statistics.power(margin / deviation, blocks, alpha) if margin and deviation else None,
    }
