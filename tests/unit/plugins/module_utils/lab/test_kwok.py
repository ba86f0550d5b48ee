# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import kwok
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab

PATHS = {name: f"/nowhere/{name}" for name in BINARIES}


def test_a_lab_that_was_only_made_has_started_nothing(tmp_path):
    lab = KwokLab(PATHS, str(tmp_path), lab_id="a")
    assert list(tmp_path.iterdir()) == []
    assert lab.components() == {}
    assert lab.dead_components() == []
    assert lab.discard() == 0.0
    with pytest.raises(KjouleError, match="not running"):
        _ = lab.api


def test_missing_binaries_are_named_at_once(tmp_path):
    with pytest.raises(KjouleError, match="none for etcd, kwok"):
        KwokLab({name: path for name, path in PATHS.items() if name not in ("etcd", "kwok")}, str(tmp_path), lab_id="a")


def test_a_binary_that_is_not_there_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(KjouleError, match=r"etcd cannot be started.*no such file"):
        KwokLab(PATHS, str(tmp_path), lab_id="a").fresh()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def created(tmp_path, monkeypatch):
    """A lab whose kwokctl has ended well, and a function that says whether its components are seen at each look."""
    lab = KwokLab(PATHS, str(tmp_path), lab_id="a")
    lab.directory = str(tmp_path)
    lab._kwokctl = SimpleNamespace(popen=SimpleNamespace(poll=lambda: 0))

    def seen(looks):
        monkeypatch.setattr(lab, "_all_identified", lambda: next(looks))

    return lab, seen


def test_a_component_that_comes_up_after_kwokctl_has_ended_is_waited_for(created):
    lab, seen = created
    looks = iter([False] * 5 + [True])
    seen(looks)
    lab._fail_if_dead()
    assert list(looks) == []


def test_a_component_that_does_not_come_up_is_named(created, monkeypatch):
    monkeypatch.setattr(kwok, "START_SECONDS", 0.1)
    lab, seen = created
    seen(iter(lambda: False, True))
    with pytest.raises(KjouleError, match="etcd ended while the lab was starting"):
        lab._fail_if_dead()


def test_commands_get_nothing_of_the_users_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/somewhere/user/.kube/config")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    lab = KwokLab(PATHS, str(tmp_path), lab_id="a")
    environment = lab.command_environment()
    assert environment["KJOULE_OWNER"].startswith("a:")
    assert "HTTPS_PROXY" not in environment
    for name in ("HOME", "KUBECONFIG", "KUBECACHEDIR", "TMPDIR"):
        assert environment[name].startswith(str(tmp_path / "labs" / "a"))


@pytest.fixture
def configuration(tmp_path):
    lab = KwokLab(PATHS, str(tmp_path), lab_id="a")
    lab.versions = {"kube-apiserver": "1.36.1", "etcd": "3.6.14"}
    lab.ports = {
        name: 10000 + at
        for at, name in enumerate(("kube-apiserver", "etcd", "etcd-peer", "kube-controller-manager", "kube-scheduler", "kwok-controller"))
    }
    return lab._configuration()


def arguments(configuration, component, key):
    return [
        item["value"]
        for patch in configuration["componentsPatches"]
        if patch["name"] == component
        for item in patch["extraArgs"]
        if item["key"] == key
    ]


@pytest.mark.parametrize("component", ["kube-controller-manager", "kube-scheduler"])
def test_a_busy_machine_does_not_end_the_components_that_elect_a_leader(configuration, component):
    """Kubernetes' default gives up after 10 s without a renewal. What is changed is the patience, not how often the lease is renewed."""
    assert arguments(configuration, component, "leader-elect-renew-deadline") == ["90s"]
    assert arguments(configuration, component, "leader-elect-retry-period") == []
    assert arguments(configuration, component, "leader-elect") == []


def test_a_thousand_apps_with_a_service_each_find_addresses(configuration):
    (services,) = arguments(configuration, "kube-apiserver", "service-cluster-ip-range")
    assert ipaddress.ip_network(services).num_addresses >= 2000


def test_every_listener_is_configured_for_loopback(configuration):
    options = configuration["options"]
    assert options["bindAddress"] == "127.0.0.1"
    assert options["runtime"] == "binary"
    assert all(value.startswith("/nowhere/") for key, value in options.items() if key.endswith("Binary"))
