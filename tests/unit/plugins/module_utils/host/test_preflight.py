# SPDX-License-Identifier: GPL-3.0-or-later
"""What would fail half-way is told before anything is changed, with the next step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.host import preflight


def put(root: Path, path: str, text: str = "") -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_a_distribution_is_supported_when_it_takes_after_a_supported_one(tmp_path: Path) -> None:
    put(tmp_path, "/etc/os-release", "ID=linuxmint\nID_LIKE='ubuntu debian'\n")
    preflight.check_distribution(str(tmp_path), ["debian"])
    put(tmp_path, "/etc/os-release", 'ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n')
    with pytest.raises(KjouleError, match=r"not supported: expected one of, or one like debian, rhel, saw Alpine Linux v3.20. Next: "):
        preflight.check_distribution(str(tmp_path), ["debian", "rhel"])


def test_without_root_it_says_how_to_become_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(KjouleError, match=r"preparing a host needs root: saw user id 1000. Next: set ansible_become"):
        preflight.check_root()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    preflight.check_root()


def test_too_little_space_names_the_directory_and_both_figures(tmp_path: Path) -> None:
    preflight.check_space(str(tmp_path), {"/not/there/yet": 0.1})
    with pytest.raises(KjouleError, match=r"too little space in /boot: expected 1000000000000 MB free, saw \d+ MB"):
        preflight.check_space(str(tmp_path), {"/boot": 1e12})


def test_a_package_on_hold_is_somebodys_decision() -> None:
    apt = {"apt-mark": ["linux-headers-6.1", "vim"]}
    with pytest.raises(KjouleError, match=r"linux-headers-6.1 may not be installed.*apt-mark unhold linux-headers-6.1"):
        preflight.check_held(["git", "linux-headers-6.1"], lambda command: apt.get(command[0]))
    preflight.check_held(["git"], lambda command: apt.get(command[0]))
    preflight.check_held(["git"], lambda _command: None)
    dnf = {"dnf": ["kernel-devel-0:5.14.0-427.el9.*"]}
    with pytest.raises(KjouleError, match="kernel-devel may not be installed"):
        preflight.check_held(["kernel-devel"], lambda command: dnf.get(command[0]))


def test_a_version_that_is_asked_of_dnf_is_held_by_its_name_and_freed_by_dnf() -> None:
    dnf = {"dnf": ["kernel-devel-0:5.14.0-427.el9.*"]}
    with pytest.raises(KjouleError, match=r"saw a hold \(dnf versionlock\). Next: dnf versionlock delete kernel-devel, if"):
        preflight.check_held(["kernel-devel-5.14.0-503.el9.x86_64"], lambda command: dnf.get(command[0]))
    preflight.check_held(["kernel-headers-5.14.0-503.el9.x86_64"], lambda command: dnf.get(command[0]))
    preflight.check_held(["python3-libvirt"], lambda command: {"dnf": ["python3-0:3.9.18-3.el9.*"]}.get(command[0]))


def test_a_command_that_is_not_there_or_fails_answers_nothing() -> None:
    assert preflight.ask(["/nonexistent/dnf"]) is None
    assert preflight.ask(["false"]) is None
    assert preflight.ask(["echo", "a"]) == ["a"]


CPU = "flags\t\t: fpu {}\n"


def test_a_host_that_cannot_run_machines_is_told_why_and_what_needs_none(tmp_path: Path) -> None:
    put(tmp_path, "/proc/cpuinfo", CPU.format("sse2"))
    with pytest.raises(KjouleError, match=r"\(vmx\) or AMD-V \(svm\), saw a processor without.*kjoule_lab: kwok"):
        preflight.check_virtualization(str(tmp_path))
    put(tmp_path, "/proc/cpuinfo", CPU.format("sse2 hypervisor"))
    with pytest.raises(KjouleError, match=r"without nested virtualisation. Next: switch nested"):
        preflight.check_virtualization(str(tmp_path))


@pytest.mark.parametrize(("flag", "module"), [("vmx", "kvm_intel"), ("svm", "kvm_amd")])
def test_a_processor_that_could_without_its_module_is_told_the_module(tmp_path: Path, flag: str, module: str) -> None:
    put(tmp_path, "/proc/cpuinfo", CPU.format(flag))
    with pytest.raises(KjouleError, match=f"no /dev/kvm.*modprobe {module}"):
        preflight.check_virtualization(str(tmp_path))
    # A container or an image may bring the device along: it alone is no KVM.
    put(tmp_path, "/dev/kvm")
    with pytest.raises(KjouleError, match=f"nothing answers behind /dev/kvm.*a device without a driver.*modprobe {module}"):
        preflight.check_virtualization(str(tmp_path))
    put(tmp_path, "/sys/class/misc/kvm/uevent")
    preflight.check_virtualization(str(tmp_path))


def test_a_host_of_arm_is_not_asked_for_vt_x(tmp_path: Path) -> None:
    put(tmp_path, "/proc/cpuinfo", "Features\t: fp asimd\nCPU implementer\t: 0x41\n")
    with pytest.raises(KjouleError, match=r"started in EL2, saw no KVM behind /dev/kvm. Next: see why with dmesg.*kjoule_lab: kwok"):
        preflight.check_virtualization(str(tmp_path))
    put(tmp_path, "/sys/class/dmi/id/sys_vendor", "QEMU")
    with pytest.raises(KjouleError, match="saw a virtual machine itself, without KVM"):
        preflight.check_virtualization(str(tmp_path))
    put(tmp_path, "/dev/kvm")
    put(tmp_path, "/sys/class/misc/kvm/uevent")
    preflight.check_virtualization(str(tmp_path))


def test_what_is_installed_is_asked_of_the_package_manager_itself() -> None:
    dpkg = {"dpkg-query": ["ii  git", "rc  vim", "ii  dpkg", "hi  linux-image-amd64"]}
    assert preflight.installed_packages(lambda command: dpkg.get(command[0])) == ["dpkg", "git", "linux-image-amd64"]
    rpm = {"rpm": ["git", "git-2.43-1.x86_64"]}
    assert preflight.installed_packages(lambda command: rpm.get(command[0])) == ["git", "git-2.43-1.x86_64"]
    both = {"dpkg-query": [], **rpm}  # Fedora with debootstrap: dpkg is a program there, and has no packages
    assert preflight.installed_packages(lambda command: both.get(command[0])) == ["git", "git-2.43-1.x86_64"]
    with pytest.raises(KjouleError, match="expected dpkg-query or rpm"):
        preflight.installed_packages(lambda _command: None)
