# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated truth for the statistics: how often they err, how often their intervals hold, and whether power is what was promised.

Every run of a cell is a plan of its own: the order in the blocks is drawn by ``plan.draw_blocks``, the noise is laid over the periods in
the order in which they would be measured, and the differences go through the project's own tests and intervals. Pure and seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import statistics
from .plan import draw_blocks
from .statistics import FloatArray

ALPHA = 0.05
BLOCKS = (6, 8, 12)
AUTOCORRELATION = 0.8
DRIFT_IN_SD = 3.0
WARMUP_IN_SD = 2.0
#: Margin of equivalence in standard deviations of the differences; wide enough that six blocks can show equivalence at all.
MARGIN_IN_SD = 3.0
#: Simulation error allowed where a rate must not be below what an exact test attains, in standard errors of the simulation.
SIMULATION_ERRORS = 3.0


def _independent(generator: np.random.Generator, runs: int, periods: int) -> FloatArray:
    return generator.standard_normal((runs, periods))


def _autocorrelated(generator: np.random.Generator, runs: int, periods: int) -> FloatArray:
    """AR(1) from its stationary distribution, standard deviation 1."""
    noise = generator.standard_normal((runs, periods))
    result = noise.copy()
    for period in range(1, periods):
        result[:, period] = AUTOCORRELATION * result[:, period - 1] + math.sqrt(1 - AUTOCORRELATION**2) * noise[:, period]
    return result


def _drifting(generator: np.random.Generator, runs: int, periods: int) -> FloatArray:
    return _independent(generator, runs, periods) + np.linspace(0, DRIFT_IN_SD, periods)


def _warming_up(generator: np.random.Generator, runs: int, periods: int) -> FloatArray:
    """An exponential approach to the level, with a time constant of a fifth of the session."""
    return _independent(generator, runs, periods) - WARMUP_IN_SD * np.exp(-np.arange(periods) / (periods / 5))


NOISES: dict[str, Callable[[np.random.Generator, int, int], FloatArray]] = {
    "independent": _independent,
    "autocorrelated": _autocorrelated,
    "drifting": _drifting,
    "warm-up": _warming_up,
}


def attainable(blocks: int, alpha: float = ALPHA) -> float:
    """The error of an exact two-sided sign-flip test at ``alpha``: the largest multiple of 2 / 2**blocks below it."""
    patterns = 2 ** (blocks - 1)
    return (math.ceil(alpha * patterns - 1e-9) - 1) / patterns


def simulated_differences(noise: str, blocks: int, runs: int, seed: int) -> FloatArray:
    """Paired differences, second side minus first, without any effect: shape (runs, blocks)."""
    generator = np.random.default_rng([seed, blocks, list(NOISES).index(noise)])
    levels = NOISES[noise](generator, runs, 2 * blocks)
    later_minus_earlier = levels[:, 1::2] - levels[:, 0::2]
    orders = [draw_blocks(["a", "b"], blocks, int(number), "simulated") for number in generator.integers(0, 2**32, runs)]
    signs = np.array([[1 if block["order"] == ["a", "b"] else -1 for block in order] for order in orders])
    return np.asarray(signs * later_minus_earlier, dtype=float)


def cell(noise: str, blocks: int, runs: int, seed: int) -> dict[str, Any]:
    """Rates of one cell: ``{noise, blocks, runs, false_positives, different, t_coverage, permutation_coverage, tost_errors, power}``."""
    differences = simulated_differences(noise, blocks, runs, seed)
    deviation = math.sqrt(float(np.mean(differences**2)))
    t_low, t_high = statistics.t_interval_many(differences, 1 - ALPHA)
    low, high = statistics.permutation_interval_many(differences, ALPHA)
    margin = MARGIN_IN_SD * deviation
    effect = statistics.smallest_detectable(deviation, blocks, ALPHA)
    return {
        "noise": noise,
        "blocks": blocks,
        "runs": runs,
        "false_positives": float(np.mean(statistics.sign_flip_p_many(differences) < ALPHA)),
        "different": float(np.mean(statistics.different_many(differences, ALPHA))),
        "t_coverage": float(np.mean((t_low <= 0) & (t_high >= 0))),
        "permutation_coverage": float(np.mean((low <= 0) & (high >= 0))),
        "tost_errors": float(np.mean(statistics.equivalent_many(differences + margin, margin, ALPHA))),
        "power": float(np.mean(statistics.different_many(differences + (effect or 0.0), ALPHA))),
    }


def misses(rates: dict[str, Any]) -> list[str]:
    """What a cell does not fulfil, in words; empty if it fulfils everything."""
    least = attainable(rates["blocks"])
    least -= SIMULATION_ERRORS * math.sqrt(least * (1 - least) / rates["runs"])
    rules = {
        "false positives above 6.5 %": rates["false_positives"] > 0.065 or rates["different"] > 0.065,
        "false positives below what an exact test attains": rates["false_positives"] < least,
        "t interval does not cover 93.5 to 96.5 %": not 0.935 <= rates["t_coverage"] <= 0.965,
        "permutation interval covers less than 93.5 %": rates["permutation_coverage"] < 0.935,
        "equivalence claimed wrongly in more than 6 %": rates["tost_errors"] > 0.06,
        "power not within 3 points of the 80 % promised": abs(rates["power"] - 0.8) > 0.03,
    }
    return [rule for rule, broken in rules.items() if broken]


def validate(runs: int, seed: int) -> list[dict[str, Any]]:
    """All cells, each with its ``misses``."""
    cells = [cell(noise, blocks, runs, seed) for noise in NOISES for blocks in BLOCKS]
    return [{**rates, "misses": misses(rates)} for rates in cells]


def to_markdown(cells: list[dict[str, Any]], seed: int) -> str:
    """The table of all cells for docs/validation.md."""
    keys = ("false_positives", "different", "t_coverage", "permutation_coverage", "tost_errors", "power")
    attained = ", ".join(f"{100 * attainable(blocks):.1f} % with {blocks} blocks" for blocks in BLOCKS)
    lines = [
        "# How the statistics do on simulated truth",
        "",
        f"Written by `make validate`: {cells[0]['runs']} runs a cell, seed {seed}, nominal error 5 %. Every run draws the order of its",
        "blocks as a plan does, lays the noise over the periods in that order, and puts the paired differences through the tests and",
        "intervals of the reports.",
        "",
        f"- *false positives*: p of the sign-flip test below 0.05 although there is no effect. An exact test attains {attained}.",
        "- *verdict*: how often `different` is said then; it also wants the t interval clear of 0.",
        "- *t*, *permutation*: how often the 95 % interval holds the true effect.",
        "- *equivalence*: how often `equivalent` is said of an effect as large as the margin,",
        f"  {MARGIN_IN_SD:g} standard deviations of the differences.",
        "- *power*: how often `different` is said of the effect that the plan promises to find with 80 %,",
        "  by the standard deviation that an A/A run would show.",
        f"- Noise: independent normal; autocorrelated, AR(1) of {AUTOCORRELATION:g} from period to period;",
        f"  drifting by {DRIFT_IN_SD:g} standard deviations over the session;",
        f"  warm-up, an exponential approach from {WARMUP_IN_SD:g} standard deviations off.",
        "",
        "| noise | blocks | false positives | verdict | t | permutation | equivalence | power | as wanted |",
        "|" + " --- |" * 9,
    ]
    for rates in cells:
        shown = " | ".join(f"{100 * rates[key]:.1f} %" for key in keys)
        lines.append(f"| {rates['noise']} | {rates['blocks']} | {shown} | {'; '.join(rates['misses']) or 'yes'} |")
    lines += [
        "",
        "Wanted: false positives at most 6.5 % and, within three standard errors of the simulation, not below what an exact test attains;",
        "t intervals 93.5 to 96.5 %; permutation intervals at least 93.5 %; equivalence claimed wrongly in at most 6 %;",
        "power within 3 points of 80 %.",
    ]
    return "\n".join(lines) + "\n"
