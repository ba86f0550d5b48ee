# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process is which: a pid alone is not a name, because the kernel hands pids out again.

A process is named by pid + start time + executable. Every process of a lab also carries the environment variable
``KJOULE_OWNER``, so that a later run can tell what a crashed run left behind.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import KjouleError

MARKER = "KJOULE_OWNER"
#: So long a process in its exec may take to show its environment: some milliseconds.
EXEC_SECONDS = 0.2
_LAB_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that can be recognised again: ``start_ticks`` is field 22 of /proc/PID/stat (clock ticks since boot)."""

    pid: int
    start_ticks: int
    exe: str

    def alive(self) -> bool:
        """Whether this very process still runs. A zombie does not: it has no memory, no file and burns nothing."""
        seen = _stat(self.pid)
        return seen is not None and seen[0] == self.start_ticks and seen[1] not in "ZXx"

    def same_as(self, other: ProcessIdentity | None) -> bool:
        """Whether the other one is this process, running the same executable."""
        return other is not None and (self.pid, self.start_ticks, self.exe) == (other.pid, other.start_ticks, other.exe)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class MarkedProcess:
    """A process of a lab, and who started that lab."""

    identity: ProcessIdentity
    lab_id: str
    owner_pid: int
    owner_start_ticks: int
    boot_id: str
    owner_alive: bool


def boot_id() -> str:
    """The kernel's name for this boot; pids and boot-time clocks mean nothing beyond it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def pid_namespace() -> str:
    """The pid namespace of this process ('' when it cannot be read). Pids of another one cannot be judged from here."""
    return _namespace("self")


def _namespace(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _stat(pid: int) -> tuple[int, str, int] | None:
    """Start ticks, state and parent pid, or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            text = handle.read()
    except OSError:
        return None
    # The command stands in parentheses and may itself contain blanks and parentheses: count from the last one.
    fields = text[text.rfind(b")") + 2 :].split()
    state, threads = fields[0].decode("ascii"), int(fields[17])
    if state == "Z" and threads > 1:
        state = "R"  # only the first thread has ended: the others still hold memory, files and ports
    return int(fields[19]), state, int(fields[1])


def _exe(pid: int) -> str:
    try:
        target = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""  # another user's process, a zombie or a kernel thread
    deleted = " (deleted)"
    return target[: -len(deleted)] if target.endswith(deleted) else target


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running process, or None when there is none of that pid (or only its zombie)."""
    before = _stat(pid)
    if before is None or before[1] in "ZXx":
        return None
    exe = _exe(pid)
    after = _stat(pid)
    if after is None or after[0] != before[0]:
        return None
    return ProcessIdentity(pid, before[0], exe)


def parent(pid: int) -> int | None:
    """The pid of its parent; None when there is no such process."""
    seen = _stat(pid)
    return seen[2] if seen is not None else None


def check_lab_id(lab_id: str) -> str:
    """Return the id, which becomes a directory name and a part of the marker.

    Raises KjouleError when it would not fit into either.
    """
    if not isinstance(lab_id, str) or not _LAB_ID.match(lab_id):
        raise KjouleError(
            "the lab id cannot be used",
            expected="letters, digits, '.', '_' and '-', at most 100, starting with a letter or digit",
            seen=repr(lab_id),
            next_step="choose another lab id",
        )
    return lab_id


def owner() -> ProcessIdentity:
    """The identity of this process, as the owner of what it starts."""
    me = identify(os.getpid())
    if me is None:
        raise KjouleError("/proc cannot be read", expected="a Linux /proc file system", next_step="mount /proc")
    return me


def marker_environment(lab_id: str) -> dict[str, str]:
    """The variable that every process of the lab must be started with; children inherit it, daemons included."""
    me = owner()
    return {MARKER: f"{check_lab_id(lab_id)}:{me.pid}:{me.start_ticks}:{boot_id()}"}


def owner_alive(pid: int, start_ticks: int, boot: str) -> bool:
    """Whether the owner that a marker or an owner file names still runs, in this boot."""
    return boot == boot_id() and ProcessIdentity(pid, start_ticks, "").alive()


def environment_value(pid: int, name: str) -> str | None:
    """A variable that the process was started with, or None when it has none or may not be read."""
    return _value(_content(pid, "environ") or b"", name)


def _content(pid: int, name: str) -> bytes | None:
    """What is in a file of the process, None when it is gone or may not be read."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as handle:
            return handle.read()
    except OSError:
        return None


def _value(environ: bytes, name: str) -> str | None:
    prefix = os.fsencode(name) + b"="
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def pids() -> Iterator[int]:
    """All pids that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def own_line() -> set[int]:
    """This process and its ancestors."""
    line: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        seen = _stat(pid)
        pid = seen[2] if seen else 0
    return line


def find_marked(lab_id: str | None = None) -> list[MarkedProcess]:
    """Processes that carry the marker (of one lab, when given), as far as this user may look.

    Left out: processes of another pid namespace, whose owner cannot be judged from here, and this process
    with its ancestors, which can carry a marker when kjoule is started from inside a lab's environment.
    A process in the middle of its exec shows no environment yet: such a one is looked at again, for ``EXEC_SECONDS`` after the first look
    at all of them, however long that took.
    """
    found = []
    here = pid_namespace()
    mine = own_line()
    left = [pid for pid in pids() if pid not in mine]
    deadline = None
    while True:
        starting = []
        for pid in left:
            before = identify(pid)
            if before is None:
                continue
            environ = _content(pid, "environ")
            if environ == b"" and _starting(before):
                starting.append(pid)
            process = _marked(before, _value(environ or b"", MARKER), here)
            if process is not None and lab_id in (None, process.lab_id):
                found.append(process)
        now = time.monotonic()
        deadline = now + EXEC_SECONDS if deadline is None else deadline
        if not starting or now > deadline:
            return found
        time.sleep(0.002)
        left = starting


def _starting(identity: ProcessIdentity) -> bool:
    """Whether a process that showed no environment may be in its exec: it has a program (a kernel thread and a zombie have none) but no
    arguments either, or an environment by now."""
    return bool(identity.exe) and (_content(identity.pid, "cmdline") == b"" or _content(identity.pid, "environ") != b"")


def _marked(before: ProcessIdentity, value: str | None, here: str) -> MarkedProcess | None:
    """The process with what its marker says, None when that is none or the process is another one by now."""
    parts = (value or "").split(":")
    if len(parts) != 4 or not (parts[1].isdigit() and parts[2].isdigit()) or not _LAB_ID.match(parts[0]):
        return None
    after = identify(before.pid)  # an exec in between changes exe, a reused pid the start time: what counts is what runs now
    if after is None or after.start_ticks != before.start_ticks or _namespace(before.pid) != here:
        return None
    owner_pid, owner_ticks = int(parts[1]), int(parts[2])
    return MarkedProcess(after, parts[0], owner_pid, owner_ticks, parts[3], owner_alive(owner_pid, owner_ticks, parts[3]))
