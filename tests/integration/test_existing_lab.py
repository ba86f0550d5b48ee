# SPDX-License-Identifier: GPL-3.0-or-later
"""Periods in a cluster that somebody else made: a real control plane (kwok's: no container runs) with something of its owner's."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import period as module
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import Period
from ansible_collections.kjoule.bench.plugins.module_utils.lab.existing import LABEL, ExistingLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from tiny import assert_nothing_left, binaries, item_of, lab_of, make_plan, phases, wait_until

pytestmark = pytest.mark.integration

SCENARIO = [
    {"name": "idle", "hold": "1 interval"},
    {"name": "deploy", "revision": "base"},
    {"name": "prune", "remove": 1, "hold": "1 interval"},
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Somebody's cluster, with a namespace and a ConfigMap of theirs."""
    paths = {name: path for name, path in binaries().items() if name in BINARIES}
    with KwokLab(paths, str(tmp_path_factory.mktemp("somebody")), lab_id=f"somebodys-{os.getpid()}", ready_timeout=240.0) as lab:
        lab.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}})
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "b"}}
        lab.api.create("/api/v1/namespaces/theirs/configmaps", theirs)
        # The controller manager puts one of its own into every namespace, in its own time.
        wait_until(lambda: len(lab.api.list("/api/v1/namespaces/theirs/configmaps")["items"]) == 2)
        yield lab


@pytest.fixture(autouse=True)
def whoever_runs_the_tests(monkeypatch):
    """The cluster's processes are theirs."""
    monkeypatch.setattr(ExistingLab, "needs_root", False)


def content(cluster: KwokLab) -> dict[str, list[tuple[str, str]]]:
    """Names and uids of what a lab could leave behind."""
    found = {}
    kinds = (
        "/api/v1/namespaces",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    )
    for path in (*kinds, "/api/v1/namespaces/theirs/configmaps", "/api/v1/namespaces/default/configmaps"):
        items = cluster.api.list(path).get("items") or []
        found[path] = sorted((item["metadata"]["name"], item["metadata"]["uid"]) for item in items)
    return found


def options(cluster: KwokLab, **more: str) -> dict[str, str]:
    return {"kubeconfig": cluster.kubeconfig, "confirm": "kwok-kjoule", "processes": cluster.directory, **more}


@pytest.mark.parametrize("arm", ["flux", "snowflake"])
def test_a_period_measures_the_cluster_and_leaves_nothing_of_its_own_in_it(cluster, tmp_path, arm):
    before = content(cluster)
    plan = make_plan(f"existing-{arm}", lab="existing", existing=options(cluster), scenario=SCENARIO, timeout_seconds=240, checks=False)
    item = item_of(plan, arm)
    record = Period(plan, item, binaries(), str(tmp_path)).run()
    assert record["valid"], record["reasons"]
    assert record["lab"]["provider"] == "existing"
    deploy = phases(record)["deploy"]
    cluster_side = {name for name, role in deploy["components"].items() if role in ("cluster", "simulator")}
    assert cluster_side == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller"}
    assert deploy["cpu_seconds"]["kube-apiserver"] > 0
    assert ("source-controller" in deploy["components"]) == (arm == "flux")
    assert phases(record)["prune"]["state"]["orphans"] == (0 if arm == "flux" else 3)
    assert content(cluster) == before
    assert cluster.dead_components() == []
    assert_nothing_left(tmp_path, lab_of(plan, item))


def own(*objects: dict) -> dict:
    """The options of a plan whose workload is these manifests of its user's."""
    listed = [{"apiVersion": version, "kind": kind, "metadata": meta, **more} for version, kind, meta, more in objects]
    return {"workload": {"kind": "manifests", "apps": [{"name": "a", "objects": listed}]}}


OWN = (
    ("v1", "Namespace", {"name": "prod"}, {}),
    ("v1", "ConfigMap", {"name": "settings", "namespace": "prod"}, {"data": {"a": "b"}}),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", {"name": "prod-reader"}, {"rules": []}),
)
THERE = {
    "prod": ("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod"}}),
    "prod-reader": (
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "prod-reader"}, "rules": []},
    ),
}


def period_of(cluster, tmp_path, arm, workload):
    scenario = [*SCENARIO[:2], {"name": "update", "change": "config", "apps": 1, "times": 1}]
    plan = make_plan(f"own-{arm}", lab="existing", existing=options(cluster), scenario=scenario, timeout_seconds=240, checks=False)
    plan["settings"].update(workload)
    return Period(plan, item_of(plan, arm), binaries(), str(tmp_path))


@pytest.mark.parametrize("arm", ["flux", "snowflake"])
def test_a_namespace_and_a_role_that_the_workload_brings_go_with_the_lab(cluster, tmp_path, arm):
    before = content(cluster)
    record = period_of(cluster, tmp_path, arm, own(*OWN)).run()
    assert record["valid"], record["reasons"]
    assert phases(record)["update"]["state"]["drifted"] == 0
    assert content(cluster) == before


@pytest.mark.parametrize("arm", ["flux", "snowflake"])
def test_what_a_delivery_that_breaks_off_has_made_carries_the_label_from_the_outset_and_goes(cluster, tmp_path, monkeypatch, arm):
    before = content(cluster)
    labels = []

    def breaks(*_arguments):
        labels.extend(cluster.api.get(f"{path}/{name}")["metadata"]["labels"][LABEL] for name, (path, _there) in THERE.items())
        raise KjouleError("it broke off")

    monkeypatch.setattr(module, "wait_rolled_out", breaks)
    period = period_of(cluster, tmp_path, arm, own(*OWN))
    with pytest.raises(KjouleError, match=r"^it broke off$"):
        period.run()
    assert labels == [period._lab.lab_id] * 2
    assert content(cluster) == before


def test_a_role_that_somebody_makes_while_the_delivery_breaks_off_is_told_and_stays(cluster, tmp_path, monkeypatch):
    before = content(cluster)
    path, role = THERE["prod-reader"]

    def breaks(*_arguments):
        cluster.api.delete(f"{path}/prod-reader")
        cluster.api.create(path, role)
        raise KjouleError("it broke off")

    monkeypatch.setattr(module, "wait_rolled_out", breaks)
    try:
        with pytest.raises(KjouleError, match=rf"it broke off\. After that: somebody made .* saw none on {path}/prod-reader\. "):
            period_of(cluster, tmp_path, "snowflake", own(*OWN)).run()
        assert LABEL not in (cluster.api.get(f"{path}/prod-reader")["metadata"].get("labels") or {})
    finally:
        cluster.api.delete(f"{path}/prod-reader")
    assert content(cluster) == before


@pytest.mark.parametrize("name", ["prod", "prod-reader", "default"])
def test_a_workload_that_would_change_what_is_there_is_refused_before_anything_is_delivered(cluster, tmp_path, name):
    path, there = THERE.get(name, ("/api/v1/namespaces", None))
    if there is not None:
        cluster.api.create(path, there)
    before = content(cluster)
    objects = OWN if there is not None else (("v1", "ConfigMap", {"name": "other", "namespace": "default"}, {"data": {}}),)
    try:
        with pytest.raises(KjouleError, match=f"what this lab did not make.*saw {path}/{name}. Next: "):
            period_of(cluster, tmp_path, "snowflake", own(*objects)).run()
        assert content(cluster) == before
    finally:
        if there is not None:
            cluster.api.delete(f"{path}/{name}")
            wait_until(lambda: name not in {item["metadata"]["name"] for item in cluster.api.list(path)["items"]})


def test_a_cluster_of_two_nodes_is_left_alone(cluster, tmp_path):
    cluster.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "second"}})
    before = content(cluster)
    try:
        with pytest.raises(KjouleError, match="expected one node, saw 2 nodes: node-000000, second"):
            ExistingLab(binaries(), str(tmp_path), lab_id="two", options=options(cluster)).fresh()
        assert content(cluster) == before
    finally:
        cluster.api.delete("/api/v1/nodes/second")


def test_a_cluster_that_is_not_the_confirmed_one_is_left_alone(cluster, tmp_path):
    before = json.dumps(content(cluster))
    lab = ExistingLab(binaries(), str(tmp_path), lab_id="wrong", options=options(cluster, confirm="kwok-other"))
    with pytest.raises(KjouleError, match=r"expected kwok-other \(kjoule_existing_confirm\), saw context kwok-kjoule"):
        lab.fresh()
    assert json.dumps(content(cluster)) == before
