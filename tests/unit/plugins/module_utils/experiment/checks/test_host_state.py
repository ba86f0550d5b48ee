# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from a host, and what is not invented where it does not tell."""

from __future__ import annotations

import json

from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks.host_state import CpuTime, Host, Timer, parse_cpu_time

ID = "0123456789abcdef" * 4


def test_a_laptop_is_read_whole(laptop):
    state = laptop.look()
    assert state.cpu == CpuTime(busy=1520, total=9750, steal=30, guest=110)
    assert (state.core_throttles, state.package_throttles) == (7, 9)
    assert state.governors == {"policy0": "powersave", "policy1": "performance"}
    assert state.energy_preferences == {"policy0": "balance_power"}
    assert state.frequency_limits == {"policy0": (3_600_000, 4_800_000)}
    assert (state.turbo, state.smt, state.nmi_watchdog, state.on_mains) == (True, True, True, True)
    assert state.celsius == 43.5, "of the processor, not of the hotter disk"
    assert state.swap_used_bytes == 2**30
    assert state.swapped_pages == 120
    assert state.power_caps == {"package-0 long_term": (15_000_000, 28_000_000)}
    assert state.cron_runs
    assert state.crontabs == ("17 * * * *", "@daily")
    assert state.containers == frozenset()
    assert state.virtual_machines == ()
    assert state.timers is None


def test_a_host_that_tells_nothing_gives_none_and_not_0(tmp_path):
    state = Host(root=str(tmp_path)).look()
    for attribute in [
        "core_throttles",
        "package_throttles",
        "turbo",
        "smt",
        "nmi_watchdog",
        "on_mains",
        "celsius",
        "swap_used_bytes",
        "swapped_pages",
        "energy_filter",
        "timers",
        "free_bytes",
    ]:
        assert getattr(state, attribute) is None, attribute
    assert state.governors == state.frequency_limits == state.power_caps == {}
    assert parse_cpu_time("") == CpuTime(0, 0, 0, 0)


def test_the_real_host_can_be_looked_at_by_anybody(tmp_path):
    first, last = Host(space_dir=str(tmp_path / "not" / "there")).look(), Host().look()
    assert 0 < first.cpu.busy <= last.cpu.busy < last.cpu.total
    assert first.monotonic_ns < last.monotonic_ns
    assert first.free_bytes > 0


def test_turbo_of_the_generic_driver_is_seen(laptop):
    (laptop.root / "sys/devices/system/cpu/intel_pstate/no_turbo").unlink()
    laptop.write({"sys/devices/system/cpu/cpufreq/boost": "0"})
    assert laptop.look().turbo is False


def test_without_hwmon_the_thermal_zone_of_the_processor_counts(laptop):
    (laptop.root / "sys/class/hwmon/hwmon1/name").write_text("acpi")
    assert laptop.look().celsius is None
    laptop.write({"sys/class/thermal/thermal_zone3/type": "x86_pkg_temp", "sys/class/thermal/thermal_zone3/temp": "52000"})
    assert laptop.look().celsius == 52.0


def test_containers_are_told_by_their_control_groups_each_once_and_not_our_own(laptop):
    own = "f" * 64
    laptop.write(
        {
            "proc/self/cgroup": f"0::/system.slice/docker-{own}.scope",
            "proc/300/cgroup": f"0::/system.slice/docker-{own}.scope",
            "proc/301/cgroup": f"0::/system.slice/docker-{ID}.scope",
            "proc/302/cgroup": f"9:pids:/docker/{ID}\n8:cpu:/docker/{ID}",
            "proc/303/cgroup": f"0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{'a' * 64}.scope",
            "proc/304/cgroup": "0::/lxc.payload.web/init.scope",
            "proc/305/cgroup": "0::/user.slice/user-1000.slice",
        }
    )
    assert laptop.look().containers == {ID[:12], "a" * 12, "web"}


def test_virtual_machines_are_told_by_their_processes(laptop):
    laptop.write(
        {"proc/400/comm": "qemu-system-x86", "proc/401/comm": "kvm", "proc/402/comm": "kvm-pit/400", "proc/403/comm": "firecracker"}
    )
    assert laptop.look().virtual_machines == ("firecracker", "kvm", "qemu-system-x86")


def test_crontabs_count_only_where_a_cron_daemon_runs(laptop):
    (laptop.root / "proc/200/comm").write_text("sleep")
    state = laptop.look()
    assert not state.cron_runs
    assert state.crontabs == ()


def test_timers_come_from_systemd(laptop):
    laptop.systemd(json.dumps([{"next": 1_700_000_000_000_000, "left": 1, "last": None, "unit": "apt.timer", "activates": "apt.service"}]))
    assert laptop.look().timers == (Timer("apt.timer", 1_700_000_000_000_000_000, 0),)


def test_a_systemd_too_old_for_json_is_not_known(laptop):
    laptop.systemd("NEXT LEFT LAST PASSED UNIT ACTIVATES")
    assert laptop.look().timers is None
    laptop.systemd(json.dumps([{"timer": "without a unit"}]))
    assert laptop.look().timers is None
    laptop.host.systemctl = str(laptop.root / "none")
    assert laptop.look().timers is None


def registers(values):
    """A sparse msr device: eight bytes at each register."""
    image = bytearray(0x120)
    for register, value in values.items():
        image[register : register + 8] = value.to_bytes(8, "little")
    return bytes(image)


def test_the_energy_filter_is_read_from_the_processor(laptop):
    for capabilities, control, expected in ((0, 1, None), (1 << 11, 0, False), (1 << 11, 1, True)):
        # Real registers do not overlap in the device, these do not either: 0xBC to 0xC3, 0x10A to 0x111.
        laptop.write({"dev/cpu/0/msr": registers({0x10A: capabilities, 0xBC: control})})
        assert laptop.look().energy_filter is expected
    laptop.write({"dev/cpu/0/msr": b"short"})
    assert laptop.look().energy_filter is None


def test_the_free_space_of_a_directory_that_is_still_to_be_made(laptop, tmp_path):
    laptop.host.space_dir = str(tmp_path / "a" / "b")
    assert laptop.look().free_bytes > 0
