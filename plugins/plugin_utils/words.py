# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and names as a reader sees them. The only place that uses prefixes."""

from __future__ import annotations

import math
import re
from typing import Any


def significant(value: float | None, digits: int = 3) -> str:
    """``value`` with so many significant digits and no exponent; a dash for None."""
    if value is None:
        return "-"
    text = f"{value:.{decimals_for(value, digits)}f}"
    return text if float(text) != 0 else "0"


def decimals_for(value: float, digits: int) -> int:
    if abs(value) < 1e-9 or not math.isfinite(value):
        return 0
    return min(9, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}"
    return text if float(text) != 0 else f"{0:.{decimals}f}"


def interval(item: dict[str, Any], scale: float = 1.0, unit: str = "", sign: bool = False) -> str:
    """``+21.3 mCPU (95 % CI 20.1 to 22.5)``; the decimals follow the width of the interval."""
    mean = item["mean"] * scale
    suffix = f" {unit}" if unit else ""
    if item.get("low") is None:
        decimals = decimals_for(mean, 3)
        return (signed(mean, decimals) if sign else f"{mean:.{decimals}f}") + suffix
    low, high = item["low"] * scale, item["high"] * scale
    half = (high - low) / 2
    decimals = decimals_for(half, 2) if half > 0 else decimals_for(mean, 3)
    decimals = min(decimals, max(decimals_for(mean, 4), decimals_for(max(abs(low), abs(high)), 3)))
    confidence = round(100 * item.get("confidence", 0.95), 1)
    head = signed(mean, decimals) if sign else f"{mean:.{decimals}f}"
    return f"{head}{suffix} ({confidence:g} % CI {low:.{decimals}f} to {high:.{decimals}f})"


def bounded(item: dict[str, Any] | None, digits: int = 2) -> str:
    """``0.12 (0.04 to 0.44)``; a dash for None, which is "never" or "not known"."""
    if item is None:
        return "-"
    return f"{significant(item['value'], digits)} ({significant(item['low'], digits)} to {significant(item['high'], digits)})"


def joules(figure: dict[str, float] | None) -> str:
    """``12.3 ± 0.4``, the decimals of the uncertainty; a dash for None."""
    if figure is None:
        return "-"
    decimals = decimals_for(figure["uncertainty"] or figure["joules"], 2 if figure["uncertainty"] else 3)
    return f"{figure['joules']:.{decimals}f} ± {figure['uncertainty']:.{decimals}f}"


def probability(p: float | None) -> str:
    if p is None:
        return "no p"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def seconds(value: float) -> str:
    """``4 s``, ``10 min``, ``1 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"


def markdown(text: Any) -> str:
    """Text that Markdown shows as it is, in a paragraph or in a cell of a table."""
    flat = re.sub(r"[\s\x00-\x1f\x7f]+", " ", str(text)).strip()
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", flat)


def layout(item: dict[str, Any]) -> str:
    """How the apps are laid out for Flux, from ``layout`` and ``repositories`` (None in runs of before there were several)."""
    number = item["repositories"] or 1
    return f"layout {item['layout']}" + (f", {number} repositories" if number > 1 else "")
