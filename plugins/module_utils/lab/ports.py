# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports on 127.0.0.1: finding free ones, and telling who holds one that is not."""

from __future__ import annotations

import errno
import ipaddress
import os
import random
import socket
from collections.abc import Iterator
from typing import Any

from ..errors import KjouleError
from .identity import pids

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h


def ephemeral_range() -> tuple[int, int]:
    """The ports that the kernel hands out to outgoing connections, both ends included."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as stream:
            low, high = stream.read().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32768, 60999


def _candidates() -> Iterator[int]:
    """Ports to try, in random order: below the ephemeral range if there is room, else above it, else any.

    A port inside the range could be taken by an outgoing connection between this check and the server's start.
    The order is random so that two labs that start at the same time seldom try the same port.
    """
    low, high = ephemeral_range()
    if low > 12000:
        choice = range(10000, low)
    elif high < 64500:
        choice = range(high + 1, 65536)
    else:
        choice = range(10000, 65536)
    yield from random.sample(choice, len(choice))


def bind_error(address: tuple[Any, ...], family: int = socket.AF_INET) -> OSError | None:
    """Why a server could not listen there; None where it could. With port 0 that is the address alone."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do it: connections of a former server in TIME_WAIT do not count, listeners do.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def free_ports(names: list[str], fixed: dict[str, int] | None = None) -> dict[str, int]:
    """A free port on 127.0.0.1 for each name, all different; ``fixed`` gives the ports of some names.

    Raises KjouleError when a fixed port is taken (naming who holds it), impossible or given twice.
    """
    wanted = {name: int(port) for name, port in (fixed or {}).items() if port}
    for name in wanted:
        if name not in names:
            raise KjouleError(
                f"there is no port called {name}", expected=f"one of {', '.join(names)}", next_step="correct the name in kjoule_lab_ports"
            )
    result: dict[str, int] = {}
    for name, port in wanted.items():
        if port in result.values():
            raise KjouleError(
                f"port {port} is given twice", seen=f"for {name} as well", next_step="give each its own port, or leave one out"
            )
        if not 0 < port < 65536:
            raise KjouleError(f"port {port} for {name} cannot be", expected="1 to 65535", next_step="choose another port")
        error = bind_error((LOOPBACK, port))
        if error is not None:
            raise _taken(name, port, error)
        result[name] = port
    taken = set(result.values())
    candidates = _candidates()
    for name in names:
        if name in result:
            continue
        for port in candidates:
            if port not in taken and bind_error((LOOPBACK, port)) is None:
                result[name] = port
                taken.add(port)
                break
        else:
            raise KjouleError(f"no free port for {name} on {LOOPBACK}", next_step="end programs that listen, see: ss -ltnp")
    return {name: result[name] for name in names}


def _taken(name: str, port: int, error: OSError) -> KjouleError:
    if error.errno == errno.EACCES:
        return KjouleError(
            f"port {port} for {name} may not be used by this user", next_step="choose a port above 1023, or leave it out for a free one"
        )
    who = holder(port)
    seen = f"in use by {who[1]} (pid {who[0]})" if who else f"in use ({error.strerror}; the holder cannot be seen by this user)"
    return KjouleError(
        f"port {port} on {LOOPBACK}, wanted for {name}, is taken",
        expected="a free port",
        seen=seen,
        next_step=f"end it, or choose another port for {name}, or leave it out for a free one",
    )


def _sockets() -> Iterator[tuple[str, int, str, str]]:
    """Local address, port, state and inode of every TCP socket of this network namespace."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows = stream.readlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            address, port = fields[1].rsplit(":", 1)
            # Each group of 8 hex digits is a 32-bit word in host byte order.
            words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
            yield str(ipaddress.ip_address(b"".join(words))), int(port, 16), fields[3], fields[9]


def listeners() -> list[tuple[str, int, str]]:
    """Address, port and inode of every TCP socket of this network namespace that listens."""
    return [(address, port, inode) for address, port, state, inode in _sockets() if state == _LISTEN]


def inodes(pid: int) -> set[str]:
    """The sockets that a process has open; none where it may not be asked."""
    found = set()
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass
    return found


def holder(port: int) -> tuple[int, str] | None:
    """Pid and command name of the process that listens on the port, or None when it cannot be found."""
    wanted = {inode for _address, number, inode in listeners() if number == port}
    if not wanted:
        return None
    for pid in pids():
        if wanted & inodes(pid):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                    return pid, stream.read().strip()
            except OSError:
                return pid, "unknown"
    return None


def listening(pid: int) -> list[tuple[str, int]]:
    """Addresses and ports on which the process listens."""
    own = inodes(pid)
    return sorted((address, port) for address, port, inode in listeners() if inode in own)


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def is_here(host: str) -> bool:
    """Whether an address, or one of a name's addresses, is this host's: whether something could listen on it."""
    try:
        found = socket.getaddrinfo(host or LOOPBACK, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(bind_error(address, family) is None for family, _type, _protocol, _name, address in found)
