# SPDX-License-Identifier: GPL-3.0-or-later
"""The in-cluster ways of the roles monitoring and kepler, on a real API server: what is applied, refused, and taken away again.

The cluster is kwok's: no container runs. The definitions of HelmRelease and HelmRepository are those of Flux's own modules, so the API
server refuses what they do not know. Flux's controllers are a double here: two Deployments by their names, and a thread that answers in the
status of every release as helm-controller does. No chart is fetched.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.build import environment
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.origins import get_go
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.settings import Settings
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from test_monitoring import ROOT, changed, run_tasks
from tiny import binaries, wait_until

pytestmark = pytest.mark.integration

#: The release of helm-controller that belongs to the source-controller of tools/.
HELM_CONTROLLER = "github.com/fluxcd/helm-controller@v1.6.3"
RELEASES = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/kjoule-monitoring/helmreleases"
REPOSITORIES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/kjoule-monitoring/helmrepositories"
IMAGE = {"kepler_cluster_image": "mirror.example/kepler:v0.11.4"}
TASKS = {"kepler": "cluster", "monitoring": "main"}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def definitions():
    """The CustomResourceDefinitions of the two kinds that the role applies."""
    settings = Settings()
    try:
        go = get_go(settings, "1.21")
    except KjouleError as error:
        pytest.skip(f"not run: the definition of HelmRelease comes with helm-controller's module: {error}")
    command = [go.command, "mod", "download", "-json", HELM_CONTROLLER]
    done = subprocess.run(command, env=environment(settings.folder), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"not run: {HELM_CONTROLLER} cannot be had: {done.stdout[-300:]}{done.stderr[-300:]}")
    release = Path(json.loads(done.stdout)["Dir"]) / "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"
    documents = [
        *yaml.safe_load_all(release.read_text(encoding="utf-8")),
        *yaml.safe_load_all(Path(binaries()["source-controller-crds"]).read_text(encoding="utf-8")),
    ]
    found = {document["spec"]["names"]["kind"]: document for document in documents if document}
    return [found["HelmRelease"], found["HelmRepository"]]


class MixedLab(KwokLab):
    """Of its nodes kwok runs those that it made itself, so that others can be a double's."""

    def _configuration(self):
        given = super()._configuration()
        flags = {"manage-all-nodes": "false", "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake"}
        patch = {"name": "kwok-controller", "extraArgs": [{"key": key, "value": value} for key, value in flags.items()]}
        return {**given, "componentsPatches": [*given["componentsPatches"], patch]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    paths = {name: path for name, path in binaries().items() if name in BINARIES}
    with MixedLab(paths, str(tmp_path_factory.mktemp("somebody")), lab_id=f"monitored-{os.getpid()}", ready_timeout=240.0) as lab:
        yield lab


@pytest.fixture(scope="module")
def flux(cluster, definitions):
    """What the role looks for in a cluster with Flux."""
    for definition in definitions:
        cluster.api.create(DEFINITIONS, definition)
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "flux-system"}})
    for name in ("source-controller", "helm-controller"):
        labels = {"app": name}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "manager", "image": f"mirror.example/{name}"}]}}
        spec = {"selector": {"matchLabels": labels}, "template": pod}
        cluster.api.create("/apis/apps/v1/namespaces/flux-system/deployments", {"metadata": {"name": name}, "spec": spec})


class Kubelet:
    """The double of a kubelet, for a node that kwok does not manage: it says of each pod what the image's name asks for.

    ``missing``: it cannot be had; ``crashing``: it ends again and again; all others are ready.
    """

    def __init__(self, cluster: KwokLab, name: str) -> None:
        self.api, self.name = cluster.api, name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Kubelet:
        self.api.create("/api/v1/nodes", {"metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}}})
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.delete(f"/api/v1/nodes/{self.name}")
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        """Without one for 50 s the node is tainted as unreachable, and no DaemonSet wants a pod on it any more."""
        resources = {"cpu": "4", "memory": "4Gi", "pods": "10"}
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "double", "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now}
        status = {"allocatable": resources, "capacity": resources, "conditions": [ready]}
        self.api.patch(f"/api/v1/nodes/{self.name}/status", {"status": status})

    def _work(self) -> None:
        beaten = time.monotonic()
        while not self._stop.wait(0.1):
            if time.monotonic() - beaten > 5:
                beaten = time.monotonic()
                with contextlib.suppress(KjouleError):
                    self._beat()
            for pod in items(self.api, "/api/v1/pods"):
                if pod["spec"].get("nodeName") == self.name:
                    with contextlib.suppress(KjouleError):
                        self._tell(pod)

    def _tell(self, pod) -> None:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        if pod["metadata"].get("deletionTimestamp"):
            self.api.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
            return
        image = pod["spec"]["containers"][0]["image"]
        ready = "missing" not in image and "crashing" not in image
        container = {"name": "kepler", "image": image, "imageID": "", "ready": ready, "restartCount": 0, "state": {"running": {}}}
        if "missing" in image:
            container["state"] = {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}
        if "crashing" in image:
            container["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
            container["lastState"] = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no RAPL zones found\n"}}
        conditions = [{"type": kind, "status": str(ready)} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running" if ready else "Pending", "containerStatuses": [container]}
        if (pod.get("status") or {}).get("containerStatuses") is None:
            self.api.patch(f"{path}/status", {"status": {**status, "conditions": conditions}})


class HelmController:
    """The double: once ``told`` it has installed every release, before that it says of each why it could not."""

    def __init__(self, cluster: KwokLab) -> None:
        self.api = cluster.api
        self.told = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> HelmController:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(0.1):
            verdict = ("True", "InstallSucceeded", "double") if self.told.is_set() else ("False", "ArtifactFailed", "chart cannot be had")
            condition = dict(zip(("status", "reason", "message"), verdict), type="Ready", lastTransitionTime="2026-01-01T00:00:00Z")
            for item in items(self.api, RELEASES):
                status = {"conditions": [condition], "observedGeneration": item["metadata"]["generation"]}
                if item.get("status") != status:
                    with contextlib.suppress(KjouleError):
                        self.api.patch(f"{RELEASES}/{item['metadata']['name']}/status", {"status": status})


def items(api, path):
    try:
        return api.list(path).get("items") or []
    except KjouleError:
        return []


def namespaces(cluster):
    return {item["metadata"]["name"] for item in items(cluster.api, "/api/v1/namespaces")}


def include(role, **variables):
    return {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": TASKS[role]}, "vars": {**IMAGE, **variables}}


def refused(name, role, **variables):
    """The same, of which nothing but ``name`` and the message shall be seen."""
    told = {"ansible.builtin.debug": {"msg": name + ": {{ ansible_failed_result.msg }}"}}
    return {"block": [include(role, **variables)], "rescue": [told]}


def teardown(**variables):
    tasks = {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/teardown_stack.yml")}
    return {**tasks, "vars": {"ansible_become": False, **variables}}


def mark(path):
    return {"ansible.builtin.copy": {"dest": str(path), "content": ""}, "changed_when": False}


@pytest.fixture
def run(cluster, tmp_path, monkeypatch):
    """Plays tasks: how many changed something, and what was said."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the client of the modules keeps what it has seen of an API server
    where = {"kepler_cluster_kubeconfig": cluster.kubeconfig, "kjoule_lab": "existing", "kjoule_existing_kubeconfig": cluster.kubeconfig}

    def play(*tasks, **more):
        done = run_tasks(tmp_path, list(tasks), {**where, "kjoule_monitoring_place": "cluster", **more})
        assert [*tmp_path.glob("k8srcp-*"), *tmp_path.glob("kjoule-*")] == []  # nor does it stay there
        return changed(done), done.stdout

    return play


def test_without_flux_kepler_comes_and_the_charts_are_refused_by_what_is_missing(cluster, run):
    if items(cluster.api, DEFINITIONS):
        pytest.fail("this test has to come before those with Flux")
    before = namespaces(cluster)
    count, said = run(
        refused("key", "kepler", kepler_config={"monitor": {"intervall": "1s"}}),
        refused("no Flux", "monitoring"),
    )
    assert count == 0
    assert re.search(r'"key: .*intervall', said), said
    assert re.search(r'"no Flux: .*there is no HelmRelease, no HelmRepository, no helm-controller, no source-controller', said), said
    assert re.search(r'"no Flux: .*set kjoule_monitoring_place to host', said), said
    assert namespaces(cluster) == before
    # The second time changes nothing.
    assert run(include("kepler"), include("kepler"))[0] == 1
    nodes = len(items(cluster.api, "/api/v1/nodes"))
    seen = cluster.api.get("/apis/apps/v1/namespaces/kjoule-kepler/daemonsets/kepler")
    assert seen["status"]["desiredNumberScheduled"] == nodes > 0
    assert seen["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror.example/kepler:v0.11.4"


def rights(cluster):
    kinds = [f"/apis/rbac.authorization.k8s.io/v1/{plural}" for plural in ("clusterroles", "clusterrolebindings")]
    return {item["metadata"]["name"] for kind in kinds for item in items(cluster.api, kind) if "kepler" in item["metadata"]["name"]}


def test_a_kepler_that_cannot_run_is_told_with_the_reason_and_the_cluster_is_as_it_was(cluster, run):
    """The node is a double (Kubelet), all else is real."""

    def tried(name, image, **more):
        return refused(name, "kepler", kepler_cluster_image=f"mirror.example/{image}:v0.11.4", **more)

    away = include("kepler", kepler_cluster_state="absent")
    with Kubelet(cluster, "node-double"):
        _count, said = run(away, tried("fresh", "missing"), tried("crash", "crashing"))
        assert re.search(
            r'"fresh: Kepler in the cluster: the image mirror.example/missing:v0.11.4 is not to be had: '
            r"expected one that the node has, or can pull, saw kepler-\w+: ErrImagePull no such host. "
            r"Next: set kepler_cluster_image .*what was put in was taken away again",
            said,
        ), said
        assert re.search(
            r'"crash: .*image mirror.example/crashing:v0.11.4 ends again and again: .*saw kepler-\w+: CrashLoopBackOff, exit status 1, '
            r"last words: no RAPL zones found. Next: kubectl logs -n kjoule-kepler --previous kepler-",
            said,
        ), said
        assert "kjoule-kepler" not in namespaces(cluster)
        assert rights(cluster) == set()
        # One that runs is brought back.
        _count, said = run(include("kepler"), tried("update", "missing"))
        assert re.search(r'"update: .*mirror.example/missing:v0.11.4 is not to be had.*that was there before was brought back', said), said
        path = "/apis/apps/v1/namespaces/kjoule-kepler/daemonsets/kepler"
        assert cluster.api.get(path)["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror.example/kepler:v0.11.4"
        wait_until(lambda: cluster.api.get(path)["status"].get("numberReady") == len(items(cluster.api, "/api/v1/nodes")))
        run(away)
    assert "kjoule-kepler" not in namespaces(cluster)
    assert rights(cluster) == set()


def test_teardown_takes_kepler_out_of_the_cluster_but_for_what_is_not_ours_and_one_that_is_gone_is_no_failure(cluster, run, tmp_path):
    run(include("kepler"))
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/kjoule-kepler"
    cluster.api.patch(role, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}})
    try:
        count, said = run(teardown(), refused("foreign", "kepler"))
        assert count == 1
        assert re.search(r"ClusterRole kjoule-kepler was not made by kjoule .* and stays", said), said
        assert re.search(r'"foreign: ClusterRole kjoule-kepler is in this cluster and was not made by kjoule', said), said
        assert "kjoule-kepler" not in namespaces(cluster)
        assert rights(cluster) == {"kjoule-kepler"}
        assert cluster.api.get(role)["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "somebody"}
    finally:
        cluster.api.delete(role)
    closed = tmp_path / "closed"
    closed.write_text(
        re.sub(r"(server.*127\.0\.0\.1):\d+", r"\1:1", Path(cluster.kubeconfig).read_text(encoding="utf-8")), encoding="utf-8"
    )
    gone = {"kepler_cluster_kubeconfig": str(tmp_path / "nowhere"), "kjoule_existing_kubeconfig": str(closed)}
    count, said = run(teardown(kjoule_monitoring=True), **gone)
    assert count == 0
    for role in ("kepler", "monitoring"):
        assert re.search(rf"Nothing was taken out of the cluster for {role}, for it cannot be reached", said), said


def test_a_namespace_of_somebody_else_is_left_alone_while_kepler_goes_without_a_trace(cluster, flux, run):
    before = namespaces(cluster) - {"kjoule-kepler"}
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "kjoule-monitoring"}})
    try:
        count, said = run(
            *(refused(state, "monitoring", monitoring_cluster_state=state) for state in ("present", "absent")),
            include("kepler"),
            include("kepler", kepler_cluster_state="absent"),
        )
        assert count == 2
        for state in ("present", "absent"):
            assert re.search(rf'"{state}: .*was not made by kjoule', said), said
        assert namespaces(cluster) == before | {"kjoule-monitoring"}
        assert items(cluster.api, RELEASES) == []
    finally:
        cluster.api.delete("/api/v1/namespaces/kjoule-monitoring")
    wait_until(lambda: "kjoule-monitoring" not in namespaces(cluster))


def test_charts_that_do_not_get_ready_are_named_and_both_come_with_the_roles_own_rules_and_dashboards_and_go_again(
    cluster, flux, run, tmp_path
):
    with HelmController(cluster) as controller:
        waiter = threading.Thread(target=lambda: wait_until((tmp_path / "told").exists) and controller.told.set())
        waiter.start()
        slow = {"monitoring_cluster_wait_seconds": 2, "monitoring_grafana": False}
        count, said = run(refused("slow", "monitoring", **slow), mark(tmp_path / "told"), include("monitoring"), include("monitoring"))
        waiter.join()
        assert re.search(r'"slow: Not installed within 2 s: kjoule-prometheus .*helm-controller says: chart cannot be had', said), said
        assert count == 2  # the charts of the first, with Grafana in the second, and nothing in the third
        releases = {item["metadata"]["name"]: item["spec"] for item in items(cluster.api, RELEASES)}
        assert set(releases) == {"kjoule-prometheus", "kjoule-grafana"}
        assert {item["metadata"]["name"] for item in items(cluster.api, REPOSITORIES)} == set(releases)
        prometheus, grafana = (releases[name]["values"] for name in ("kjoule-prometheus", "kjoule-grafana"))
        records = [rule.get("record") for group in prometheus["serverFiles"]["recording_rules.yml"]["groups"] for rule in group["rules"]]
        assert "kjoule:host_joules:increase1m" in records
        source = grafana["datasources"]["datasources.yaml"]["datasources"][0]
        assert source["url"] == "http://kjoule-prometheus-server.kjoule-monitoring.svc"
        boards = cluster.api.get("/api/v1/namespaces/kjoule-monitoring/configmaps/kjoule-dashboards")["data"]
        own = ROOT / "roles/monitoring/files/dashboards"
        assert boards == {path.name: path.read_text(encoding="utf-8") for path in own.glob("*.json")}
        away = teardown(kjoule_monitoring=True)
        assert run(away, away)[0] == 2  # releases and namespace; the second time nothing is there
    assert "kjoule-monitoring" not in namespaces(cluster)
