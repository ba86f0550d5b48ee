# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of remote write: their bytes, and what is said when Prometheus does not take them. A real one does in test_monitoring.py."""

from __future__ import annotations

import http.server
import math
import struct
import threading

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.remote_write import STALE, Series, encode, write
from harness.remote_write import breaking_off, labels, unpack


def test_a_request_is_the_message_that_the_specification_shows():
    message = unpack(encode([Series({"__name__": "m", "a": "b"}, [(300, 1.0)])]))
    name = b"\x0a\x0d\x0a\x08__name__\x12\x01m"
    label = b"\x0a\x06\x0a\x01a\x12\x01b"
    sample = b"\x12\x0c\x09" + struct.pack("<d", 1.0) + b"\x10\xac\x02"  # 300 as a varint
    series = name + label + sample
    assert message == b"\x0a" + bytes([len(series)]) + series


def test_labels_are_sorted_and_an_empty_one_is_none():
    assert encode([Series({"b": "1", "a": "2", "c": ""}, [])]) == encode([Series({"a": "2", "b": "1"}, [])])


def test_more_than_one_literal_holds_is_split():
    many = [Series({"__name__": "m" * 100, "number": str(number)}, [(number, 0.0)]) for number in range(1000)]
    body = encode(many)
    assert len(body) > 2 * 65536
    assert unpack(body).count(b"number") == 1000


def test_the_end_of_a_series_is_the_nan_that_prometheus_knows():
    assert math.isnan(STALE)
    assert struct.pack("<d", STALE) == b"\x02\x00\x00\x00\x00\x00\xf0\x7f"


def test_what_is_written_goes_in_requests_of_a_size_and_the_first_that_is_lost_is_the_last_that_is_tried():
    many = [Series({"__name__": "m", "number": str(number)}, [(number, 0.0)]) for number in range(1100)]
    with breaking_off(at=4) as taken:
        write("http://127.0.0.1:9", many)
    assert [[int(one["number"]) for one in labels(body)] for body in taken] == [
        list(range(500)),
        list(range(500, 1000)),
        list(range(1000, 1100)),
    ]
    with breaking_off(at=2) as taken, pytest.raises(KjouleError, match=r"cannot be reached: saw .*reset by peer.*run the same again"):
        write("http://127.0.0.1:9", many)
    assert len(taken) == 1


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"remote write receiver needs to be enabled\n")

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


def test_a_prometheus_that_does_not_take_them_is_named_with_what_it_said():
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(KjouleError, match=r"does not take the samples: .*status 404.*needs to be enabled.*kjoule_monitoring: true"):
            write(f"http://127.0.0.1:{server.server_port}", [Series({"__name__": "m"}, [(1, 1.0)])])
        thread.join()


def test_a_prometheus_that_is_down_is_told_with_what_to_start():
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        port = server.server_port
    with pytest.raises(KjouleError, match=r"cannot be reached.*systemctl start kjoule-prometheus"):
        write(f"http://127.0.0.1:{port}", [Series({"__name__": "m"}, [(1, 1.0)])])
