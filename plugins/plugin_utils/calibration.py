# SPDX-License-Identifier: GPL-3.0-or-later
"""What a calibration (the same arm twice) says about a host: noise floor, smallest detectable effect, blocks that an effect needs. Pure."""

from __future__ import annotations

from typing import Any

from . import diagnostics, statistics
from .detectable import WANTED_POWER
from .effects import metric_table
from .metrics import primary_metric, values_of
from .plain import sha256_of
from .selection import select

SCHEMA = "kjoule.calibration/1"
#: Settings that decide how noisy a paired difference is: a comparison that differs in one of them is not told by the calibration.
CONDITIONS = (
    "lab",
    "scenario",
    "apps",
    "interval_seconds",
    "layout",
    "repositories",
    "sampling",
    "workload",
    "warmup_seconds",
    "washout_seconds",
    "baseline_seconds",
    "settle_seconds",
    "sample_seconds",
    "source",
)
#: Numbers of blocks for which the smallest detectable effect is listed.
BLOCKS = (6, 8, 12, 20, 30)
#: Effects for which the number of blocks is listed, in multiples of the margin.
MULTIPLES = (0.5, 1, 2, 4)


def conditions_hash(settings: dict[str, Any]) -> str:
    """Hash that a calibration and the comparisons that may use it share. The seed that fills generated configurations is no condition."""
    workload = {key: value for key, value in settings["workload"].items() if key != "seed"}
    return sha256_of({**{key: settings.get(key) for key in CONDITIONS}, "workload": workload})


def calibrate(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The calibration of a run with the same arm twice; None unless two blocks of the primary metric are valid.

    ``noise`` holds sd (root mean square of the paired differences, whose true mean is 0), lag-1 autocorrelation and drift per block;
    ``detectable`` the smallest effect found with power 0.8 by number of blocks; ``blocks_for`` the blocks that multiples of the margin
    need, empty without a margin. In CPU.
    """
    settings = plan["settings"]
    if settings["arms"][0] != settings["arms"][1]:
        return None
    name = primary_metric(plan)
    selected = select(plan, records)
    metric = metric_table(plan, selected, values_of(selected)).get(name or "")
    if metric is None or metric["effect"]["n"] < 2:
        return None
    first, second = (metric["sides"][label]["values"] for label in settings["labels"])
    levels = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    noise = diagnostics.noise(metric["effect"]["differences"], levels, metric["blocks"])
    deviation, alpha, margin = noise["sd"], settings["alpha"], settings.get("margin_cpu")
    return {
        "schema": SCHEMA,
        "run_id": plan["run_id"],
        "host": plan["host"],
        "created_at": plan["created_at"],
        "conditions": conditions_hash(settings),
        "arm": settings["arms"][0],
        "metric": name,
        "unit": metric["unit"],
        "noise": noise,
        "effect": {key: metric["effect"][key] for key in ("n", "mean", "low", "high", "p")},
        "alpha": alpha,
        "power": WANTED_POWER,
        "detectable": [
            {"blocks": blocks, "effect": statistics.smallest_detectable(deviation, blocks, alpha, WANTED_POWER)} for blocks in BLOCKS
        ],
        "blocks_for": [
            {
                "effect": multiple * margin,
                "blocks": statistics.pairs_for(multiple * margin, deviation, alpha),
            }
            for multiple in (MULTIPLES if margin is not None else ())
        ],
    }
