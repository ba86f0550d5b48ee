# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster is taken, and what is touched in it. The API server is a double that holds objects; a real one is in
tests/integration/test_existing_lab.py. kubectl is a script that answers with a kubeconfig."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import subprocess
import sys
import threading

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import api, existing
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiError, ApiUnavailable

NAMESPACES = "/api/v1/namespaces"
NODES = "/api/v1/nodes"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONFIG = {
    "contexts": [{"name": "admin@lab", "context": {"cluster": "lab", "user": "admin"}}],
    "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "current-context": "admin@lab",
}


class Cluster:
    """Objects by path, each with a uid of its own. ``stuck`` are those that a finalizer holds."""

    def __init__(self) -> None:
        self.objects = {}
        self.stuck = set()
        self.unserved = set()  # lists that the API server does not know
        self.answers = True
        self.number = 0
        self.unready = self.silent = 0  # so many answers of /readyz, and to requests for an object, are still to fail
        self.put(f"{NODES}/n1", {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        for name in ("default", "kube-system"):
            self.put(f"{NAMESPACES}/{name}", {"metadata": {"name": name}})

    def put(self, path, obj):
        self.number += 1
        obj["metadata"]["uid"] = f"uid-{self.number}"
        self.objects[path] = obj
        return obj

    def ready(self):
        self.unready -= 1
        return self.answers and self.unready < 0

    def close(self):
        """Has nothing to close."""

    def list(self, path):
        if path in self.unserved:
            raise ApiError("no", status=404, reason="NotFound", body="404 page not found")
        depth = path.count("/") + 1
        return {"items": [obj for where, obj in self.objects.items() if where.startswith(path + "/") and where.count("/") == depth]}

    def get(self, path):
        if path == "/version":
            return {"gitVersion": "v1.36.1"}
        self.silent -= 1
        if self.silent >= 0:
            raise ApiUnavailable("the API server cannot be reached", seen="ConnectionRefusedError")
        if path not in self.objects:
            raise ApiError("no", status=404, reason="NotFound", body="")
        return self.objects[path]

    def create(self, path, obj):
        return self.put(f"{path}/{obj['metadata']['name']}", obj)

    def patch(self, path, body):
        meta = self.get(path)["metadata"]
        for key, value in body["metadata"].items():
            meta[key] = {**(meta.get(key) or {}), **value} if isinstance(value, dict) else value
        return self.objects[path]

    def delete(self, path):
        self.get(path)
        if path not in self.stuck:
            del self.objects[path]
        return {}

    @property
    def namespaces(self):
        return {obj["metadata"]["name"] for obj in self.list(NAMESPACES)["items"]}


@pytest.fixture
def cluster(monkeypatch):
    world = Cluster()
    monkeypatch.setattr(existing.KubeApi, "from_kubeconfig_json", lambda _config, **_options: world)
    monkeypatch.setattr(existing.os, "geteuid", lambda: 0)
    monkeypatch.setattr(existing, "holder", lambda _port: (os.getpid(), "kube-apiserver"))
    monkeypatch.setattr(existing, "pids", lambda: iter([os.getpid()]))
    monkeypatch.setattr(existing, "identify", lambda pid: existing.ProcessIdentity(pid, 1, "/usr/bin/kube-apiserver"))
    monkeypatch.setattr(existing, "parent", lambda pid: 1)
    return world


@pytest.fixture
def make(tmp_path):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!{sys.executable}\nprint({json.dumps(CONFIG)!r})\n")
    kubectl.chmod(0o755)
    (tmp_path / "admin.conf").write_text("{}")

    def new(lab_id="one", **options):
        given = {"kubeconfig": str(tmp_path / "admin.conf"), "confirm": "admin@lab", **options}
        return existing.ExistingLab({"kubectl": str(kubectl)}, str(tmp_path / "state"), lab_id=lab_id, options=given, ready_timeout=0.3)

    return new


def left(tmp_path):
    labs = tmp_path / "state" / "labs"
    return [path.name for path in labs.iterdir() if path.is_dir()] if labs.is_dir() else []


def test_what_was_adopted_goes_and_what_others_made_stays(cluster, make, tmp_path):
    lab = make()
    assert lab.fresh().versions == {"kube-apiserver": "1.36.1"}
    assert list(lab.components()) == ["kube-apiserver"]
    cluster.put(f"{NAMESPACES}/kjoule-apps", {"metadata": {"name": "kjoule-apps"}})
    lab.adopt(f"{NAMESPACES}/kjoule-apps")
    cluster.put(f"{NAMESPACES}/somebodys", {"metadata": {"name": "somebodys"}})
    assert cluster.namespaces == {"default", "kube-system", "kjoule-lab", "kjoule-apps", "somebodys"}
    lab.discard()
    assert cluster.namespaces == {"default", "kube-system", "somebodys"}
    assert left(tmp_path) == []
    assert lab.discard() == 0.0


def test_one_that_was_made_anew_by_somebody_else_in_the_meantime_stays(cluster, make):
    lab = make()
    lab.fresh()
    cluster.put(f"{NAMESPACES}/kjoule-apps", {"metadata": {"name": "kjoule-apps"}})
    lab.adopt(f"{NAMESPACES}/kjoule-apps")
    cluster.put(f"{NAMESPACES}/kjoule-apps", {"metadata": {"name": "kjoule-apps"}})  # another uid
    lab.discard()
    assert "kjoule-apps" in cluster.namespaces


def test_objects_of_flux_that_wait_for_a_controller_are_let_go(cluster, make):
    lab = make()
    lab.fresh()
    definition = {
        "metadata": {"name": "kustomizations.kustomize.toolkit.fluxcd.io"},
        "spec": {
            "group": "kustomize.toolkit.fluxcd.io",
            "names": {"plural": "kustomizations"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }
    cluster.put(f"{CRDS}/kustomizations.kustomize.toolkit.fluxcd.io", definition)
    lab.adopt(f"{CRDS}/kustomizations.kustomize.toolkit.fluxcd.io")
    group = "/apis/kustomize.toolkit.fluxcd.io/v1"
    item = {"metadata": {"name": "root", "namespace": "flux-system", "finalizers": ["finalizers.fluxcd.io"]}}
    cluster.put(f"{group}/kustomizations/root", item)
    cluster.objects[f"{group}/namespaces/flux-system/kustomizations/root"] = item
    lab.discard()
    assert item["metadata"]["finalizers"] is None
    assert f"{CRDS}/kustomizations.kustomize.toolkit.fluxcd.io" not in cluster.objects


def test_objects_outside_of_namespaces_are_let_go_as_well(cluster, make):
    lab = make()
    lab.fresh()
    path = f"{CRDS}/widgets.example.com"
    spec = {"group": "example.com", "names": {"plural": "widgets"}, "versions": [{"name": "v1", "served": True, "storage": True}]}
    with lab.delivering([path]):
        cluster.put(path, {"metadata": {"name": "widgets.example.com", "labels": lab.labels}, "spec": spec})
    item = cluster.put("/apis/example.com/v1/widgets/a", {"metadata": {"name": "a", "finalizers": ["example.com/wait"]}})
    lab.discard()
    assert item["metadata"]["finalizers"] is None


def version(name, *, served=True, storage=False):
    return {"name": name, "served": served, "storage": storage}


@pytest.mark.parametrize(
    ("versions", "asked"),
    [
        ([version("v1"), version("v2", storage=True)], "v2"),
        ([version("v1", served=False, storage=True), version("v2", served=False), version("v3")], "v3"),
        ([version("v1", storage=True)], None),  # not established
        ([version("v1", served=False, storage=True)], None),
    ],
)
def test_a_definition_that_is_not_served_does_not_stop_the_removal(cluster, make, versions, asked):
    lab = make()
    lab.fresh()
    path = f"{CRDS}/widgets.example.com"
    spec = {"group": "example.com", "names": {"plural": "widgets"}, "versions": versions}
    cluster.put(path, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
    lab.adopt(path)
    where = {entry["name"]: f"/apis/example.com/{entry['name']}/widgets" for entry in versions}
    cluster.unserved = {kind for name, kind in where.items() if name != asked}
    held = {"metadata": {"name": "a", "finalizers": ["example.com/wait"]}}
    if asked:
        cluster.put(f"{where[asked]}/a", held)
    lab.discard()
    assert path not in cluster.objects
    assert cluster.namespaces == {"default", "kube-system"}
    assert held["metadata"]["finalizers"] == (None if asked else ["example.com/wait"])


def test_what_does_not_go_away_is_told_and_tried_again(cluster, make):
    lab = make()
    lab.fresh()
    cluster.stuck = {f"{NAMESPACES}/kjoule-apps"}
    cluster.put(f"{NAMESPACES}/kjoule-apps", {"metadata": {"name": "kjoule-apps"}})
    lab.adopt(f"{NAMESPACES}/kjoule-apps")
    with pytest.raises(KjouleError, match=r"does not go away.*saw /api/v1/namespaces/kjoule-apps.*kubectl get"):
        lab.discard()
    assert "kjoule-lab" in cluster.namespaces  # not free yet
    cluster.stuck = set()
    lab.discard()
    assert cluster.namespaces == {"default", "kube-system"}


def test_an_api_server_that_is_away_for_a_moment_is_waited_for_at_the_end(cluster, make, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "PAUSE_SECONDS", 0.01)
    lab = make()
    lab.fresh()
    put(cluster, f"{NAMESPACES}/kjoule-apps")
    lab.adopt(f"{NAMESPACES}/kjoule-apps")
    cluster.unready, cluster.silent = 3, 1
    lab.discard()
    assert cluster.namespaces == {"default", "kube-system"}
    assert left(tmp_path) == []


def test_what_stays_in_a_cluster_that_is_down_is_told_and_the_kubeconfig_does_not_stay(cluster, make, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "PAUSE_SECONDS", 0.01)
    lab = make()
    lab.fresh()
    cluster.silent = 10**6
    with pytest.raises(
        KjouleError, match=r"the lab one made.*its API server is away: saw Conn.*; left are /api/v1/namespaces/kjoule-lab\. Next: .*=one"
    ):
        lab.discard()
    assert left(tmp_path) == []
    cluster.silent = 0
    lab.discard()
    assert cluster.namespaces == {"default", "kube-system"}


def refused(cluster, lab, says, tmp_path):
    before = json.dumps(cluster.objects, sort_keys=True)
    with pytest.raises(KjouleError, match=says):
        lab.fresh()
    assert json.dumps(cluster.objects, sort_keys=True) == before
    assert left(tmp_path) == []


@pytest.mark.parametrize(("uid", "name"), [(pwd.getpwnam("nobody").pw_uid, "nobody"), (4242424, "user id 4242424")])
def test_another_user_than_root_is_told_so_before_anything_else(cluster, make, tmp_path, monkeypatch, uid, name):
    monkeypatch.setattr(existing.os, "geteuid", lambda: uid)
    refused(cluster, make(confirm="other"), rf"expected root, saw {name}\. Next: connect as root, or set ansible_become: true", tmp_path)


def test_a_kubeconfig_that_leads_elsewhere_is_refused_with_where(cluster, make, tmp_path):
    says = r"another cluster than the one.*expected other \(kjoule_existing_confirm\), saw context admin@lab, cluster lab at https://127\.0\.0\.1:6443"
    refused(cluster, make(confirm="other"), says, tmp_path)


def test_a_kubeconfig_that_is_not_there_is_told(cluster, make, tmp_path):
    refused(cluster, make(kubeconfig="/nowhere/admin.conf"), r"/nowhere/admin\.conf cannot be used.*no such file", tmp_path)


def test_a_cluster_that_is_stopped_is_told(cluster, make, tmp_path):
    cluster.answers = False
    refused(cluster, make(), r"https://127\.0\.0\.1:6443 is not ready.*within 0\.3 s.*start it", tmp_path)


def test_a_cluster_of_several_nodes_is_refused_and_they_are_named(cluster, make, tmp_path):
    put(cluster, f"{NODES}/n2")
    refused(cluster, make(), r"has one node: .*expected one node, saw 2 nodes: n1, n2\. Next: .*kubectl delete node", tmp_path)
    cluster.objects = {path: item for path, item in cluster.objects.items() if not path.startswith(NODES)}
    refused(cluster, make(), r"expected one node, saw none", tmp_path)


def test_a_node_that_does_not_become_ready_is_refused_with_what_it_lacks(cluster, make, tmp_path):
    ready = cluster.objects[f"{NODES}/n1"]["status"]["conditions"][0]
    ready.update(status="False", reason="KubeletNotReady", message="no network plugin")
    refused(
        cluster,
        make(),
        r"not ready: .*within 0\.3 s, saw n1: Ready False KubeletNotReady no network plugin\. Next: .*describe node",
        tmp_path,
    )
    timer = threading.Timer(0.1, ready.update, [], {"status": "True"})
    timer.start()
    lab = make()
    lab.fresh()
    timer.join()
    lab.discard()


def test_a_control_plane_elsewhere_is_refused(cluster, make, tmp_path, monkeypatch):
    monkeypatch.setattr(existing, "holder", lambda _port: None)
    refused(cluster, make(), r"is no process of this host.*measure on the machine", tmp_path)


def test_processes_that_could_be_of_another_cluster_are_refused(cluster, make, tmp_path, monkeypatch):
    monkeypatch.setattr(existing, "pids", lambda: iter([os.getpid(), 11, 12]))
    exes = {os.getpid(): "/usr/bin/kube-apiserver", 11: "/a/etcd", 12: "/b/etcd"}
    monkeypatch.setattr(existing, "identify", lambda pid: existing.ProcessIdentity(pid, 1, exes[pid]))
    refused(cluster, make(), r"several processes.*called etcd.*pids 11, 12.*kjoule_existing_processes", tmp_path)
    monkeypatch.setattr(existing, "command_line", lambda pid: {11: "/a/etcd --data-dir /a", 12: "/b/etcd --data-dir /b"}[pid])
    lab = make(processes="--data-dir /b")
    lab.fresh()
    assert lab.components()["etcd"].pid == 12
    lab.discard()


def test_a_child_that_has_not_executed_its_own_program_yet_is_no_second_cluster(cluster, make, monkeypatch):
    exes = {os.getpid(): "/usr/bin/kube-apiserver", 11: "/usr/bin/kubelet", 12: "/usr/bin/kube-proxy", 13: "/usr/bin/kube-proxy"}
    monkeypatch.setattr(existing, "pids", lambda: iter(exes))
    monkeypatch.setattr(existing, "identify", lambda pid: existing.ProcessIdentity(pid, 1, exes[pid]))
    monkeypatch.setattr(existing, "parent", {os.getpid(): 1, 11: 1, 12: 7, 13: 12}.get)
    lab = make()
    lab.fresh()
    assert lab.components()["kube-proxy"].pid == 12
    lab.discard()


def test_the_replicas_of_coredns_are_components_each_where_one_kubelet_runs(cluster, make, tmp_path, monkeypatch):
    exes = {os.getpid(): "/usr/bin/kube-apiserver", 12: "/coredns", 11: "/coredns", 13: "/usr/bin/kubelet"}
    monkeypatch.setattr(existing, "pids", lambda: iter(exes))
    monkeypatch.setattr(existing, "identify", lambda pid: existing.ProcessIdentity(pid, 1, exes[pid]))
    lab = make()
    lab.fresh()
    assert {name: process.pid for name, process in lab.components().items() if "dns" in name} == {"coredns": 11, "coredns-2": 12}
    assert lab.component_roles()["coredns-2"] == "cluster"
    lab.discard()
    del exes[13]
    refused(cluster, make(), r"several processes.*called coredns.*pids 12, 11", tmp_path)


def test_a_namespace_in_use_is_refused(cluster, make, tmp_path):
    cluster.put(f"{NAMESPACES}/kjoule-apps", {"metadata": {"name": "kjoule-apps"}})
    refused(cluster, make(), r"namespace kjoule-apps is in use, and this lab did not make it", tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        f"{NAMESPACES}/flux-system",
        f"{CRDS}/gitrepositories.source.toolkit.fluxcd.io",
        # What stays where only the two others were removed.
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/crd-controller-flux-system",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-reconciler-flux-system",
    ],
)
def test_a_flux_of_somebody_else_is_refused(cluster, make, tmp_path, path):
    cluster.put(path, {"metadata": {"name": path.rsplit("/", 1)[1]}})
    refused(cluster, make(), r"Flux is installed in this cluster already, by somebody else.*flux uninstall", tmp_path)


ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
OWN = [f"{NAMESPACES}/prod", f"{ROLES}/agent"]


def put(cluster, *paths, labels=None):
    for path in paths:
        cluster.put(path, {"metadata": {"name": path.rsplit("/", 1)[1], **({"labels": labels} if labels else {})}})


@pytest.mark.parametrize("path", [*OWN, f"{NAMESPACES}/default", f"{NAMESPACES}/kube-public", f"{NAMESPACES}/kjoule-lab"])
def test_what_the_workload_would_make_and_somebody_has_is_refused(cluster, make, path):
    put(cluster, *OWN)
    lab = make()
    lab.fresh()
    lab.refuse_taken([f"{NAMESPACES}/shop"])
    with pytest.raises(
        KjouleError, match=rf"would change and remove what this lab did not make.*expected .*not in the cluster.*saw {path}\. Next: "
    ):
        lab.refuse_taken([f"{NAMESPACES}/shop", path])
    lab.discard()
    assert set(OWN) < set(cluster.objects)


@pytest.mark.parametrize("whole", [True, False])
def test_what_a_delivery_made_outside_of_namespaces_goes_with_the_lab_even_if_it_broke_off(cluster, make, whole):
    lab = make()
    lab.fresh()
    with contextlib.suppress(RuntimeError), lab.delivering(OWN):
        put(cluster, OWN[0], labels=lab.labels)
        if not whole:
            raise RuntimeError("kubectl apply failed")
        put(cluster, OWN[1], labels=lab.labels)
    if whole:
        with lab.delivering(OWN):  # an update of what is the lab's
            put(cluster, OWN[0], labels=lab.labels)  # removed and made again by the arm
    lab.discard()
    assert [path for path in OWN if path in cluster.objects] == []


@pytest.mark.parametrize("labels", [None, {"team": "a"}, {existing.LABEL: "another"}])
@pytest.mark.parametrize("broken", [True, False])
def test_what_somebody_made_while_the_lab_delivered_is_told_and_stays_as_it_is(cluster, make, tmp_path, broken, labels):
    lab = make()
    lab.fresh()
    with contextlib.suppress(RuntimeError), lab.delivering(OWN):
        put(cluster, OWN[0], labels=lab.labels)
        put(cluster, OWN[1], labels=labels)
        if broken:
            raise RuntimeError("kubectl apply failed")
    with lab.delivering([]):  # a phase that delivers nothing
        pass
    theirs = json.dumps(cluster.objects[OWN[1]])
    with pytest.raises(
        KjouleError, match=rf"somebody made what this lab should have.*label kjoule\.example/lab=one on.*saw none on {OWN[1]}\. Next: "
    ):
        lab.discard()
    assert json.dumps(cluster.objects[OWN[1]]) == theirs
    assert cluster.namespaces == {"default", "kube-system"}
    assert left(tmp_path) == []
    assert lab.discard() == 0.0


def test_what_somebody_makes_anew_after_the_teardown_is_not_the_labs(cluster, make):
    lab = make()
    lab.fresh()
    with lab.delivering(OWN):
        put(cluster, *OWN, labels=lab.labels)
    with lab.delivering(OWN):
        for path in OWN:
            cluster.delete(path)
        put(cluster, OWN[1])
    with pytest.raises(KjouleError, match=rf"saw none on {OWN[1]}\. "):
        lab.discard()
    assert [path for path in OWN if path in cluster.objects] == [OWN[1]]


def test_what_a_delivery_may_have_made_in_a_cluster_that_is_down_is_told_with_a_command_for_its_kinds(cluster, make, monkeypatch):
    monkeypatch.setattr(api, "PAUSE_SECONDS", 0.01)
    lab = make()
    lab.fresh()
    others = ["/apis/apiregistration.k8s.io/v1/apiservices/v1.own", "/apis/example.com/v1/widgets/a"]
    with lab.delivering(OWN[:1]):
        put(cluster, OWN[0], labels=lab.labels)
    with contextlib.suppress(RuntimeError), lab.delivering([*OWN, *others]):
        raise RuntimeError("kubectl apply failed")
    cluster.silent = 10**6
    left_are, there_may_be = f"{NAMESPACES}/kjoule-lab, {OWN[0]}", ", ".join([OWN[1], *others])
    kinds = f"{existing._KINDS},apiservices.apiregistration.k8s.io,widgets.example.com"
    with pytest.raises(KjouleError) as told:
        lab.discard()
    assert f"left are {left_are}; of a delivery that broke off there may also be {there_may_be}. Next" in str(told.value)
    assert f"kubectl delete {kinds} -l kjoule.example/lab=one" in str(told.value)
    cluster.silent = 0
    lab.discard()


def test_what_others_make_where_the_lab_has_not_delivered_yet_is_neither_changed_nor_removed(cluster, make):
    lab = make()
    lab.fresh()
    lab.refuse_taken(OWN)
    put(cluster, OWN[0])
    with pytest.raises(KjouleError, match="saw /api/v1/namespaces/prod"), lab.delivering(OWN):
        raise AssertionError("delivered")
    lab.discard()
    assert OWN[0] in cluster.objects


def test_two_labs_at_once_are_refused(cluster, make, tmp_path):
    first = make("one")
    first.fresh()
    with pytest.raises(KjouleError, match=r"has another lab in it.*saw lab one.*by pid \d+ on .*kubectl delete.*-l kjoule\.example/lab"):
        make("two").fresh()
    assert left(tmp_path) == ["one"]
    first.discard()


def test_two_labs_of_one_name_are_refused(cluster, make, tmp_path):
    first = make("one")
    first.fresh()
    with pytest.raises(KjouleError, match=r"the lab one exists already"):
        make("one").fresh()
    assert "kjoule-lab" in cluster.namespaces
    first.discard()


def test_a_command_line_is_read_and_that_of_a_process_that_is_gone_is_empty():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert existing.command_line(process.pid) == ""
    assert "python" in existing.command_line(os.getpid())


@pytest.mark.parametrize(
    "lab_id",
    ["run-b01-p1-a1-0a1b2c", "r" * 63, "r" * 64, f"{'long.' * 18}-b01-p1-a1", "ends-in-", f"{'x' * 49}---{'y' * 40}"],
)
def test_every_id_of_a_lab_has_a_label_that_kubernetes_takes(lab_id):
    value = existing.label_value(lab_id)
    assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)
    assert value == lab_id or value != existing.label_value(f"{lab_id[:-2]}zz")
