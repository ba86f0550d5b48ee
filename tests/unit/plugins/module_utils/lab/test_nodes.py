# SPDX-License-Identifier: GPL-3.0-or-later
"""One node is measured, and it has to be Ready."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.nodes import not_ready, only_node


def node(name, **condition):
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", **condition}] if condition else []}}


def cluster(*nodes):
    return SimpleNamespace(list=lambda path: {"items": list(nodes)})


def test_one_node_is_taken_and_any_other_number_is_refused():
    assert only_node(cluster(node("a"))) == node("a")
    with pytest.raises(KjouleError, match=r"expected one node, saw 2 nodes: a, b\. Next: "):
        only_node(cluster(node("a"), node("b")))
    with pytest.raises(KjouleError, match="saw none"):
        only_node(cluster())


def test_a_node_that_is_not_ready_is_so_in_the_words_of_its_kubelet():
    assert not_ready(node("a", status="True", reason="KubeletReady")) == ""
    assert not_ready(node("a", status="False", reason="NotReady", message="no network")) == "a: Ready False NotReady no network"
    assert not_ready(node("a")) == "a: Ready unknown"
