# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action asks the host for. The whole is run against a real API server in tests/integration/test_monitoring_cluster.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.kjoule.bench.plugins.action.daemonset_wait import ActionModule

TEMPLATE = {"metadata": {"labels": {"app": "k"}}, "spec": {"containers": [{"image": "r/k:1"}]}}
DAEMONSET = {
    "metadata": {"generation": 1},
    "spec": {"selector": {"matchLabels": {"app": "k"}}, "template": TEMPLATE},
    "status": {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1},
}


@pytest.fixture
def run(monkeypatch):
    """Runs the action on a host whose client answers with these, one after the other; what it was asked stands in ``run.asked``."""

    def go(*answers, **arguments):
        left = list(answers)
        given = {"name": "k", "namespace": "ns", "image_advice": "load it", **arguments}
        task = SimpleNamespace(
            args=given, action="kjoule.bench.daemonset_wait", async_val=0, environment=None, check_mode=False, diff=False, timeout=0
        )
        action = ActionModule(
            task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere")),
            play_context=None,
            loader=None,
            templar=None,
            shared_loader_obj=None,
        )

        def execute(name, arguments, task_vars):
            go.asked.append((name, arguments))
            return left.pop(0)

        monkeypatch.setattr(action, "_execute_module", execute)
        return action.run(task_vars={})

    go.asked = []
    return go


def test_it_looks_at_the_pods_of_the_daemonsets_own_selector_by_the_hosts_client(run):
    answer = run({"resources": [DAEMONSET]}, {"resources": []}, kubeconfig="~/k", context="lab")
    assert (answer["changed"], answer["nodes"]) == (False, 1)
    where = {"kubeconfig": "~/k", "context": "lab", "namespace": "ns"}
    assert run.asked == [
        ("kubernetes.core.k8s_info", {**where, "api_version": "apps/v1", "kind": "DaemonSet", "name": "k"}),
        ("kubernetes.core.k8s_info", {**where, "api_version": "v1", "kind": "Pod", "label_selectors": ["app=k"]}),
    ]


def test_a_cluster_that_refuses_is_told_in_its_own_words(run):
    with pytest.raises(AnsibleActionFail, match="certificate has expired"):
        run({"failed": True, "msg": "certificate has expired"})


def test_what_cannot_run_fails_with_the_reason(run):
    with pytest.raises(AnsibleActionFail, match=r"the DaemonSet k does not run: .*there is no such DaemonSet"):
        run({"resources": []}, timeout=-1.0)
