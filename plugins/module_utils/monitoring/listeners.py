# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service can listen where it is told to, also while it runs and listens somewhere else."""

from __future__ import annotations

import ipaddress
import socket

from ..errors import KjouleError
from ..lab.ports import _LISTEN, _inodes, _sockets


def check_port(address: str, port: int, service: str, variable: str, pid: int = 0) -> None:
    """Raises KjouleError where another process than ``pid`` (0: none runs) listens so that the service could not.

    What the service itself listens on, there or on another address, it gives up when it is restarted.
    """
    wanted = _addresses(address)
    own = _inodes(pid) if pid else set()
    for there, number, state, inode in _sockets():
        if number == port and state == _LISTEN and inode not in own and any(_collide(one, ipaddress.ip_address(there)) for one in wanted):
            runs = f"{service} runs, but not there" if pid else f"{service} does not run"
            raise KjouleError(
                f"Port {port} on {address} is taken, and {runs}; nothing was changed",
                expected="a port that nobody else listens on",
                seen=f"a listener on {f'[{there}]' if ':' in there else there}:{port}",
                next_step=f"end what listens there (ss -ltnp), or set {variable} to a free port",
            )


def _addresses(address: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise KjouleError(f"{address} is no address of this host", seen=str(error), next_step="give an address that it has") from error
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def _collide(one: ipaddress.IPv4Address | ipaddress.IPv6Address, other: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether two sockets cannot listen on one port. That of all of IPv6 takes IPv4 along, unless it says otherwise."""
    one, other = _plain(one), _plain(other)
    if one.version == other.version:
        return one == other or one.is_unspecified or other.is_unspecified
    return (one if one.version == 6 else other).is_unspecified


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address
