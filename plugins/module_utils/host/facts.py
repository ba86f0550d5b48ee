# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is, as far as measuring and a cluster care. Reads only, below an injectable root."""

from __future__ import annotations

import os
import platform
from typing import Any

from ..kernel.files import inside, read_text

#: What Kepler, kubelet and the energy sources ask of a kernel, by the option that gives it.
_OPTIONS = ("CONFIG_BPF_SYSCALL", "CONFIG_DEBUG_INFO_BTF", "CONFIG_PSI", "CONFIG_CGROUPS", "CONFIG_INTEL_RAPL", "CONFIG_KVM")


def distribution(root: str = "/") -> dict[str, Any]:
    """Fields of os-release(5): ``id``, ``like`` (the ids that it takes after, itself first), ``version``, ``name``."""
    fields = {}
    for line in (read_text(root, "/etc/os-release") or read_text(root, "/usr/lib/os-release") or "").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip()] = value.strip().strip("\"'")
    like = [word for word in [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()] if word]
    return {"id": fields.get("ID", ""), "like": like, "version": fields.get("VERSION_ID", ""), "name": fields.get("PRETTY_NAME", "")}


def kernel_facts(
    root: str = "/", modules: list[str] | None = None, release: str | None = None, architecture: str | None = None
) -> dict[str, Any]:
    """Facts of the running kernel.

    ``architecture``: as ``uname -m`` names it.
    ``cgroup``: v1, hybrid or v2. ``btf``: whether it describes its types, which eBPF programs that are built once need. ``psi``: pressure
    stall information. ``headers``: whether modules can be built for it. ``modules``: for each name loaded, builtin, available or missing.
    """
    release = release or platform.release()
    lines = (read_text(root, f"/boot/config-{release}") or "").splitlines()
    config = dict(line.split("=", 1) for line in lines if line.startswith("CONFIG_") and "=" in line)
    jit = (read_text(root, "/proc/sys/net/core/bpf_jit_enable") or "").strip()
    return {
        "release": release,
        "architecture": architecture or platform.machine(),
        "cgroup": cgroup_version(root),
        "btf": os.path.exists(inside(root, "/sys/kernel/btf/vmlinux")),
        "bpf": {
            "filesystem": os.path.isdir(inside(root, "/sys/fs/bpf")),
            "jit": jit in ("1", "2"),
            "unprivileged": (read_text(root, "/proc/sys/kernel/unprivileged_bpf_disabled") or "").strip() == "0",
        },
        "psi": os.path.exists(inside(root, "/proc/pressure/cpu")),
        "headers": os.path.exists(inside(root, f"/lib/modules/{release}/build/Makefile")),
        "modules": {name: module_state(root, release, name) for name in modules or []},
        "config": {option: config.get(option) for option in _OPTIONS},
        "rapl": os.path.isdir(inside(root, "/sys/class/powercap/intel-rapl:0")),
    }


def cgroup_version(root: str = "/") -> str:
    """By what is mounted, as ``stat -f`` on it would tell."""
    mounts = [line.split() for line in (read_text(root, "/proc/self/mounts") or read_text(root, "/proc/mounts") or "").splitlines()]
    kinds = {fields[1]: fields[2] for fields in mounts if len(fields) > 2}
    if kinds.get("/sys/fs/cgroup") == "cgroup2":
        return "v2"
    return "hybrid" if "cgroup2" in kinds.values() else "v1"


def module_state(root: str, release: str, name: str) -> str:
    """``loaded``, ``builtin``, ``available`` (could be loaded) or ``missing``."""
    name = name.replace("-", "_")
    loaded = {line.split(" ", 1)[0] for line in (read_text(root, "/proc/modules") or "").splitlines()}
    if name in loaded:
        return "loaded"
    for index, state in (("modules.builtin", "builtin"), ("modules.dep", "available")):
        for line in (read_text(root, f"/lib/modules/{release}/{index}") or "").splitlines():
            if os.path.basename(line.split(":", 1)[0]).split(".ko", 1)[0].replace("-", "_") == name:
                return state
    return "missing"


def virtualization(root: str = "/") -> dict[str, Any]:
    """Where this host runs and whether it can run virtual machines.

    ``role``: host or guest. ``hypervisor``: kvm, qemu (emulation: its time is not that of a real machine), or the vendor's word.
    ``extension``: vmx (VT-x), svm (AMD-V), el2 (ARM's exception level 2, which no flag tells of: known only by the KVM that uses it) or
    None. ``arm``: whether this is a processor of ARM. ``kvm``: whether /dev/kvm is there with a driver behind it; the device alone proves
    nothing, a container or an image may bring it along. ``nested``: whether guests may have guests of their own; None when KVM is not
    loaded.
    """
    cpuinfo = read_text(root, "/proc/cpuinfo") or ""
    flags: set[str] = set()
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":", 1)[1].split())
            break
    vendor = " ".join((read_text(root, f"/sys/class/dmi/id/{name}") or "").strip() for name in ("sys_vendor", "product_name")).strip()
    hypervisor = None
    arm = any(line.startswith("CPU implementer") for line in cpuinfo.splitlines())
    kvm = all(os.path.exists(inside(root, path)) for path in ("/dev/kvm", "/sys/class/misc/kvm"))
    # On ARM no flag tells a guest either; there, firmware made by QEMU does.
    if "hypervisor" in flags or (arm and "QEMU" in vendor):
        # qemu without KVM names its own CPU model and shows no kvm-clock; with KVM, /sys/hypervisor or the clock source tells.
        clocks = read_text(root, "/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "")
        # On ARM it is the machine's own name: "KVM Virtual Machine", else "QEMU Virtual Machine" (qemu's hw/arm/virt.c).
        if "kvm-clock" in clocks or (arm and "KVM" in vendor):
            hypervisor = "kvm"
        elif "QEMU" in vendor or "QEMU" in model:
            hypervisor = "qemu"
        else:
            hypervisor = vendor or "unknown"
    nested = None
    for module in ("kvm_intel", "kvm_amd"):
        text = read_text(root, f"/sys/module/{module}/parameters/nested")
        if text is not None:
            nested = text.strip() in ("Y", "1")
    return {
        "role": "guest" if hypervisor else "host",
        "hypervisor": hypervisor,
        "extension": next((flag for flag in ("vmx", "svm") if flag in flags), "el2" if arm and kvm else None),
        "arm": arm,
        "kvm": kvm,
        "nested": nested,
    }
