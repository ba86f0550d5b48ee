# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubelet inside a virtual machine says of its pods. The answers have the form of the Summary API (stats/v1alpha1), made here."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.guest import GuestPods
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError, PeriodInvalid


def cpu(nanoseconds, time="2026-01-01T00:00:10.25Z"):
    return {"time": time, "usageNanoCores": 1, "usageCoreNanoSeconds": nanoseconds}


def summary(**change):
    answer = {
        "node": {
            "nodeName": "kjoule",
            "cpu": cpu(9_000),
            "systemContainers": [{"name": "kubelet", "cpu": cpu(500)}, {"name": "pods", "cpu": cpu(7_000, "2026-01-01T00:00:08Z")}],
        },
        "pods": [
            {"podRef": {"name": "a-1", "namespace": "kjoule-apps", "uid": "u1"}, "cpu": cpu(4_000, "2026-01-01T00:00:03Z")},
            {"podRef": {"name": "new", "namespace": "kjoule-apps", "uid": "u2"}},
            {"podRef": {"name": "untimed", "namespace": "kjoule-apps", "uid": "u3"}, "cpu": cpu(1, None)},
        ],
    }
    answer["node"].update(change)
    return answer


class Api:
    def __init__(self, answer, nodes=("kjoule",)):
        self.answer, self.nodes, self.asked = answer, nodes, []

    def get(self, path):
        self.asked.append(path)
        return {"items": [{"metadata": {"name": name}} for name in self.nodes]} if path == "/api/v1/nodes" else self.answer


def test_the_kubelets_counters_are_those_of_the_node_of_all_pods_and_of_each_with_the_time_of_each():
    api = Api(summary())
    reader = GuestPods(api, "virtual-machine")
    guest = (9_000, 1767225610_250_000_000, 1767225608_000_000_000, {"u1": 1767225603_000_000_000})
    assert reader.read() == (7_000, {"u1": 4_000}, guest)
    reader.read()
    assert api.asked == ["/api/v1/nodes", *["/api/v1/nodes/kjoule/proxy/stats/summary?only_cpu_and_memory=true"] * 2]
    assert reader.inside == "virtual-machine"


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"systemContainers": [{"name": "kubelet", "cpu": cpu(1)}]}, "StopIteration"),
        ({"cpu": {"time": "2026-01-01T00:00:10Z"}}, "usageCoreNanoSeconds"),
        ({"cpu": cpu(1, time="2026-01-01T00:00:10+01:00")}, "a time in UTC"),
        ({"cpu": None}, "TypeError"),
    ],
)
def test_an_answer_without_figures_makes_the_period_invalid_and_says_what_to_look_at(change, seen):
    with pytest.raises(PeriodInvalid, match=rf"does not say what its pods used.*{seen}.*kubectl get --raw /api/v1/nodes/kjoule/proxy"):
        GuestPods(Api(summary(**change)), "virtual-machine").read()


@pytest.mark.parametrize(("nodes", "seen"), [((), "none"), (("a", "b"), "a, b")])
def test_a_cluster_of_more_than_one_node_is_refused(nodes, seen):
    with pytest.raises(KjouleError, match=f"expected one node, saw {seen}"):
        GuestPods(Api(summary(), nodes), "virtual-machine").read()
