# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says about itself is read as it is, from trees that say different things."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.host import facts

RELEASE = "6.1.0-40-amd64"


def put(root: Path, path: str, text: str = "") -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_a_relative_of_red_hat_takes_after_it(tmp_path: Path) -> None:
    put(tmp_path, "/etc/os-release", 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky Linux 9.4"\n')
    assert facts.distribution(str(tmp_path)) == {
        "id": "rocky",
        "like": ["rocky", "rhel", "centos", "fedora"],
        "version": "9.4",
        "name": "Rocky Linux 9.4",
    }
    assert facts.distribution(str(tmp_path / "nothing"))["like"] == []


@pytest.mark.parametrize(
    ("mounts", "version"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "v2"),
        (
            "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n",
            "hybrid",
        ),
        ("tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n", "v1"),
    ],
)
def test_the_cgroup_version_is_what_is_mounted(tmp_path: Path, mounts: str, version: str) -> None:
    put(tmp_path, "/proc/self/mounts", mounts)
    assert facts.cgroup_version(str(tmp_path)) == version


def test_a_module_is_loaded_built_in_available_or_missing(tmp_path: Path) -> None:
    put(tmp_path, "/proc/modules", "kvm_amd 200704 0 - Live 0x0\n")
    put(tmp_path, f"/lib/modules/{RELEASE}/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
    put(tmp_path, f"/lib/modules/{RELEASE}/modules.dep", "kernel/powercap/intel_rapl_msr.ko.xz: x.ko\nkernel/net/br-netfilter.ko:\n")
    names = ["kvm-amd", "ext4", "intel_rapl_msr", "br_netfilter", "intel_rapl", "msr"]
    assert [facts.module_state(str(tmp_path), RELEASE, name) for name in names] == [
        "loaded",
        "builtin",
        "available",
        "available",
        "missing",
        "missing",
    ]


def test_what_ebpf_and_energy_need_is_told(tmp_path: Path) -> None:
    bare = facts.kernel_facts(str(tmp_path), [], RELEASE)
    assert (bare["btf"], bare["psi"], bare["headers"], bare["rapl"]) == (False, False, False, False)
    assert bare["config"]["CONFIG_PSI"] is None
    put(tmp_path, "/sys/kernel/btf/vmlinux")
    put(tmp_path, "/proc/pressure/cpu")
    put(tmp_path, f"/lib/modules/{RELEASE}/build/Makefile")
    put(tmp_path, "/sys/class/powercap/intel-rapl:0/energy_uj", "1")
    put(tmp_path, f"/boot/config-{RELEASE}", "# CONFIG_X is not set\nCONFIG_PSI=y\n")
    put(tmp_path, "/proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
    put(tmp_path, "/proc/sys/net/core/bpf_jit_enable", "1\n")
    full = facts.kernel_facts(str(tmp_path), [], RELEASE)
    assert (full["btf"], full["psi"], full["headers"], full["rapl"]) == (True, True, True, True)
    assert full["config"]["CONFIG_PSI"] == "y"
    assert full["bpf"] == {"filesystem": False, "jit": True, "unprivileged": False}


CPU = "model name\t: {model}\nflags\t\t: fpu {flags}\n"


@pytest.mark.parametrize(
    ("model", "flags", "clocks", "vendor", "expected"),
    [
        ("AMD EPYC 7402P", "svm", "tsc hpet", "Dell Inc.", ("host", None, "svm")),
        ("Intel(R) Xeon(R)", "vmx", "tsc", "Supermicro", ("host", None, "vmx")),
        ("QEMU TCG CPU version 2.5+", "hypervisor svm", "tsc hpet acpi_pm", "QEMU", ("guest", "qemu", "svm")),
        ("AMD EPYC 7402P", "hypervisor", "kvm-clock tsc", "QEMU", ("guest", "kvm", None)),
        ("Intel(R) Xeon(R)", "hypervisor vmx", "tsc", "VMware, Inc.", ("guest", "VMware, Inc.", "vmx")),
        ("ARM", "", "arch_sys_counter", "", ("host", None, None)),
    ],
)
def test_a_machine_in_a_machine_is_recognised_and_emulation_told_from_kvm(tmp_path: Path, model, flags, clocks, vendor, expected) -> None:
    put(tmp_path, "/proc/cpuinfo", CPU.format(model=model, flags=flags))
    put(tmp_path, "/sys/devices/system/clocksource/clocksource0/available_clocksource", clocks)
    put(tmp_path, "/sys/class/dmi/id/sys_vendor", vendor)
    seen = facts.virtualization(str(tmp_path))
    assert (seen["role"], seen["hypervisor"], seen["extension"]) == expected
    assert (seen["kvm"], seen["nested"]) == (False, None)


@pytest.mark.parametrize(
    ("vendor", "product", "hypervisor"),
    [("Ampere", "Mt. Jade", None), ("QEMU", "QEMU Virtual Machine", "qemu"), ("QEMU", "KVM Virtual Machine", "kvm")],
)
def test_on_arm_no_flag_tells_so_the_kvm_and_the_firmware_do(tmp_path: Path, vendor: str, product: str, hypervisor: str | None) -> None:
    put(tmp_path, "/proc/cpuinfo", "Features\t: fp asimd\nCPU implementer\t: 0x41\n")
    put(tmp_path, "/sys/class/dmi/id/sys_vendor", vendor)
    put(tmp_path, "/sys/class/dmi/id/product_name", product)
    seen = facts.virtualization(str(tmp_path))
    assert (seen["role"], seen["hypervisor"]) == ("guest" if hypervisor else "host", hypervisor)
    assert (seen["arm"], seen["extension"]) == (True, None)
    put(tmp_path, "/dev/kvm")
    put(tmp_path, "/sys/class/misc/kvm/uevent")
    assert facts.virtualization(str(tmp_path))["extension"] == "el2"


@pytest.mark.parametrize(("text", "nested"), [("Y\n", True), ("1\n", True), ("N\n", False), ("0\n", False)])
def test_guests_of_guests_are_told(tmp_path: Path, text: str, nested: bool) -> None:
    put(tmp_path, "/dev/kvm")
    put(tmp_path, "/sys/class/misc/kvm/uevent")
    put(tmp_path, "/sys/module/kvm_amd/parameters/nested", text)
    seen = facts.virtualization(str(tmp_path))
    assert (seen["kvm"], seen["nested"]) == (True, nested)
