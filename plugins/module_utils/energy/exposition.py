# SPDX-License-Identifier: GPL-3.0-or-later
"""The Prometheus text exposition format 0.0.4, as exporters serve it. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import KjouleError

#: What a client asks for: without it some exporters answer in OpenMetrics or protobuf.
ACCEPT = {"Accept": "text/plain;version=0.0.4"}

_SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)"  # name
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?'  # labels
    r"[ \t]+(\S+)(?:[ \t]+(-?\d+))?[ \t]*"  # value, milliseconds
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,[ \t]*|$)')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Sample(NamedTuple):
    """One line: metric, its labels, the value, and the time in milliseconds of the epoch where the exporter gives one."""

    name: str
    labels: dict[str, str]
    value: float
    timestamp_ms: int | None


def parse(text: str, what: str, prefixes: tuple[str, ...] = ("",)) -> list[Sample]:
    """The samples whose name begins with one of ``prefixes``. Raises KjouleError with the number of the line that is none."""
    samples = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#") or not line.startswith(prefixes):
            if line and not (line.startswith("#") or line[0].isalpha() or line[0] in "_:"):
                raise _no_text(what, number, line)
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            raise _no_text(what, number, line)
        name, labels, value, timestamp = match.groups()
        try:
            samples.append(Sample(name, _labels(labels or ""), float(value), None if timestamp is None else int(timestamp)))
        except ValueError:
            raise _no_text(what, number, line) from None
    return samples


def _labels(text: str) -> dict[str, str]:
    labels, place = {}, 0
    text = text.strip()
    while place < len(text):
        match = _LABEL.match(text, place)
        if match is None:
            raise ValueError(text)
        labels[match[1]] = re.sub(r"\\[\\\"n]", lambda escaped: _ESCAPES[escaped[0]], match[2]) if "\\" in match[2] else match[2]
        place = match.end()
    return labels


def _no_text(what: str, number: int, line: str) -> KjouleError:
    return KjouleError(
        f"{what} did not answer with metrics",
        expected="the Prometheus text format",
        seen=f"line {number}: {line[:60]!r}",
        next_step="check the address: it ends in /metrics with most exporters",
    )
