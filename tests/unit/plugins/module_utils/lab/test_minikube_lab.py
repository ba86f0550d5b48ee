# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster of minikube is measured, and by what. minikube is a double (tests/harness/minikube_double.py)."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import minikube_lab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube import Minikube
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_lab import MACHINE, MinikubeLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_profile import Wanted
from harness.minikube_double import Double


@pytest.fixture
def double(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Double(tmp_path)


def lab(double: Double, driver: str = "kvm2") -> MinikubeLab:
    paths = {name: str(double.folder / name) for name in ("minikube", "kubectl")}
    options = {"driver": driver, "profile": "lab", "home": str(double.home)}
    return MinikubeLab(paths, str(double.folder / "state"), lab_id="a", options=options)


def make(double: Double, state: str) -> None:
    minikube = Minikube(str(double.folder / "minikube"), str(double.folder / "kubectl"), str(double.home), "lab", 60.0)
    minikube.ensure("started", Wanted("kvm2", "v1.35.1"))
    minikube.ensure(state, Wanted("kvm2", "v1.35.1"))


def test_a_cluster_that_is_not_there_or_stopped_is_told_before_anything_is_touched(double):
    with pytest.raises(KjouleError, match=r"the minikube cluster lab does not run.*saw absent.*playbooks/lab\.yml"):
        lab(double).fresh()
    make(double, "stopped")
    with pytest.raises(KjouleError, match="saw stopped"):
        lab(double).fresh()
    assert not (double.folder / "state" / "labs" / "a").exists()


def test_a_profile_that_somebody_else_made_is_not_measured(double):
    make(double, "started")
    (double.home / "kjoule-lab.json").unlink()
    with pytest.raises(KjouleError, match=r"the minikube profile lab was made by somebody else.*lab existing"):
        lab(double).fresh()
    assert not (double.folder / "state" / "labs" / "a").exists()


def test_a_cluster_of_another_driver_is_refused(double):
    make(double, "started")
    with pytest.raises(KjouleError, match="made by another driver: expected docker, saw kvm2"):
        lab(double, "docker").fresh()


def test_the_virtual_machine_is_one_component_found_by_its_name(double, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        line = "/usr/bin/qemu-system-x86_64 -name guest=lab,debug-threads=on -m 3072"
        monkeypatch.setattr(minikube_lab, "command_line", lambda pid: line if pid == process.pid else "bash guest=lab")
        monkeypatch.setattr(minikube_lab, "pids", lambda: [os.getpid(), process.pid])
        one = lab(double)
        one._find_processes("https://192.168.39.2:8443")
        assert {name: identity.pid for name, identity in one.components().items()} == {MACHINE: process.pid}
        assert one.component_roles() == {MACHINE: "cluster"}
        assert one.real_pods is False
    finally:
        process.kill()
        process.wait()


def test_a_virtual_machine_of_another_name_is_not_it(double, monkeypatch):
    monkeypatch.setattr(minikube_lab, "command_line", lambda pid: "/usr/bin/qemu-system-x86_64 -name guest=lab-two")
    with pytest.raises(KjouleError, match="expected a qemu with -name guest=lab"):
        lab(double)._find_processes("https://192.168.39.2:8443")


def test_the_parts_of_a_node_in_a_container_are_those_in_its_control_groups(double, monkeypatch):
    docker = double.folder / "docker"
    docker.write_text("#!/bin/sh\necho 5f1c\n")
    docker.chmod(0o755)
    one = lab(double, "docker")
    monkeypatch.setattr(minikube_lab, "_cgroup", lambda pid: "0::/docker/5f1c/kubelet\n")
    chosen = []
    monkeypatch.setattr(MinikubeLab, "_candidates", staticmethod(lambda belongs: chosen.append(belongs(1)) or {}))
    one._find_processes("https://127.0.0.1:32768")
    assert chosen == [True]


def test_a_container_that_is_not_there_is_told(double):
    docker = double.folder / "docker"
    docker.write_text("#!/bin/sh\necho 'no such object' >&2\nexit 1\n")
    docker.chmod(0o755)
    with pytest.raises(KjouleError, match="there is no container lab: saw no such object"):
        lab(double, "docker")._container()


@pytest.mark.parametrize(("driver", "says"), [("none", "saw nobody"), ("docker", "saw nobody"), ("kvm2", "saw absent")])
def test_root_is_asked_for_where_the_processes_of_the_node_are_read(double, monkeypatch, driver, says):
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    with pytest.raises(KjouleError, match=says):
        lab(double, driver).fresh()
