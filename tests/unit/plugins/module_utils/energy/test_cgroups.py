# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups as the kernel and the kubelet lay them out, in a folder."""

from __future__ import annotations

import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.cgroups import CgroupClock, PodGroups, group_of, read_ns
from ansible_collections.kjoule.bench.plugins.module_utils.errors import PeriodInvalid

UID = "0b4e6d6c-1b1f-4b6a-9d83-6f0e3c1f7a11"
STATIC = "3a5f1c0e9d8b7a6f5e4d3c2b1a098765"


def v2(root, path, microseconds):
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.stat").write_text(f"usage_usec {microseconds}\nuser_usec 1\nsystem_usec 2\n")
    return folder


def v1(root, path, nanoseconds):
    folder = root / "cpu,cpuacct" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpuacct.usage").write_text(f"{nanoseconds}\n")
    return folder


@pytest.fixture
def unified(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    return tmp_path


def test_pods_are_found_by_uid_with_the_driver_systemd(unified):
    v2(unified, "kubepods.slice", 900)
    v2(unified, f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice", 300)
    v2(unified, f"kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice", 200)
    v2(unified, "kubepods.slice/kubepods-burstable.slice", 500)
    groups = PodGroups(str(unified))
    assert groups.version == 2
    assert groups.read()[:2] == (900_000, {UID: 200_000, STATIC: 300_000})
    assert groups.find(UID).endswith("_1b1f_4b6a_9d83_6f0e3c1f7a11.slice")
    assert groups.find("another") is None


def test_pods_are_found_with_the_driver_cgroupfs_and_version_1(tmp_path):
    v1(tmp_path, "kubepods", 9000)
    v1(tmp_path, f"kubepods/besteffort/pod{UID}", 700)
    groups = PodGroups(str(tmp_path))
    assert (groups.version, groups.read()[:2]) == (1, (9000, {UID: 700}))


def test_a_node_in_a_container_has_its_pods_below_it(unified):
    v2(unified, f"system.slice/docker-1.scope/kubelet/kubepods/pod{UID}", 5)
    v2(unified, "system.slice/docker-1.scope/kubelet/kubepods", 6)
    assert PodGroups(str(unified)).read()[:2] == (6000, {UID: 5000})


def test_without_a_kubelet_there_are_no_pods_and_one_that_comes_later_is_seen(unified):
    groups = PodGroups(str(unified))
    assert groups.read()[:2] == (0, {})
    v2(unified, f"kubepods/pod{UID}", 5)
    v2(unified, "kubepods", 6)
    assert groups.read()[:2] == (6000, {UID: 5000})


def test_a_clock_reads_its_group_and_one_that_is_gone_spoils_the_period(unified):
    folder = v2(unified, "system.slice/kubelet.service", 12)
    clock = CgroupClock("kubelet", str(folder))
    assert (clock.checked_read_ns(), clock.identity.alive()) == (12_000, True)
    (folder / "cpu.stat").unlink()
    folder.rmdir()
    assert clock.identity.alive() is False
    with pytest.raises(PeriodInvalid, match="kubelet ended during the period"):
        clock.checked_read_ns()


def test_a_process_is_found_in_its_group(unified, tmp_path):
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cgroup").write_text("0::/system.slice/containerd.service\n")
    assert group_of(7, str(unified), str(tmp_path / "proc")) == str(unified / "system.slice/containerd.service")
    assert group_of(8, str(unified), str(tmp_path / "proc")) is None


def test_a_process_is_found_in_the_hierarchy_that_counts_time(tmp_path):
    (tmp_path / "cpu,cpuacct").mkdir()
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cgroup").write_text("4:memory:/a\n3:cpu,cpuacct:/b\n0::/c\n")
    assert group_of(7, str(tmp_path), str(tmp_path / "proc")) == str(tmp_path / "cpu,cpuacct/b")


def test_the_group_of_this_very_process_has_used_time():
    path = group_of(os.getpid())
    assert path is not None
    assert read_ns(path if os.path.isdir(path) else "/sys/fs/cgroup/cpuacct") > 0
