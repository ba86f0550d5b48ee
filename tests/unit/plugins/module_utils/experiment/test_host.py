# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import host
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.host import check_space, host_facts


def test_the_facts_are_those_of_this_host():
    facts = host_facts("web1")
    assert facts["name"] == "web1"
    assert facts["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (facts["kernel"], facts["python"]) == (os.uname().release, platform.python_version())
    assert facts["cpus"] == len(os.sched_getaffinity(0))
    assert facts["memory_bytes"] == pytest.approx(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), rel=0.01)
    assert facts["cpu_model"]
    json.dumps(facts)


ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\n\nModel\t\t: Raspberry Pi 5\n"
INTEL = "processor\t: 0\nmodel name\t: Some: CPU\nflags\t\t: fpu sse\n"


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [(ARM, "Raspberry Pi 5"), (INTEL, "Some: CPU"), (None, platform.machine())],
)
def test_other_processors_are_named_too(monkeypatch, cpuinfo, model):
    monkeypatch.setattr(host, "_read", lambda path: cpuinfo if path == "/proc/cpuinfo" else None)
    facts = host_facts("a")
    assert (facts["cpu_model"], facts["memory_bytes"]) == (model, None)


@pytest.mark.parametrize("hypervisor", [None, "kvm", "qemu"])
def test_a_guest_says_whose(monkeypatch, hypervisor):
    monkeypatch.setattr(host, "virtualization", lambda: {"hypervisor": hypervisor})
    assert host_facts("a")["virtualization"] == hypervisor


def test_too_little_space_is_told_before_anything_is_made(tmp_path):
    check_space(str(tmp_path / "not" / "there" / "yet"), 1)
    with pytest.raises(KjouleError, match=r"too little space.*expected \d+ MiB free, saw \d+ MiB.*kjoule_state_dir"):
        check_space(str(tmp_path / "state"), 2**62)
    assert list(tmp_path.iterdir()) == []
