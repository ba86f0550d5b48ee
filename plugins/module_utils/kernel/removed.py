# SPDX-License-Identifier: GPL-3.0-or-later
"""What was taken out of the boot loader's files while the running kernel still has it, kept until the host is booted again.

It lies in /run, which a boot empties, and with the identity of the boot, for a /run that outlives one.
"""

from __future__ import annotations

import contextlib
import json
import os

from ..errors import KjouleError
from .files import encode, inside, read_text, write

REMOVED = "/run/kjoule/kernel_arguments.json"
_SCHEMA = "kjoule.removed/1"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"  # proc_sys_kernel(5)


def recall(root: str) -> tuple[str, list[str]]:
    """The boot loader they were taken from, and the arguments that were taken out in this boot: ``("auto", [])`` when there are none.

    Raises KjouleError when the file is damaged.
    """
    text = read_text(root, REMOVED)
    if text is None:
        return "auto", []
    try:
        data = json.loads(text)
        if data["schema"] != _SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        boot_id, loader, arguments = str(data["boot_id"]), str(data["loader"]), [str(word) for word in data["arguments"]]
    except (ValueError, KeyError, TypeError) as error:
        raise KjouleError(
            f"{REMOVED} is damaged",
            expected=f"the arguments that were taken out since the last boot, schema {_SCHEMA}",
            seen=repr(error),
            next_step="reboot this host, which empties /run, or remove the file",
        ) from error
    return (loader, arguments) if boot_id == _boot_id(root) else ("auto", [])


def remember(root: str, loader: str, arguments: list[str]) -> None:
    """Keep these, and only these, until the host is booted again. Without any, the file goes."""
    boot_id = _boot_id(root)
    if not arguments or boot_id is None:  # a system that does not run will be booted anyway
        if read_text(root, REMOVED) is not None:
            write(root, REMOVED, None)
            with contextlib.suppress(OSError):  # others keep theirs beside it
                os.rmdir(inside(root, os.path.dirname(REMOVED)))
        return
    data = {"schema": _SCHEMA, "boot_id": boot_id, "loader": loader, "arguments": arguments}
    write(root, REMOVED, encode(json.dumps(data, indent=1, sort_keys=True) + "\n"))


def _boot_id(root: str) -> str | None:
    text = read_text(root, _BOOT_ID)
    return None if text is None else text.strip()
