# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
import os
import subprocess
from contextlib import contextmanager

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError, PeriodInvalid
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.workload import (
    NAMESPACE,
    Revision,
    Workload,
    edit,
    generated_apps,
    wait_rolled_out,
    write_app,
)

GENERATED = {"kind": "generated", "apps": 6, "replicas": 2, "seed": 11}


def a_day(seed, description=GENERATED):
    """Every revision and edit of a day."""
    one = Workload(description, seed)
    return [
        one.deploy(),
        one.update("image", 2),
        one.update("config", 1),
        one.update("replicas", 3),
        one.drift("replicas", 2),
        one.prune(2),
        one.drift("config", 1),
        one.teardown(),
    ]


def images(revision):
    return {
        name: objects[2]["spec"]["template"]["spec"]["containers"][0]["image"] for name, objects in revision.apps.items()
    }  # the Deployment is the third


def test_the_same_seed_makes_the_same_day_for_both_arms_and_another_one_another_day():
    assert a_day(5) == a_day(5)
    assert a_day(5) != a_day(6)


def test_an_app_is_a_deployment_a_service_and_a_configuration():
    apps = generated_apps(3, 2, 1)
    assert list(apps) == ["app-0001", "app-0002", "app-0003"]
    for name, objects in apps.items():
        assert [item["kind"] for item in objects] == ["ConfigMap", "Service", "Deployment"]
        assert {(item["metadata"]["name"], item["metadata"]["namespace"]) for item in objects} == {(name, NAMESPACE)}
        assert objects[2]["spec"]["replicas"] == 2
        assert objects[2]["spec"]["selector"]["matchLabels"] == objects[1]["spec"]["selector"]
    assert generated_apps(3, 2, 1) == apps
    assert generated_apps(3, 2, 2) != apps


def test_an_update_changes_as_many_apps_as_asked_for_and_counts_them():
    one = Workload(GENERATED, 3)
    before = one.deploy()
    after, count = one.update("image", 2)
    changed = {name for name in after.apps if after.apps[name] != before.apps[name]}
    assert len(changed) == count == 2
    assert all(images(after)[name].endswith(":kjoule-1") for name in changed)
    again, count = one.update("image", 99)
    assert count == 6
    assert set(images(again).values()) == {f"registry.invalid/app-000{number}:kjoule-2" for number in range(1, 7)}
    assert (before.number, after.number, again.number) == (1, 2, 3)


def test_revisions_do_not_change_afterwards():
    one = Workload(GENERATED, 3)
    first = one.deploy()
    kept = copy.deepcopy(first)
    one.update("config", 6)
    first.apps["app-0002"].clear()
    assert kept.apps["app-0001"] == first.apps["app-0001"]
    assert one.current.apps["app-0002"]


def test_pruning_takes_apps_out_and_never_more_than_there_are():
    one = Workload(GENERATED, 3)
    one.deploy()
    assert len(one.prune(2).apps) == 4
    assert one.prune(99).apps == {}
    assert one.prune(1).apps == {}
    assert one.deploy().apps.keys() == generated_apps(6, 2, 11).keys()


def test_somebodys_edits_leave_what_is_wanted_as_it_is():
    one = Workload(GENERATED, 3)
    one.deploy()
    before = one.current
    edited = one.drift("replicas", 2)
    assert one.current == before
    assert [item["spec"]["replicas"] for item in edited] == [3, 3]
    (drifted,) = one.drift("config", 1)
    (wanted,) = (item for item in before.objects() if item["kind"] == "ConfigMap" and item["metadata"] == drifted["metadata"])
    assert drifted["data"] == {**wanted["data"], "setting-0": "kjoule-2"}


def test_two_drifts_of_one_object_make_two_different_edits():
    one = Workload({**GENERATED, "apps": 1}, 3)
    one.deploy()
    assert one.drift("config", 1) != one.drift("config", 1)


OWN = {
    "kind": "manifests",
    "apps": [
        {
            "name": "shop",
            "objects": [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop", "namespace": "shop"}, "data": {"a": "b"}},
            ],
        },
        {
            "name": "agent",
            "objects": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "DaemonSet",
                    "metadata": {"name": "agent"},
                    "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "host:5000/agent"}]}}},
                },
                {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "agent"}},
            ],
        },
    ],
}


class Known:
    def resources(self):
        kinds = [("v1", "Namespace", False), ("v1", "ConfigMap", True), ("apps/v1", "DaemonSet", True)]
        return [
            {"group_version": version, "kind": kind, "namespaced": namespaced}
            for version, kind, namespaced in [*kinds, ("rbac.authorization.k8s.io/v1", "ClusterRole", False)]
        ]

    def path_for(self, version, kind, namespace, name):
        return f"{version}/{kind}/{namespace}/{name}"


def test_the_users_manifests_get_a_namespace_where_they_need_one():
    one = Workload(OWN, 1)
    assert one.adapt(Known()) == [NAMESPACE]  # shop brings its own
    objects = {(item["kind"], item["metadata"]["name"]): item for item in one.deploy().objects()}
    assert objects["DaemonSet", "agent"]["metadata"]["namespace"] == NAMESPACE
    assert "namespace" not in objects["ClusterRole", "agent"]["metadata"]
    assert "namespace" not in OWN["apps"][1]["objects"][0]["metadata"], "the plan stays as it is"


def test_what_the_users_manifests_have_outside_of_namespaces_is_told():
    one = Workload(OWN, 1)
    one.adapt(Known())
    assert one.outside == ["rbac.authorization.k8s.io/v1/ClusterRole/None/agent", "v1/Namespace/None/shop"]


def test_what_the_users_manifests_have_outside_of_namespaces_carries_the_labels_of_the_lab_and_nothing_else_does():
    description = copy.deepcopy(OWN)
    for item in [item for app in description["apps"] for item in app["objects"]]:
        item["metadata"]["labels"] = {"team": "a"} if item["kind"] == "Namespace" else None
    one = Workload(description, 1)
    one.adapt(Known(), {"kjoule.example/lab": "one"})
    one.deploy()
    revision, _count = one.update("image", 1)  # what is delivered later carries them, too
    labels = {item["kind"]: item["metadata"]["labels"] for item in revision.objects()}
    assert labels.pop("Namespace") == {"team": "a", "kjoule.example/lab": "one"}
    assert labels.pop("ClusterRole") == {"kjoule.example/lab": "one"}
    assert set(labels.values()) == {None}


def test_a_kind_that_the_server_does_not_know_is_named():
    description = {
        "kind": "manifests",
        "apps": [{"name": "a", "objects": [{"apiVersion": "x/v1", "kind": "Widget", "metadata": {"name": "w"}}]}],
    }
    with pytest.raises(KjouleError, match=r"does not know Widget of x/v1 \(w\)"):
        Workload(description, 1).adapt(Known())


def test_only_apps_that_can_be_changed_that_way_are_chosen():
    one = Workload(OWN, 1)
    one.deploy()
    after, count = one.update("image", 2)
    assert count == 1
    assert after.apps["agent"][0]["spec"]["template"]["spec"]["containers"][0]["image"] == "host:5000/agent:kjoule-1"
    assert one.update("config", 2)[1] == 1
    assert one.update("replicas", 2)[1] == 0
    assert one.drift("replicas", 2) == []


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "nginx:kjoule-4"),
        ("nginx:1.27", "nginx:kjoule-4"),
        ("host:5000/nginx", "host:5000/nginx:kjoule-4"),
        ("host:5000/nginx:1@sha256:ab", "host:5000/nginx:kjoule-4"),
    ],
)
def test_a_new_image_has_another_tag_and_nothing_else(image, expected):
    item = {"kind": "StatefulSet", "spec": {"template": {"spec": {"containers": [{"image": image}]}}}}
    assert edit(item, "image", 4)
    assert item["spec"]["template"]["spec"]["containers"][0]["image"] == expected


def test_files_are_json_one_object_each_and_replace_what_was_there(tmp_path):
    folder = tmp_path / "app"
    objects = generated_apps(1, 1, 1)["app-0001"]
    write_app(str(folder), objects)
    assert [path.name for path in sorted(folder.iterdir())] == ["00-configmap.yaml", "01-service.yaml", "02-deployment.yaml"]
    assert [json.loads(path.read_text()) for path in sorted(folder.iterdir())] == objects
    write_app(str(folder), objects[1:2])
    assert [path.name for path in folder.iterdir()] == ["00-service.yaml"]


# rollout


def deployment(name="a", generation=2, replicas=2, old=0, **status):
    ready = {"observedGeneration": generation, "replicas": replicas + old, "readyReplicas": replicas, "updatedReplicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "generation": generation, "resourceVersion": "5"},
        "spec": {"replicas": replicas},
        "status": {**ready, **status},
    }


class Cluster:
    """A list, then watches with what happens later, batch by batch."""

    def __init__(self, items, *batches):
        self.items, self.batches, self.versions = items, list(batches), []

    def path_for(self, version, kind, namespace):
        return f"{version}/{namespace}/{kind}"

    def list(self, path):
        return {"metadata": {"resourceVersion": "7"}, "items": [item for item in self.items if path.endswith(f"/{item['kind']}")]}

    @contextmanager
    def watch(self, path, *, resource_version, timeout_seconds):
        self.versions.append(resource_version)
        yield iter(self.batches.pop(0) if self.batches else [])


def modified(item, version="8"):
    item["metadata"]["resourceVersion"] = version
    return {"type": "MODIFIED", "object": item}


def wanted(*items):
    return Revision(1, {"app": [{key: item[key] for key in ("apiVersion", "kind", "metadata", "spec")} for item in items]})


def rolled(cluster, *items, check=lambda: None, seconds=0.2):
    wait_rolled_out(cluster, wanted(*items), check, seconds)


def test_what_is_ready_already_needs_no_watch():
    cluster = Cluster([deployment()])
    rolled(cluster, deployment())
    assert cluster.versions == []


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": 1},
        {"readyReplicas": 1},
        {"readyReplicas": None},
        {"updatedReplicas": 1},
        {"old": 1},  # one of the old ones is still there
    ],
)
def test_a_deployment_is_out_when_all_its_replicas_are_new_and_ready_and_no_old_one_is_left(status):
    cluster = Cluster([deployment(**status)], [modified(deployment(**status))], [modified(deployment(), "9")])
    rolled(cluster, deployment())
    assert cluster.versions == ["7", "8"]  # the second watch goes on where the first ended


def test_other_kinds_have_their_own_figures():
    spec = {"apiVersion": "apps/v1", "metadata": {"name": "a", "generation": 1, "resourceVersion": "1"}}
    ready = [
        {
            **spec,
            "kind": "DaemonSet",
            "spec": {},
            "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 2},
        },
        {**spec, "kind": "ReplicaSet", "spec": {"replicas": 1}, "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}},
        {**spec, "kind": "StatefulSet", "spec": {"replicas": 0}, "status": {"observedGeneration": 1}},
    ]
    rolled(Cluster(ready), *ready)
    ready[0]["status"]["numberReady"] = 1
    with pytest.raises(KjouleError, match=r"DaemonSet a of kjoule-apps did not become ready: expected all replicas within 0\.05 s"):
        rolled(Cluster(ready), *ready, seconds=0.05)


def test_a_revision_without_deployments_is_out_at_once():
    wait_rolled_out(Cluster([]), Revision(1, {}), lambda: None, 0.0)


def test_a_broken_lab_ends_the_wait():
    def check():
        raise PeriodInvalid("etcd ended during the period")

    with pytest.raises(PeriodInvalid, match="etcd ended"):
        rolled(Cluster([]), deployment(), check=check, seconds=60)


def test_where_pods_run_an_update_goes_from_one_image_to_the_next_and_each_does_the_work_it_is_told():
    one = Workload({**GENERATED, "apps": 1, "images": ["a:1", "b:1"], "iterations": 2000}, 1)
    seen = [images(one.deploy())["app-0001"], *(images(one.update("image", 1)[0])["app-0001"] for _ in range(2))]
    assert seen == ["a:1", "b:1", "a:1"]
    container = one.current.apps["app-0001"][2]["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "KJOULE_ITERATIONS", "value": "2000"}]
    assert one.namespaces == {NAMESPACE}


def test_the_work_of_a_pod_is_a_known_number_of_loops_in_each_second(tmp_path):
    """The shell of the machine does it: the loops are counted by what it writes when they are done."""
    command = Workload({**GENERATED, "apps": 1, "images": ["a:1", "b:1"], "iterations": 3}, 1).deploy().apps["app-0001"][2]
    shell, flag, script = command["spec"]["template"]["spec"]["containers"][0]["command"]
    counted = script.replace("sleep 1", "sleep 0.01").replace(
        "; wait;", f'; wait; echo "$i" >> {tmp_path}/loops; [ -e {tmp_path}/end ] && exit;'
    )
    (tmp_path / "end").touch()
    subprocess.run([shell, flag, counted], env={"KJOULE_ITERATIONS": "3", "PATH": os.environ["PATH"]}, timeout=30, check=False)
    assert (tmp_path / "loops").read_text() == "3\n"
