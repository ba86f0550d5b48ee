# SPDX-License-Identifier: GPL-3.0-or-later
"""States of a minikube cluster. minikube and kubectl are a double here (tests/harness/minikube_double.py): no machine is made. The real
command is asked in tests/integration/test_minikube.py, and the driver none runs in a virtual machine (molecule/node)."""

from __future__ import annotations

import fcntl
import hashlib

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import minikube as module
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube import Minikube
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_profile import Wanted
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_supplies import Image
from harness.minikube_double import READY, Double

KVM = Wanted("kvm2", "v1.35.1", cpus=2, memory_mb=3072)


@pytest.fixture
def double(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no virsh and no docker of this machine
    return Double(tmp_path)


def minikube(double: Double, profile: str = "lab", timeout: float = 60.0) -> Minikube:
    return Minikube(str(double.folder / "minikube"), str(double.folder / "kubectl"), str(double.home), profile, timeout)


@pytest.mark.parametrize("driver", ["kvm2", "docker"])
def test_a_cluster_goes_through_its_states_and_a_second_call_changes_nothing(double, driver):
    wanted = Wanted(driver, "v1.35.1")
    seen = []
    for state in ("present", "started", "stopped", "stopped", "present", "started", "absent", "absent"):
        outcome = minikube(double).ensure(state, wanted)
        seen.append((state, outcome.changed, outcome.before, outcome.state))
    assert seen == [
        ("present", True, "absent", "running"),
        ("started", False, "running", "running"),
        ("stopped", True, "running", "stopped"),
        ("stopped", False, "stopped", "stopped"),
        ("present", False, "stopped", "stopped"),
        ("started", True, "stopped", "running"),
        ("absent", True, "running", "absent"),
        ("absent", False, "absent", "absent"),
    ]
    changing = [call.split()[0] for call in double.calls if call.split()[0] not in ("profile", "status")]
    assert changing == ["start", "stop", "start", "delete"]


@pytest.mark.parametrize(("refused", "in_the_end"), [(False, "incomplete"), (True, "absent")])
def test_an_api_server_that_is_slow_to_answer_is_asked_again_and_its_cluster_not_started_again(double, monkeypatch, refused, in_the_end):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    minikube(double).ensure("started", KVM)
    double.silence(2, refused=refused)
    assert minikube(double).ensure("started", KVM).changed is False
    monkeypatch.setattr(module, "_SILENT_SECONDS", 0.0)
    double.silence(1, refused=refused)
    assert minikube(double).state() == in_the_end


@pytest.mark.parametrize(
    "parts",
    [
        {"Kubelet": "Stopped", "APIServer": "Paused"},
        {"Kubelet": "Stopped"},
        {"Host": "Paused", "Kubelet": "Paused", "APIServer": "Paused"},
    ],
)
def test_a_cluster_of_which_a_part_is_down_is_not_taken_for_a_stopped_one(double, parts):
    minikube(double).ensure("started", KVM)
    double.parts(**parts)
    assert minikube(double).ensure("present", KVM).state == "incomplete"
    stopped = minikube(double).ensure("stopped", KVM)
    assert (stopped.changed, stopped.before, stopped.state) == (True, "incomplete", "stopped")
    minikube(double).ensure("started", KVM)
    double.parts(**parts)
    started = minikube(double).ensure("started", KVM)
    assert (started.changed, started.before, started.state) == (True, "incomplete", "running")
    assert [call.split()[0] for call in double.calls if call.split()[0] in ("start", "stop")] == ["start", "stop", "start", "start"]


def test_check_mode_tells_and_does_nothing(double):
    outcome = minikube(double).ensure("started", KVM, check_mode=True)
    assert (outcome.changed, outcome.state) == (True, "running")
    assert outcome.commands[0].startswith("minikube start --driver=kvm2")
    assert not double.home.exists()
    assert all(call.split()[0] in ("profile", "status") for call in double.calls)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (Wanted("docker", "v1.35.1"), "driver docker"),
        (Wanted("kvm2", "v1.34.0"), "kubernetes_version v1.34.0"),
        (Wanted("kvm2", "v1.35.1", memory_mb=4096), "memory_mb 4096"),
        (Wanted("kvm2", "v1.35.1", nodes=2), "nodes 2"),
        (Wanted("kvm2", "v1.35.1", extra_config=("kubelet.max-pods=50",)), "extra_config kubelet.max-pods=50"),
    ],
)
def test_a_profile_made_otherwise_is_refused_and_left_as_it_is_until_it_may_be_made_anew(double, other, word):
    double.cluster(**{**READY, "nodes": READY["nodes"] * 2})
    minikube(double).ensure("started", KVM)
    before = double.config_file.read_text()
    with pytest.raises(KjouleError, match=rf"was made otherwise.*expected {word}"):
        minikube(double).ensure("started", other)
    assert double.config_file.read_text() == before
    outcome = minikube(double).ensure("started", other, recreate=True)
    assert outcome.changed
    assert [item["setting"] for item in outcome.drift] == [word.split()[0]]
    assert minikube(double).ensure("started", other).changed is False


def test_a_profile_that_somebody_else_made_is_neither_started_nor_stopped_nor_removed(double):
    minikube(double).ensure("started", KVM)
    (double.home / "kjoule-lab.json").unlink()
    before = double.calls
    for state in ("started", "stopped", "absent"):
        with pytest.raises(KjouleError, match="was made by somebody else"):
            minikube(double).ensure(state, KVM, recreate=True)
    assert all(call.split()[0] in ("profile", "status") for call in double.calls[len(before) :])


def test_a_damaged_profile_is_told_with_the_command_that_removes_it(double):
    minikube(double).ensure("started", KVM)
    double.config_file.write_text("{")
    with pytest.raises(KjouleError, match=r"is damaged.*minikube delete -p lab"):
        minikube(double).ensure("started", KVM)


@pytest.mark.parametrize(("driver", "command"), [("kvm2", "virsh"), ("docker", "docker")])
def test_a_machine_of_that_name_from_another_home_is_left_alone(double, driver, command):
    script = double.folder / command
    script.write_text("#!/bin/sh\necho other\necho lab\n")
    script.chmod(0o755)
    with pytest.raises(KjouleError, match="the name of the minikube profile lab is taken"):
        minikube(double).ensure("started", Wanted(driver, "v1.35.1"))
    assert not any(call.startswith("start") for call in double.calls)


def test_two_runs_do_not_work_on_one_home_at_a_time(double):
    double.home.mkdir()
    with open(double.home / "kjoule.lock", "w", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(KjouleError, match="another run is working"):
            minikube(double).ensure("started", KVM)
    assert double.calls == []


def test_the_driver_none_has_one_name(double):
    with pytest.raises(KjouleError, match="expected the name minikube, saw lab"):
        minikube(double).ensure("started", Wanted("none", "v1.35.1"))


def test_stopping_what_is_not_there_is_an_error(double):
    with pytest.raises(KjouleError, match="there is no minikube profile lab"):
        minikube(double).ensure("stopped", KVM)


def test_a_start_that_fails_leaves_no_profile(double):
    double.fail(51, "no route")
    with pytest.raises(KjouleError, match="minikube start of the profile lab, exit status 51"):
        minikube(double).ensure("started", KVM)
    assert minikube(double).config() is None


def test_an_image_that_cannot_be_pulled_ends_the_wait_with_its_name(double):
    waiting = {"image": "registry.k8s.io/coredns:v9", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}}
    double.cluster(**{**READY, "pods": [{"metadata": {"name": "coredns-1"}, "status": {"containerStatuses": [waiting]}}]})
    with pytest.raises(
        KjouleError,
        match=r"the image registry.k8s.io/coredns:v9 is not to be had: .*saw coredns-1: ImagePullBackOff no such host",
    ):
        minikube(double).ensure("started", KVM)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"nodes": [{"status": {"conditions": [{"type": "Ready", "status": "False"}]}}]}, "0 of 1 nodes are Ready"),
        ({"deployments": []}, "there is no CoreDNS yet"),
        ({"deployments": [{"metadata": {"name": "coredns"}, "spec": {"replicas": 2}, "status": {"readyReplicas": 1}}]}, "1 of 2 replicas"),
    ],
)
def test_running_is_not_ready(double, cluster, words):
    minikube(double).ensure("started", KVM)
    double.cluster(**{**READY, **cluster})
    with pytest.raises(KjouleError, match=f"did not become ready.*{words}"):
        minikube(double, timeout=0.0).ensure("started", KVM)


def test_files_go_into_the_cache_and_images_into_the_node_with_their_checksums_compared_first(double, tmp_path):
    kubelet, archive = tmp_path / "kubelet", tmp_path / "coredns.tar"
    kubelet.write_bytes(b"kubelet")
    archive.write_bytes(b"image")
    sums = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (kubelet, archive)}
    files = [{"path": str(kubelet), "sha256": sums[kubelet], "cache": "linux/amd64/v1.35.1/kubelet"}]
    images = [Image(str(archive), sums[archive], ("registry.k8s.io/coredns/coredns:v1.14.2",))]
    for wrong in (
        {"files": [{**files[0], "sha256": "0" * 64}], "images": images},
        {"files": files, "images": [Image(str(archive), "0" * 64, ("a:1",))]},
    ):
        with pytest.raises(KjouleError, match="is not the one that was named"):
            minikube(double).ensure("started", KVM, offline=True, **wrong)
    assert not any(call.startswith("start") for call in double.calls)
    minikube(double).ensure("started", KVM, files=files, images=images, offline=True)
    cache = double.home / ".minikube" / "cache"
    assert (cache / "linux/amd64/v1.35.1/kubelet").read_bytes() == b"kubelet"
    assert [path.read_bytes() for path in cache.glob("images/*/registry.k8s.io/coredns/coredns_v1.14.2")] == [b"image"]
    start = next(call for call in double.calls if call.startswith("start"))
    assert "--preload=false" in start
    assert f"image load {archive}" in double.calls


def test_a_missing_file_is_named_before_anything_starts(double):
    with pytest.raises(KjouleError, match="/nowhere/kubelet cannot be read"):
        minikube(double).ensure("started", KVM, files=[{"path": "/nowhere/kubelet", "sha256": "0" * 64, "cache": "x"}])
    assert not any(call.startswith("start") for call in double.calls)
