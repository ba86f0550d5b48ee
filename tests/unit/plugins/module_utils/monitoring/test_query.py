# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a Prometheus. It is a double here (tests/harness/query_api.py); real ones are asked in tests/integration."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.query import ask, result
from harness.query_api import QueryApi

NOW = 1_700_000_000.0


@pytest.fixture
def api():
    with QueryApi(lambda: NOW) as double:
        double.series.append(("watts", {"host": "a&b"}, [(NOW - 7.25, 2.5), (NOW - 2.25, 3.5)]))
        yield double


@pytest.mark.parametrize("end", ["", "/"])
def test_the_samples_of_a_selector_are_told_with_their_own_times(api, end):
    (series,) = result(api.url + end, '{__name__="watts",host="a&b"}[5000ms]', NOW)
    assert series == {"metric": {"__name__": "watts", "host": "a&b"}, "values": [[NOW - 2.25, "3.5"]]}


def test_other_questions_are_asked_the_same_way(api):
    api.types["watts"] = "gauge"
    assert ask(api.url, "metadata", {"metric": "watts"}, lambda data: data["watts"][0]["type"]) == "gauge"


@pytest.mark.parametrize("fault", ["html", "empty"])
def test_what_is_no_prometheus_is_named(api, fault):
    api.fault = fault
    with pytest.raises(
        KjouleError, match=rf"what answers at {api.url} is no Prometheus: expected its answer to /api/v1/query, saw .*Next: "
    ):
        result(api.url, '{__name__="watts"}[5000ms]', NOW)


def test_an_answer_of_another_shape_is_named(api):
    with pytest.raises(KjouleError, match=r"is no Prometheus.*saw KeyError"):
        ask(api.url, "query", {"query": '{__name__="watts"}[5000ms]', "time": NOW}, lambda data: data["nothing"])


@pytest.mark.parametrize("fault", ["500", "refused", "timeout"])
def test_one_that_cannot_answer_is_told(api, fault):
    api.fault = fault
    with pytest.raises(KjouleError, match=api.url):
        ask(api.url, "query", {"query": '{__name__="watts"}[5000ms]', "time": NOW}, lambda data: data["result"], timeout=0.2)


def test_nobody_there_is_told():
    with pytest.raises(KjouleError, match=r"127\.0\.0\.1:9"):
        result("http://127.0.0.1:9", "up")
