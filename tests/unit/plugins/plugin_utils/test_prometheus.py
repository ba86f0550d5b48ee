# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples come out of the query API with their own times, and whatever is no answer of a Prometheus is said. The API is a double here."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.kepler import Point
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.prometheus import PrometheusServer
from harness.query_api import QueryApi

NOW = 1_795_574_126.5


@pytest.fixture
def api():
    with QueryApi(lambda: NOW) as double:
        yield double


def server(api, **options):
    return PrometheusServer({"url": api.url, "timeout_seconds": 1.0, **options})


def test_raw_samples_keep_their_own_times(api):
    api.series.append(("watts", {"host": "a"}, [(NOW - 12.25, 1.5), (NOW - 7.25, 2.5), (NOW - 2.25, 3.5)]))
    (series,) = server(api).samples("watts", NOW - 10, NOW)
    assert (series.name, series.labels) == ("watts", {"host": "a"})
    assert series.points == [Point(NOW - 7.25, 2.5), Point(NOW - 2.25, 3.5)]


def test_an_expression_is_evaluated_step_by_step(api):
    api.expressions["a + b"] = lambda t: t * 2
    (series,) = server(api).evaluated("a + b", NOW - 10, NOW, 5)
    assert [point.value for point in series.points] == [point.t * 2 for point in series.points]
    assert len(series.points) == 2


def test_the_type_of_a_metric_is_what_the_targets_say(api):
    api.types["watts"] = "gauge"
    assert server(api).types("watts") == {"gauge"}
    assert server(api).types("joules") == set()


def test_the_clock_of_the_server_is_compared_with_this_one(api, monkeypatch):
    api.clock = lambda: 5000.0
    api.ahead = 3.0
    monkeypatch.setattr("ansible_collections.kjoule.bench.plugins.plugin_utils.prometheus.time.time", lambda: 5000.0)
    ahead, doubt = server(api).ahead_seconds()
    assert ahead == pytest.approx(3.0)  # the value of time(), not the moment of its evaluation
    assert doubt >= 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("timeout", "does not answer"),
        ("401", "does not let us in"),
        ("500", "refuses a query: saw status 500"),
        ("html", "did not answer as Prometheus does"),
        ("empty", "did not answer as Prometheus does"),
        ("garbage", "did not answer as Prometheus does"),
        ("refused", "parse error: unexpected end of input"),
    ],
)
def test_a_bad_answer_is_an_error_with_its_reason(api, fault, said):
    api.fault = fault
    with pytest.raises(KjouleError, match=said):
        server(api).samples("watts", NOW - 10, NOW)


def test_nobody_there_is_an_error():
    with pytest.raises(KjouleError, match="cannot be reached"):
        PrometheusServer({"url": "http://127.0.0.1:9"}).ahead_seconds()


def test_a_token_comes_from_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "token"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    with QueryApi(lambda: NOW, password="hunter2") as api:
        assert server(api, token_file=str(path)).samples("watts", NOW - 1, NOW) == []
        with pytest.raises(KjouleError, match="does not let us in"):
            server(api).samples("watts", NOW - 1, NOW)
        path.chmod(0o644)
        with pytest.raises(KjouleError, match="chmod 600"):
            server(api, token_file=str(path))


@pytest.mark.parametrize("url", ["", "127.0.0.1:9090", "http://user:hunter2@host"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(KjouleError) as error:
        PrometheusServer({"url": url})
    assert "hunter2" not in str(error.value)
