# SPDX-License-Identifier: GPL-3.0-or-later
"""Paired comparison of two sides over blocks. One number per block and side goes in; nothing below that is a replicate.

Sign-flip permutation test: Fisher 1935, The Design of Experiments, section 21. Hodges and Lehmann 1963 for the robust
estimate. Equivalence by two one-sided tests: Schuirmann 1987. Step-down correction: Holm 1979.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

EXACT_UP_TO = 16
MONTE_CARLO_DRAWS = 100_000
DIFFERENT, EQUIVALENT, CANNOT_TELL = "different", "equivalent", "cannot tell"


def smallest_p(pairs: int) -> float:
    """The smallest p an exact two-sided sign-flip test of that many pairs can give: 2 / 2**pairs."""
    return min(1.0, 2.0 / 2**pairs)


def sign_flip_p(differences: list[float], seed: int = 0) -> float:
    """Two-sided p of the paired sign-flip permutation test on the mean of ``differences``.

    Exact (all 2**n sign patterns) up to 16 pairs; beyond that 100 000 draws seeded with ``seed``, the observed pattern
    counted in. Sums that differ by rounding only count as ties. Raises ValueError without differences.
    """
    values = np.asarray(differences, dtype=float)
    pairs = values.size
    if pairs == 0:
        raise ValueError("no differences")
    observed = abs(values.sum())
    tolerance = 1e-9 * max(np.abs(values).sum(), np.finfo(float).tiny)
    if pairs <= EXACT_UP_TO:
        patterns = (np.arange(2**pairs)[:, None] >> np.arange(pairs)) & 1
        sums = np.abs((1 - 2 * patterns) @ values)
        return float(np.count_nonzero(sums >= observed - tolerance) / 2**pairs)
    generator = np.random.default_rng(seed)
    hits, drawn = 0, 0
    while drawn < MONTE_CARLO_DRAWS:
        size = min(10_000, MONTE_CARLO_DRAWS - drawn)
        signs = 1 - 2 * generator.integers(0, 2, size=(size, pairs))
        hits += int(np.count_nonzero(np.abs(signs @ values) >= observed - tolerance))
        drawn += size
    return (hits + 1) / (drawn + 1)


def mean_interval(values: list[float], confidence: float = 0.95) -> dict[str, Any]:
    """``{n, mean, low, high, sd}`` with the t interval; low, high and sd are None for fewer than two values."""
    count = len(values)
    if count == 0:
        return {"n": 0, "mean": None, "low": None, "high": None, "sd": None}
    mean = math.fsum(values) / count
    if count == 1:
        return {"n": 1, "mean": mean, "low": None, "high": None, "sd": None}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * deviation / math.sqrt(count)
    return {"n": count, "mean": mean, "low": mean - half, "high": mean + half, "sd": deviation}


def hodges_lehmann(differences: list[float]) -> float:
    """Median of all pairwise averages, each value with itself included."""
    values = np.asarray(differences, dtype=float)
    rows, columns = np.triu_indices(values.size)
    return float(np.median((values[rows] + values[columns]) / 2))


def equivalence(differences: list[float], margin: float, alpha: float = 0.05) -> dict[str, Any]:
    """Two one-sided t tests: ``{margin, low, high, p, equivalent}``; the interval is the one of confidence 1 - 2 alpha."""
    interval = mean_interval(differences, 1 - 2 * alpha)
    if interval["low"] is None:
        return {"margin": margin, "low": None, "high": None, "p": None, "equivalent": False}
    error = interval["sd"] / math.sqrt(interval["n"])
    nearest = margin - abs(interval["mean"])
    p = 0.0 if nearest > 0 else 1.0
    if error > 0:
        p = float(stats.t.sf(nearest / error, interval["n"] - 1))
    inside = -margin < interval["low"] and interval["high"] < margin
    return {"margin": margin, "low": interval["low"], "high": interval["high"], "p": p, "equivalent": inside}


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p of a family of tests."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: (p_values[key], key))):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = running
    return adjusted


def compare(
    control: list[float],
    treatment: list[float],
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    seed: int = 0,
    pairs_needed: int = 6,
    inference: bool = True,
) -> dict[str, Any]:
    """Paired effect, second minus first: estimate, interval, and p and equivalence where they are allowed.

    p is None with ``inference`` false or fewer than ``pairs_needed`` pairs; ``why_no_p`` says which.
    """
    differences = [b - a for a, b in zip(control, treatment, strict=True)]
    result: dict[str, Any] = mean_interval(differences, 1 - alpha)
    result["confidence"] = 1 - alpha
    result["differences"] = differences
    result["hodges_lehmann"] = hodges_lehmann(differences) if differences else None
    result["smallest_p"] = smallest_p(len(differences)) if differences else None
    result["p"] = None
    result["equivalence"] = None
    result["why_no_p"] = None
    if not inference:
        result["why_no_p"] = "inference is switched off in the plan"
    elif len(differences) < pairs_needed:
        result["why_no_p"] = f"{len(differences)} valid blocks, {pairs_needed} needed"
    else:
        result["p"] = sign_flip_p(differences, seed)
        if margin is not None:
            result["equivalence"] = equivalence(differences, margin, alpha)
    return result


def verdict(effect: dict[str, Any], alpha: float, p: float | None = None) -> str | None:
    """``different``, ``equivalent``, ``cannot tell``, or None where no p was allowed.

    Different needs both p < alpha and an interval clear of 0. ``p`` is the adjusted one of a secondary metric.
    """
    value = effect["p"] if p is None else p
    if value is None:
        return None
    clear = effect["low"] is not None and (effect["low"] > 0 or effect["high"] < 0)
    if value < alpha and clear:
        return DIFFERENT
    if effect["equivalence"] and effect["equivalence"]["equivalent"]:
        return EQUIVALENT
    return CANNOT_TELL
