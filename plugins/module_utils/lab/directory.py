# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab directories below <state_dir>/labs: who owns one, making one, removing one.

``owner.json`` is the first file written into a lab directory and the last one removed, so that a crash at any
moment leaves a directory whose owner is known.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from typing import Any

from ..errors import KjouleError
from .identity import boot_id, check_lab_id, find_marked, owner, owner_alive, pid_namespace

OWNER_FILE = "owner.json"
_PAYLOAD = re.compile(r"ansible_[A-Za-z0-9_.]+_payload_[A-Za-z0-9_]+")


def disk_error(what: str, path: str, error: OSError) -> KjouleError:
    """A write that failed, told so that a person can act on it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return KjouleError(f"{what}: no space left for {path}", next_step=f"free space (or quota) on the file system of {path}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return KjouleError(
            f"{what}: {path} cannot be written",
            seen=os.strerror(error.errno or 0),
            next_step="check the owner and mode, or set kjoule_state_dir",
        )
    return KjouleError(f"{what}: {path}", seen=str(error), next_step="check the state directory (kjoule_state_dir)")


def write_private(path: str, content: str) -> None:
    """Write a whole file of mode 0600 or leave the old one: temporary file, fsync, rename.

    Raises KjouleError, for instance when the disk is full; then no part of the new content stays.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise disk_error("cannot write", path, error) from error


def default_state_dir() -> str:
    """Where a host keeps journals, lock and labs when nobody says otherwise (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "kjoule")


def labs_directory(state_dir: str) -> str:
    return os.path.join(os.path.abspath(os.path.expanduser(state_dir)), "labs")


@contextlib.contextmanager
def labs_locked(state_dir: str) -> Iterator[str]:
    """Hold the short lock under which lab directories are made and leftovers removed. Yields the labs directory.

    Without it a sweep could see a directory between its mkdir and its owner file.
    """
    labs = labs_directory(state_dir)
    try:
        os.makedirs(labs, mode=0o700, exist_ok=True)
        handle = os.open(os.path.join(labs, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error("cannot use the state directory", labs, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield labs
    finally:
        os.close(handle)


def payload_directory(file: str = __file__) -> str | None:
    """Where Ansible has unpacked the module that this code came in, None when it did not come so. A SIGKILL leaves it behind."""
    parts = file.split(os.sep)
    for index, part in enumerate(parts):
        if _PAYLOAD.fullmatch(part):
            return os.sep.join(parts[: index + 1])
    return None


def remove_payload(path: object) -> None:
    """Remove what ``payload_directory`` of a dead owner named, if it still is such a directory of this user's."""
    if isinstance(path, str) and _PAYLOAD.fullmatch(os.path.basename(path)):
        with contextlib.suppress(OSError):
            seen = os.lstat(path)
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)


def owner_record(lab_id: str) -> dict[str, Any]:
    me = owner()
    return {
        "schema": "kjoule.lab-owner/1",
        "lab_id": lab_id,
        "pid": me.pid,
        "start_ticks": me.start_ticks,
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
        "payload": payload_directory(),
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def read_owner(path: str) -> dict[str, Any] | None:
    """The owner file of a lab directory, or None when it is missing or damaged."""
    try:
        with open(os.path.join(path, OWNER_FILE), encoding="utf-8") as stream:
            record = json.load(stream)
        record["pid"], record["start_ticks"] = int(record["pid"]), int(record["start_ticks"])
        record["boot_id"] = str(record["boot_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record


def is_owned(path: str) -> bool:
    """Whether somebody who lives, or who cannot be judged from here, owns the lab directory."""
    record = read_owner(path)
    if record is None:  # damaged: believe the processes instead
        return any(process.owner_alive for process in find_marked(os.path.basename(path)))
    if record["boot_id"] == boot_id() and record.get("pid_namespace") not in (None, "", pid_namespace()):
        return True
    return owner_alive(record["pid"], record["start_ticks"], record["boot_id"])


def create_lab_directory(state_dir: str, lab_id: str) -> str:
    """Make <state_dir>/labs/<lab_id> (0700) with its owner file, and return its path.

    Raises KjouleError when the directory exists, or when it cannot be written.
    """
    check_lab_id(lab_id)
    with labs_locked(state_dir) as labs:
        path = os.path.join(labs, lab_id)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            record = read_owner(path) or {}
            living = is_owned(path)
            raise KjouleError(
                f"the lab {lab_id} exists already in {path}",
                expected="an unused lab id",
                seen=f"owner pid {record.get('pid', 'unknown')}, {'running' if living else 'gone'}",
                next_step="use another lab id" if living else "remove what crashed runs left with the module kjoule.bench.leftovers",
            ) from None
        except OSError as error:
            raise disk_error("cannot make the lab directory", path, error) from error
        try:
            write_private(os.path.join(path, OWNER_FILE), json.dumps(owner_record(lab_id)) + "\n")
        except BaseException:
            remove_lab_directory(path)
            raise
    return path


def remove_lab_directory(path: str, patience_seconds: float = 2.0) -> None:
    """Remove the directory, the owner file last. Nothing happens when it is gone already; links are not followed.

    Raises KjouleError when something in it stays.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                return
            with os.scandir(path) as listing:
                entries = [entry for entry in listing if entry.name != OWNER_FILE]
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, OWNER_FILE))
            os.rmdir(path)
            return
        except FileNotFoundError:
            if not os.path.lexists(path):
                return
            if time.monotonic() > deadline:
                raise KjouleError(
                    f"cannot remove {path}", seen="files that come and go", next_step="end the program that uses it"
                ) from None
        except OSError as error:
            # A process that was just ended can still be creating its last file.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY) or time.monotonic() > deadline:
                raise disk_error("cannot remove", path, error) from error
        time.sleep(0.02)
