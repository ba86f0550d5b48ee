# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal's windows as series. A real Prometheus takes them in tests/integration/test_monitoring.py."""

from __future__ import annotations

import http.server
import json
import math
import socket
import threading

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring import marks
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler_windows import Counted
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.marks import read_marks, shown_periods, write_marks
from harness.remote_write import breaking_off, labels

HEADER = {"kind": "header", "run_id": "r", "host": {"name": "alpha"}}


def phase(name: str, start: int, end: int, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "kind": name,
        "index": 0,
        "start_ns": start * 10**9,
        "end_ns": end * 10**9,
        "valid": True,
        "cpu_seconds": {"etcd": 0.5},
        "components": {"etcd": "cluster"},
        "actor": {"cpu_seconds": 0.1},
        "machine": {"busy_seconds": 2.0},
        "energy": [],
        **more,
    }


def journal(*phases: dict[str, object], **more: object) -> str:
    period = {"kind": "period", "period_id": "p1", "arm": "flux", "label": "flux", "valid": True, "phases": list(phases)}
    # The monotonic clock stood at 50 s when it was 1 000 050 s after 1970.
    clock = {"realtime_ns": 1_000_050 * 10**9, "monotonic_ns": 50 * 10**9}
    return "".join(json.dumps(line) + "\n" for line in (HEADER, {**period, "clock": clock, **more}))


def by_name(series):
    return {one.labels["__name__"]: one for one in series}


def test_a_window_lies_where_both_clocks_of_the_record_put_it():
    host, series = read_marks(journal(phase("idle", 60, 72)))
    assert host == "alpha"
    samples = by_name(series)["kjoule_phase"].samples
    assert [stamp for stamp, _value in samples] == [1_000_060_000, 1_000_065_000, 1_000_070_000, 1_000_072_000]
    assert [value for _stamp, value in samples[:-1]] == [1.0, 1.0, 1.0]
    assert math.isnan(samples[-1][1])


def test_two_windows_that_touch_never_stand_beside_each_other():
    _host, series = read_marks(journal(phase("idle", 60, 70), phase("steady", 70, 80)))
    first, second = (one for one in series if one.labels["__name__"] == "kjoule_phase")
    assert first.samples[-1][0] == second.samples[0][0]
    assert math.isnan(first.samples[-1][1])


def test_what_the_record_says_is_held_for_as_long():
    energy = [
        {"source": "rapl", "scope": "rapl:package", "valid": True, "joules": 42.0},
        {"source": "bmc", "scope": "ipmi:system", "valid": False, "joules": 7.0},
    ]
    _host, series = read_marks(journal(phase("idle", 60, 70, energy=energy)))
    found = by_name(series)
    assert found["kjoule_phase_cpu_seconds"].labels["component"] == "etcd"
    assert found["kjoule_phase_cpu_seconds"].labels["role"] == "cluster"
    assert found["kjoule_phase_actor_cpu_seconds"].samples[0][1] == 0.1
    assert found["kjoule_phase_busy_cpu_seconds"].samples[0][1] == 2.0
    measured = [one for one in series if one.labels["__name__"] == "kjoule_phase_energy_joules"]
    assert [(one.labels["scope"], one.samples[0][1]) for one in measured] == [("rapl:package", 42.0)]


def test_an_invalid_period_is_shown_as_such():
    _host, series = read_marks(journal(phase("idle", 60, 70), valid=False))
    assert {one.labels["valid"] for one in series} == {"false"}


def test_what_kepler_counted_in_a_window_is_held_for_as_long_and_what_it_did_not_is_said(monkeypatch):
    said = {60: Counted(42.0, 7.0, {"etcd": 5.0}), 70: Counted(None, None, no_energy="too short", no_power="too short")}
    waited = []
    monkeypatch.setattr(marks, "wait_for_reading", lambda *asked: waited.append(asked))
    monkeypatch.setattr(marks, "counted", lambda _url, _host, begin, _end: said[begin - 1_000_000])
    _host, series = read_marks(journal(phase("idle", 60, 70), phase("steady", 70, 72, index=1)))
    found = marks.kepler_marks("http://127.0.0.1:9", series)
    assert waited == [("http://127.0.0.1:9", "alpha", 1_000_072.0)]
    assert [
        (one.labels["__name__"], one.labels["phase"], *(one.labels.get(label) for label in ("component", "figure", "reason")))
        for one in found
    ] == [
        ("kjoule_phase_kepler_component_joules", "idle", "etcd", None, None),
        ("kjoule_phase_kepler_joules", "idle", None, None, None),
        ("kjoule_phase_kepler_watts", "idle", None, None, None),
        ("kjoule_phase_kepler_missing", "steady", None, "energy", "too short"),
        ("kjoule_phase_kepler_missing", "steady", None, "power", "too short"),
    ]
    assert [value for _stamp, value in found[1].samples[:-1]] == [42.0, 42.0]
    assert [stamp for stamp, _value in found[1].samples] == [1_000_060_000, 1_000_065_000, 1_000_070_000]


def test_where_nothing_is_marked_kepler_is_not_asked():
    assert marks.kepler_marks("http://127.0.0.1:9", []) == []


def test_a_torn_last_line_is_no_record():
    assert read_marks(journal(phase("idle", 60, 70)) + '{"kind": "peri') == read_marks(journal(phase("idle", 60, 70)))


def two_periods(components: int = 300) -> str:
    """A journal of two periods with more figures than one request holds."""
    many = {f"c{number}": 0.5 for number in range(components)}
    phases = [
        phase(name, start, start + 10, index=index, cpu_seconds=many, components=dict.fromkeys(many, "cluster"))
        for index, (name, start) in enumerate([("idle", 60), ("steady", 70)])
    ]
    header, first = journal(*phases).splitlines()
    return f"{header}\n{first}\n{json.dumps({**json.loads(first), 'period_id': 'p2'})}\n"


def who(labels_of_one: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels_of_one.items()))


def test_the_markers_of_a_period_come_in_one_request_after_all_that_they_refer_to():
    _host, series = read_marks(two_periods())
    with breaking_off(at=100) as taken:
        write_marks("http://127.0.0.1:9", series)
    requests = [labels(body) for body in taken]
    written = [one for request in requests for one in request]
    assert sorted(map(who, written)) == sorted(who(one.labels) for one in series)
    for period in ("p1", "p2"):
        mine = [number for number, one in enumerate(written) if one["period"] == period]
        markers = [number for number in mine if written[number]["__name__"] == "kjoule_phase"]
        assert markers == mine[-2:]
        assert len([request for request in requests if any(one["__name__"] == "kjoule_phase" for one in request)]) == 2


@pytest.mark.parametrize("lost", range(1, 7))
def test_a_write_that_breaks_off_shows_no_period_by_half_and_its_repetition_completes_it(lost):
    """Whatever request is the first that is lost."""
    _host, series = read_marks(two_periods())
    all_of = {period: {who(one.labels) for one in series if one.labels["period"] == period} for period in ("p1", "p2")}
    with breaking_off(at=lost) as taken, pytest.raises(KjouleError, match="run the same again"):
        write_marks("http://127.0.0.1:9", series)
    there = [one for body in taken for one in labels(body)]
    shown = {one["period"] for one in there if one["__name__"] == "kjoule_phase"}
    for period in shown:
        assert {who(one) for one in there if one["period"] == period} == all_of[period]
    with breaking_off(at=100) as taken:
        write_marks("http://127.0.0.1:9", [one for one in series if one.labels["period"] not in shown])
    there += [one for body in taken for one in labels(body)]
    assert {who(one) for one in there} == all_of["p1"] | all_of["p2"]


@pytest.mark.parametrize("older", [False, True])
def test_a_period_counts_as_shown_only_with_all_that_kepler_said_of_it(monkeypatch, older):
    """Whatever request is the first that is lost, of a new period and of one that a version without Kepler's figures had marked."""
    said = {
        60: Counted(900.0, 9.0, {f"c{number}": 3.0 for number in range(300)}),
        70: Counted(900.0, None, {f"c{number}": 3.0 for number in range(300)}, no_power="too short"),
        80: Counted(None, None, no_energy="too short", no_power="too short"),
        82: Counted(900.0, 9.0, {f"c{number}": 3.0 for number in range(300)}),
    }
    monkeypatch.setattr(marks, "wait_for_reading", lambda *_asked: None)
    monkeypatch.setattr(marks, "counted", lambda _url, _host, begin, _end: said[begin - 1_000_000])
    ends = [70, 80, 82, 92]
    _host, series = read_marks(journal(*(phase("idle", start, end, index=n) for n, (start, end) in enumerate(zip(said, ends)))))
    every = [*series, *marks.kepler_marks("http://127.0.0.1:9", series)]

    def shown(there):
        def ask(_url, _what, asked, read, _timeout):
            names = {selector.partition("{")[0] for selector in asked["match[]"]}
            return read([dict(one) for one in there if dict(one)["__name__"] in names])

        monkeypatch.setattr(marks, "ask", ask)
        return shown_periods("http://127.0.0.1:9", "r", "alpha")

    whole = {who(one.labels) for one in every}
    before = {who(one.labels) for one in series} if older else set()
    with breaking_off(at=100) as requests:
        write_marks("http://127.0.0.1:9", every)
    assert len(requests) == 3
    for lost in range(1, len(requests) + 1):
        with breaking_off(at=lost) as taken, pytest.raises(KjouleError, match="run the same again"):
            write_marks("http://127.0.0.1:9", every)
        there = before | {who(one) for body in taken for one in labels(body)}
        assert there < whole
        assert shown(there) == set()
    assert before | {who(one) for body in requests for one in labels(body)} == whole
    assert shown(whole) == {"p1"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no header.*has been measured"),
        (json.dumps(HEADER) + '\n{"kind": "period", "period_id": "p1", "phases": []}\n', "does not say when"),
    ],
)
def test_a_journal_that_cannot_be_placed_is_told(text, says):
    with pytest.raises(KjouleError, match=says):
        read_marks(text)


class Knowing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        figures = [{"__name__": "kjoule_phase_kepler_joules", "period": "p1"}, {"__name__": "kjoule_phase_kepler_missing", "period": "p2"}]
        markers = [{"__name__": "kjoule_phase", "period": period} for period in ("p1", "p2", "of-an-older-version")]
        body = json.dumps({"status": "success", "data": figures + markers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{}", *(
    b"HTTP/1.0 200 OK\r\n\r\n" + text for text in (b"hello", b"{}", b"[]", b'{"data": [1]}', b'{"data": null}')
)])  # fmt: skip
def test_something_else_that_answers_is_told(said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            client, _address = server.accept()
            with client:
                client.recv(65536)
                client.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(KjouleError, match=rf"what answers at http://127\.0\.0\.1:{port} is no Prometheus: .*Next: give the address"):
            shown_periods(f"http://127.0.0.1:{port}", "r", "alpha")
        thread.join()


def test_prometheus_is_asked_for_the_periods_that_it_has():
    with http.server.HTTPServer(("127.0.0.1", 0), Knowing) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert shown_periods(f"http://127.0.0.1:{server.server_port}", "r", "alpha") == {"p1", "p2"}
        thread.join()
    with pytest.raises(KjouleError, match="cannot be reached"):
        shown_periods(f"http://127.0.0.1:{server.server_port}", "r", "alpha")
