# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host looks like at one moment, as far as it can disturb a measurement. Reads only, everything below one root.

What a host does not tell is None, never 0: a virtual machine has no thermal counters, which is not the same as none that moved.
"""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
from dataclasses import dataclass

from ...energy.clocks import read_times

MAXIMUM_OUTPUT = 1_000_000
COMMAND_SECONDS = 10

#: Names of the processes that are virtual machines, as the kernel cuts them (15 characters, proc_pid_comm(5)).
_VM_COMMANDS = (
    "qemu-system-",
    "qemu-kvm",
    "kvm",
    "firecracker",
    "cloud-hyperviso",
    "crosvm",
    "VBoxHeadless",
    "VirtualBoxVM",
    "vmware-vmx",
)
_CRON_COMMANDS = ("cron", "crond", "anacron", "fcron", "busybox-crond", "dcron")
#: A container in the path of a control group: Docker, Podman, containerd, CRI-O by their ids; LXC and systemd-nspawn by name.
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])|/lxc(?:\.payload[./]|/)([^/\n]+)|/(systemd-nspawn@[^/\n]+)")
#: Sensors of the processor, by the name of their hwmon device or the type of their thermal zone.
_CPU_SENSORS = re.compile(r"coretemp|k10temp|zenpower|cpu|x86_pkg_temp|soc", re.IGNORECASE)

# MSRs of the mitigation for reading secrets from RAPL (Intel SDM vol. 4, table 2-2): IA32_ARCH_CAPABILITIES bit 11 says that
# IA32_MISC_PACKAGE_CTLS bit 0 is there, and that bit says whether energy readings are filtered.
_ARCH_CAPABILITIES, _ENERGY_FILTERING_CTL = 0x10A, 1 << 11
_MISC_PACKAGE_CTLS, _ENERGY_FILTERING_ENABLE = 0xBC, 1 << 0


@dataclass(frozen=True)
class CpuTime:
    """All processors since boot, in ticks of ``ticks_per_second``. ``total`` holds steal, and guest as part of busy."""

    busy: int
    total: int
    steal: int
    guest: int


@dataclass(frozen=True)
class HostState:
    """One look. Times in nanoseconds, with their doubt (energy.clocks.Times); None is what this host does not tell."""

    realtime_ns: int
    monotonic_ns: int
    boottime_ns: int
    cpu: CpuTime
    core_throttles: int | None
    package_throttles: int | None
    governors: dict[str, str]
    energy_preferences: dict[str, str]
    frequency_limits: dict[str, tuple[int, int]]  # kHz: what is allowed, what the processor can
    turbo: bool | None
    smt: bool | None
    nmi_watchdog: bool | None
    on_mains: bool | None
    celsius: float | None
    swap_used_bytes: int | None
    swapped_pages: int | None
    power_caps: dict[str, tuple[int, int]]  # microwatts: the limit, the most that can be set
    energy_filter: bool | None
    containers: frozenset[str]
    virtual_machines: tuple[str, ...]
    cron_runs: bool
    crontabs: tuple[str, ...]
    timers: tuple[Timer, ...] | None
    free_bytes: int | None
    doubt_ns: int = 0


@dataclass(frozen=True)
class Timer:
    """A systemd timer: when it fires next and when it last did, in nanoseconds of the wall clock; 0 is never."""

    unit: str
    next_ns: int
    last_ns: int


@dataclass
class Host:
    """Where to look. ``root`` is ``/`` but in tests; ``systemctl`` the command that lists timers."""

    root: str = "/"
    systemctl: str = "systemctl"
    space_dir: str | None = None

    def path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    def look(self) -> HostState:
        """Everything now. Takes some milliseconds, most of them for the list of timers and of processes."""
        commands, groups = self._processes()
        own = _containers([self._text("proc/self/cgroup") or ""])
        throttles = {
            kind: self._numbers(f"sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/{kind}_throttle_count") for kind in ("core", "package")
        }
        cron_runs = any(command in _CRON_COMMANDS for command in commands)
        times = read_times()
        return HostState(
            realtime_ns=times.realtime_ns,
            monotonic_ns=times.monotonic_ns,
            boottime_ns=times.boottime_ns,
            doubt_ns=times.doubt_ns,
            cpu=self.cpu(),
            core_throttles=sum(throttles["core"].values()) if throttles["core"] else None,
            # every core of a package shows the package's counter
            package_throttles=max(throttles["package"].values()) if throttles["package"] else None,
            governors=self._texts("sys/devices/system/cpu/cpufreq/policy*/scaling_governor"),
            energy_preferences=self._texts("sys/devices/system/cpu/cpufreq/policy*/energy_performance_preference"),
            frequency_limits=self._pairs("sys/devices/system/cpu/cpufreq/policy*", "scaling_max_freq", "cpuinfo_max_freq"),
            turbo=self._turbo(),
            smt=_truth(self._text("sys/devices/system/cpu/smt/active")),
            nmi_watchdog=_truth(self._text("proc/sys/kernel/nmi_watchdog")),
            on_mains=self._on_mains(),
            celsius=self.celsius(),
            swap_used_bytes=self._swap_used(),
            swapped_pages=self._swapped(),
            power_caps=self._power_caps(),
            energy_filter=self._energy_filter(),
            containers=_containers(groups) - own,
            virtual_machines=tuple(sorted(command for command in commands if _is_vm(command))),
            cron_runs=cron_runs,
            crontabs=self._crontabs() if cron_runs else (),
            timers=self._timers(),
            free_bytes=self._free(),
        )

    def cpu(self) -> CpuTime:
        """CPU time of all processors since boot."""
        return parse_cpu_time(self._text("proc/stat") or "")

    # --- files

    def _text(self, name: str) -> str | None:
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as stream:
                return stream.read(MAXIMUM_OUTPUT).strip()
        except OSError:
            return None

    def _texts(self, pattern: str) -> dict[str, str]:
        """Directory name -> text of every file that matches and can be read."""
        found = {}
        for path in sorted(glob.glob(self.path(pattern))):
            text = self._text(os.path.relpath(path, self.root))
            if text:
                found[os.path.basename(os.path.dirname(path))] = text
        return found

    def _numbers(self, pattern: str) -> dict[str, int]:
        found = {}
        for path in glob.glob(self.path(pattern)):
            number = _number(self._text(os.path.relpath(path, self.root)))
            if number is not None:
                found[path] = number
        return found

    def _pairs(self, pattern: str, first: str, second: str) -> dict[str, tuple[int, int]]:
        """Directory name -> the numbers in two of its files, where both are there and the second is above 0."""
        found = {}
        for path in sorted(glob.glob(self.path(pattern))):
            name = os.path.relpath(path, self.root)
            one, two = (_number(self._text(os.path.join(name, file))) for file in (first, second))
            if one is not None and two:
                found[os.path.basename(path)] = (one, two)
        return found

    # --- parts

    def _turbo(self) -> bool | None:
        off = _truth(self._text("sys/devices/system/cpu/intel_pstate/no_turbo"))
        if off is not None:
            return not off
        return _truth(self._text("sys/devices/system/cpu/cpufreq/boost"))

    def _on_mains(self) -> bool | None:
        online = self._numbers("sys/class/power_supply/*/online")
        return any(online.values()) if online else None

    def celsius(self) -> float | None:
        """Temperature of the processor's hottest sensor."""
        found: list[int] = []
        for directory in glob.glob(self.path("sys/class/hwmon/hwmon*")):
            name = os.path.relpath(directory, self.root)
            if _CPU_SENSORS.search(self._text(os.path.join(name, "name")) or ""):
                found += self._numbers(os.path.join(name, "temp*_input")).values()
        if not found:
            for directory in glob.glob(self.path("sys/class/thermal/thermal_zone*")):
                name = os.path.relpath(directory, self.root)
                if _CPU_SENSORS.search(self._text(os.path.join(name, "type")) or ""):
                    found += self._numbers(os.path.join(name, "temp")).values()
        return max(found) / 1000 if found else None

    def _swap_used(self) -> int | None:
        sizes = dict(re.findall(r"^(SwapTotal|SwapFree):\s+(\d+) kB", self._text("proc/meminfo") or "", re.MULTILINE))
        return (int(sizes["SwapTotal"]) - int(sizes["SwapFree"])) * 1024 if len(sizes) == 2 else None

    def _swapped(self) -> int | None:
        pages = re.findall(r"^pswp(?:in|out) (\d+)$", self._text("proc/vmstat") or "", re.MULTILINE)
        return sum(int(number) for number in pages) if len(pages) == 2 else None

    def _power_caps(self) -> dict[str, tuple[int, int]]:
        found = {}
        for zone in sorted(glob.glob(self.path("sys/class/powercap/intel-rapl:*"))):
            name = os.path.relpath(zone, self.root)
            for limit in sorted(glob.glob(os.path.join(zone, "constraint_*_power_limit_uw"))):
                number = os.path.basename(limit).split("_")[1]
                pair = [_number(self._text(os.path.join(name, f"constraint_{number}_{what}_uw"))) for what in ("power_limit", "max_power")]
                if pair[0] is not None and pair[1]:
                    term = self._text(os.path.join(name, f"constraint_{number}_name")) or number
                    found[f"{self._text(os.path.join(name, 'name')) or os.path.basename(zone)} {term}"] = (pair[0], pair[1])
        return found

    def _energy_filter(self) -> bool | None:
        capabilities = self._msr(_ARCH_CAPABILITIES)
        if capabilities is None or not capabilities & _ENERGY_FILTERING_CTL:
            return None
        control = self._msr(_MISC_PACKAGE_CTLS)
        return None if control is None else bool(control & _ENERGY_FILTERING_ENABLE)

    def _msr(self, register: int) -> int | None:
        try:
            with open(self.path("dev/cpu/0/msr"), "rb", buffering=0) as stream:
                stream.seek(register)
                value = stream.read(8)
        except OSError:
            return None
        return int.from_bytes(value, "little") if len(value) == 8 else None

    def _processes(self) -> tuple[list[str], list[str]]:
        """Names of all processes, and their control groups."""
        commands, groups = [], []
        for path in glob.glob(self.path("proc/[0-9]*")):
            name = os.path.relpath(path, self.root)
            commands.append(self._text(os.path.join(name, "comm")) or "")
            groups.append(self._text(os.path.join(name, "cgroup")) or "")
        return commands, groups

    def _crontabs(self) -> tuple[str, ...]:
        """The five fields (or the @word) of every line of every crontab that may be read."""
        lines: list[str] = []
        for pattern in ("etc/crontab", "etc/cron.d/*", "var/spool/cron/*", "var/spool/cron/crontabs/*"):
            for path in sorted(glob.glob(self.path(pattern))):
                # cron leaves out the files of cron.d that have a dot in their names
                if os.path.isfile(path) and ("cron.d" not in pattern or re.fullmatch(r"[\w-]+", os.path.basename(path))):
                    lines += (self._text(os.path.relpath(path, self.root)) or "").splitlines()
        found = []
        for line in lines:
            words = line.split()
            if words and words[0].startswith("@"):
                found.append(words[0])
            elif len(words) > 5 and not words[0].startswith("#") and "=" not in words[0]:
                found.append(" ".join(words[:5]))
        return tuple(found)

    def _timers(self) -> tuple[Timer, ...] | None:
        if not os.path.isdir(self.path("run/systemd/system")):  # sd_booted(3)
            return None
        try:
            answer = subprocess.run(
                [self.systemctl, "list-timers", "--output=json", "--no-pager"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=True,
            ).stdout
            rows = json.loads(answer)
            return tuple(Timer(str(row["unit"]), 1000 * int(row.get("next") or 0), 1000 * int(row.get("last") or 0)) for row in rows)
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
            return None  # older than 249, which brought JSON, or no answer

    def _free(self) -> int | None:
        if self.space_dir is None:
            return None
        path = os.path.abspath(os.path.expanduser(self.space_dir))
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


def parse_cpu_time(text: str) -> CpuTime:
    """CPU time from the text of /proc/stat (proc_stat(5)); guest time is contained in user time there."""
    first = text.splitlines()[0] if text else ""
    numbers = [int(word) for word in first.split()[1:]] + [0] * 10
    user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice = numbers[:10]
    busy = user + nice + system + irq + softirq
    return CpuTime(busy, busy + idle + iowait + steal, steal, guest + guest_nice)


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _truth(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")


def _is_vm(command: str) -> bool:
    return any(command == name or (name.endswith("-") and command.startswith(name)) for name in _VM_COMMANDS)


def _containers(groups: list[str]) -> frozenset[str]:
    return frozenset("".join(found)[:12] for text in groups for found in _CONTAINER.findall(text))
