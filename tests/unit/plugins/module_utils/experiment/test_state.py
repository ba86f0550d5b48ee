# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import itertools
from fractions import Fraction

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.state import StateChecker, differs, key_of, normalise, quantity
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.workload import Revision, generated_apps
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.existing import LABEL

PLURALS = {"ConfigMap": "configmaps", "Service": "services", "Deployment": "deployments", "Secret": "secrets", "Widget": "widgets"}
_UIDS = itertools.count()


def stored(item, delivered_by):
    """An object as the API server shows it after ``kubectl apply`` or after Flux applied it."""
    live = copy.deepcopy(item)
    meta = live["metadata"]
    number = next(_UIDS)
    meta.update(uid=f"uid-{number}", resourceVersion=str(1000 + number), creationTimestamp="2024-05-01T10:00:00Z")
    if delivered_by == "snowflake":
        meta["annotations"] = {**meta.get("annotations", {}), "kubectl.kubernetes.io/last-applied-configuration": "{}"}
        meta["managedFields"] = [{"manager": "kubectl-client-side-apply"}]
    else:
        owner = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
        meta["labels"] = {**meta.get("labels", {}), **owner}
        meta["managedFields"] = [{"manager": "kustomize-controller"}]
    if item["kind"] == "Service":
        live["spec"].update(
            clusterIP=f"10.0.0.{number % 250}", clusterIPs=[f"10.0.0.{number % 250}"], type="ClusterIP", sessionAffinity="None"
        )
        live["status"] = {"loadBalancer": {}}
    if item["kind"] == "Deployment":
        meta["generation"] = 1 if delivered_by == "snowflake" else 3
        meta.setdefault("annotations", {})["deployment.kubernetes.io/revision"] = str(number)
        live["spec"].update(progressDeadlineSeconds=600, revisionHistoryLimit=10)
        live["spec"]["template"]["spec"]["containers"][0].update(
            imagePullPolicy="IfNotPresent", terminationMessagePath="/dev/termination-log"
        )
        live["status"] = {"replicas": 1, "readyReplicas": 1, "observedGeneration": meta["generation"]}
    return live


class FakeApi:
    """Lists by path, from a list of objects."""

    def __init__(self, objects=(), without=()):
        self.objects = list(objects)
        self.without = without
        self.asked = []

    def path_for(self, version, kind, namespace=None):
        return f"{version}/{namespace}/{PLURALS[kind]}"

    def list(self, path):
        self.asked.append(path)
        if path.endswith(self.without or "\0"):
            raise ApiError("GET was refused", status=404, reason="NotFound", body={})
        found = [
            item for item in self.objects if self.path_for(item["apiVersion"], item["kind"], item["metadata"].get("namespace")) == path
        ]
        # A list does not repeat kind and version in its items.
        return {
            "items": [{key: value for key, value in copy.deepcopy(item).items() if key not in ("kind", "apiVersion")} for item in found]
        }


@pytest.fixture
def revision():
    return Revision(1, generated_apps(3, 1, 7))


def compared(revision, live):
    return StateChecker(FakeApi(live)).compare(revision)


def test_both_ways_of_delivery_leave_the_same_state(revision):
    states = [compared(revision, [stored(item, arm) for item in revision.objects()]) for arm in ("snowflake", "flux")]
    assert states[0] == states[1]
    assert (states[0]["objects"], states[0]["drifted"], states[0]["orphans"], states[0]["missing"]) == (9, 0, 0, 0)


def test_the_hash_sees_a_single_value(revision):
    live = [stored(item, "flux") for item in revision.objects()]
    before = compared(revision, live)["hash"]
    live[0]["data"]["setting-0"] += "x"
    assert compared(revision, live)["hash"] != before


def test_an_edited_object_has_drifted_and_is_named(revision):
    live = [stored(item, "flux") for item in revision.objects()]
    next(item for item in live if item["kind"] == "Deployment")["spec"]["replicas"] = 7
    seen = compared(revision, live)
    assert seen["drifted"] == 1
    assert seen["names"]["drifted"] == ["Deployment kjoule-apps/app-0001"]


def test_what_was_once_delivered_and_is_wanted_no_more_is_an_orphan(revision):
    live = [stored(item, "snowflake") for item in revision.objects()]
    checker = StateChecker(FakeApi(live))
    checker.compare(revision)
    smaller = Revision(2, {name: objects for name, objects in revision.apps.items() if name != "app-0002"})
    seen = checker.compare(smaller)
    assert (seen["orphans"], seen["missing"], seen["drifted"]) == (3, 0, 0)
    assert "Service kjoule-apps/app-0002" in seen["names"]["orphans"]
    assert StateChecker(FakeApi(live)).compare(smaller)["orphans"] == 0  # of others' objects nothing is said


def test_what_is_wanted_and_not_there_is_missing_and_one_on_its_way_out_counts_as_gone(revision):
    live = [stored(item, "flux") for item in revision.objects()]
    live[0]["metadata"]["deletionTimestamp"] = "2024-05-01T10:00:00Z"
    seen = compared(revision, live[:-1])
    assert (seen["missing"], seen["objects"]) == (2, 7)
    assert compared(Revision(0, {}), live)["objects"] == 0


def test_a_kind_that_the_server_no_longer_knows_has_no_objects_and_other_refusals_are_raised(revision):
    assert StateChecker(FakeApi(without="services")).compare(revision)["missing"] == 9

    class Broken(FakeApi):
        def list(self, path):
            raise ApiError("GET was refused", status=403, reason="Forbidden", body={})

    with pytest.raises(ApiError):
        StateChecker(Broken()).compare(revision)


def test_one_request_for_each_kind_and_namespace(revision):
    api = FakeApi(stored(item, "flux") for item in revision.objects())
    StateChecker(api).compare(revision)
    assert sorted(api.asked) == ["apps/v1/kjoule-apps/deployments", "v1/kjoule-apps/configmaps", "v1/kjoule-apps/services"]


def test_labels_and_annotations_of_the_user_stay():
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "annotations": {"team": "a"}, "labels": {"kustomize.toolkit.fluxcd.io/name": "x", LABEL: "r-b01-p1-a1"}},
    }
    assert normalise(item)["metadata"] == {"name": "a", "annotations": {"team": "a"}}
    assert key_of(item) == ("v1", "ConfigMap", "", "a")


# what a user's manifest says, and how it is read back


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0.5", Fraction(1, 2)),
        (0.5, Fraction(1, 2)),
        ("500m", Fraction(1, 2)),
        (2, Fraction(2)),
        ("1024Mi", Fraction(2**30)),
        ("1Gi", Fraction(2**30)),
        ("1e3", Fraction(1000)),
        ("1E", Fraction(10**18)),
        ("1Ei", Fraction(2**60)),
        ("-.5k", Fraction(-500)),
        ("5.", Fraction(5)),
        ("100n", Fraction(1, 10**7)),
        ("Memory", None),
        ("1 Gi", None),
        ("", None),
        (True, None),
        (None, None),
    ],
)
def test_quantities_are_numbers(written, number):
    assert quantity(written) == number


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}, {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}),
        ({"resources": {"requests": {"cpu": 2}}}, {"resources": {"requests": {"cpu": "2"}}}),
        ({"capacity": {"storage": "0.5Ti"}}, {"capacity": {"storage": "512Gi"}}),
        ({"hard": {"pods": "1k"}}, {"hard": {"pods": "1000"}}),
        (
            {"volumes": [{"emptyDir": {"medium": "Memory", "sizeLimit": "1024Ki"}}]},
            {"volumes": [{"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]},
        ),
        ({"limits": [{"type": "Container", "default": {"cpu": ".1"}}]}, {"limits": [{"type": "Container", "default": {"cpu": "100m"}}]}),
        ({"a": None, "b": 1}, {"b": 1, "c": 2}),
        ({"hostNetwork": False, "env": [], "nodeSelector": {}, "value": "", "securityContext": {"privileged": False}}, {}),
    ],
)
def test_what_the_api_server_writes_in_its_own_way_is_no_drift(desired, live):
    assert not differs(desired, live)


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"resources": {"limits": {"cpu": "0.5"}}}, {"resources": {"limits": {"cpu": "501m"}}}),
        ({"resources": {"limits": {"cpu": "0.5"}}}, {"resources": {}}),
        ({"limits": [{"type": "Container"}]}, {"limits": [{"type": "Pod"}]}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": None}}}),
        ({"data": {"limits": "1024Mi"}}, {"data": {"limits": "1Gi"}}),  # text of a ConfigMap is text
        ({"data": {"a": "0.5"}}, {"data": {"a": "500m"}}),
        ({"replicas": 1}, {"replicas": "1"}),
        ({"hostNetwork": False}, {"hostNetwork": True}),
        ({"list": [1, 2]}, {"list": [2, 1]}),
        ({"list": [1]}, {"list": [1, 2]}),
        ({"list": [1]}, {}),
        ({"spec": {"paused": True}}, {}),
        ({"spec": {"a": 1}}, {"spec": "a"}),
    ],
)
def test_another_value_is_drift(desired, live):
    assert differs(desired, live)


def test_the_text_of_a_secret_is_read_back_as_data():
    wanted = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "n"},
        "data": {"token": "b2xk", "kept": "eA=="},
        "stringData": {"token": "new"},
    }
    live = {
        **{key: value for key, value in wanted.items() if key != "stringData"},
        "type": "Opaque",
        "data": {"token": "bmV3", "kept": "eA=="},
    }
    revision = Revision(1, {"app": [wanted]})
    assert compared(revision, [live])["drifted"] == 0
    live["data"]["token"] = "b2xk"
    assert compared(revision, [live])["drifted"] == 1
    assert wanted["stringData"] == {"token": "new"}
