# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal on a host: a header, then one line for each period. A line is written whole and synced, or it is not a record."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from ..errors import KjouleError

SCHEMA = "kjoule.journal/1"


def journal_path(state_dir: str, run_id: str) -> str:
    """Where a run's journal lies on the host."""
    return os.path.join(os.path.abspath(os.path.expanduser(state_dir)), "runs", run_id, "journal.jsonl")


def append_record(path: str | os.PathLike[str], record: dict[str, Any], mode: int = 0o644) -> None:
    """Add one record: one write of one whole line, then an fsync. A torn last line is cut off first: it was never a record.

    Raises KjouleError when the disk is full or the file cannot be written; the journal then is as it was.
    """
    line = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    path = os.fspath(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            length = _whole_length(descriptor)
            os.ftruncate(descriptor, length)
            os.lseek(descriptor, length, os.SEEK_SET)
            try:
                written = os.write(descriptor, line)
                if written != len(line):
                    raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes were written")
                os.fsync(descriptor)
            except OSError:
                # What may not be on the disk is not a record: whoever is told that it failed will measure it again.
                os.ftruncate(descriptor, length)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KjouleError(
            f"the journal {path} cannot be written",
            seen=str(error),
            next_step="free space or mend the permissions, then run the same command again: it goes on with the first unfinished block",
        ) from error


def _whole_length(descriptor: int) -> int:
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0


def read_text(path: str) -> str:
    """The whole lines of the journal, '' when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except FileNotFoundError:
        return ""
    return text[: text.rfind("\n") + 1]


def read_header(path: str) -> dict[str, Any] | None:
    """The first line of the journal, or None when there is none yet. Raises KjouleError when it is not a header."""
    first = read_text(path).partition("\n")[0]
    if not first:
        return None
    try:
        header = json.loads(first)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("kind") != "header" or header.get("schema") != SCHEMA:
        raise KjouleError(
            f"the journal {path} has no usable header",
            expected=f"schema {SCHEMA}",
            seen=first[:80],
            next_step="keep the file for its records and give the run another kjoule_run_id",
        )
    return header


def check_header(header: dict[str, Any], plan: dict[str, Any]) -> None:
    """Raise KjouleError unless the journal belongs to this plan."""
    for key in ("run_id", "plan_hash"):
        if header.get(key) != plan[key]:
            raise KjouleError(
                "the journal on the host belongs to another plan",
                expected=f"{key} {plan[key]}",
                seen=str(header.get(key)),
                next_step="give this run another kjoule_run_id",
            )
