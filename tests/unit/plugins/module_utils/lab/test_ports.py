# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import ports


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ports_are_distinct_free_and_below_the_ephemeral_range():
    found = ports.free_ports(["a", "b", "c", "d"])
    assert list(found) == ["a", "b", "c", "d"]
    assert len(set(found.values())) == 4
    low, _high = ports.ephemeral_range()
    assert all(1023 < port < max(low, 12001) for port in found.values()) or low <= 12000
    for port in found.values():
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a connection in TIME_WAIT does not count
            server.bind(("127.0.0.1", port))
            server.listen()


def test_a_taken_fixed_port_names_its_holder(taken):
    with pytest.raises(KjouleError) as error:
        ports.free_ports(["etcd", "kwok"], {"etcd": taken})
    text = str(error.value)
    assert str(taken) in text
    assert "etcd" in text
    assert f"pid {os.getpid()}" in text
    assert "Next: " in text


def test_a_port_taken_on_all_addresses_is_taken():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(KjouleError, match="is taken"):
            ports.free_ports(["a"], {"a": port})
        assert ("0.0.0.0", port) in ports.listening(os.getpid())


def test_a_free_fixed_port_is_used_and_zero_means_any():
    free = ports.free_ports(["x"])["x"]
    found = ports.free_ports(["a", "b"], {"a": free, "b": 0})
    assert found["a"] == free
    assert found["b"] not in (0, free)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [({"a": 20001, "b": 20001}, "given twice"), ({"a": 70000}, "cannot be"), ({"etdc": 20001}, "no port called etdc")],
)
def test_impossible_wishes_are_refused(fixed, message):
    with pytest.raises(KjouleError, match=message):
        ports.free_ports(["a", "b"], fixed)


@pytest.mark.parametrize(
    ("low", "high", "allowed"),
    [(32768, 60999, range(10000, 32768)), (1024, 60999, range(61000, 65536)), (1024, 65535, range(10000, 65536))],
)
def test_the_ephemeral_range_is_avoided_where_there_is_room(monkeypatch, low, high, allowed):
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (low, high))
    assert set(ports._candidates()) == set(allowed)


def test_loopback_is_recognised_in_both_families():
    assert [ports.is_loopback(a) for a in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "192.0.2.1")] == [
        True
    ] * 4 + [False] * 3


def test_an_ipv6_listener_is_seen_with_its_address():
    if not socket.has_ipv6 or not os.path.exists("/proc/net/tcp6"):
        pytest.skip("no IPv6")
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("no ::1")
        listener.listen()
        assert ("::1", listener.getsockname()[1]) in ports.listening(os.getpid())


@pytest.mark.parametrize(
    ("host", "addresses", "expected"),
    [
        ("", None, True),
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("192.0.2.7", None, False),
        ("myhost", ["192.0.2.7", "127.0.1.1"], True),
        ("elsewhere", ["192.0.2.7"], False),
        ("nowhere.invalid", [], False),
    ],
)
def test_an_address_is_this_hosts_where_something_could_listen_on_it_and_a_name_by_its_addresses(monkeypatch, host, addresses, expected):
    if addresses is not None:

        def resolve(name, port, **_more):
            assert name == host
            if not addresses:
                raise socket.gaierror("unknown")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert ports.is_here(host) is expected
