# SPDX-License-Identifier: GPL-3.0-or-later
"""Real sockets on loopback: who may listen where."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.listeners import check_port


def check(port, address="127.0.0.1", pid=0):
    check_port(address, port, "kjoule-prometheus", "monitoring_prometheus_port", pid)


def listener(address="127.0.0.1"):
    """ "::" takes IPv4 along, and ":: alone" does not."""
    place, *alone = address.split()
    dual = place == "::" and not alone
    try:
        return socket.create_server((place, 0), family=socket.AF_INET6 if ":" in place else socket.AF_INET, dualstack_ipv6=dual)
    except (OSError, ValueError) as error:
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
        # What Go opens for all of IPv4 is one socket for both.
        ("::1", "0.0.0.0"),
        (":: alone", "0.0.0.0"),
        ("::", "0.0.0.0"),
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


@pytest.mark.parametrize(
    ("there", "wanted"), [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "::1"), ("::1", "127.0.0.1"), (":: alone", "127.0.0.1")]
)
def test_two_addresses_can_have_one_port(there, wanted):
    with listener(there) as other:
        port = other.getsockname()[1]
        check(port, wanted)
        with socket.create_server((wanted, port), family=socket.AF_INET6 if ":" in wanted else socket.AF_INET):
            pass  # what is said to be free is
        check(port, wanted, pid=os.getppid())


def test_a_service_stays_beside_all_of_ipv6_that_takes_no_ipv4_along():
    """It holds its port itself, so nobody could listen there to try."""
    listens = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(flush=True); sys.stdin.read()"
    with listener(":: alone") as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-c", listens, str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
            service.stdout.readline()
            check(port, pid=service.pid)
            with pytest.raises(KjouleError, match=rf"saw a listener on 127\.0\.0\.1:{port}"):
                check(port)
            with pytest.raises(KjouleError, match=rf"saw a listener on \[::\]:{port}"):
                check(port, "0.0.0.0", pid=service.pid)
            service.stdin.close()


def test_a_name_that_is_none_is_told():
    with pytest.raises(KjouleError, match=r"nowhere\.invalid is no address of this host"):
        check(9090, "nowhere.invalid")
