# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of control groups: of a systemd unit, and of the pods of a kubelet on this host. Version 1 and 2 of cgroups.

A group's time contains that of everything that ever ran in it, children that have ended included (cgroup v2: ``cpu.stat``, usage_usec;
v1: ``cpuacct.usage``, nanoseconds). The kubelet names the group of a pod after the pod's uid, below ``kubepods`` (driver cgroupfs) or
``kubepods.slice`` (driver systemd, with underscores for the dashes of the uid).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ..errors import PeriodInvalid

ROOT = "/sys/fs/cgroup"
_POD = re.compile(r"(?:^|-)pod([0-9a-f][0-9a-f_-]+)(?:\.slice)?$")
#: How deep below the root a kubelet may sit: a node that is itself a container has its own tree below the container's.
_DEPTH = 5


def version(root: str = ROOT) -> int:
    """2 where the unified hierarchy is mounted, else 1."""
    return 2 if os.path.exists(os.path.join(root, "cgroup.controllers")) else 1


def cpu_root(root: str = ROOT) -> str:
    """The hierarchy that counts CPU time."""
    if version(root) == 2:
        return root
    for name in ("cpuacct", "cpu,cpuacct"):
        if os.path.isdir(os.path.join(root, name)):
            return os.path.join(root, name)
    return root


def read_ns(path: str) -> int:
    """CPU nanoseconds of a group since it was made. Raises OSError when it is gone, ValueError when it does not count."""
    try:
        with open(os.path.join(path, "cpu.stat"), encoding="ascii") as stream:
            for line in stream:
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) * 1000
    except FileNotFoundError:
        pass
    with open(os.path.join(path, "cpuacct.usage"), encoding="ascii") as stream:
        return int(stream.read())


def group_of(pid: int, root: str = ROOT, proc: str = "/proc") -> str | None:
    """The group that a process is in, or None when it cannot be told."""
    try:
        with open(os.path.join(proc, str(pid), "cgroup"), encoding="utf-8") as stream:
            lines = [line.rstrip("\n").split(":", 2) for line in stream]
    except OSError:
        return None
    for _number, controllers, path in lines:
        if (version(root) == 2 and controllers == "") or (version(root) == 1 and "cpuacct" in controllers.split(",")):
            return os.path.normpath(os.path.join(cpu_root(root), path.lstrip("/")))
    return None


class CgroupClock:
    """The CPU clock of a group: what a ``ProcessClock`` is for a process. It is its own identity."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path

    @property
    def identity(self) -> CgroupClock:
        return self

    def alive(self) -> bool:
        """Whether the group is there. One that was made anew under its name has lost its time, which ``read_ns`` does not see."""
        return os.path.isdir(self.path)

    def read_ns(self) -> int:
        """CPU time in nanoseconds since the group was made. Raises PeriodInvalid when it is gone."""
        try:
            return read_ns(self.path)
        except (OSError, ValueError) as error:
            raise PeriodInvalid(
                f"{self.name} ended during the period",
                expected=f"the control group {self.path} to be there until the end",
                seen=str(error),
                next_step="the block is run again; if it happens every time, look why its pod or unit is restarted",
            ) from error

    checked_read_ns = read_ns


class GuestReading(NamedTuple):
    """What a kubelet in a virtual machine says beside its pods: CPU time of the guest, and when it read what (nanoseconds since 1970)."""

    node_ns: int
    at_ns: int
    total_at_ns: int
    pods_at_ns: dict[str, int]


class PodReading(NamedTuple):
    """CPU nanoseconds of all pods that ever were, and by uid of those that are there; ``guest`` where somebody else counts (guest.py)."""

    total_ns: int
    pods: dict[str, int]
    guest: GuestReading | None = None


class PodGroups:
    """The groups of the pods of this host's kubelet. ``root`` is where cgroups are mounted."""

    #: The component that all of this is part of, where it is one already.
    inside: str | None = None

    def __init__(self, root: str = ROOT) -> None:
        self._root = root
        self.version = version(root)
        self.source = f"cgroup v{self.version}"
        self._tops: list[str] | None = None

    def tops(self) -> list[str]:
        """The groups below which pods are; empty where there is no kubelet. Looked for once they are there."""
        if not self._tops:
            self._tops = _find_tops(cpu_root(self._root), _DEPTH)
        return self._tops

    def find(self, uid: str) -> str | None:
        """The group of one pod."""
        return self._groups().get(uid)

    def read(self) -> PodReading:
        """Groups that go meanwhile are left out."""
        total, pods = 0, {}
        for top in self.tops():
            try:
                total += read_ns(top)
            except (OSError, ValueError):
                continue
        for uid, path in self._groups().items():
            try:
                pods[uid] = read_ns(path)
            except (OSError, ValueError):
                continue
        return PodReading(total, pods)

    def _groups(self) -> dict[str, str]:
        found = {}
        for top in self.tops():
            # Pods of the quality Guaranteed are right below; the others in a group of their quality.
            for folder in [top, *(path for path in _folders(top) if "burstable" in path or "besteffort" in path)]:
                for path in _folders(folder):
                    match = _POD.search(os.path.basename(path))
                    if match:
                        found[match.group(1).replace("_", "-")] = path
        return found


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _find_tops(path: str, depth: int) -> list[str]:
    found = []
    for folder in _folders(path):
        if os.path.basename(folder) == "kubepods" or os.path.basename(folder).endswith("kubepods.slice"):
            found.append(folder)
        elif depth > 1:
            found += _find_tops(folder, depth - 1)
    return found
