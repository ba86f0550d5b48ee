# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads requests of remote write as their specifications say, and breaks them off."""

from __future__ import annotations

import contextlib
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from unittest import mock


def unpack(body: bytes) -> bytes:
    """What Snappy's literals hold (format_description.txt)."""
    length, at = _varint(body, 0)
    out = b""
    while at < len(body):
        assert body[at] == 0xF4
        size = struct.unpack("<H", body[at + 1 : at + 3])[0] + 1
        out += body[at + 3 : at + 3 + size]
        at += 3 + size
    assert len(out) == length
    return out


def labels(body: bytes) -> list[dict[str, str]]:
    """The labels of every series in a request (remote.proto: WriteRequest, TimeSeries, Label)."""
    found = []
    for _number, series in _fields(unpack(body)):
        pairs = [dict(_fields(content)) for number, content in _fields(series) if number == 1]
        found.append({pair[1].decode(): pair[2].decode() for pair in pairs})
    return found


@contextlib.contextmanager
def breaking_off(at: int, real: bool = False) -> Iterator[list[bytes]]:
    """Every request until the one of that number (from 1) is taken, by the real Prometheus or by nobody; that and all later ones are lost.
    Bodies of those that were taken."""
    taken: list[bytes] = []
    go_on = urllib.request.urlopen

    def urlopen(request: Any, *more: Any, **named: Any) -> Any:
        if len(taken) + 1 >= at:
            raise urllib.error.URLError(ConnectionResetError(104, "Connection reset by peer"))
        taken.append(request.data)
        return go_on(request, *more, **named) if real else contextlib.nullcontext(mock.Mock())

    with mock.patch("urllib.request.urlopen", urlopen):
        yield taken


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of every field that has a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        assert tag & 7 == 2
        size, at = _varint(message, at)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not content[at - 1] & 0x80:
            return value, at
