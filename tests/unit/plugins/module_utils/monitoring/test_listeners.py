# SPDX-License-Identifier: GPL-3.0-or-later
"""Real sockets on loopback: who may listen where."""

from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.listeners import check_port


def check(port, address="127.0.0.1", pid=0):
    check_port(address, port, "kjoule-prometheus", "monitoring_prometheus_port", pid)


def listener(address="127.0.0.1"):
    try:
        return socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as error:
        pytest.skip(f"not run: nothing can listen on {address} here ({error})")


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "::"),
        ("::1", "::1"),
        ("::1", "::"),
        ("::", "127.0.0.1"),
    ],
)
def test_a_port_of_somebody_else_is_refused_wherever_the_two_collide(there, wanted):
    with listener(there) as taken:
        port = taken.getsockname()[1]
        says = rf"Port {port} on \S+ is taken, and kjoule-prometheus does not run; .*saw a listener on .*:{port}"
        with pytest.raises(KjouleError, match=says):
            check(port, wanted)
        # Also where the service runs, and listens elsewhere: its process is another than that of the socket.
        says = r"kjoule-prometheus runs, but not there.*Next: .*set monitoring_prometheus_port to a free port"
        with pytest.raises(KjouleError, match=says):
            check(port, wanted, pid=os.getppid())
        check(port, wanted, pid=os.getpid())
    check(port, wanted)


@pytest.mark.parametrize(("there", "wanted"), [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_two_addresses_can_have_one_port(there, wanted):
    with listener(there) as other:
        check(other.getsockname()[1], wanted)


def test_a_name_that_is_none_is_told():
    with pytest.raises(KjouleError, match=r"nowhere\.invalid is no address of this host"):
        check(9090, "nowhere.invalid")
