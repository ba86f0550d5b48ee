# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples into a Prometheus: its remote write protocol, version 1.0 (prometheus.io/docs/specs/prw/remote_write_spec).

A request is the protobuf message WriteRequest in Snappy's block format. Both are encoded here, because what runs on a host has the standard
library only; nothing is compressed, which Snappy's format allows (google/snappy, format_description.txt: literals).
"""

from __future__ import annotations

import http.client
import struct
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import KjouleError

#: What ends a series: the one NaN that Prometheus takes for "no longer there" (model/value/value.go: StaleNaN).
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]

_BATCH_SERIES = 500


class Series(NamedTuple):
    """Labels with ``__name__``, and samples of (milliseconds since 1970, value) in the order of time."""

    labels: dict[str, str]
    samples: list[tuple[int, float]]


def encode(series: Iterable[Series]) -> bytes:
    """The body of one request."""
    return _snappy(b"".join(_field(1, _series(one)) for one in series))


def write(url: str, series: list[Series], timeout: float = 30.0) -> None:
    """Send them to the Prometheus at ``url`` (``http://127.0.0.1:9090``), in order, in requests of a size.

    Raises KjouleError as ``send`` does; the requests before that one have been written then, and writing them again is harmless.
    """
    for first in range(0, len(series), _BATCH_SERIES):
        send(url, series[first : first + _BATCH_SERIES], timeout)


def send(url: str, series: list[Series], timeout: float = 30.0) -> None:
    """Send them in one request, which Prometheus takes whole or not at all.

    Raises KjouleError when it cannot be reached or takes them not.
    """
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}
    request = urllib.request.Request(url.rstrip("/") + "/api/v1/write", encode(series), headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            response.read()
    except urllib.error.HTTPError as error:
        raise KjouleError(
            f"Prometheus at {url} does not take the samples",
            expected="status 204",
            seen=f"status {error.code}: {error.read(300).decode('utf-8', 'replace').strip()}",
            next_step="run playbooks/stack.yml with kjoule_monitoring: true, which lets it be written to and take samples of the past",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: Exception) -> KjouleError:
    return KjouleError(
        f"Prometheus at {url} cannot be reached",
        seen=str(error),
        next_step="start it (systemctl start kjoule-prometheus) and run the same again; the journal is not touched",
    )


def _series(one: Series) -> bytes:
    labels = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in sorted(one.labels.items()) if value != ""
    )
    # Field 1 is a double (wire type 1), field 2 a varint (wire type 0).
    samples = b"".join(_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(stamp)) for stamp, value in one.samples)
    return labels + samples


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _snappy(content: bytes) -> bytes:
    out = bytearray(_varint(len(content)))
    for start in range(0, len(content), 65536):
        chunk = content[start : start + 65536]
        out += b"\xf4" + struct.pack("<H", len(chunk) - 1)  # tag 61: a literal whose length minus one follows in two bytes
        out += chunk
    return bytes(out)
