# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing files of the system so that they can be had back: what was there is kept, byte for byte, until it is put back.

Everything lies below an injectable root; paths in here are absolute paths as the host sees them.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import glob
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from typing import Any

from ..errors import KjouleError

RECORD_DIRECTORY = "/var/lib/kjoule/kernel_arguments"
_SCHEMA = "kjoule.boot/1"


@dataclass(frozen=True)
class Change:
    """One file: what is in it (None: it is not there) and what is to be in it (None: it is to go)."""

    path: str
    before: bytes | None
    after: bytes | None


def inside(root: str, path: str) -> str:
    """Where a path of the host is, below the root."""
    return os.path.join(root, path.lstrip("/"))


def read(root: str, path: str) -> bytes | None:
    """The bytes of a file, None when there is none. Raises KjouleError when it cannot be read."""
    try:
        with open(inside(root, path), "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KjouleError(f"{path} cannot be read", seen=str(error.strerror), next_step="run this as root") from error


def read_text(root: str, path: str) -> str | None:
    raw = read(root, path)
    return None if raw is None else raw.decode("utf-8", errors="surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


def check_writable(root: str, directories: tuple[str, ...], needed_bytes: int) -> None:
    """Raises KjouleError when a file system is mounted read-only, may not be written, or has too little space. Writes nothing."""
    for directory in directories:
        place = inside(root, directory)
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        status = os.statvfs(place)
        if status.f_flag & os.ST_RDONLY:
            raise KjouleError(
                f"{directory} is read-only",
                expected="a file system that can be written",
                seen=f"the one of {place} is mounted read-only",
                next_step=f"mount -o remount,rw {directory}, and find out why it was not",
            )
        if not os.access(place, os.W_OK | os.X_OK):
            raise KjouleError(f"{directory} may not be written", seen=f"by user id {os.getuid()}", next_step="run this as root (become)")
        free = status.f_bavail * status.f_frsize
        if free < needed_bytes:
            raise KjouleError(
                f"there is too little space in {directory}",
                expected=f"{needed_bytes // 1024} KiB free",
                seen=f"{free // 1024} KiB",
                next_step="remove what is not needed, old kernels for instance",
            )


def write(root: str, path: str, content: bytes | None) -> None:
    """Put a whole file in place of another, keeping its mode and owner, or remove it (None)."""
    target = inside(root, path)
    if content is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        return
    temporary = f"{target}.kjoule.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            status = os.stat(target)
        except FileNotFoundError:
            os.chmod(temporary, 0o644)
        else:
            shutil.copymode(target, temporary)
            with contextlib.suppress(PermissionError):  # an EFI partition has no owners
                os.chown(temporary, status.st_uid, status.st_gid)
        os.replace(temporary, target)
        handle = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise KjouleError(
            f"{path} cannot be written",
            seen=os.strerror(error.errno or 0),
            next_step="free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "run this as root (become)",
        ) from error


def _remove_unfinished(root: str, path: str) -> None:
    """What ``write`` leaves beside the file when it is cut off."""
    for name in glob.glob(glob.escape(inside(root, path)) + ".kjoule.*"):
        if name.rpartition(".")[2].isdigit():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def _digest(content: bytes | None) -> str:
    """What is on record of a content. The null of earlier versions, for a file that was gone for whatever reason, is none."""
    return "absent" if content is None else hashlib.sha256(content).hexdigest()


class Record:
    """What was there before: ``record.json``, and the original bytes of every file in ``originals/``. There until the change is undone."""

    def __init__(self, root: str, directory: str = RECORD_DIRECTORY) -> None:
        self.root = root
        self.directory = directory
        text = read_text(root, f"{directory}/record.json")
        try:
            self.data: dict[str, Any] | None = json.loads(text) if text is not None else None
        except ValueError as error:
            raise KjouleError(
                f"{directory}/record.json is damaged",
                seen=str(error),
                next_step=f"the original files are beside it, in {directory}/originals",
            ) from error
        if self.data is not None and self.data.get("schema") != _SCHEMA:
            raise KjouleError(f"{directory}/record.json", expected=f"schema {_SCHEMA}", seen=repr(self.data.get("schema")))

    @property
    def exists(self) -> bool:
        """Whether there is anything of it, if only a copy from a run that was cut off before the record was written."""
        return os.path.isdir(inside(self.root, self.directory))

    @property
    def arguments(self) -> list[str]:
        """What was added and is still to be there."""
        return list(self.data["arguments"]) if self.data else []

    def forget(self, arguments: list[str]) -> None:
        """These are not ours to take out any more."""
        self.data = Record(self.root, self.directory).data
        if self.data is not None and arguments:
            self.data["arguments"] = [word for word in self.data["arguments"] if word not in arguments]
            self._save()

    def original_path(self, path: str) -> str:
        return f"{self.directory}/originals/{path.strip('/').replace('%', '%25').replace('/', '%2F')}"

    def keep(self, loader: str, arguments: list[str], changes: list[Change], originals: dict[str, bytes | None] | None = None) -> None:
        """Remember the files as they are now, except those that are remembered already, what was added to them, and what they will be.

        ``originals``: what files are without what was added before, where they hold it; None where that is not known. A file without a
        known original is never ``untouched``.
        """
        data = self.data or {"schema": _SCHEMA, "loader": loader, "arguments": [], "files": {}}
        data["arguments"] += [argument for argument in arguments if argument not in data["arguments"]]
        for change in changes:
            if change.path not in data["files"]:
                original = (originals or {}).get(change.path, change.before)
                if original is not None:
                    write(self.root, self.original_path(change.path), original)
                known = original is not None or change.before is None
                data["files"][change.path] = {
                    "existed": change.before is not None,
                    "written_sha256": _digest(change.before) if known else None,
                }
        self.data = data
        self.expect({change.path: [change.after] for change in changes})

    def expect(self, contents: dict[str, list[bytes | None]]) -> None:
        """Remember what these files may hold from now on, so that a run that is cut off does not pass for somebody's edit."""
        assert self.data is not None
        for path, possible in contents.items():
            if path in self.data["files"] and self.untouched(path):
                known = self.data["files"][path]
                known["written_sha256"] = _digest(read(self.root, path))
                known["expected_sha256"] = sorted({_digest(content) for content in possible})
        self._save()

    def copy(self) -> Record:
        """The record as it is now, for ``put_back``."""
        return copy.deepcopy(self)

    def put_back(self) -> None:
        """Make the record on the disk this one again: what could not be done is none of ours."""
        if self.data is None:
            self.remove()
        elif Record(self.root, self.directory).data != self.data:
            self._save()

    def written(self, contents: dict[str, bytes | None]) -> None:
        """Remember what was left in these files, so that somebody's later edit is recognised. Not for files that are not untouched."""
        assert self.data is not None
        for path, content in contents.items():
            self.data["files"][path]["written_sha256"] = _digest(content)
            self.data["files"][path].pop("expected_sha256", None)
        self._save()

    def original(self, path: str) -> bytes | None:
        assert self.data is not None
        return read(self.root, self.original_path(path)) if self.data["files"][path]["existed"] else None

    def untouched(self, path: str) -> bool:
        """Whether the file is as it was left by the last change, also by one that was cut off, and its original can be had."""
        assert self.data is not None
        known = self.data["files"][path]
        if known["existed"] and not os.path.exists(inside(self.root, self.original_path(path))):
            return False
        return _digest(read(self.root, path)) in (known["written_sha256"], *known.get("expected_sha256", []))

    def remove(self) -> None:
        for path in (self.data or {"files": {}})["files"]:
            _remove_unfinished(self.root, path)
        self.data = None
        write(self.root, f"{self.directory}/record.json", None)  # first: without its copies it would say that files are to go
        shutil.rmtree(inside(self.root, self.directory), ignore_errors=True)
        with contextlib.suppress(OSError):  # others keep theirs beside it
            os.rmdir(inside(self.root, os.path.dirname(self.directory)))

    def _save(self) -> None:
        write(self.root, f"{self.directory}/record.json", json.dumps(self.data, indent=1, sort_keys=True).encode() + b"\n")
