# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must have before something of it is changed. Everything here looks, and nothing writes."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Callable

from ..errors import KjouleError
from ..kernel.files import inside
from .facts import distribution, virtualization

_VERSIONED = re.compile(r"^(.+)-\d[^-]*-[^-]+\.[^-.]+$")
Asker = Callable[[list[str]], "list[str] | None"]


def ask(command: list[str]) -> list[str] | None:
    """The lines that a command prints, None when there is no such command or it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL
        )
    except OSError:
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def installed_packages(asker: Asker = ask) -> list[str]:
    """Names of what is installed, by dpkg or rpm themselves: a bare machine has no Python library for them yet.

    rpm's packages are there under their name, and under name-version-release.arch, as a certain one is asked for.
    """
    lines = asker(["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package}\\n"])
    # Where rpm has the packages, the program dpkg-query may be there too (with debootstrap), and knows of none.
    if lines:
        return sorted({line.split()[1] for line in lines if line[1:2] == "i"})
    full = asker(["rpm", "--query", "--all", "--queryformat", "%{NAME}\\n%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n"])
    if full is not None:
        return sorted(set(full))
    raise KjouleError(
        "the packages of this host cannot be listed", expected="dpkg-query or rpm", seen="neither", next_step="install by hand"
    )


def check_distribution(root: str, families: list[str]) -> None:
    """Raises KjouleError unless the distribution is, or takes after, one of the families (ids of os-release)."""
    seen = distribution(root)
    if not set(seen["like"]) & set(families):
        raise KjouleError(
            "this distribution is not supported",
            expected="one of, or one like " + ", ".join(families),
            seen=seen["name"] or seen["id"] or "no /etc/os-release",
            next_step="prepare this host by hand and set no kjoule_prepare_* for it; measuring needs only Python and git",
        )


def check_root() -> None:
    if os.geteuid() != 0:
        raise KjouleError(
            "preparing a host needs root",
            seen=f"user id {os.geteuid()}",
            next_step="set ansible_become to true, and let this user use sudo, or connect as root",
        )


def check_space(root: str, needed_mb: dict[str, float]) -> None:
    """Raises KjouleError for the first directory whose file system has less free than that many MB (10^6 bytes)."""
    for directory, needed in needed_mb.items():
        place = inside(root, directory)
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        status = os.statvfs(place)
        free = status.f_bavail * status.f_frsize / 1e6
        if free < needed:
            raise KjouleError(
                f"there is too little space in {directory}",
                expected=f"{needed:.0f} MB free",
                seen=f"{free:.0f} MB",
                next_step="remove what is not needed, old kernels and package caches for instance",
            )


def check_held(names: list[str], asker: Asker = ask) -> None:
    """Raises KjouleError when somebody holds one of the packages (apt-mark hold, dnf versionlock): that is a decision, not an accident."""
    held = set(asker(["apt-mark", "showhold"]) or [])
    tool, undo = ("apt-mark hold", "apt-mark unhold") if held else ("dnf versionlock", "dnf versionlock delete")
    held |= {line.rsplit("-", 2)[0].split(":")[-1] for line in asker(["dnf", "-q", "versionlock", "list"]) or []} if not held else set()
    # A certain version is asked of dnf as name-version-release.arch, and is held by its name.
    wanted = set(names) if tool == "apt-mark hold" else {_VERSIONED.sub(r"\1", name) for name in names}
    mine = sorted(wanted & held)
    if mine:
        raise KjouleError(
            f"{', '.join(mine)} may not be installed",
            expected="no hold on it",
            seen=f"a hold ({tool})",
            next_step=f"{undo} {' '.join(mine)}, if whoever set it agrees",
        )


def check_virtualization(root: str) -> None:
    """Raises KjouleError when this processor cannot run virtual machines, or its firmware does not let it."""
    seen = virtualization(root)
    if seen["arm"] and not seen["kvm"]:
        raise KjouleError(
            "this host cannot run virtual machines",
            expected="KVM, which on ARM needs a kernel that was started in EL2",
            seen="a virtual machine itself, without KVM" if seen["hypervisor"] else "no KVM behind /dev/kvm",
            next_step="see why with dmesg | grep -i kvm, or use kjoule_lab: kwok, which needs none",
        )
    if seen["extension"] is None:
        raise KjouleError(
            "this host cannot run virtual machines",
            expected="VT-x (vmx) or AMD-V (svm)",
            seen=(
                f"a virtual machine itself ({seen['hypervisor']}), without nested virtualisation"
                if seen["hypervisor"]
                else "a processor without"
            ),
            next_step=(
                "switch nested virtualisation on where it runs, or use kjoule_lab: kwok, which needs none"
                if seen["hypervisor"]
                else "switch virtualisation on in the firmware, or use kjoule_lab: kwok, which needs none"
            ),
        )
    if not seen["kvm"]:
        module = {"vmx": "kvm_intel", "svm": "kvm_amd"}[seen["extension"]]
        device = os.path.exists(inside(root, "/dev/kvm"))
        raise KjouleError(
            "nothing answers behind /dev/kvm of this host" if device else "this host has no /dev/kvm",
            expected=f"the module {module}",
            seen=f"a processor that could, and {'a device without a driver' if device else 'no device'}",
            next_step=f"modprobe {module}; where that fails, virtualisation is switched off in the firmware, or the module is forbidden",
        )
