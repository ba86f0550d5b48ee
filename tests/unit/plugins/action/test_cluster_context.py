# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action reads and returns. Which context is meant is in plugin_utils/test_kubeconfig.py."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.kjoule.bench.plugins.action.cluster_context import ActionModule

KUBECONFIG = {
    "contexts": [{"name": "admin@lab", "context": {"cluster": "lab", "user": "admin"}}],
    "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "users": [{"name": "admin", "user": {"token": "abc"}}],
}
#: What the host answers: where the file is, and what is in it.
FOUND = {"source": "/srv/k", "content": base64.b64encode(json.dumps(KUBECONFIG).encode()).decode()}


@pytest.fixture
def run(monkeypatch):
    context = SimpleNamespace(no_log=False)

    def go(answer, **arguments):
        task = SimpleNamespace(
            args=arguments, action="kjoule.bench.cluster_context", async_val=0, environment=None, check_mode=False, diff=False, timeout=0
        )
        action = ActionModule(
            task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"), _play_context=context),
            play_context=None,
            loader=None,
            templar=None,
            shared_loader_obj=None,
        )

        def execute(name, arguments, task_vars):
            go.asked.append((name, arguments, context.no_log))
            return answer

        monkeypatch.setattr(action, "_execute_module", execute)
        try:
            return action.run(task_vars={})
        finally:
            assert context.no_log is False

    go.asked = []
    return go


def test_it_reads_the_file_on_the_host_and_returns_names_and_no_secret(run):
    answer = run(FOUND, kubeconfig="~/k", confirm="lab")
    meant = {"kubeconfig": "/srv/k", "context": "admin@lab", "cluster": "lab", "server": "https://127.0.0.1:6443"}
    assert answer == {"changed": False, **meant}
    assert run.asked == [("ansible.builtin.slurp", {"src": "~/k"}, True)]  # the connection says nothing of what comes back


@pytest.mark.parametrize("arguments", [{}, {"kubeconfig": ""}])
def test_without_a_kubeconfig_no_cluster_is_named(run, arguments):
    with pytest.raises(AnsibleActionFail, match=r"^no cluster is named: .*Next: set monitoring_cluster_kubeconfig"):
        run({}, variables="monitoring_cluster_", **arguments)
    assert run.asked == []


@pytest.mark.parametrize(
    ("said", "seen"), [("File not found: /k", "no such file"), ("file not found: /k", "no such file"), ("denied: /k", "denied: /k")]
)
def test_a_file_that_is_not_there_or_may_not_be_read_is_told(run, said, seen):
    with pytest.raises(AnsibleActionFail, match=rf"the kubeconfig /k cannot be read: .*saw {seen}\. Next: correct kubeconfig"):
        run({"failed": True, "msg": said}, kubeconfig="/k")


def test_another_cluster_than_the_confirmed_one_is_refused(run):
    with pytest.raises(AnsibleActionFail, match="leads to another cluster"):
        run(FOUND, kubeconfig="/k", confirm="prod")


def test_a_path_from_wherever_somebody_happens_to_be_is_refused(run):
    with pytest.raises(
        AnsibleActionFail, match=r"the kubeconfig k/config may be in several places: .*Next: set kubeconfig to the whole path"
    ):
        run(FOUND, kubeconfig="k/config")
    assert run.asked == []
