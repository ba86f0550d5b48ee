# SPDX-License-Identifier: GPL-3.0-or-later
"""Paired comparison of two sides over blocks. One number per block and side goes in; nothing below that is a replicate.

Sign-flip permutation test: Fisher 1935, The Design of Experiments, section 21. Hodges and Lehmann 1963 for the robust
estimate. Equivalence by two one-sided tests: Schuirmann 1987. Step-down correction: Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.power import TTestPower

FloatArray = npt.NDArray[np.float64]

EXACT_UP_TO = 16
MONTE_CARLO_DRAWS = 100_000
#: A p is never 0.
TINY = float(np.finfo(float).tiny)
#: Above so many pairs the permutation distribution of the mean is taken as normal.
NORMAL_ABOVE = 200
#: Above so many pairs the power of the sign-flip test is that of the t test; below, its steps matter and it is simulated.
POWER_SIMULATED_UP_TO = 9
POWER_RUNS = 4000
DIFFERENT, EQUIVALENT, CANNOT_TELL = "different", "equivalent", "cannot tell"


def smallest_p(pairs: int) -> float:
    """The smallest p an exact two-sided sign-flip test of that many pairs can give: 2 / 2**pairs."""
    return max(2.0 ** (1 - pairs), TINY) if pairs < 1000 else TINY


@lru_cache(maxsize=EXACT_UP_TO)
def _flips(pairs: int) -> FloatArray:
    """One column for each way to choose signs, up to a change of all of them: shape (pairs, 2**(pairs - 1)), values 1 and -1."""
    patterns = (np.arange(2 ** (pairs - 1))[None, :] >> np.arange(pairs)[:, None]) & 1
    return np.asarray(1 - 2 * patterns, dtype=float)


def sign_flip_p_many(differences: FloatArray) -> FloatArray:
    """Exact two-sided p of the sign-flip test for each row of an array of shape (runs, pairs), pairs at most 16."""
    runs, pairs = differences.shape
    flips = _flips(pairs)
    result = np.empty(runs)
    step = max(1, 4_000_000 // flips.shape[1])
    for start in range(0, runs, step):
        part = differences[start : start + step]
        observed = np.abs(part.sum(axis=1))
        tolerance = 1e-9 * np.maximum(np.abs(part).sum(axis=1), np.finfo(float).tiny)
        result[start : start + step] = np.mean(np.abs(part @ flips) >= (observed - tolerance)[:, None], axis=1)
    return result


def sign_flip_p(differences: list[float], seed: int = 0) -> float:
    """Two-sided p of the paired sign-flip permutation test on the mean of ``differences``.

    Exact (all 2**n sign patterns) up to 16 pairs; up to 200 pairs 100 000 draws seeded with ``seed``, the observed pattern
    counted in; beyond that the normal limit of the same distribution, whose variance is the sum of squares. Sums that differ by
    rounding only count as ties. Raises ValueError without differences.
    """
    values = np.asarray(differences, dtype=float)
    pairs = values.size
    if pairs == 0:
        raise ValueError("no differences")
    if pairs <= EXACT_UP_TO:
        return float(sign_flip_p_many(values[None, :])[0])
    observed = abs(values.sum())
    if pairs > NORMAL_ABOVE:
        spread = math.sqrt(float(values @ values))
        return max(float(2 * stats.norm.sf(observed / spread)), TINY) if spread > 0 else 1.0
    tolerance = 1e-9 * max(np.abs(values).sum(), np.finfo(float).tiny)
    hits = 0
    for flipped in _drawn_subsets(pairs, seed):
        hits += int(np.count_nonzero(np.abs(values.sum() - 2 * (flipped @ values)) >= observed - tolerance))
    return (hits + 1) / (MONTE_CARLO_DRAWS + 1)


def _drawn_subsets(pairs: int, seed: int) -> Iterator[FloatArray]:
    """100 000 random subsets of the pairs in portions, as rows of 0 and 1."""
    generator = np.random.default_rng(seed)
    for _portion in range(MONTE_CARLO_DRAWS // 10_000):
        yield generator.integers(0, 2, size=(10_000, pairs)).astype(float)


def permutation_interval_many(differences: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of the inverted exact sign-flip test for each row of (runs, pairs); infinite where no p < alpha can be had."""
    runs, pairs = differences.shape
    rank = _rank_of_end(2 ** (pairs - 1), alpha)
    if rank < 1:
        return np.full(runs, -np.inf), np.full(runs, np.inf)
    subsets = ((np.arange(1, 2**pairs)[None, :] >> np.arange(pairs)[:, None]) & 1).astype(float)
    low, high = np.empty(runs), np.empty(runs)
    step = max(1, 4_000_000 // subsets.shape[1])
    for start in range(0, runs, step):
        means = (differences[start : start + step] @ subsets) / subsets.sum(axis=0)
        means.partition((rank - 1, means.shape[1] - rank), axis=1)
        low[start : start + step], high[start : start + step] = means[:, rank - 1], means[:, means.shape[1] - rank]
    return low, high


def _rank_of_end(patterns: int, alpha: float) -> int:
    """Which of the ordered subset means is the end of the interval: the first at which p reaches alpha (Hartigan 1969)."""
    return math.ceil(alpha * patterns - 1e-9) - 1


def permutation_interval(differences: list[float], alpha: float = 0.05, seed: int = 0) -> dict[str, float | None]:
    """``{low, high}``: the shifts that the sign-flip test does not reject at ``alpha``, of the same kind as ``sign_flip_p``.

    A shift is rejected on the low side when too few means of subsets of the differences lie below it (Hartigan 1969, Using
    subsample values as typical values), so the ends are order statistics of those means. None where so few pairs reject nothing.
    """
    values = np.asarray(differences, dtype=float)
    pairs = values.size
    if pairs == 0:
        return {"low": None, "high": None}
    if pairs <= EXACT_UP_TO:
        low, high = (float(end[0]) for end in permutation_interval_many(values[None, :], alpha))
    elif pairs <= NORMAL_ABOVE:
        means = np.concatenate([(drawn @ values) / np.maximum(drawn.sum(axis=1), 1) for drawn in _drawn_subsets(pairs, seed)])
        rank = max(1, _rank_of_end(means.size // 2, alpha))
        means.partition((rank - 1, means.size - rank))
        low, high = float(means[rank - 1]), float(means[means.size - rank])
    else:
        mean, z = float(values.mean()), float(stats.norm.isf(alpha / 2))
        half = z * math.sqrt(float(((values - mean) ** 2).sum()) / (pairs**2 - z**2 * pairs))
        low, high = mean - half, mean + half
    return {"low": low if math.isfinite(low) else None, "high": high if math.isfinite(high) else None}


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
    """Median of all pairwise averages, each value with itself included. Beyond 500 values by bisection, to 12 digits."""
    values = np.sort(np.asarray(differences, dtype=float))
    if values.size <= 500:
        rows, columns = np.triu_indices(values.size)
        return float(np.median((values[rows] + values[columns]) / 2))
    averages = values.size * (values.size + 1) // 2
    low, high = float(values[0]), float(values[-1])
    for _halving in range(60):
        middle = (low + high) / 2
        up_to = np.searchsorted(values, 2 * middle - values, side="right")
        # Pairs counted in both orders, and each value with itself once.
        below = (int(up_to.sum()) + int(np.count_nonzero(values <= middle))) // 2
        low, high = (low, middle) if 2 * below >= averages else (middle, high)
    return (low + high) / 2


def log_ratio(control: list[float], treatment: list[float], confidence: float = 0.95) -> dict[str, Any] | None:
    """``{n, ratio, low, high}`` of second to first: the t interval of the paired differences of logarithms, taken back.

    None unless every value is above 0: a logarithm of a difference that noise made negative would be an invention.
    """
    if not control or min(*control, *treatment) <= 0:
        return None
    interval = mean_interval([math.log(b / a) for a, b in zip(control, treatment, strict=True)], confidence)
    low, high = (None if interval[end] is None else math.exp(interval[end]) for end in ("low", "high"))
    return {"n": interval["n"], "ratio": math.exp(interval["mean"]), "low": low, "high": high}


def ancova(differences: list[float], covariate: list[float], confidence: float = 0.95) -> dict[str, Any] | None:
    """The effect as it would be had both periods of a block begun from the same baseline.

    Gives ``{n, mean, low, high, slope, slope_low, slope_high}``.

    Paired analysis of covariance: least squares of the differences of the outcome on the differences of the baseline, which was measured
    before the arm was there; the effect is the intercept. None for fewer than four blocks, or a baseline that never differs.
    """
    pairs = len(differences)
    baseline = np.asarray(covariate, dtype=float)
    if pairs < 4 or float(np.ptp(baseline)) <= 1e-12 * max(1e-300, float(np.abs(baseline).max())):
        return None
    fit = sm.OLS(np.asarray(differences, dtype=float), sm.add_constant(baseline, has_constant="add")).fit()
    (low, high), (slope_low, slope_high) = fit.conf_int(1 - confidence)
    mean, slope = fit.params
    numbers = (mean, low, high, slope, slope_low, slope_high)
    if not all(math.isfinite(number) for number in numbers):
        return None
    names = ("mean", "low", "high", "slope", "slope_low", "slope_high")
    return {"n": pairs, **{name: float(number) for name, number in zip(names, numbers, strict=True)}}


def equivalence(differences: list[float], margin: float, alpha: float = 0.05) -> dict[str, Any]:
    """Two one-sided t tests (TOST): ``{margin, low, high, p, equivalent}``; the interval is the one of confidence 1 - 2 alpha."""
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
    result["permutation"] = permutation_interval(differences, alpha, seed)
    result["ratio"] = log_ratio(control, treatment, 1 - alpha)
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


# --- power -------------------------------------------------------------------------------------------------------------------------


def power(effect_in_sd: float, pairs: int, alpha: float = 0.05) -> float:
    """Probability of the verdict ``different`` for an effect of so many standard deviations of the paired differences (normal).

    Up to 9 pairs it is simulated with a fixed seed, by the rule of the verdict itself (an exact test of 6 pairs has an error of 3.1 %,
    not 5 %, and less power than formulas promise); beyond that it is the power of the paired t test.
    """
    if pairs < 2:
        return 0.0
    if pairs > POWER_SIMULATED_UP_TO:
        found = float(TTestPower().power(min(abs(effect_in_sd), 30 / math.sqrt(pairs)), pairs, alpha))
        return found if math.isfinite(found) else 1.0
    return float(np.mean(different_many(_standard_normal(pairs) + effect_in_sd, alpha)))


@lru_cache(maxsize=POWER_SIMULATED_UP_TO)
def _standard_normal(pairs: int) -> FloatArray:
    return np.random.default_rng(20_000 + pairs).standard_normal((POWER_RUNS, pairs))


def t_interval_many(differences: FloatArray, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of the t interval of the mean, as in ``mean_interval``, for each row of (runs, pairs)."""
    pairs = differences.shape[1]
    half = float(stats.t.ppf(0.5 + confidence / 2, pairs - 1)) * differences.std(axis=1, ddof=1) / math.sqrt(pairs)
    mean = differences.mean(axis=1)
    return mean - half, mean + half


def equivalent_many(differences: FloatArray, margin: float, alpha: float = 0.05) -> npt.NDArray[np.bool_]:
    """Whether each row of (runs, pairs) is ``equivalent`` within the margin, as in ``equivalence``."""
    low, high = t_interval_many(differences, 1 - 2 * alpha)
    return (-margin < low) & (high < margin)


def different_many(differences: FloatArray, alpha: float = 0.05) -> npt.NDArray[np.bool_]:
    """The verdict ``different`` for each row of (runs, pairs), pairs at most 16: p of the test and the t interval, as in ``verdict``."""
    low, high = t_interval_many(differences, 1 - alpha)
    clear = (low > 0) | (high < 0)
    # Only where the interval is clear of 0 does the p matter; it is the slow part.
    result = clear.copy()
    result[clear] = sign_flip_p_many(differences[clear]) < alpha
    return result


@lru_cache(maxsize=64)
def detectable_in_sd(pairs: int, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """The smallest effect, in standard deviations of the differences, that is found with probability ``wanted``; None if no effect is."""
    if pairs < 2 or smallest_p(pairs) >= alpha:
        return None
    low, high = 0.0, 8.0
    for _halving in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, pairs, alpha) >= wanted else (middle, high)
    return high


def smallest_detectable(deviation: float, pairs: int, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """The smallest effect that so many pairs find with probability ``wanted``, in the unit of ``deviation`` (of the paired differences)."""
    in_sd = detectable_in_sd(pairs, alpha, wanted)
    return None if in_sd is None else in_sd * deviation


def pairs_for(effect: float, deviation: float, alpha: float = 0.05, wanted: float = 0.8, most: int = 10_000) -> int | None:
    """Fewest pairs that find ``effect`` with probability ``wanted``; None above ``most``."""
    if effect == 0:
        return None
    in_sd = abs(effect) / deviation if deviation else 1e6
    low, high = 1, 2
    while high <= most and (smallest_p(high) >= alpha or power(in_sd, high, alpha) < wanted):
        low, high = high, high * 2 if high >= 16 else high + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(in_sd, middle, alpha) >= wanted else (middle, high)
    return high if high <= most else None
