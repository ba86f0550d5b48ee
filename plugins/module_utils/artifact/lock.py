# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file: which bytes an artifact had when it was first used here, and a flock that lets one run at a time change a family."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from ..errors import KjouleError

SCHEMA = "kjoule.artifacts-lock/1"


class LockFile:
    """``entries``: lock key to what was recorded at first use. ``files``: path to what lies there, with the stat it was hashed at."""

    def __init__(self, cache_dir: str) -> None:
        self.cache_dir = cache_dir
        self.path = os.path.join(cache_dir, "artifacts.lock.json")
        self.entries: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.load()

    def load(self) -> None:
        """Reads the file; a missing one is empty. Raises KjouleError for one that is not a lock file."""
        try:
            with open(self.path, encoding="utf-8") as handle:
                content = json.load(handle)
            if content["schema"] != SCHEMA:
                raise ValueError(f"schema {content['schema']!r}")
            self.entries, self.files = dict(content["entries"]), dict(content["files"])
        except FileNotFoundError:
            self.entries, self.files = {}, {}
        except (ValueError, KeyError, TypeError) as error:
            raise KjouleError(
                f"the lock file {self.path} cannot be read",
                expected=f"JSON of schema {SCHEMA}",
                seen=str(error),
                next_step=f"remove it together with {os.path.join(self.cache_dir, 'artifacts')}; everything is then got and recorded anew",
            ) from error

    def update(self, entries: dict[str, dict[str, Any]], files: dict[str, dict[str, Any]]) -> None:
        """Adds to what other runs have written meanwhile; the file is replaced as a whole."""
        with exclusive(self.cache_dir, "lock-file"):
            self.load()
            self.entries.update(entries)
            self.files.update(files)
            with writing(self.cache_dir):
                handle, temporary = tempfile.mkstemp(prefix=".artifacts.lock.", suffix=".part", dir=self.cache_dir)
                try:
                    with os.fdopen(handle, "w", encoding="utf-8") as target:
                        json.dump({"schema": SCHEMA, "entries": self.entries, "files": self.files}, target, indent=1, sort_keys=True)
                        target.write("\n")
                        target.flush()
                        os.fsync(target.fileno())
                    os.chmod(temporary, 0o644)
                    os.replace(temporary, self.path)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary)
                    raise


def entry(sha256: str, source: str) -> dict[str, Any]:
    return {"sha256": sha256, "source": source, "recorded_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}


def stat_of(path: str) -> dict[str, int]:
    """What tells that a file was not touched since it was hashed."""
    seen = os.stat(path)
    return {"size": seen.st_size, "mtime_ns": seen.st_mtime_ns, "inode": seen.st_ino}


@contextlib.contextmanager
def exclusive(cache_dir: str, name: str) -> Iterator[None]:
    """Holds ``<cache>/locks/<name>.lock``; waits for whoever has it. The kernel frees it when its holder dies."""
    folder = os.path.join(cache_dir, "locks")
    with writing(cache_dir):
        os.makedirs(folder, exist_ok=True)
        handle = os.open(os.path.join(folder, name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(cache_dir: str) -> Iterator[None]:
    """Turns what a file system says no with into an error a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise KjouleError(
                f"no space left in the cache {cache_dir}",
                seen=str(error),
                next_step="free space there, or point artifacts_cache_dir at a larger disk",
            ) from error
        raise KjouleError(
            f"the cache {cache_dir} cannot be written",
            expected="a folder that this user may write to",
            seen=str(error),
            next_step="correct its owner and mode, or point artifacts_cache_dir elsewhere",
        ) from error
