# SPDX-License-Identifier: GPL-3.0-or-later
"""The one node that is measured. What runs on another one is not seen on this host, and would be missing without a word."""

from __future__ import annotations

from typing import Any

from ..errors import KjouleError
from .api import KubeApi, condition


def only_node(api: KubeApi) -> dict[str, Any]:
    """The node of a cluster of one node. Raises KjouleError for any other number of them."""
    nodes: list[dict[str, Any]] = api.list("/api/v1/nodes").get("items") or []
    if len(nodes) != 1:
        names = ", ".join(str(node["metadata"]["name"]) for node in nodes)
        raise KjouleError(
            "a cluster is measured that has one node: what runs on another one is not seen on this host",
            expected="one node",
            seen=f"{len(nodes)} nodes: {names}" if nodes else "none",
            next_step="measure a cluster of one node, or take the others out of this one (kubectl drain, kubectl delete node)",
        )
    return nodes[0]


def not_ready(node: dict[str, Any]) -> str:
    """Why a node is not Ready, in the words of its kubelet; empty when it is."""
    status, reason, message = condition(node, "Ready")
    return "" if status == "True" else f"{node['metadata']['name']}: Ready {status or 'unknown'} {reason} {message}".strip()
