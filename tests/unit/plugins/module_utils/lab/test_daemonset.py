# SPDX-License-Identifier: GPL-3.0-or-later
"""A DaemonSet is waited for while waiting helps; what it does not run for is told in Kubernetes' own words."""

from __future__ import annotations

import copy
import itertools

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.daemonset import is_current, wait_for_daemonset

TEMPLATE = {
    "metadata": {"labels": {"app": "k"}, "annotations": {"settings": "1"}},
    "spec": {"containers": [{"name": "k", "image": "r/k:2"}]},
}


def daemonset(ready, *, updated=2, wanted=2, observed=3):
    status = {"observedGeneration": observed, "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated, "numberReady": ready}
    return {"metadata": {"generation": 3}, "spec": {"template": TEMPLATE}, "status": status}


def pod(name="k-1", image="r/k:2", **status):
    meta = {"name": name, "labels": {"app": "k", "hash": "x"}, "annotations": {"settings": "1"}}
    return {"metadata": meta, "spec": {"containers": [{"name": "k", "image": image}]}, "status": status}


def waiting(reason, message="", **more):
    return {"containerStatuses": [{"image": "r/k:2", "state": {"waiting": {"reason": reason, "message": message}}, **more}]}


def wait(*looks, seconds=60.0):
    """The last look goes on for ever; the clock goes on by a second with each pause."""
    seen = itertools.chain(looks, itertools.repeat(looks[-1]))
    now = [0.0]

    def sleep(pause):
        now[0] += pause

    nodes = wait_for_daemonset(
        lambda: next(seen), "k", seconds=seconds, image_advice="load it", namespace="ns", sleep=sleep, clock=lambda: now[0]
    )
    return nodes, now[0]


def test_it_is_waited_for_until_every_node_has_a_ready_pod_of_what_is_asked_for_now():
    steps = [(None, []), (daemonset(0, observed=2), []), (daemonset(2, updated=1), [pod()]), (daemonset(2), [pod()])]
    assert wait(*steps) == (2, 3.0)


def test_an_image_that_is_not_to_be_had_ends_the_wait_at_once():
    with pytest.raises(KjouleError, match=r"the image r/k:2 is not to be had: .*saw k-1: ErrImagePull no route\. Next: load it"):
        wait((daemonset(1), [pod(**waiting("ErrImagePull", "no route"))]), seconds=1e9)


def test_what_a_pod_that_is_being_replaced_cannot_do_says_nothing_of_the_new_one():
    old = pod(image="r/k:1", **waiting("ImagePullBackOff"))
    going = pod(**waiting("ImagePullBackOff"))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert wait((daemonset(1), [old, going, pod("k-2")]), (daemonset(2), [pod("k-2")])) == (2, 1.0)
    other = copy.deepcopy(pod())
    other["metadata"]["annotations"] = {"settings": "0"}
    assert [is_current(one, daemonset(2)) for one in (pod(), old, going, other)] == [True, False, False, False]


@pytest.mark.parametrize(("message", "words"), [("a\nno RAPL\n", "a no RAPL"), (None, "none"), ("x" * 5000 + "end", "x" * 597 + "end")])
def test_a_program_that_ends_again_and_again_is_told_with_its_last_words(message, words):
    ended = {"terminated": {"exitCode": 1, "message": message}}
    told = (
        rf"the image r/k:2 ends again .*k-1: CrashLoopBackOff, exit status 1, last words: {words}\. Next: kubectl logs -n ns --previous k-1"
    )
    with pytest.raises(KjouleError, match=told):
        wait((daemonset(1), [pod(**waiting("CrashLoopBackOff", lastState=ended))]))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ((None, []), "there is no such DaemonSet"),
        ((daemonset(2, observed=2), []), "has not looked at it yet"),
        ((daemonset(0, wanted=0, updated=0), []), "no node that may have one"),
        ((daemonset(1), []), "1 of 2 ready"),
        ((daemonset(1), [pod()]), r"1 of 2 ready; k-1 \(r/k:2\): its node has said nothing about it"),
        (
            (daemonset(1), [pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}])]),
            r"1 of 2 ready; k-1 \(r/k:2\): Unschedulable full",
        ),
        ((daemonset(1), [pod(**waiting("ContainerCreating", "no volume"))]), r"k-1 \(r/k:2\): ContainerCreating no volume"),
    ],
)
def test_what_may_still_come_is_told_when_the_time_is_over(seen, words):
    with pytest.raises(
        KjouleError, match=rf"the DaemonSet k does not run: .*within 5 s, saw .*{words}\. Next: kubectl describe pods -n ns"
    ):
        wait(seen, seconds=5.0)
