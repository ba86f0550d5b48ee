# SPDX-License-Identifier: GPL-3.0-or-later
"""What of Flux is installed in a cluster, without one. tests/integration/test_flux_cluster.py has a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm.actor import Actor
from ansible_collections.kjoule.bench.plugins.module_utils.arm.base import Surroundings
from ansible_collections.kjoule.bench.plugins.module_utils.arm.flux_cluster import FluxClusterArm, accounts, kustomization, select
from ansible_collections.kjoule.bench.plugins.module_utils.arm.registry import make_arm
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.workload import Workload
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import find_marked, marker_environment
from ansible_collections.kjoule.bench.plugins.module_utils.lab.ports import free_ports

INSTALL = """---
apiVersion: v1
kind: Namespace
metadata:
  name: flux-system
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: helmreleases.helm.toolkit.fluxcd.io
spec:
  group: helm.toolkit.fluxcd.io
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: kustomizations.kustomize.toolkit.fluxcd.io
spec:
  group: kustomize.toolkit.fluxcd.io
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: notification-controller
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: source-controller
---
apiVersion: v1
kind: Service
metadata:
  name: webhook-receiver
"""


def arm(tmp_path, api=None, **settings):
    lab = SimpleNamespace(directory=str(tmp_path / "lab"), lab_id="a", kubectl="/nowhere/kubectl", api=api, adopt=lambda path: None)
    os.makedirs(lab.directory, exist_ok=True)
    given = {"interval_seconds": 5.0, "layout": "per-app", "timeout_seconds": 0.2, "ports": {}, **settings}
    return FluxClusterArm(Surroundings(lab, Actor({"PATH": os.environ["PATH"]}, 30), {}, given, lambda: None))


def test_the_place_decides_which_arm_flux_is(tmp_path):
    surroundings = arm(tmp_path)._s
    surroundings.settings["flux"] = {"place": "cluster"}
    assert isinstance(make_arm("flux", surroundings), FluxClusterArm)
    surroundings.settings["flux"] = {"place": "host"}
    assert not isinstance(make_arm("flux", surroundings), FluxClusterArm)


def test_of_an_install_yaml_only_the_needed_controllers_are_left():
    kept = [line.split(": ")[1] for line in select(INSTALL).splitlines() if line.startswith("  name: ")]
    assert kept == ["flux-system", "kustomizations.kustomize.toolkit.fluxcd.io", "source-controller"]


def test_images_come_from_the_registry_that_was_named_and_arguments_are_those_of_the_arm_on_the_host():
    made = kustomization(["a.yaml"], "mirror.example/flux", {"source-controller": "v1.9.3"})
    assert {"name": "ghcr.io/fluxcd/source-controller", "newName": "mirror.example/flux/source-controller", "newTag": "v1.9.3"} in made[
        "images"
    ]
    assert {"name": "fluxcd/kustomize-controller", "newName": "mirror.example/flux/kustomize-controller"} in made["images"]
    patches = {patch["target"]["name"]: [one["value"] for one in json.loads(patch["patch"])] for patch in made["patches"]}
    assert patches == {
        "source-controller": ["--events-addr=", "--interval-jitter-percentage=0", "source-controller"],
        "kustomize-controller": ["--events-addr=", "--interval-jitter-percentage=0", "--no-remote-bases", "kustomize-controller"],
    }


def test_only_who_applies_manifests_may_do_everything():
    bindings = {item["metadata"]["name"]: item for item in accounts() if item["kind"] == "ClusterRoleBinding"}
    everything = bindings["cluster-reconciler-flux-system"]
    assert everything["roleRef"]["name"] == "cluster-admin"
    assert [subject["name"] for subject in everything["subjects"]] == ["kustomize-controller"]


def test_the_repository_has_a_name_that_cannot_be_guessed(tmp_path):
    one, other = arm(tmp_path)._prefix, arm(tmp_path)._prefix
    assert one != other
    assert len(one.split("/")[0]) == 32


@pytest.fixture
def serving(tmp_path):
    """An arm with two repositories for the apps, and its git server, a real one."""
    lab_id = f"unit-{uuid.uuid4().hex}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **marker_environment(lab_id)}
    one = arm(tmp_path, repositories=2, timeout_seconds=20.0)
    one._s.lab.lab_id, one._s.lab.command_environment = lab_id, lambda: dict(environment)
    one._s.actor.environment.update(environment)
    os.makedirs(one._folder)
    one._ports = free_ports(["git-server"])
    try:
        one._start_git()
        for name in ("apps-1", "apps-2", "fleet"):
            one._commit(name, "bootstrap")
        yield one
    finally:
        one.uninstall()
        assert find_marked(lab_id) == []


def test_with_several_repositories_each_is_fetched_under_that_name_and_none_without_it(serving):
    handle = serving.deliver(Workload({"kind": "generated", "apps": 3, "replicas": 1, "seed": 1}, 2).deploy())
    environment = serving._s.actor.environment

    def head(url):
        return subprocess.run(["git", "ls-remote", url, "refs/heads/main"], env=environment, capture_output=True, text=True, check=False)

    # What Flux is told to fetch: the first by the bootstrap, the others by what is in the first.
    told = {"fleet": serving._git_repository("fleet")}
    for name in ("apps-1", "apps-2"):
        with open(serving._cluster_file(f"source-{name}"), encoding="utf-8") as stream:
            told[name] = json.load(stream)
    for name, item in told.items():
        url = item["spec"]["url"]
        assert f"/{serving._prefix}{name}.git" in url
        assert head(url).stdout.split()[0] == handle[name]
        assert head(url.replace(serving._prefix, "")).returncode != 0
    assert {serving._home(f"app-000{number}") for number in (1, 2, 3)} == {"apps-1", "apps-2"}


@pytest.mark.parametrize("nodes", [0, 2])
def test_a_cluster_of_other_than_one_node_is_refused(tmp_path, nodes):
    node = {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}
    api = SimpleNamespace(list=lambda path: {"items": [node] * nodes})
    with pytest.raises(KjouleError, match=f"expected one node, saw {'2 nodes: n, n' if nodes else 'none'}"):
        arm(tmp_path, api)._node_address()


def node_api(*addresses):
    """A cluster of one node with these addresses."""
    node = {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]}}
    return SimpleNamespace(list=lambda path: {"items": [node]})


@pytest.mark.parametrize(("addresses", "seen"), [((), "n with none"), (("192.0.2.7", "2001:db8::7"), r"n with 192\.0\.2\.7, 2001:db8::7")])
def test_a_node_that_is_not_this_host_is_refused(tmp_path, addresses, seen):
    with pytest.raises(KjouleError, match=rf"node is not this host.*saw {seen}\. Next: set kjoule_flux_place: host"):
        arm(tmp_path, node_api(*addresses))._node_address()


def test_the_git_server_gets_the_address_of_the_node_that_is_this_hosts(tmp_path):
    assert arm(tmp_path, node_api("192.0.2.7", "127.0.0.1"))._node_address() == "127.0.0.1"


def test_an_image_that_cannot_be_pulled_is_named_at_once(tmp_path):
    waiting = {"image": "ghcr.io/fluxcd/source-controller:v1", "state": {"waiting": {"reason": "ErrImagePull", "message": "no route"}}}
    api = SimpleNamespace(list=lambda path: {"items": [{"metadata": {"name": "a-1"}, "status": {"containerStatuses": [waiting]}}]})
    with pytest.raises(KjouleError, match=r"source-controller:v1 is not to be had: .*saw a-1: ErrImagePull no route.*kjoule_flux_registry"):
        arm(tmp_path, api)._wait_available()


def test_a_controller_whose_control_group_is_not_on_this_host_is_refused(tmp_path):
    pods = [
        {"metadata": {"name": f"{name}-1", "uid": "u", "labels": {"app": name}}} for name in ("source-controller", "kustomize-controller")
    ]
    with pytest.raises(KjouleError, match="the CPU time of source-controller cannot be read on this host"):
        arm(tmp_path, SimpleNamespace(list=lambda path: {"items": pods}))._find_pods()


def test_metrics_come_through_the_api_server(tmp_path):
    asked = []

    def request(method, path, accept):
        asked.append(path)
        if "kustomize" in path:
            raise ApiError("no", status=503, reason="ServiceUnavailable", body="")
        return "page"

    one = arm(tmp_path, SimpleNamespace(request=request))
    one._pods = {name: {"metadata": {"name": f"{name}-1"}} for name in ("source-controller", "kustomize-controller")}
    assert [one._metrics(name) for name in one._pods] == ["page", ""]
    assert asked[0] == "/api/v1/namespaces/flux-system/pods/source-controller-1:8080/proxy/metrics"


def test_the_controllers_end_before_the_lab_takes_their_objects_away(tmp_path):
    deleted, listed = [], [[{}], []]
    answers = iter([False, True])  # away for a moment
    api = SimpleNamespace(delete=deleted.append, list=lambda path: {"items": listed.pop(0)}, ready=lambda: next(answers))
    one = arm(tmp_path, api, timeout_seconds=5.0)
    one.uninstall()
    assert deleted == []
    one._applied = True
    one.uninstall()
    assert [path.rsplit("/", 1)[1] for path in deleted] == ["source-controller", "kustomize-controller"]
    assert listed == []
    assert next(answers, None) is None
