# SPDX-License-Identifier: GPL-3.0-or-later
"""Flux's manifests in a real API server: what of them is installed, and that nothing of it stays.

The cluster is kwok's: its nodes say that the controllers are ready, and none runs. Where they run is in a virtual machine (molecule/node).
"""

from __future__ import annotations

import glob
import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm.actor import Actor
from ansible_collections.kjoule.bench.plugins.module_utils.arm.base import Surroundings
from ansible_collections.kjoule.bench.plugins.module_utils.arm.flux_cluster import FluxClusterArm
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.build import concatenate
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.existing import ExistingLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from tiny import binaries

pytestmark = pytest.mark.integration

KINDS = (
    "/api/v1/namespaces",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
)
DEPLOYMENTS = "/apis/apps/v1/namespaces/flux-system/deployments"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    paths = {name: path for name, path in binaries().items() if name in BINARIES}
    with KwokLab(paths, str(tmp_path_factory.mktemp("somebody")), lab_id=f"somebodys-{os.getpid()}", ready_timeout=240.0) as lab:
        yield lab


@pytest.fixture(autouse=True)
def whoever_runs_the_tests(monkeypatch):
    """The cluster's processes are theirs."""
    monkeypatch.setattr(ExistingLab, "needs_root", False)


@pytest.fixture
def manifests(tmp_path):
    """The Deployments of the controllers as their modules hold them; they are there where the controllers were built."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kjoule", "go", "mod", "github.com", "fluxcd")
    found = dict(binaries())
    for name in ("source-controller", "kustomize-controller"):
        folders = sorted(glob.glob(f"{cache}/{name}@v*/config/manager"))
        if not folders:
            pytest.skip(f"{name} was not built here, so its manifests are not in the module cache")
        path = tmp_path / f"{name}.deployment.yaml"
        path.write_bytes(concatenate(folders[-1], name))
        found[f"{name}-deployment"] = str(path)
    return found


def names(cluster: KwokLab) -> set[tuple[str, str]]:
    return {(path, item["metadata"]["name"]) for path in KINDS for item in cluster.api.list(path).get("items") or []}


def flux_arm(cluster: KwokLab, tmp_path, manifests) -> tuple[ExistingLab, FluxClusterArm]:
    """The arm in a lab of its own in that cluster, ready to install."""
    options = {"kubeconfig": cluster.kubeconfig, "confirm": "kwok-kjoule", "processes": cluster.directory}
    lab = ExistingLab(manifests, str(tmp_path), lab_id=f"flux-{os.getpid()}", options=options, ready_timeout=120.0)
    lab.fresh()
    settings = {"interval_seconds": 5, "layout": "per-app", "timeout_seconds": 120, "flux": {"registry": "mirror.example/flux"}}
    versions = {"source-controller-deployment": "v1.9.3", "kustomize-controller-deployment": "v1.9.6"}
    arm = FluxClusterArm(Surroundings(lab, Actor(lab.command_environment(), 120), manifests, settings, lambda: None, versions=versions))
    os.makedirs(arm._folder)
    return lab, arm


def test_what_was_applied_before_a_refusal_goes_as_well(cluster, tmp_path, manifests):
    before = names(cluster)
    broken = tmp_path / "kustomize-controller.deployment.yaml"
    broken.write_text(broken.read_text().replace("replicas: 1", "replicas: -1"))
    lab, arm = flux_arm(cluster, tmp_path, manifests)
    try:
        with pytest.raises(KjouleError, match="kubectl apply --server-side failed"):
            arm._install_controllers()
        assert ("/api/v1/namespaces", "flux-system") in names(cluster)
        arm.uninstall()
    finally:
        lab.discard()
    assert names(cluster) == before


def test_rights_that_an_earlier_flux_left_are_neither_taken_over_nor_removed(cluster, tmp_path, manifests):
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    theirs = {"metadata": {"name": "crd-controller-flux-system"}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}
    made = cluster.api.create(roles, theirs)
    before = names(cluster)
    try:
        with pytest.raises(
            KjouleError, match=r"Flux is installed in this cluster already.*saw ClusterRole crd-controller-flux-system\. Next: "
        ):
            flux_arm(cluster, tmp_path, manifests)
        assert names(cluster) == before
        seen = cluster.api.get(f"{roles}/crd-controller-flux-system")
        assert [seen["metadata"][key] for key in ("uid", "resourceVersion")] == [
            made["metadata"][key] for key in ("uid", "resourceVersion")
        ]
    finally:
        cluster.api.delete(f"{roles}/crd-controller-flux-system")


def test_only_the_needed_controllers_are_installed_from_the_named_registry_and_nothing_of_them_stays(cluster, tmp_path, manifests):
    before = names(cluster)
    lab, arm = flux_arm(cluster, tmp_path, manifests)
    try:
        # No container runs here, so there is no control group to read, and that is what the arm says.
        with pytest.raises(KjouleError, match="the CPU time of source-controller cannot be read on this host"):
            arm._install_controllers()
        live = {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in cluster.api.list(DEPLOYMENTS)["items"]}
        images = {name: spec["containers"][0]["image"] for name, spec in live.items()}
        assert images == {
            "source-controller": "mirror.example/flux/source-controller:v1.9.3",
            "kustomize-controller": "mirror.example/flux/kustomize-controller:v1.9.6",
        }
        assert all("--interval-jitter-percentage=0" in spec["containers"][0]["args"] for spec in live.values())
        assert all(spec["serviceAccountName"] == name for name, spec in live.items())
        arm.uninstall()
        assert cluster.api.list(DEPLOYMENTS).get("items") == []
    finally:
        lab.discard()
    assert names(cluster) == before
