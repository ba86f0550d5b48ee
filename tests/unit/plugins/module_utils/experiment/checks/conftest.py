# SPDX-License-Identifier: GPL-3.0-or-later
"""A host made of files: what a laptop with eight threads, two frequency domains and one package shows."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks.host_state import Host

LAPTOP = {
    "proc/stat": "cpu  1000 10 500 8000 200 5 5 30 100 10\ncpu0 1 0 0 0 0 0 0 0 0 0\n",
    "proc/meminfo": "MemTotal: 16000000 kB\nSwapTotal:  2097152 kB\nSwapFree:   1048576 kB\n",
    "proc/vmstat": "pgpgin 1\npswpin 100\npswpout 20\n",
    "proc/sys/kernel/nmi_watchdog": "1",
    "proc/1/comm": "systemd",
    "proc/1/cgroup": "0::/init.scope",
    "proc/200/comm": "cron",
    "proc/200/cgroup": "0::/system.slice/cron.service",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "9",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "9",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "performance",
    "sys/devices/system/cpu/cpufreq/policy0/energy_performance_preference": "balance_power",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "3600000",
    "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "4800000",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
    "sys/devices/system/cpu/smt/active": "1",
    "sys/class/power_supply/AC/online": "1",
    "sys/class/hwmon/hwmon0/name": "nvme",
    "sys/class/hwmon/hwmon0/temp1_input": "70000",
    "sys/class/hwmon/hwmon1/name": "coretemp",
    "sys/class/hwmon/hwmon1/temp1_input": "41000",
    "sys/class/hwmon/hwmon1/temp2_input": "43500",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/constraint_0_name": "long_term",
    "sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw": "15000000",
    "sys/class/powercap/intel-rapl:0/constraint_0_max_power_uw": "28000000",
    "etc/crontab": "SHELL=/bin/sh\n# m h dom mon dow user command\n17 * * * * root run-parts\n",
    "etc/cron.d/backup": "@daily root backup\n",
    "etc/cron.d/ignored.dpkg-old": "* * * * * root never\n",
}


class FakeHost:
    """Files below a root, and the ``Host`` that looks at them."""

    def __init__(self, root):
        self.root = root
        self.host = Host(root=str(root))
        self.write(LAPTOP)

    def write(self, files):
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def systemd(self, timers):
        """Give it a systemd whose systemctl prints ``timers``."""
        (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        command = self.root / "systemctl"
        command.write_text(f"#!/bin/sh\ncat <<'END'\n{timers}\nEND\n")
        command.chmod(0o755)
        self.host.systemctl = str(command)

    def look(self):
        return self.host.look()


@pytest.fixture
def laptop(tmp_path):
    return FakeHost(tmp_path / "host")
