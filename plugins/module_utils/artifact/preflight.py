# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must have before anything is fetched or built on it."""

from __future__ import annotations

import os
import shutil
import sys

from ..errors import KjouleError
from .files import check_space

OLDEST_PYTHON = (3, 9)


def check_host(commands: list[str], free_gb: float, cache_dir: str) -> dict[str, str]:
    """Raises KjouleError for the first thing missing; returns where the commands are.

    ``free_gb`` is what an empty cache will grow to, so it is asked for only while the cache is empty.
    """
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise KjouleError(
            "the Python that Ansible uses on this host is too old",
            expected="3.9 or newer",
            seen=".".join(str(part) for part in sys.version_info[:3]) + f" ({sys.executable})",
            next_step="install a newer one and set ansible_python_interpreter for this host",
        )
    found = {command: shutil.which(command) for command in commands}
    missing = sorted(command for command, path in found.items() if not path)
    if missing:
        raise KjouleError(
            "this host lacks commands",
            expected=", ".join(commands),
            seen="no " + ", no ".join(missing),
            next_step="install them with the host's package manager, e.g. apt install " + " ".join(missing),
        )
    if free_gb > 0 and not os.path.exists(os.path.join(cache_dir, "artifacts.lock.json")):
        check_space(cache_dir, free_gb, "the cache")
    return {command: path for command, path in found.items() if path}
