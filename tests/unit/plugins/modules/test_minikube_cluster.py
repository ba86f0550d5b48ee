# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, on a double of minikube (tests/harness/minikube_double.py)."""

from __future__ import annotations

from harness.minikube_double import Double
from harness.module import run_module


def test_a_cluster_is_predicted_made_and_taken_away(tmp_path):
    double = Double(tmp_path)
    common = {
        "home": str(double.home),
        "minikube": str(tmp_path / "minikube"),
        "kubectl": str(tmp_path / "kubectl"),
        "profile": "kjoule-test",
        "driver": "kvm2",
        "kubernetes_version": "v1.35.1",
    }
    predicted = run_module("minikube_cluster", check=True, state="started", **common)
    assert (predicted["changed"], predicted["cluster_state"]) == (True, "running")
    assert predicted["diff"] == {"before": "state: absent\n", "after": "state: running\n"}
    made = run_module("minikube_cluster", state="started", **common)
    assert (made["changed"], made["kubeconfig"]) == (True, str(double.home / "kubeconfig"))
    assert run_module("minikube_cluster", state="started", **common)["changed"] is False
    refused = run_module("minikube_cluster", state="started", **{**common, "kubernetes_version": "v1.34.0"})
    assert refused["failed"]
    assert refused["msg"].startswith("the minikube profile kjoule-test was made otherwise")
    again = run_module("minikube_cluster", check=True, state="started", recreate=True, **{**common, "kubernetes_version": "v1.34.0"})
    assert again["diff"]["before"].startswith("kubernetes_version: v1.35.1\n")
    assert run_module("minikube_cluster", state="absent", **common)["changed"] is True


def test_a_cluster_that_is_to_be_made_needs_a_driver_and_a_version(tmp_path):
    failed = run_module("minikube_cluster", state="started", home=str(tmp_path), minikube="/x", kubectl="/x")
    assert failed["failed"]
    assert "driver, kubernetes_version" in failed["msg"]
