# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the cache: their checksum, the space for them, and writes that survive a power cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from ..errors import KjouleError


def check_space(folder: str, free_gb: float, purpose: str) -> None:
    """Raises KjouleError when less than ``free_gb`` GB (10^9 bytes) are free where ``folder`` is or would be."""
    existing = folder
    while not os.path.exists(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free / 1e9
    if free < free_gb:
        raise KjouleError(
            f"not enough space for {purpose} in {folder}",
            expected=f"{free_gb:g} GB free",
            seen=f"{free:.1f} GB",
            next_step="free space there, or point artifacts_cache_dir at a larger disk",
        )


def hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for chunk in iter(lambda: handle.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def reading(about: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KjouleError(f"{about} cannot be read", seen=str(error), next_step="correct its owner and mode") from error


def flush(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def flush_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_stale(folder: str, prefix: str) -> None:
    """The family's lock is held, so whatever is there belongs to a run that was killed."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and name.endswith(".part"):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)
