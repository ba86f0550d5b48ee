# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service can listen where it is told to, also while it runs and listens somewhere else."""

from __future__ import annotations

import ipaddress
import socket
from typing import Union

from ..errors import KjouleError
from ..lab.ports import bind_error, inodes, listeners

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def check_port(address: str, port: int, service: str, variable: str, pid: int = 0) -> None:
    """Raises KjouleError where another process than ``pid`` (0: none runs) listens so that the service could not.

    What the service itself listens on, there or on another address, it gives up when it is restarted.
    """
    wanted = [_plain(one) for one in _addresses(address)]
    own = inodes(pid) if pid else set()
    there_are = [(_plain(ipaddress.ip_address(there)), inode) for there, number, inode in listeners() if number == port]
    held = [there for there, inode in there_are if inode in own]
    for there, inode in there_are:
        if inode not in own and any(_collide(one, there, port, held) for one in wanted):
            runs = f"{service} runs, but not there" if pid else f"{service} does not run"
            raise KjouleError(
                f"Port {port} on {address} is taken, and {runs}; nothing was changed",
                expected="a port that nobody else listens on",
                seen=f"a listener on {f'[{there}]' if there.version == 6 else there}:{port}",
                next_step=f"end what listens there (ss -ltnp), or set {variable} to a free port",
            )


def _addresses(address: str) -> list[_Address]:
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise KjouleError(f"{address} is no address of this host", seen=str(error), next_step="give an address that it has") from error
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def _collide(wanted: _Address, there: _Address, port: int, held: list[_Address]) -> bool:
    """Whether somebody's listener on ``there`` keeps a service from ``wanted``, that listens on ``held`` so far.

    For all of IPv4 or all of IPv6, Go opens one socket for both.
    """
    if wanted.is_unspecified:
        return True
    if wanted.version == there.version:
        return wanted == there or there.is_unspecified
    if wanted.version == 6 or not there.is_unspecified:
        return False
    # All of IPv6: whether that takes IPv4 along cannot be seen, but tried. What the service has already, it can have again.
    return (
        not any(one.version == 4 and (one == wanted or one.is_unspecified) for one in held) and bind_error((str(wanted), port)) is not None
    )


def _plain(address: _Address) -> _Address:
    return getattr(address, "ipv4_mapped", None) or address
