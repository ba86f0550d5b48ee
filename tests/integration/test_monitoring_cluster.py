# SPDX-License-Identifier: GPL-3.0-or-later
"""The in-cluster ways of the roles monitoring and kepler, on a real API server: what is applied, refused, and taken away again.

The cluster is kwok's: no container runs. The definitions of HelmRelease and HelmRepository are those of Flux's own modules, so the API
server refuses what they do not know. Flux's controllers are a double here: two Deployments by their names, and a thread that says Ready of
every release, as helm-controller does after an installation. No chart is fetched.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from test_monitoring import changed, play
from tiny import binaries, wait_until

pytestmark = pytest.mark.integration

#: The release of helm-controller that belongs to the source-controller of tools/.
HELM_CONTROLLER = "github.com/fluxcd/helm-controller@v1.6.3"
RELEASES = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/kjoule-monitoring/helmreleases"
REPOSITORIES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/kjoule-monitoring/helmrepositories"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def definitions():
    """The CustomResourceDefinitions of the two kinds that the role applies."""
    if not shutil.which("go"):
        pytest.skip("not run: the definition of HelmRelease comes with helm-controller's module, and there is no go")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    environment = {**os.environ, "GOMODCACHE": f"{cache}/kjoule/go/mod", "GOFLAGS": "-modcacherw"}
    done = subprocess.run(["go", "mod", "download", "-json", HELM_CONTROLLER], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"not run: {HELM_CONTROLLER} cannot be had: {done.stdout[-300:]}{done.stderr[-300:]}")
    release = Path(json.loads(done.stdout)["Dir"]) / "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"
    documents = [
        *yaml.safe_load_all(release.read_text(encoding="utf-8")),
        *yaml.safe_load_all(Path(binaries()["source-controller-crds"]).read_text(encoding="utf-8")),
    ]
    found = {document["spec"]["names"]["kind"]: document for document in documents if document}
    return [found["HelmRelease"], found["HelmRepository"]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    paths = {name: path for name, path in binaries().items() if name in BINARIES}
    with KwokLab(paths, str(tmp_path_factory.mktemp("somebody")), lab_id=f"monitored-{os.getpid()}", ready_timeout=240.0) as lab:
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


@contextlib.contextmanager
def ready(cluster):
    """The double of helm-controller: every release is Ready."""
    stop = threading.Event()
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "InstallSucceeded",
        "message": "double",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    def work() -> None:
        while not stop.wait(0.2):
            for item in items(cluster, RELEASES):
                if not item.get("status", {}).get("conditions"):
                    with contextlib.suppress(KjouleError):
                        cluster.api.patch(f"{RELEASES}/{item['metadata']['name']}/status", {"status": {"conditions": [condition]}})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def items(cluster, path):
    try:
        return cluster.api.list(path).get("items") or []
    except KjouleError:
        return []


def namespaces(cluster):
    return {item["metadata"]["name"] for item in items(cluster, "/api/v1/namespaces")}


def monitoring(tmp_path, cluster, **variables):
    common = {"monitoring_place": "cluster", "monitoring_cluster_kubeconfig": cluster.kubeconfig, "monitoring_cluster_wait_seconds": 30}
    return play(tmp_path, "monitoring", "main", {**common, **variables})


def test_kepler_in_the_cluster_is_taken_by_the_api_server_runs_on_every_node_and_goes_without_a_trace(cluster, tmp_path):
    before = namespaces(cluster)
    variables = {"kepler_cluster_kubeconfig": cluster.kubeconfig, "kepler_cluster_image": "mirror.example/kepler:v0.11.4"}
    assert changed(play(tmp_path, "kepler", "cluster", variables)) == 1
    nodes = len(items(cluster, "/api/v1/nodes"))
    seen = cluster.api.get("/apis/apps/v1/namespaces/kjoule-kepler/daemonsets/kepler")
    assert seen["status"]["desiredNumberScheduled"] == nodes > 0
    assert seen["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror.example/kepler:v0.11.4"
    assert changed(play(tmp_path, "kepler", "cluster", variables)) == 0
    assert changed(play(tmp_path, "kepler", "cluster", {**variables, "kepler_cluster_state": "absent"})) == 1
    assert namespaces(cluster) == before


def test_a_key_that_kepler_would_ignore_is_refused_before_the_cluster_is_touched(cluster, tmp_path):
    before = namespaces(cluster)
    wrong = {"monitor": {"intervall": "1s"}}
    done = play(tmp_path, "kepler", "cluster", {"kepler_cluster_kubeconfig": cluster.kubeconfig, "kepler_config": wrong})
    assert done.returncode != 0
    assert "intervall" in done.stdout
    assert namespaces(cluster) == before


def test_a_cluster_without_flux_is_refused_by_what_is_missing_and_is_left_as_it_was(cluster, tmp_path):
    if items(cluster, DEFINITIONS):
        pytest.fail("this test has to come before those with Flux")
    done = monitoring(tmp_path, cluster)
    assert done.returncode != 0
    assert "there is no HelmRelease, no HelmRepository, no helm-controller, no source-controller" in done.stdout
    assert "set kjoule_monitoring_place to host" in done.stdout
    assert "kjoule-monitoring" not in namespaces(cluster)


def test_a_namespace_of_somebody_else_is_left_alone_whether_it_shall_come_or_go(cluster, flux, tmp_path):
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "kjoule-monitoring"}})
    try:
        for state in ("present", "absent"):
            done = monitoring(tmp_path, cluster, monitoring_cluster_state=state)
            assert done.returncode != 0
            assert "was not made by kjoule" in done.stdout
        assert "kjoule-monitoring" in namespaces(cluster)
        assert items(cluster, RELEASES) == []
    finally:
        cluster.api.delete("/api/v1/namespaces/kjoule-monitoring")
    wait_until(lambda: "kjoule-monitoring" not in namespaces(cluster))


def test_charts_that_do_not_get_ready_are_named_and_both_come_with_the_roles_own_rules_and_dashboards_and_go_again(cluster, flux, tmp_path):
    done = monitoring(tmp_path, cluster, monitoring_cluster_wait_seconds=1, monitoring_grafana=False)
    assert done.returncode != 0
    assert "kjoule-prometheus" in done.stdout
    with ready(cluster):
        assert changed(monitoring(tmp_path, cluster)) == 1
        releases = {item["metadata"]["name"]: item["spec"] for item in items(cluster, RELEASES)}
        assert set(releases) == {"kjoule-prometheus", "kjoule-grafana"}
        assert {item["metadata"]["name"] for item in items(cluster, REPOSITORIES)} == set(releases)
        prometheus, grafana = (releases[name]["values"] for name in ("kjoule-prometheus", "kjoule-grafana"))
        records = [rule.get("record") for group in prometheus["serverFiles"]["recording_rules.yml"]["groups"] for rule in group["rules"]]
        assert "kjoule:host_joules:increase1m" in records
        source = grafana["datasources"]["datasources.yaml"]["datasources"][0]
        assert source["url"] == "http://kjoule-prometheus-server.kjoule-monitoring.svc"
        boards = cluster.api.get("/api/v1/namespaces/kjoule-monitoring/configmaps/kjoule-dashboards")["data"]
        own = Path(__file__).resolve().parents[2] / "roles/monitoring/files/dashboards"
        assert boards == {path.name: path.read_text(encoding="utf-8") for path in own.glob("*.json")}
        assert changed(monitoring(tmp_path, cluster)) == 0
        assert changed(monitoring(tmp_path, cluster, monitoring_cluster_state="absent")) > 0
    assert "kjoule-monitoring" not in namespaces(cluster)
