# SPDX-License-Identifier: GPL-3.0-or-later
"""What could be wrong with paired differences: order, dependence, drift, steps, spread. None of it removes a value; it is said.

Ljung and Box 1978 for autocorrelation; Theil 1950, Sen 1968 and Kendall 1938 for drift; Page 1955 for a change point, with
a permutation p as in Taylor 2000; Pitman 1939 and Morgan 1939 for the variances of paired samples; Iglewicz and
Hoaglin 1993 for the robust z.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.diagnostic import acorr_ljungbox

from .statistics import FloatArray
from .words import significant

#: Fewer pairs say nothing about dependence or drift.
FEWEST = 6
#: A diagnostic is worth a warning below this p. Seven are looked at: 0.01 keeps the false alarms of all together near one in fifteen.
WARN_BELOW = 0.01
ROBUST_Z = 3.5
CHANGE_POINT_DRAWS = 999


def diagnose(control: list[float], treatment: list[float], treatment_first: list[bool], blocks: list[int], seed: int = 0) -> dict[str, Any]:
    """Diagnostics of one metric over its blocks, in the order in which they were measured.

    ``{n, order, autocorrelation, drift, change_point, variance, outlying_blocks, identical, findings}``; a part is None where there
    are too few blocks for it, or nothing varies. ``findings`` are sentences for what a reader has to know.
    """
    first, second = np.asarray(control, dtype=float), np.asarray(treatment, dtype=float)
    differences = second - first
    varies = bool(differences.size) and float(np.ptp(differences)) > 1e-12 * max(
        float(np.abs(np.concatenate([first, second])).max()), 1e-300
    )
    enough = differences.size >= FEWEST and varies
    result: dict[str, Any] = {
        "n": int(differences.size),
        "order": _order(differences, np.asarray(treatment_first, dtype=bool)) if enough else None,
        "autocorrelation": _autocorrelation(differences) if enough else None,
        "drift": _drift((first + second) / 2, blocks) if enough else None,
        "change_point": _change_point((first + second) / 2, blocks, seed) if enough else None,
        "variance": _variance(first, second) if enough else None,
        "outlying_blocks": _outlying(differences, blocks) if enough else [],
        "identical": differences.size > 1 and not varies,
    }
    result["findings"] = _findings(result)
    return result


def lag_1(values: FloatArray) -> float:
    """Lag-1 autocorrelation about the mean; 0 for a constant."""
    centred = values - values.mean()
    whole = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / whole if whole > 0 else 0.0


def _order(differences: FloatArray, treatment_first: Any) -> dict[str, Any] | None:
    """Whether the effect depends on who came first in the block: the difference of the two means, by Welch's t."""
    first, second = differences[treatment_first], differences[~treatment_first]
    if min(first.size, second.size) < 2 or (np.ptp(first) == 0 and np.ptp(second) == 0):
        return None
    p = float(stats.ttest_ind(first, second, equal_var=False).pvalue)
    return {"treatment_first": int(first.size), "difference": float(first.mean() - second.mean()), "p": p}


def _autocorrelation(differences: FloatArray) -> dict[str, Any]:
    lags = 1 if differences.size < 12 else min(5, differences.size // 4)
    table = acorr_ljungbox(differences, lags=[lags])
    return {"lag_1": lag_1(differences), "lags": lags, "ljung_box_p": float(table["lb_pvalue"].iloc[0])}


def _drift(levels: FloatArray, blocks: list[int]) -> dict[str, Any] | None:
    """Slope of the level of the blocks (mean of both sides), per block, and whether there is one at all."""
    if np.ptp(levels) == 0:
        return None
    # The median of all slopes between pairs of blocks: a sample of the blocks is enough where there are very many.
    step = max(1, levels.size // 500)
    slope = stats.theilslopes(levels[::step], np.asarray(blocks, dtype=float)[::step])
    p = float(stats.kendalltau(blocks, levels).pvalue)
    return {"per_block": float(slope[0]), "low": float(slope[2]), "high": float(slope[3]), "p": p}


def _change_point(levels: FloatArray, blocks: list[int], seed: int) -> dict[str, Any] | None:
    """Where the level of the blocks steps most, by the largest cumulative sum; p by permutation of the blocks, seeded."""
    centred = levels - levels.mean()
    if np.ptp(levels) == 0:
        return None
    sums = np.abs(np.cumsum(centred))[:-1]
    place = int(sums.argmax())
    generator = np.random.default_rng(seed)
    draws = CHANGE_POINT_DRAWS if levels.size <= 500 else 99
    drawn = np.abs(np.cumsum(generator.permuted(np.tile(centred, (draws, 1)), axis=1), axis=1))[:, :-1].max(axis=1)
    p = (1 + int(np.count_nonzero(drawn >= sums[place] * (1 - 1e-12)))) / (1 + draws)
    return {"after_block": blocks[place], "step": float(levels[place + 1 :].mean() - levels[: place + 1].mean()), "p": p}


def _variance(first: FloatArray, second: FloatArray) -> dict[str, Any] | None:
    """Ratio of the variances, second to first, with Pitman's and Morgan's test: equal ones leave sums and differences uncorrelated."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    sums, differences = first + second, second - first
    p = None if np.ptp(sums) == 0 or np.ptp(differences) == 0 else float(stats.pearsonr(sums, differences).pvalue)
    return {"ratio": float(second.var(ddof=1) / first.var(ddof=1)), "p": p}


def _outlying(differences: FloatArray, blocks: list[int]) -> list[dict[str, Any]]:
    """Blocks with a robust z above 3.5. They stay in."""
    middle = float(np.median(differences))
    spread = float(np.median(np.abs(differences - middle)))
    if spread == 0:
        return []
    scores = 0.6745 * (differences - middle) / spread
    return [{"block": block, "z": float(z)} for block, z in zip(blocks, scores, strict=True) if abs(z) > ROBUST_Z]


def _findings(result: dict[str, Any]) -> list[str]:
    found = []
    order, dependence, drift, step, variance = (result[key] for key in ("order", "autocorrelation", "drift", "change_point", "variance"))
    if order and order["p"] < WARN_BELOW:
        found.append("the effect depends on which side came first in the block: something is carried over from period to period")
    if dependence and dependence["ljung_box_p"] < WARN_BELOW:
        found.append(
            f"differences of neighbouring blocks depend on each other (lag-1 autocorrelation {dependence['lag_1']:.2f}): "
            "the t interval may be too narrow"
        )
    if step and step["p"] < WARN_BELOW:
        found.append(
            f"the level of both sides steps after block {step['after_block']}: something changed on the host; "
            "pairs within a block are not touched"
        )
    elif drift and drift["p"] < WARN_BELOW:
        found.append("the level of both sides drifts over the run; pairs within a block are hardly touched")
    if variance and variance["p"] is not None and variance["p"] < WARN_BELOW:
        found.append(f"one side varies more than the other (ratio of variances {significant(variance['ratio'], 2)})")
    if result["outlying_blocks"]:
        found.append("blocks far from the others, kept: " + ", ".join(str(item["block"]) for item in result["outlying_blocks"]))
    if result["identical"]:
        found.append("all blocks gave the same difference: no meter is that steady, look at the source")
    return found


def noise(differences: list[float], levels: list[float], blocks: list[int]) -> dict[str, Any]:
    """What an A/A run says about the noise of a host: ``{n, sd, lag_1, drift_per_block}``."""
    values = np.asarray(differences, dtype=float)
    if values.size < 2:
        return {"n": int(values.size), "sd": None, "lag_1": None, "drift_per_block": None}
    drift = _drift(np.asarray(levels, dtype=float), blocks)
    # With a mean of 0 known (both sides are the same), the mean square is the better estimate of the variance.
    deviation = math.sqrt(float(np.mean(values**2)))
    return {
        "n": int(values.size),
        "sd": deviation,
        "lag_1": lag_1(values),
        "drift_per_block": None if drift is None else drift["per_block"],
    }
