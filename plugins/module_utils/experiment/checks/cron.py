# SPDX-License-Identifier: GPL-3.0-or-later
"""When a line of a crontab fires (crontab(5))."""

from __future__ import annotations

import time

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: (lowest, highest, names of the values from the lowest on)
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 7, _DAYS))


def fires_within(line: str, start_seconds: float, end_seconds: float) -> bool:
    """Whether a line (five fields, or one of the @words) fires in (start, end] of the wall clock. A line that cannot be read does not."""
    fields = _WORDS.get(line, line).split()
    if len(fields) != 5:
        return False
    sets = [_values(text, *about) for text, about in zip(fields, _FIELDS)]
    if not all(sets):
        return False
    minute = (int(start_seconds) // 60 + 1) * 60
    while minute <= end_seconds:
        if _matches(fields, sets, time.localtime(minute)):
            return True
        minute += 60
    return False


def _matches(fields: list[str], sets: list[set[int]], at: time.struct_time) -> bool:
    day = at.tm_mday in sets[2]
    weekday = (at.tm_wday + 1) % 7 in {number % 7 for number in sets[4]}
    # Where both are restricted, either is enough.
    both = fields[2].startswith("*") or fields[4].startswith("*")
    on_day = (day and weekday) if both else (day or weekday)
    return at.tm_min in sets[0] and at.tm_hour in sets[1] and at.tm_mon in sets[3] and on_day


def _values(text: str, lowest: int, highest: int, names: tuple[str, ...]) -> set[int]:
    """The numbers that a field stands for; empty when it cannot be read."""
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            low = lowest if span == "*" else _value(first, lowest, names)
            high = highest if span == "*" or (step and not dash) else _value(last, lowest, names) if dash else low
            found |= set(range(low, min(high, highest) + 1, int(step or 1)))
        except ValueError:
            return set()
    return found


def _value(text: str, lowest: int, names: tuple[str, ...]) -> int:
    return lowest + names.index(text) if text in names else int(text)
