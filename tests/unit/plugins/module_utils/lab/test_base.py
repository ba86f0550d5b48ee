# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.base import BaseLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify


def test_commands_see_nothing_of_the_users_and_write_into_the_lab(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/theirs")
    lab = BaseLab("/bin/kubectl", str(tmp_path), "a", 0.0, 1.0)
    environment = lab.command_environment()
    assert environment["KUBECONFIG"] == str(tmp_path / "labs" / "a" / "kubeconfig")
    assert {environment[name].startswith(lab.directory) for name in ("HOME", "TMPDIR", "KUBECACHEDIR")} == {True}


def test_a_lab_that_does_not_run_has_no_api(tmp_path):
    with pytest.raises(KjouleError, match="the lab a is not running"):
        assert BaseLab("/bin/kubectl", str(tmp_path), "a", 0.0, 1.0).api


def test_the_clock_of_a_component_is_that_of_its_process(tmp_path):
    lab = BaseLab("/bin/kubectl", str(tmp_path), "a", 0.0, 1.0)
    lab._components = {"etcd": identify(os.getpid())}
    assert [(clock.name, clock.read_ns() > 0) for clock in lab.clocks()] == [("etcd", True)]
    assert lab.components() == lab._components
