# SPDX-License-Identifier: GPL-3.0-or-later
"""A host made of files, with a systemctl, a swapon and a swapoff that keep their state in files of it."""

from __future__ import annotations

import pytest

FILES = {
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors": "performance powersave\n",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_available_governors": "performance schedutil\n",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
    "sys/devices/system/cpu/smt/control": "on\n",
    "proc/sys/kernel/nmi_watchdog": "1\n",
    "proc/swaps": "Filename Type Size Used Priority\n/swap\\040file file 1024 0 5\n/dev/sda2 partition 2048 0 -2\n",
}

SYSTEMCTL = """#!/bin/sh
# A double of systemctl: active timers are files in {timers}, what is known of a unit is its file in {units}, every call is noted.
# As with systemd, a transient unit is forgotten when it is stopped, and cannot be started.
echo "$*" >> {calls}
for last; do :; done
case "$1" in
  list-units) for unit in $(ls {timers}); do echo "$unit loaded active waiting what it is for"; done ;;
  show)
    shift
    for unit; do
      case "$unit" in -*) continue ;; esac
      load=loaded active=inactive
      [ -e "{units}/$unit" ] || load=not-found
      [ ! -e "{timers}/$unit" ] || active=active
      [ -z "$blank" ] || echo
      blank=yes
      printf 'Id=%s\nLoadState=%s\nActiveState=%s\nFragmentPath=%s\n' "$unit" "$load" "$active" "$(cat "{units}/$unit" 2>/dev/null)"
    done ;;
  stop)
    rm "{timers}/$last" 2>/dev/null || {{ echo "Access denied" >&2; exit 4; }}
    ! grep -q ^/run/systemd/transient/ "{units}/$last" || rm "{units}/$last" ;;
  start) [ -e "{units}/$last" ] || {{ echo "Unit $last not found." >&2; exit 5; }}; touch "{timers}/$last" ;;
esac
"""

SWAP = """#!/bin/sh
echo "{name} $*" >> {calls}
"""


class TunableHost:
    def __init__(self, root):
        self.root = root
        self.timers = root / "timers"
        self.calls = root / "calls"
        self.units = root / "units"
        self.timers.mkdir(parents=True)
        self.units.mkdir()
        self.calls.touch()
        (root / "run/systemd/system").mkdir(parents=True)
        for name, text in FILES.items():
            self.write(name, text)
        for unit in ("apt.timer", "certbot.timer"):
            self.timer(unit)
        self.script("systemctl", SYSTEMCTL.format(timers=self.timers, units=self.units, calls=self.calls))
        for name in ("swapon", "swapoff"):
            self.script(name, SWAP.format(name=name, calls=self.calls))
        self.where = {"root": str(root), "systemctl": str(root / "systemctl"), "commands": str(root)}

    def timer(self, unit, folder="/usr/lib/systemd/system"):
        """A timer that is active. That of systemd-run lies in /run/systemd/transient."""
        (self.timers / unit).touch()
        (self.units / unit).write_text(f"{folder}/{unit}\n")

    def script(self, name, text):
        (self.root / name).write_text(text)
        (self.root / name).chmod(0o755)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name):
        return (self.root / name).read_text().strip()

    def governors(self):
        return [self.read(f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_governor") for number in (0, 1)]

    def running_timers(self):
        return sorted(path.name for path in self.timers.iterdir())

    def state(self):
        """Everything that a knob could have changed."""
        return {name: self.read(name) for name in FILES}, self.running_timers()


@pytest.fixture
def tunable(tmp_path):
    return TunableHost(tmp_path / "host")
