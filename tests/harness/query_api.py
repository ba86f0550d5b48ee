# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of Prometheus's query API on loopback: it holds samples that a test injects. It is no Prometheus; tests/integration uses the
real one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.meters import Answer, Double

_RANGE = re.compile(r"(?P<selector>.+)\[(?P<span>\d+)ms\]")
_SUBQUERY = re.compile(r"\((?P<expression>.+)\)\[(?P<span>\d+)ms:(?P<step>\d+)ms\]")


class QueryApi(Double):
    """series: (metric, labels) with points (seconds, value). expressions: text -> value at a moment. types: metric -> type. ahead: its
    clock.

    Faults beside those of every double: garbage (JSON of another shape), refused (a query that it calls wrong).
    """

    def __init__(self, clock: Callable[[], float], password: str = "") -> None:
        super().__init__()
        self.clock, self.password = clock, password
        self.ahead = 0.0
        self.series: list[tuple[str, dict[str, str], list[tuple[float, float]]]] = []
        self.expressions: dict[str, Callable[[float], float]] = {}
        self.types: dict[str, str] = {}

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if self.password and headers.get("Authorization") != f"Bearer {self.password}":
            return Answer(b"Unauthorized", 401)
        if self.fault == "garbage":
            return Answer({"status": "success", "data": {"result": [{"metric": {}, "value": 3}]}})
        if self.fault == "refused":
            return Answer({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected end of input"}, 400)
        parts = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/api/v1/metadata":
            known = {name: [{"type": kind, "help": "", "unit": ""}] for name, kind in self.types.items() if name == asked["metric"]}
            return Answer({"status": "success", "data": known})
        if asked["query"] == "time()":
            now = self.clock() + self.ahead
            return self._result("scalar", [now, repr(now)])
        at = float(asked["time"])
        match = _SUBQUERY.fullmatch(asked["query"])
        if match:
            step, begin = int(match["step"]) / 1000, at - int(match["span"]) / 1000
            times = [step * number for number in range(int(begin // step) + 1, int(at // step) + 1)]
            value = self.expressions[match["expression"]]
            return self._result("matrix", [{"metric": {}, "values": [[t, repr(value(t))] for t in times]}])
        match = _RANGE.fullmatch(asked["query"])
        assert match is not None, asked["query"]
        begin = at - int(match["span"]) / 1000
        found = []
        for metric, labels, points in self.series:
            values = [[t, repr(value)] for t, value in points if begin < t <= at]
            if values and _matches(match["selector"], {"__name__": metric, **labels}):
                found.append({"metric": {"__name__": metric, **labels}, "values": values})
        return self._result("matrix", found)

    @staticmethod
    def _result(kind: str, result: Any) -> Answer:
        return Answer({"status": "success", "data": {"resultType": kind, "result": result}})


def _matches(selector: str, labels: dict[str, str]) -> bool:
    name, _, rest = selector.partition("{")
    wanted = re.findall(r'(\w+)(=~|=)"((?:[^"\\]|\\.)*)"', rest)
    if name:
        wanted.append(("__name__", "=", name))
    return all(
        re.fullmatch(text, labels.get(label, "")) is not None if sign == "=~" else labels.get(label, "") == text
        for label, sign, text in wanted
    )
