# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PromQL expression says it is, and whether that can be energy: selectors, functions, units. Pure.

Not a parser of the whole language: it finds the series that an expression reads and the functions around each. What it cannot make out is
left to the
server, which has the last word on syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..module_utils.errors import KjouleError

#: unit -> (gauge of W or counter of J, how many of them)
UNITS: dict[str, tuple[str, float]] = {
    "W": ("gauge", 1.0),
    "kW": ("gauge", 1e3),
    "mW": ("gauge", 1e-3),
    "uW": ("gauge", 1e-6),
    "J": ("counter", 1.0),
    "kJ": ("counter", 1e3),
    "mJ": ("counter", 1e-3),
    "uJ": ("counter", 1e-6),
    "Wh": ("counter", 3600.0),
    "kWh": ("counter", 3.6e6),
}
#: How metrics name their unit at the end (before ``_total``), and the unit it means.
_SUFFIXES = {
    "watts": "W",
    "kilowatts": "kW",
    "milliwatts": "mW",
    "microwatts": "uW",
    "joules": "J",
    "kilojoules": "kJ",
    "millijoules": "mJ",
    "microjoules": "uJ",
    "watthours": "Wh",
    "watt_hours": "Wh",
    "kwh": "kWh",
    "kilowatthours": "kWh",
    "kilowatt_hours": "kWh",
}
_RATES = ("rate", "irate")
#: What looks back over a range: it smears the edges of a phase, and some of it extrapolates. Differences are taken by the window, from
#: the samples.
_LOOK_BACK = (
    *_RATES,
    "increase",
    "delta",
    "idelta",
    "deriv",
    "predict_linear",
    "holt_winters",
    "double_exponential_smoothing",
    "resets",
    "changes",
)
_LABEL_LISTS = ("by", "without", "on", "ignoring", "group_left", "group_right")
_WORDS = (*_LABEL_LISTS, "offset", "bool", "and", "or", "unless", "atan2", "inf", "nan", "start", "end")

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
    r"|(?P<space>\s+|\#[^\n]*)"
    r"|(?P<number>(?:0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:ms|[smhdwy])?(?:\d+(?:ms|[smhdwy]))*)"
    r"|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"|(?P<sign>.)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Selector:
    """A selector as it stands in an expression, without range and offset; its metric ('' when only labels choose); the functions around
    it, the
    innermost last."""

    text: str
    metric: str
    functions: tuple[str, ...]


def selectors(expression: str) -> tuple[list[Selector], bool]:
    """The selectors of an expression, and whether it calculates with numbers.

    Raises KjouleError when brackets do not match or there is no selector.
    """
    tokens = [(kind, match[0]) for match in _TOKEN.finditer(expression) if (kind := match.lastgroup or "") != "space"]
    found: list[Selector] = []
    stack: list[tuple[str, str]] = []  # (bracket, function)
    numbers = False
    aggregation = ""  # of ``sum by (...) (``, whose bracket comes later
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        following = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        in_range = any(bracket == "[" for bracket, _function in stack)
        if (kind == "sign" and text == "@") or (kind == "name" and text.lower() == "offset"):
            raise KjouleError(
                "a PromQL expression reads another time than that of the window", seen=expression, next_step=f"leave {text} out"
            )
        if kind == "name" and not in_range:
            if text.lower() in _LABEL_LISTS and following == "(":
                index = _closing(tokens, index + 1, expression) + 1
                continue
            if following == "(":
                stack.append(("(", text.lower()))
                index += 2
                continue
            if following.lower() in ("by", "without"):
                aggregation = text.lower()
            elif text.lower() not in _WORDS:
                end = _closing(tokens, index + 1, expression) if following == "{" else index
                found.append(_selector(tokens[index : end + 1], text, stack))
                index = end + 1
                continue
        elif text == "{" and kind == "sign":
            end = _closing(tokens, index, expression)
            found.append(_selector(tokens[index : end + 1], "", stack))
            index = end + 1
            continue
        elif kind == "sign" and text in "([":
            stack.append((text, aggregation))
            aggregation = ""
        elif kind == "sign" and text in ")]":
            if not stack or stack.pop()[0] != {")": "(", "]": "["}[text]:
                raise _unbalanced(expression)
        elif kind == "number" and not in_range:
            numbers = True
        index += 1
    if stack:
        raise _unbalanced(expression)
    if not found:
        raise KjouleError("a PromQL expression reads nothing", expected="a selector, such as pdu_outlet_watts", seen=repr(expression))
    return found, numbers


def _closing(tokens: list[tuple[str, str]], begin: int, expression: str) -> int:
    """Index of the bracket that closes the one at ``begin``."""
    depth = 0
    for index in range(begin, len(tokens)):
        kind, text = tokens[index]
        if kind == "sign":
            depth += (text in "({") - (text in ")}")
            if depth == 0:
                return index
    raise _unbalanced(expression)


def _unbalanced(expression: str) -> KjouleError:
    return KjouleError("a PromQL expression cannot be read", expected="brackets that match", seen=repr(expression))


def _selector(tokens: list[tuple[str, str]], metric: str, stack: list[tuple[str, str]]) -> Selector:
    text = "".join(part for _kind, part in tokens)
    named = re.search(r"""__name__=["'`]([a-zA-Z_:][a-zA-Z0-9_:]*)["'`]""", text)
    return Selector(text, metric or (named[1] if named else ""), tuple(function for _bracket, function in stack if function))


def checked_unit(unit: object) -> tuple[str, float]:
    """``(kind, factor)`` of a unit: gauge and watts per unit, or counter and joules per unit. Raises KjouleError for what is no unit of
    either."""
    if isinstance(unit, str) and unit in UNITS:
        return UNITS[unit]
    slash = isinstance(unit, str) and re.fullmatch(r"k?W/h", unit)
    raise KjouleError(
        "the unit of a PromQL expression",
        expected="one of " + ", ".join(UNITS),
        seen=repr(unit),
        next_step="watts per hour are no energy: a watt-hour is Wh, 3600 J"
        if slash
        else "say what the expression gives; it is not guessed",
    )


def check_expression(expression: str, unit: str, types: Callable[[str], set[str]], trusted_type: str | None = None) -> list[Selector]:
    """The selectors of an expression that may be what it is said to be.

    types: what the server knows of a metric (``counter``, ``gauge``), possibly nothing. trusted_type: what the user says it is, where the
    exporter says it wrong. Raises KjouleError for a rate of a gauge, a counter given as watts, a gauge given as joules, a function that
    looks back or extrapolates, and a unit that is not that of the metric's name.
    """
    kind, _factor = checked_unit(unit)
    found, numbers = selectors(expression)
    for selector in found:
        name = selector.metric or selector.text
        known = {trusted_type} if trusted_type else types(selector.metric) if selector.metric else set()
        counter = "counter" in known or (not known and selector.metric.endswith("_total"))
        for function in selector.functions:
            if function in _RATES and "gauge" in known:
                raise KjouleError(
                    f"the PromQL expression takes the rate of {name}, which is a gauge",
                    seen=expression,
                    next_step="a gauge of watts is power already: leave rate() out",
                )
            if function in _LOOK_BACK or function == "timestamp" or function.endswith("_over_time"):
                raise KjouleError(
                    f"the PromQL expression takes {function}() of {name}",
                    expected="the samples themselves",
                    seen=expression,
                    next_step="give the counter with its unit, or the gauge: what looks back smears the edges of a phase, and extrapolates",
                )
        if kind == "gauge" and counter:
            raise KjouleError(
                f"{name} is a counter and cannot be {unit}",
                seen=expression,
                next_step="give the unit it counts, such as J or kWh: the window takes its difference",
            )
        if kind == "counter" and "gauge" in known:
            raise KjouleError(
                f"{name} is a gauge and cannot count {unit}",
                seen=expression,
                next_step="give W, or type: counter if the exporter says it wrong",
            )
        if not numbers:
            _check_suffix(selector.metric, unit, expression)
    return found


def _check_suffix(metric: str, unit: str, expression: str) -> None:
    name = metric.removesuffix("_total")
    for suffix, meant in _SUFFIXES.items():
        if name.endswith("_" + suffix):
            if meant != unit:
                raise KjouleError(
                    f"{metric} is in {meant} by its name",
                    expected=f"unit: {meant}",
                    seen=f"unit: {unit} for {expression}",
                    next_step="correct unit",
                )
            return
