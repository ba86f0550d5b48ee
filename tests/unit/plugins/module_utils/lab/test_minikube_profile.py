# SPDX-License-Identifier: GPL-3.0-or-later
"""What a profile is to be: the command line that makes it, and how one that is there is told from it."""

from __future__ import annotations

from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_profile import Wanted, drift, start_arguments


def test_what_is_not_asked_for_is_not_compared():
    config = {
        "Driver": "none",
        "CPUs": 8,
        "Memory": 1,
        "Nodes": [{}],
        "KubernetesConfig": {"KubernetesVersion": "v1", "ContainerRuntime": "containerd"},
    }
    assert drift(config, Wanted("none", "v1")) == []


def test_what_minikube_adds_by_itself_is_no_drift_and_what_was_asked_for_and_is_not_there_is():
    kubernetes = {"KubernetesVersion": "v1", "ContainerRuntime": "containerd"}
    options = [
        {"Component": "kubelet", "Key": "max-pods", "Value": "50"},
        {"Component": "kubeadm", "Key": "pod-network-cidr", "Value": "x"},
    ]
    config = {"Driver": "kvm2", "Nodes": [{}], "KubernetesConfig": {**kubernetes, "ExtraOptions": options}}
    assert drift(config, Wanted("kvm2", "v1", extra_config=("kubelet.max-pods=50",))) == []
    seen = "kubeadm.pod-network-cidr=x, kubelet.max-pods=50"
    assert drift(config, Wanted("kvm2", "v1", extra_config=("kubelet.max-pods=60",))) == [
        {"setting": "extra_config", "wanted": "kubelet.max-pods=60", "seen": seen}
    ]


def test_the_command_line_asks_for_nothing_that_runs_beside_the_workload():
    line = start_arguments(Wanted("kvm2", "v1.35.1", cpus=2, memory_mb=4096, image_repository="r.example"), offline=True, force=True)
    assert "--install-addons=false" in line
    assert "--memory=4096mb" in line
    assert {"--preload=false", "--cache-images=false", "--force", "--image-repository=r.example"} <= set(line)
