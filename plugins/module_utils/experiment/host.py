# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to know about the measured host, for the journal's header."""

from __future__ import annotations

import os
import platform
from typing import Any

from ..errors import KjouleError
from ..host.facts import virtualization
from ..lab.identity import boot_id
from .checks.host_state import Host

MINIMUM_FREE_BYTES = 500 * 1024 * 1024  # a lab of twenty apps needs about 150 MB; etcd preallocates 64 MB twice


def host_facts(name: str) -> dict[str, Any]:
    """Identity and kind of the host; what cannot be found out is None."""
    cpuinfo = _read("/proc/cpuinfo") or ""
    memory = _field(_read("/proc/meminfo") or "", "MemTotal")
    return {
        "name": name,
        "boot_id": boot_id(),
        "kernel": platform.release(),
        "cpu_model": _field(cpuinfo, "model name") or _field(cpuinfo, "Model") or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory.split()[0]) * 1024 if memory else None,
        "virtualization": virtualization()["hypervisor"],
        "celsius": Host().celsius(),
        "python": platform.python_version(),
    }


def check_space(state_dir: str, needed_bytes: int = MINIMUM_FREE_BYTES) -> None:
    """Raise KjouleError when the file system of the state directory has less than that free."""
    path = os.path.abspath(os.path.expanduser(state_dir))
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    if free < needed_bytes:
        raise KjouleError(
            f"there is too little space for a lab below {state_dir}",
            expected=f"{needed_bytes // 2**20} MiB free",
            seen=f"{free // 2**20} MiB",
            next_step="free some, or set kjoule_state_dir to another disk",
        )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def _field(text: str, name: str) -> str | None:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None
