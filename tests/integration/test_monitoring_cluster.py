# SPDX-License-Identifier: GPL-3.0-or-later
"""The in-cluster ways of the roles monitoring and kepler, on a real API server: what is applied, refused, and taken away again.

The cluster is kwok's: no container runs. Flux's source- and helm-controller are real and run as processes, with two Deployments by their
names, for that is what the role looks for. The charts are doubles: of the names, versions and the Deployment of those of Prometheus and
Grafana, with the values that they were given in a ConfigMap, from a repository on loopback.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.ports import free_ports
from test_monitoring import ROOT, changed, run_tasks
from tiny import binaries, wait_until

pytestmark = pytest.mark.integration

RELEASES = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/kjoule-monitoring/helmreleases"
REPOSITORIES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/kjoule-monitoring/helmrepositories"
IMAGE = {"kepler_cluster_image": "mirror.example/kepler:v0.11.4"}
TASKS = {"kepler": "cluster", "monitoring": "main"}
CONTROLLERS = "/apis/apps/v1/namespaces/flux-system/deployments"
WITH_A_CHART = {
    "deployments": "/apis/apps/v1/namespaces/kjoule-monitoring/deployments",
    "configmaps": "/api/v1/namespaces/kjoule-monitoring/configmaps",
}
SETS = ("deployments", "daemonsets", "statefulsets")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def controllers(tmp_path_factory):
    """Flux's controllers for charts, and the definitions of their kinds: name -> path."""
    folder = tmp_path_factory.mktemp("controllers")
    names = ["helm-controller", "helm-controller-crds"]
    get = {"ansible.builtin.include_role": {"name": "kjoule.bench.artifacts", "tasks_from": "get"}, "vars": {"artifacts_names": names}}
    told = {"ansible.builtin.copy": {"content": "{{ artifacts_result | to_json }}", "dest": str(folder / "got.json")}}
    done = run_tasks(folder, [get, told], {"artifacts_origin": "build"})
    assert done.returncode == 0, done.stdout + done.stderr
    got = json.loads((folder / "got.json").read_text(encoding="utf-8"))
    return {**binaries(), **{name: got[name]["path"] for name in names}}


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
def flux(cluster, controllers, tmp_path_factory):
    """A cluster with Flux for charts."""
    for name in ("source-controller-crds", "helm-controller-crds"):
        for document in filter(None, yaml.safe_load_all(Path(controllers[name]).read_text(encoding="utf-8"))):
            cluster.api.create(DEFINITIONS, document)
    wait_until(lambda: all(established(item) for item in items(cluster.api, DEFINITIONS)))
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "flux-system"}})
    for name in ("source-controller", "helm-controller"):
        add_deployment(cluster, name)
    folder = tmp_path_factory.mktemp("flux")
    ports = free_ports(["storage", "source-metrics", "source-health", "helm-metrics", "helm-health"], {})
    storage = f"127.0.0.1:{ports['storage']}"
    (folder / "storage").mkdir()
    own = {
        "source": [f"--storage-path={folder / 'storage'}", f"--storage-addr={storage}", f"--storage-adv-addr={storage}"],
        "helm": ["--requeue-dependency=1s"],
    }
    surroundings = {"KUBECONFIG": cluster.kubeconfig, "RUNTIME_NAMESPACE": "flux-system", "TUF_ROOT": str(folder / "sigstore")}
    with contextlib.ExitStack() as running:
        for short, flags in own.items():
            addresses = [f"--{kind}-addr=127.0.0.1:{ports[f'{short}-{kind}']}" for kind in ("metrics", "health")]
            common = ["--events-addr=", "--watch-all-namespaces=true", "--enable-leader-election=false"]
            log = running.enter_context((folder / f"{short}.log").open("w", encoding="utf-8"))
            process = subprocess.Popen(
                [controllers[f"{short}-controller"], *flags, *addresses, *common],
                env={**os.environ, **surroundings},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            running.callback(process.wait)
            running.callback(process.kill)
            wait_until(functools.partial(answers, f"http://127.0.0.1:{ports[f'{short}-health']}/readyz"))
        yield


def established(definition):
    return any(one["type"] == "Established" and one["status"] == "True" for one in definition.get("status", {}).get("conditions") or [])


def answers(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def add_deployment(cluster, name):
    """The double of a controller's Deployment."""
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "manager", "image": f"mirror.example/{name}"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    cluster.api.create(CONTROLLERS, {"metadata": {"name": name}, "spec": spec})


#: What the doubles of the charts hold: a Deployment as the real ones have, what is not in a namespace, and the values.
CHART = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-values"}
data: {values: {{ .Values | toJson | quote }}, version: {{ .Chart.Version | quote }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "{{ .Release.Name }}-reads-nodes"}
rules: [{apiGroups: [""], resources: [nodes], verbs: [get]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}-server"}
spec:
  selector: {matchLabels: {app: {{ .Release.Name | quote }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name | quote }}}}
    spec: {containers: [{name: server, image: "mirror.example/server"}]}
"""


def make_double(folder: Path, name: str, version: str) -> None:
    """The double of a chart, as an archive."""
    about = {"apiVersion": "v2", "name": name, "version": version}
    with tarfile.open(folder / f"{name}-{version}.tgz", "w:gz") as packed:
        for path, text in (("Chart.yaml", json.dumps(about)), ("values.yaml", "{}"), ("templates/all.yaml", CHART)):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(text.encode())
            packed.addfile(member, io.BytesIO(text.encode()))


class ChartRepository:
    """Serves the charts of a folder by their versions; until it is ``open`` it answers 503, as a mirror that is down."""

    def __init__(self, folder: Path, charts: dict[str, str]) -> None:
        entries = {
            name: [
                {"apiVersion": "v2", "name": name, "version": version, "urls": [f"{name}-{version}.tgz"], "created": "2026-01-01T00:00:00Z"}
            ]
            for name, version in charts.items()
        }
        index = {"apiVersion": "v1", "generated": "2026-01-01T00:00:00Z", "entries": entries}
        (folder / "index.yaml").write_text(yaml.safe_dump(index), encoding="utf-8")
        self.open = threading.Event()
        repository = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if repository.open.is_set():
                    super().do_GET()
                else:
                    self.send_error(503)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ChartRepository:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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


def items(api, path):
    try:
        return api.list(path).get("items") or []
    except KjouleError:
        return []


def namespaces(cluster):
    return {item["metadata"]["name"] for item in items(cluster.api, "/api/v1/namespaces")}


def include(role, **variables):
    """No container runs here, so there are no joules to look at unless a test wants to see that."""
    given = {**IMAGE, "__kepler_cluster_counts": False, **variables}
    return {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": TASKS[role]}, "vars": given}


def refused(name, role, **variables):
    """The same, of which nothing but ``name`` and the message shall be seen."""
    told = {"ansible.builtin.debug": {"msg": name + ": {{ ansible_failed_result.msg }}"}}
    return {"block": [include(role, **variables)], "rescue": [told]}


def teardown(**variables):
    tasks = {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/teardown_stack.yml")}
    return {**tasks, "vars": {"ansible_become": False, **variables}}


def mark(path):
    return {"ansible.builtin.copy": {"dest": str(path), "content": ""}, "changed_when": False}


def beside_another(cluster, folder):
    """A kubeconfig in which the cluster is the context ``meant``, and the current one leads to where nobody answers."""
    given = yaml.safe_load(Path(cluster.kubeconfig).read_text(encoding="utf-8"))
    (context,) = given["contexts"]
    given["clusters"].append({"name": "other", "cluster": {"server": "https://127.0.0.1:1"}})
    given["contexts"] = [{**context, "name": "meant"}, {"name": "other", "context": {**context["context"], "cluster": "other"}}]
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump({**given, "current-context": "other"}), encoding="utf-8")
    return path


@pytest.fixture
def run(cluster, tmp_path, monkeypatch):
    """Plays tasks: how many changed something, and what was said."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the client of the modules keeps what it has seen of an API server
    path = str(beside_another(cluster, tmp_path))
    where = {
        "kepler_cluster_kubeconfig": path,
        "kjoule_lab": "existing",
        "kjoule_existing_kubeconfig": path,
        "kjoule_existing_context": "meant",
        "kjoule_existing_confirm": "meant",
    }

    def play(*tasks, **more):
        done = run_tasks(tmp_path, list(tasks), {**where, "kjoule_monitoring_place": "cluster", **more})
        assert [*tmp_path.glob("k8srcp-*"), *tmp_path.glob("kjoule-*")] == []  # nor does it stay there
        return changed(done), done.stdout

    return play


def test_a_cluster_that_nobody_named_is_refused(cluster, run):
    """By the role's own settings: those of the lab name the right one, which all other tests show."""
    before = namespaces(cluster)
    wrong = {"none": {"kubeconfig": ""}, "several": {"context": "", "confirm": ""}, "another": {"context": "other", "confirm": "meant"}}
    says = {
        "none": "no cluster is named: .*Next: set {}_cluster_kubeconfig",
        "several": ".*has several contexts, and none of them is named: .*Next: set {}_cluster_context",
        "another": ".*leads to another cluster .*saw context other, cluster other at https://127.0.0.1:1",
    }
    for role in ("kepler", "monitoring"):
        for name, given in wrong.items():
            count, said = run(refused(role, role), **{f"{role}_cluster_{key}": value for key, value in given.items()})
            assert count == 0
            assert re.search(f'"{role}: {says[name].format(role)}', said), said
    assert namespaces(cluster) == before


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
    # No pod shows joules, for no container runs.
    _count, said = run(refused("joules", "kepler", __kepler_cluster_counts=True))
    says = (
        r'"joules: Kepler in the cluster: Kepler on the node \S+ \(kepler-\w+\) does not answer through the API server: .*taken away again'
    )
    assert re.search(says, said), said
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
        re.sub(r"(server.*127\.0\.0\.1):\d+", r"\1:1", (tmp_path / "kubeconfig").read_text(encoding="utf-8")), encoding="utf-8"
    )
    gone = {"kepler_cluster_kubeconfig": str(tmp_path / "nowhere"), "kjoule_existing_kubeconfig": str(closed)}
    count, said = run(teardown(kjoule_monitoring=True), **gone)
    assert count == 0
    for role in ("kepler", "monitoring"):
        assert re.search(rf"Nothing was taken out of the cluster for {role}, for it cannot be reached", said), said
    # What is left of a file when its last cluster is deleted, and settings that name none: nothing was put into one.
    emptied = tmp_path / "emptied"
    emptied.write_text("{contexts: null, clusters: null, users: null}", encoding="utf-8")
    gone = {"kepler_cluster_kubeconfig": str(emptied), "kjoule_existing_kubeconfig": ""}
    count, said = run(teardown(kjoule_monitoring=True), **gone)
    assert count == 0
    assert re.search(r"Nothing was taken out of the cluster for kepler, for it cannot be reached .*has no context in it", said), said
    assert "Look who has the namespace" not in said


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
    charts = pinned()
    (tmp_path / "charts").mkdir()
    for name, version in charts.items():
        make_double(tmp_path / "charts", name, version)
    with ChartRepository(tmp_path / "charts", charts) as repository:
        where = {f"monitoring_cluster_{name}_repository": repository.url for name in charts}
        slow = {"monitoring_cluster_wait_seconds": 12, "monitoring_grafana": False, **where}
        _count, said = run(refused("slow", "monitoring", **slow))
        assert re.search(
            r'"slow: Not installed within 12 s: kjoule-prometheus .*helm-controller says: HelmChart .* is not ready: ', said
        ), said
        # Flux asks a repository that failed again by itself, but ever more rarely.
        repository.open.set()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}}
        cluster.api.patch(f"{REPOSITORIES}/kjoule-prometheus", asked)
        count, said = run(include("monitoring", **where), include("monitoring", **where))
        assert count == 1  # Grafana comes in the first, and nothing in the second
        releases = {item["metadata"]["name"]: item for item in items(cluster.api, RELEASES)}
        assert set(releases) == {"kjoule-prometheus", "kjoule-grafana"}
        assert {item["metadata"]["name"] for item in items(cluster.api, REPOSITORIES)} == set(releases)
        # What the charts were given, and that they were installed and run.
        prometheus, grafana = (installed(cluster, name, charts) for name in charts)
        records = [rule.get("record") for group in prometheus["serverFiles"]["recording_rules.yml"]["groups"] for rule in group["rules"]]
        assert "kjoule:host_joules:increase1m" in records
        # A Kepler whose pod is replaced goes on under its node's name.
        jobs = {job["job_name"]: job for job in prometheus["serverFiles"]["prometheus.yml"]["scrape_configs"]}
        named = {rule["target_label"] for rule in jobs["kepler"]["relabel_configs"] if "target_label" in rule}
        assert named == {"host", "instance"}
        source = grafana["datasources"]["datasources.yaml"]["datasources"][0]
        assert source["url"] == "http://kjoule-prometheus-server.kjoule-monitoring.svc"
        boards = cluster.api.get("/api/v1/namespaces/kjoule-monitoring/configmaps/kjoule-dashboards")["data"]
        own = ROOT / "roles/monitoring/files/dashboards"
        assert boards == {path.name: path.read_text(encoding="utf-8") for path in own.glob("*.json")}
        # A setting that changes is an upgrade of the chart.
        assert run(include("monitoring", monitoring_retention="3d", **where))[0] == 1
        assert "3d" in json.dumps(installed(cluster, "prometheus", charts))
        # One that is asked for no more goes, the other stays.
        assert run(include("monitoring", monitoring_retention="3d", monitoring_grafana=False, **where))[0] == 1
        assert {item["metadata"]["name"] for path in (RELEASES, REPOSITORIES) for item in items(cluster.api, path)} == {"kjoule-prometheus"}
        left = {kind: json.dumps(items(cluster.api, path)) for kind, path in WITH_A_CHART.items()}
        assert "kjoule-prometheus-server" in left["deployments"]
        assert [kind for kind, found in left.items() if "kjoule-grafana" in found or "kjoule-dashboards" in found] == []
        run(include("monitoring", monitoring_retention="3d", **where))
        # Nobody would uninstall them.
        cluster.api.patch(f"{CONTROLLERS}/helm-controller", {"spec": {"replicas": 0}})
        count, said = run(refused("alone", "monitoring", monitoring_cluster_state="absent"))
        assert count == 0
        assert re.search(
            r'"alone: The charts of kjoule-grafana, kjoule-prometheus are uninstalled by .*and it is not there, or scaled to none',
            said,
        ), said
        assert {item["metadata"]["name"] for item in items(cluster.api, RELEASES)} == set(releases)
        cluster.api.patch(f"{CONTROLLERS}/helm-controller", {"spec": {"replicas": 1}})
        away = teardown(kjoule_monitoring=True)
        assert run(away, away)[0] == 2  # releases and namespace; the second time nothing is there
    assert "kjoule-monitoring" not in namespaces(cluster)
    roles = {item["metadata"]["name"] for item in items(cluster.api, "/apis/rbac.authorization.k8s.io/v1/clusterroles")}
    assert not {name for name in roles if name.startswith("kjoule-")}


def pinned():
    """The versions of the charts that the role asks for."""
    defaults = yaml.safe_load((ROOT / "roles/monitoring/defaults/main.yml").read_text(encoding="utf-8"))
    return {name: defaults[f"monitoring_cluster_{name}_chart"] for name in ("prometheus", "grafana")}


def installed(cluster, chart, charts):
    """The values that a chart was installed with by helm-controller, of the version that was asked for, once its Deployment is there."""
    kept = cluster.api.get(f"/api/v1/namespaces/kjoule-monitoring/configmaps/kjoule-{chart}-values")["data"]
    assert kept["version"] == charts[chart]
    seen = cluster.api.get(f"/apis/apps/v1/namespaces/kjoule-monitoring/deployments/kjoule-{chart}-server")
    assert seen["status"]["readyReplicas"] == 1
    return json.loads(kept["values"])


@pytest.mark.skipif("KJOULE_TEST_CHARTS" not in os.environ, reason="KJOULE_TEST_CHARTS names no folder with the real charts, as archives")
def test_the_real_charts_make_of_the_roles_values_what_the_role_means(cluster, flux, run, tmp_path):
    """Those of Prometheus and Grafana, in the versions of the role's defaults, which nothing here can fetch."""
    charts = pinned()
    with ChartRepository(Path(os.environ["KJOULE_TEST_CHARTS"]), charts) as repository:
        repository.open.set()
        where = {f"monitoring_cluster_{name}_repository": repository.url for name in charts}
        run(include("monitoring", **where))
        base = "/apis/apps/v1/namespaces/kjoule-monitoring"
        kinds = {kind: {item["metadata"]["name"]: item for item in items(cluster.api, f"{base}/{kind}")} for kind in SETS}
        # Nothing but the two: no alertmanager, no exporter of nodes.
        assert {kind: set(names) for kind, names in kinds.items()} == {
            "deployments": {"kjoule-prometheus-server", "kjoule-grafana"},
            "daemonsets": set(),
            "statefulsets": set(),
        }
        images = {
            box["image"].split("/")[-1] for one in kinds["deployments"].values() for box in one["spec"]["template"]["spec"]["containers"]
        }
        assert {"prometheus:v3.5.0", "grafana:11.6.0"} <= images
        # Prometheus' own judgement of what the chart wrote for it.
        files = cluster.api.get("/api/v1/namespaces/kjoule-monitoring/configmaps/kjoule-prometheus-server")["data"]
        written = yaml.safe_load(files["prometheus.yml"])
        assert [job["job_name"] for job in written["scrape_configs"]] == ["kepler", "prometheus"]
        # Debian's promtool knows no discovery in Kubernetes.
        assert written["scrape_configs"][0].pop("kubernetes_sd_configs") == [
            {"role": "endpointslice", "namespaces": {"names": ["kjoule-kepler"]}}
        ]
        for name, text in {**files, "prometheus.yml": yaml.safe_dump(written)}.items():
            (tmp_path / name).write_text(text.replace("/etc/config/", f"{tmp_path}/"), encoding="utf-8")
        judged = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stdout + judged.stderr
        own = yaml.safe_load(files["recording_rules.yml"])
        assert "kjoule:host_joules:increase1m" in {rule.get("record") for group in own["groups"] for rule in group["rules"]}
        arguments = " ".join(kinds["deployments"]["kjoule-prometheus-server"]["spec"]["template"]["spec"]["containers"][-1]["args"])
        for flag in ("--storage.tsdb.retention.time=30d", "--web.enable-remote-write-receiver", "--config.file=/etc/config/prometheus.yml"):
            assert flag in arguments
        # It may look for the Keplers, and Grafana finds it by its service.
        roles = {item["metadata"]["name"]: item for item in items(cluster.api, "/apis/rbac.authorization.k8s.io/v1/clusterroles")}
        rights = roles["kjoule-prometheus-server"]["rules"]
        assert any("endpointslices" in rule.get("resources", []) and {"list", "watch"} <= set(rule["verbs"]) for rule in rights)
        service = cluster.api.get("/api/v1/namespaces/kjoule-monitoring/services/kjoule-prometheus-server")
        assert [port["port"] for port in service["spec"]["ports"]] == [80]
        given = cluster.api.get("/api/v1/namespaces/kjoule-monitoring/configmaps/kjoule-grafana")["data"]
        source = yaml.safe_load(given["datasources.yaml"])["datasources"][0]
        assert source["url"] == "http://kjoule-prometheus-server.kjoule-monitoring.svc"
        pod = kinds["deployments"]["kjoule-grafana"]["spec"]["template"]["spec"]
        mounted = {volume["name"] for volume in pod["volumes"] if volume.get("configMap", {}).get("name") == "kjoule-dashboards"}
        paths = {mount["mountPath"] for box in pod["containers"] for mount in box["volumeMounts"] if mount["name"] in mounted}
        assert "/var/lib/grafana/dashboards/kjoule" in paths
        run(teardown(kjoule_monitoring=True))
    assert "kjoule-monitoring" not in namespaces(cluster)
    assert {item["metadata"]["name"] for item in items(cluster.api, "/apis/rbac.authorization.k8s.io/v1/clusterroles")} == set(roles) - {
        name for name in roles if name.startswith("kjoule-")
    }
