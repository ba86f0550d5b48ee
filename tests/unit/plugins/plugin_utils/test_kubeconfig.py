# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster is meant."""

from __future__ import annotations

import json

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.kubeconfig import choose

SECRET = "cGFzc3dvcmQ="


def kubeconfig(*names: str, current: str = "") -> str:
    return json.dumps(
        {
            "current-context": current,
            "contexts": [{"name": f"admin@{name}", "context": {"cluster": name, "user": "admin"}} for name in names],
            "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443"}} for name in names],
            "users": [{"name": "admin", "user": {"token": SECRET}}],
        }
    )


def test_a_context_by_name_is_taken_whatever_is_the_current_one():
    text = kubeconfig("lab", "prod", current="admin@prod")
    assert choose(text, "/k", context="admin@lab") == ("admin@lab", "lab", "https://lab.example:6443")


@pytest.mark.parametrize("current", ["admin@lab", ""])
def test_the_only_one_needs_no_name(current):
    assert choose(kubeconfig("lab", current=current), "/k").context == "admin@lab"


@pytest.mark.parametrize("confirm", ["lab", "admin@lab"])
def test_the_current_one_of_several_is_taken_if_it_is_confirmed_by_the_name_of_context_or_cluster(confirm):
    assert choose(kubeconfig("lab", "prod", current="admin@lab"), "/k", confirm=confirm).cluster == "lab"


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        (
            kubeconfig("lab", "prod", current="admin@prod"),
            {},
            r"/k has several contexts, and none of them is named: expected one of: admin@lab, admin@prod, "
            r"saw context admin@prod, cluster prod at https://prod\.example:6443, which is only the current one\. Next: set x_context",
        ),
        (
            kubeconfig("lab", "prod", current="admin@prod"),
            {"confirm": "lab"},
            r"/k leads to another cluster than the one that is meant: expected lab \(x_confirm\), saw context admin@prod, "
            r".*Next: choose .*x_context",
        ),
        (kubeconfig("lab"), {"context": "nowhere"}, r"/k has no context nowhere: expected one of: admin@lab\. Next: set x_context"),
        (kubeconfig("lab", "prod"), {}, r"/k calls no context current: expected one of: admin@lab, admin@prod\."),
        (kubeconfig("lab", current="gone"), {}, r"/k has no context gone: expected one of: admin@lab\."),
        # What is left when the last cluster of a file was deleted.
        (kubeconfig(), {"context": "admin@lab"}, r"/k has no context in it: expected the context admin@lab\. Next: if the cluster is gone"),
        ("{contexts: null, clusters: null, users: null}", {}, r"/k has no context in it: expected one\. Next: if the cluster is gone"),
        (f"token: {SECRET}\nexpires: 2026-02-30", {}, r"/k is no kubeconfig: .*saw no YAML"),
        ("", {}, r"/k is no kubeconfig: expected YAML with contexts, clusters and users, saw nothing\."),
        (f"- {SECRET}", {}, r"/k is no kubeconfig: .*saw no mapping"),
        (f"users:\n - token: [{SECRET}", {}, r"/k is no kubeconfig: .*saw no YAML in line \d"),
    ],
)
def test_one_that_nobody_named_is_refused_and_no_secret_is_told(text, given, says):
    with pytest.raises(KjouleError, match=says) as refused:
        choose(text, "/k", variables="x_", **given)
    assert SECRET not in str(refused.value)


def test_entries_that_are_none_are_passed_over():
    text = json.dumps({"contexts": [None, {"name": "a"}, {"context": {}}], "clusters": "none"})
    assert choose(text, "/k", context="a") == ("a", "", "")
