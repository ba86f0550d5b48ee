# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.cgroups import GuestReading, PodReading
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.pods import PodMeter, owner, workload_cpu_seconds
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.workload import Revision
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiError

SECOND = 1_000_000_000


def pod(name, *, uid, namespace="kjoule-apps", deployment=None, created="2026-01-01T00:00:00Z", **meta):
    if deployment:
        meta["ownerReferences"] = [{"kind": "ReplicaSet", "name": f"{deployment}-7d4b9"}]
        meta["labels"] = {"pod-template-hash": "7d4b9"}
    return {"metadata": {"name": name, "uid": uid, "namespace": namespace, "creationTimestamp": created, **meta}}


def deployment(name, replicas=1):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "kjoule-apps"},
        "spec": {"replicas": replicas},
    }


#: 2026-01-01, from midnight to a quarter past, in seconds since 1970.
WINDOW = (1767225600.0, 1767226500.0)


def reading(total, pods, node=None, at=None, total_at=None, pods_at=None):
    """Of a host's groups; of a guest where ``at`` says when its kubelet read, the total and some pods at another time."""
    guest = (
        None if at is None else GuestReading(node, at, at if total_at is None else total_at, {**dict.fromkeys(pods, at), **(pods_at or {})})
    )
    return PodReading(total, pods, guest)


def described(pods, start, end, desired=(), drifted=(), orphans=(), inside=None, live=(), window=WINDOW, meter=None):
    def get(path):
        for item in live:
            if path == f"/apis/apps/v1/namespaces/kjoule-apps/deployments/{item['metadata']['name']}":
                return item
        raise ApiError("not there", status=404, reason="NotFound", body={})

    api = SimpleNamespace(list=lambda path: {"items": pods}, get=get)
    revision = Revision(1, {item["metadata"]["name"]: [item] for item in desired})
    names = {"drifted": list(drifted), "orphans": list(orphans), "missing": []}
    meter = meter or PodMeter(SimpleNamespace(source="cgroup v2", inside=inside))
    return meter.describe(api, reading(*start), reading(*end), revision, {"names": names}, {"kjoule-apps"}, window)


def test_a_pod_has_what_it_used_between_the_edges_and_one_that_began_counts_from_nought():
    pods = [pod("a-1", uid="u1", deployment="a"), pod("a-2", uid="u2", deployment="a")]
    seen = described(pods, (10 * SECOND, {"u1": 4 * SECOND}), (13 * SECOND, {"u1": 5 * SECOND, "u2": 2 * SECOND}), [deployment("a", 2)])
    assert [(one["name"], one["cpu_seconds"], one["state"]) for one in seen["pods"]] == [("a-1", 1.0, "desired"), ("a-2", 2.0, "desired")]
    assert (seen["ended_cpu_seconds"], seen["cpu_seconds"]) == (0.0, 3.0)


def test_a_pod_that_began_in_the_window_lived_for_less_than_it():
    pods = [
        pod("a-old", uid="u1", created="2026-01-01T00:10:00Z"),  # there at the first edge: whatever its clock says
        pod("a-new", uid="u2", created="2026-01-01T00:10:00Z"),
        pod("a-early", uid="u3", created="2025-12-31T23:59:59Z"),  # cut to whole seconds by the API server
        pod("a-odd", uid="u4", created="then"),
    ]
    seen = described(pods, (0, {"u1": 0}), (0, {"u1": 1, "u2": 1, "u3": 1, "u4": 1}))
    assert {one["name"]: one["seconds"] for one in seen["pods"]} == {"a-old": 900.0, "a-new": 300.0, "a-early": 900.0, "a-odd": 900.0}


#: A pod of the workload that stays and one that goes, and one of a CronJob of the owner of the cluster.
STAYS, GOES = pod("a-1", uid="u1", deployment="a"), pod("a-0", uid="u0", deployment="a")
JOB = pod("backup-1", uid="j1", namespace="backup", created="2026-01-01T00:05:00Z")


def second_look(first, pods, start, end):
    """A phase after one in which the pods of ``first`` were seen."""
    meter = PodMeter(SimpleNamespace(source="cgroup v2", inside=None))
    described(first, (0, {}), (0, {}), [deployment("a")], meter=meter)
    return described(pods, start, end, [deployment("a")], meter=meter)


def test_what_ended_in_the_window_is_the_rest_of_the_total_and_the_workloads_where_it_was_seen_there_before():
    ends = (0, {"u1": 0, "u0": 0}), (5 * SECOND, {"u1": 2 * SECOND})
    seen = second_look([STAYS, GOES], [STAYS], *ends)
    assert (seen["ended_cpu_seconds"], seen["cpu_seconds"]) == (3.0, 5.0)
    assert workload_cpu_seconds(seen) == pytest.approx(5.0)
    # One that was never seen, or of which nobody knows, may be anybody's.
    for nobody in (ends[0], (0, {"u1": 0})):
        seen = second_look([], [STAYS], nobody, ends[1])
        assert (seen["ended_cpu_seconds"], workload_cpu_seconds(seen)) == (3.0, 2.0)


def test_a_pod_that_the_api_server_forgot_after_the_window_is_one_that_ended():
    ends = (5 * SECOND, {"u0": 5 * SECOND}), (10 * SECOND, {"u0": 10 * SECOND})
    seen = second_look([GOES], [], *ends)
    assert (seen["pods"], seen["ended_cpu_seconds"], seen["cpu_seconds"]) == ([], 5.0, 5.0)
    assert workload_cpu_seconds(seen) == 5.0
    assert workload_cpu_seconds(second_look([], [], *ends)) == 0.0


def test_what_pods_of_somebody_else_used_that_ended_is_none_of_the_workloads():
    seen = second_look([STAYS, JOB], [STAYS], (0, {"u1": 0, "j1": 0}), (5 * SECOND, {"u1": 2 * SECOND}))
    assert (seen["ended_cpu_seconds"], workload_cpu_seconds(seen)) == (3.0, 2.0)
    # Where both ended it is not dealt out, but for what has a counter of its own.
    ends = (0, {"u1": 0, "u0": 0, "j1": 0}), (6 * SECOND, {"u1": 2 * SECOND, "u0": SECOND})
    seen = second_look([STAYS, GOES, JOB], [STAYS], *ends)
    assert (seen["ended_cpu_seconds"], workload_cpu_seconds(seen)) == (4.0, 3.0)


@pytest.mark.parametrize(
    ("phase", "created", "workload"),
    [
        ("Succeeded", "2026-01-01T00:05:00Z", 2.0),
        ("Failed", "2025-12-31T23:59:59Z", 5.0),  # a second before: it ended before as well, for it had no counter then
        ("Pending", "2026-01-01T00:05:00Z", 5.0),
        ("Succeeded", "2026-01-01T00:15:01Z", 5.0),
    ],
)
def test_a_job_that_began_and_ended_in_the_window_may_be_what_the_rest_is_of(phase, created, workload):
    job = {**pod("backup-1", uid="j1", namespace="backup", created=created), "status": {"phase": phase}}
    seen = second_look([STAYS, GOES], [STAYS, job], (0, {"u1": 0, "u0": 0}), (5 * SECOND, {"u1": 2 * SECOND}))
    assert (seen["ended_cpu_seconds"], workload_cpu_seconds(seen)) == (3.0, workload)


def test_a_pod_in_a_virtual_machine_that_the_api_server_forgot_is_not_of_the_guest():
    start, end = guest_read(-4), guest_read(56)
    seen = described([pod("old", uid="old")], start, end, inside="virtual-machine", window=EDIT)
    assert seen["ended_cpu_seconds"] == pytest.approx(54 * NEW)
    assert seen["machine"]["cpu_seconds"] - seen["cpu_seconds"] == pytest.approx(60 * REST)


def test_pods_of_what_nobody_asks_for_any_more_are_orphans():
    pods = [pod("a-1", uid="u1", deployment="a"), pod("b-1", uid="u2", deployment="b")]
    end = (2 * SECOND, {"u1": SECOND, "u2": SECOND})
    seen = described(pods, (0, {}), end, [deployment("a")], orphans=["Deployment kjoule-apps/b", "Service kjoule-apps/b"])
    assert {one["name"]: one["state"] for one in seen["pods"]} == {"a-1": "desired", "b-1": "orphan"}


def test_of_a_deployment_that_somebody_scaled_up_the_newest_pods_are_the_excess():
    pods = [
        pod("a-new", uid="u2", deployment="a", created="2026-01-01T00:05:00Z"),
        pod("a-old", uid="u1", deployment="a", created="2026-01-01T00:01:00Z"),
    ]
    end = (2 * SECOND, {"u1": SECOND, "u2": SECOND})
    seen = described(pods, (0, {}), end, [deployment("a", 1)], drifted=["Deployment kjoule-apps/a"])
    assert {one["name"]: one["state"] for one in seen["pods"]} == {"a-old": "desired", "a-new": "drifted"}


def test_a_pod_in_excess_that_has_no_counter_yet_makes_none_of_the_others_drifted():
    pods = [
        pod("a-new", uid="u2", deployment="a", created="2026-01-01T00:05:00Z"),
        pod("a-old", uid="u1", deployment="a", created="2026-01-01T00:01:00Z"),
    ]
    seen = described(pods, (0, {}), (SECOND, {"u1": SECOND}), [deployment("a", 1)], drifted=["Deployment kjoule-apps/a"])
    assert {one["name"]: one["state"] for one in seen["pods"]} == {"a-old": "desired"}


def test_of_a_deployment_that_was_scaled_up_a_moment_ago_the_pods_that_are_there_are_the_ones_asked_for():
    pods = [pod("a-1", uid="u1", deployment="a"), pod("a-2", uid="u2", deployment="a")]
    end = (2 * SECOND, {"u1": SECOND, "u2": SECOND})
    drifted = ["Deployment kjoule-apps/a"]
    seen = described(pods, (0, {}), end, [deployment("a", 2)], drifted=drifted, live=[deployment("a", 3)])
    assert [one["state"] for one in seen["pods"]] == ["desired", "desired"]
    # Of one that is changed in another way, as many as asked for are all changed.
    seen = described(pods, (0, {}), end, [deployment("a", 2)], drifted=drifted, live=[deployment("a", 2)])
    assert [one["state"] for one in seen["pods"]] == ["drifted", "drifted"]


def going(*pods):
    """The same pods, in their grace period."""
    return [{"metadata": {**one["metadata"], "deletionTimestamp": "2026-01-01T00:06:00Z"}} for one in pods]


def test_pods_in_their_grace_period_are_none_of_those_that_a_scaled_up_deployment_has():
    old = [pod(f"old{n}", uid=f"o{n}", deployment="a", created="2025-12-31T23:00:00Z") for n in (1, 2)]
    new = [pod(f"new{n}", uid=f"n{n}", deployment="a", created="2026-01-01T00:01:00Z") for n in (1, 2)]
    extra = pod("extra", uid="x", deployment="a", created="2026-01-01T00:05:00Z")
    end = (5 * SECOND, dict.fromkeys(["o1", "o2", "n1", "n2", "x"], SECOND))
    drifted = ["Deployment kjoule-apps/a"]
    seen = described([*going(*old), *new, extra], (0, {}), end, [deployment("a", 2)], drifted=drifted, live=[deployment("a", 3)])
    assert {one["name"] for one in seen["pods"] if one["state"] == "drifted"} == {"extra"}
    assert len(seen["pods"]) == 5
    # Nor of one that was changed in another way: those that are there in their place are the changed ones.
    seen = described([*going(*old), *new], (0, {}), end, [deployment("a", 2)], drifted=drifted, live=[deployment("a", 2)])
    assert {one["name"] for one in seen["pods"] if one["state"] == "drifted"} == {"new1", "new2"}


def test_a_pod_in_its_grace_period_is_still_what_it_was():
    pods = [
        pod("a-1", uid="u1", deployment="a"),
        pod("a-2", uid="u2", deployment="a", created="2026-01-01T00:05:00Z"),
        pod("b-1", uid="u3", deployment="b"),
    ]
    end = (3 * SECOND, dict.fromkeys(["u1", "u2", "u3"], SECOND))
    meter = PodMeter(SimpleNamespace(source="cgroup v2", inside=None))
    described(pods, (0, {}), end, [deployment("a")], ["Deployment kjoule-apps/a"], ["Deployment kjoule-apps/b"], meter=meter)
    seen = described([pods[0], *going(*pods[1:])], end, end, [deployment("a")], meter=meter)
    assert {one["name"]: one["state"] for one in seen["pods"]} == {"a-1": "desired", "a-2": "drifted", "b-1": "orphan"}


def test_where_nothing_is_in_excess_every_pod_of_it_is_another_than_asked_for():
    seen = described(
        [pod("a-1", uid="u1", deployment="a")], (0, {}), (SECOND, {"u1": SECOND}), [deployment("a")], drifted=["Deployment kjoule-apps/a"]
    )
    assert [one["state"] for one in seen["pods"]] == ["drifted"]


def test_the_nodes_own_pods_are_told_apart_and_a_static_one_is_found_by_its_hash():
    static = pod("etcd-node", uid="u9", namespace="kube-system", annotations={"kubernetes.io/config.hash": "h"})
    seen = described([static], (0, {}), (SECOND, {"h": SECOND}))
    assert [(one["role"], one["workload"]) for one in seen["pods"]] == [("other", "Pod kube-system/etcd-node")]
    assert workload_cpu_seconds(seen) == 0.0


def test_a_pod_belongs_to_who_made_it():
    assert owner(pod("a-1", uid="u", deployment="a")) == "Deployment kjoule-apps/a"
    assert owner(pod("s-0", uid="u", ownerReferences=[{"kind": "StatefulSet", "name": "s"}])) == "StatefulSet kjoule-apps/s"
    assert owner(pod("r-x", uid="u", ownerReferences=[{"kind": "ReplicaSet", "name": "r"}])) == "ReplicaSet kjoule-apps/r"


def test_what_a_guest_counts_is_stretched_from_between_its_own_readings_to_the_window():
    """The kubelet read 600 s apart, 10 s before either edge; the window has 900 s."""
    pods = [pod("a-1", uid="u1", deployment="a")]
    start = (100 * SECOND, {"u1": 60 * SECOND}, 300 * SECOND, 1000 * SECOND)
    end = (160 * SECOND, {"u1": 90 * SECOND}, 420 * SECOND, 1600 * SECOND)
    seen = described(pods, start, end, [deployment("a")], inside="virtual-machine")
    assert seen["pods"][0]["cpu_seconds"] == pytest.approx(45.0)
    assert (seen["cpu_seconds"], seen["ended_cpu_seconds"]) == (pytest.approx(90.0), pytest.approx(45.0))
    assert seen["machine"] == {"component": "virtual-machine", "cpu_seconds": pytest.approx(180.0), "read_seconds": 600.0}


def test_between_one_reading_of_a_guest_and_the_same_nothing_is_known():
    pods = [pod("a-1", uid="u1", deployment="a")]
    same = (100 * SECOND, {"u1": 60 * SECOND}, 300 * SECOND, 1000 * SECOND)
    seen = described(pods, same, same, [deployment("a")], inside="virtual-machine")
    assert seen["machine"] == {"component": "virtual-machine", "cpu_seconds": 0.0, "read_seconds": 0.0}


#: The window of a hand edit in a virtual machine: 60 s.
EDIT = (WINDOW[0], WINDOW[0] + 60)
#: CPU of a pod that was there before, of the one that the edit made, and of the guest outside of pods.
OLD, NEW, REST = 0.25, 0.5, 0.125


def guest_read(at, created=2, *, own=0, total_own=0, old_own=0, ended=0):
    """What the kubelet read ``at`` a second of the window; its pods and their total that many seconds later."""

    def nanoseconds(second):
        return int((EDIT[0] + second) * SECOND)

    def used(second):
        return OLD * (second + 1000) + NEW * max(second - created, 0)

    times = {"old": at + old_own, "new": at + own}
    pods = {"old": OLD * (times["old"] + 1000), **({"new": NEW * (times["new"] - created)} if times["new"] > created else {})}
    return (
        round((used(at + total_own) + ended) * SECOND),
        {uid: round(value * SECOND) for uid, value in pods.items()},
        round((used(at) + ended + REST * (at + 1000)) * SECOND),
        nanoseconds(at),
        nanoseconds(at + total_own),
        {uid: nanoseconds(times[uid]) for uid in pods},
    )


def of_an_edit(start, end, created=2):
    stamp = f"2026-01-01T00:00:{created:02}Z" if created >= 0 else f"2025-12-31T23:59:{60 + created:02}Z"
    pods = [pod("old", uid="old"), pod("new", uid="new", created=stamp)]
    seen = described(pods, start, end, inside="virtual-machine", window=EDIT)
    return seen, {one["name"]: one for one in seen["pods"]}


@pytest.mark.parametrize("ages", [(1, 1), (2, 12), (6, 6), (12, 2), (12, 12)])
@pytest.mark.parametrize("own", [{}, {"own": -3, "total_own": 1, "old_own": -2}])
def test_a_pod_that_began_in_a_virtual_machine_has_its_rate_however_old_the_readings_are(ages, own):
    seen, pods = of_an_edit(guest_read(-ages[0], **own), guest_read(60 - ages[1], **own))
    assert (pods["new"]["seconds"], pods["new"]["cpu_seconds"]) == (58.0, pytest.approx(58 * NEW, rel=1e-6))
    assert (pods["old"]["seconds"], pods["old"]["cpu_seconds"]) == (60.0, pytest.approx(60 * OLD, rel=1e-6))
    # The pods are all of the total and, with the guest outside of them, all of the machine.
    assert seen["ended_cpu_seconds"] == pytest.approx(0.0, abs=1e-5)
    assert seen["cpu_seconds"] == pytest.approx(58 * NEW + 60 * OLD, rel=1e-6)
    assert seen["machine"]["cpu_seconds"] == pytest.approx(58 * NEW + 60 * OLD + 60 * REST, rel=1e-6)


def test_what_is_added_to_a_new_pod_is_not_taken_from_those_that_ended():
    seen, pods = of_an_edit(guest_read(-12), guest_read(48, ended=4))
    assert (pods["new"]["cpu_seconds"], seen["ended_cpu_seconds"]) == (pytest.approx(58 * NEW), pytest.approx(4.0))
    assert seen["cpu_seconds"] == sum(one["cpu_seconds"] for one in seen["pods"]) + seen["ended_cpu_seconds"]


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        (46, 14.0),  # read at 10 s of age: followed to the end of the window
        (47, 9.0),  # read younger: not beyond its reading
        (55, 1.0),
    ],
)
def test_a_pod_that_was_read_too_young_is_not_extrapolated(created, seconds):
    _seen, pods = of_an_edit(guest_read(-4, created), guest_read(56, created), created)
    assert (pods["new"]["seconds"], pods["new"]["cpu_seconds"]) == (seconds, pytest.approx(seconds * NEW))


@pytest.mark.parametrize("created", [56, 58])
def test_a_pod_that_was_read_when_it_was_created_or_before_is_none_to_report(created):
    end = guest_read(56, created)
    end[1]["new"] = 1
    assert list(of_an_edit(guest_read(-4, created), end, created)[1]) == ["old"]


def test_a_pod_without_two_readings_of_its_own_is_none_to_report():
    start, end = guest_read(-4), guest_read(56)
    end[5]["old"] = start[5]["old"]
    assert list(of_an_edit(start, end)[1]) == ["new"]
    del end[1]["new"]
    assert of_an_edit(start, end)[1] == {}


def test_what_a_pod_used_between_the_first_reading_and_the_window_is_not_of_the_window():
    _seen, pods = of_an_edit(guest_read(-12, -5), guest_read(57, -5), -5)
    assert (pods["new"]["seconds"], pods["new"]["cpu_seconds"]) == (60.0, pytest.approx(60 * NEW))


def test_a_pod_that_waited_for_long_before_it_began_has_its_rate_from_the_first_reading_on():
    start, end = guest_read(-10, -10), guest_read(50, -10)
    _seen, pods = of_an_edit(start, end, -50)
    assert (pods["new"]["seconds"], pods["new"]["cpu_seconds"]) == (60.0, pytest.approx(60 * NEW))
