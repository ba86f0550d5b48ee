# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures in files of sysfs: read, or refused with who may read them and how."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from typing import Any

from ..errors import KjouleError
from .source import Vanished


def text_of(path: str) -> str | None:
    """The text of a file, None when there is none to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return None


def number_of(path: str) -> int | None:
    """The whole number in a file that describes something (a range, an interval); None when there is none."""
    text = text_of(path) or ""
    return int(text) if text.isdecimal() else None


def read_number(path: str, what: str, unit: str, refusal: tuple[str, str]) -> int:
    """The figure in a file of sysfs, in ``unit``. refusal: why reading may be restricted, and the udev rule that lets a group read.

    Raises Vanished when the file is gone, KjouleError when it may not be read or holds no number.
    """
    try:
        with open(path, "rb") as stream:
            return int(stream.read())
    except PermissionError as error:
        raise _refused(f"{what} {path}", path, *refusal) from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENODEV):
            raise Vanished(f"{what} {path} vanished", expected="it to stay while it is measured", seen=str(error)) from error
        raise KjouleError(f"{what} {path} cannot be read", expected=f"a number of {unit}", seen=str(error)) from error


def _refused(what: str, path: str, why: str, udev_rule: str) -> KjouleError:
    """What to say to a user who may not read: who may, and each way of being one of them."""
    user = _name(pwd.getpwuid, os.geteuid())
    status = os.stat(path)
    owner, group, mode = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid), status.st_mode & 0o777
    ways = ["become: true"]
    if mode & 0o040:
        ways.append(f"put {user} into the group {group}, which may read it")
    ways.append(f"let a group of your choice read it with the udev rule {udev_rule}")
    ways.append("give the Python that measures the capability CAP_DAC_READ_SEARCH")
    return KjouleError(
        f"{what} may not be read",
        expected=f"user {user} to have read permission",
        seen=f"owner {owner}, group {group}, mode {mode:04o} ({why})",
        next_step="; or ".join(ways),
    )


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)
