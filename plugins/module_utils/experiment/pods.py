# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of pods by phase: whose they are, and whether anybody still wants them.

The groups are read at the edges of a window, with the other clocks. Names, owners and what the state of the cluster says about them are
asked of the API server afterwards, outside of the window. A pod that began in the window counts from nought; what pods used that ended in
it is the difference to the total of all pods, and has no name.
"""

from __future__ import annotations

from typing import Any

from ..energy.cgroups import PodGroups
from ..lab.api import KubeApi
from .workload import Revision

#: A static pod's group is named after this, not after the uid of its image in the API.
_CONFIG_HASH = "kubernetes.io/config.hash"
Reading = tuple[int, dict[str, int]]


class PodMeter:
    """Reads pods of this host's kubelet; ``describe`` makes the part of a phase record that tells of them."""

    def __init__(self, groups: PodGroups | None = None) -> None:
        self._groups = groups or PodGroups()
        self.source = f"cgroup v{self._groups.version}"

    def read(self) -> Reading:
        return self._groups.read()

    def describe(
        self, api: KubeApi, start: Reading, end: Reading, revision: Revision, state: dict[str, Any], namespaces: set[str]
    ) -> dict[str, Any]:
        """``{source, pods: [{namespace, name, workload, role, state, cpu_seconds}], ended_cpu_seconds, cpu_seconds}``.

        ``namespaces`` are those that revisions live in: pods there have the role workload, the others (the node's own, the arm's, which are
        components) the role other. ``state`` is desired; orphan where the pod's owner is no longer asked for; drifted where its owner is
        another than asked for, of which the newest pods in excess are it, or all of them where there is no excess.
        """
        pods = []
        for item in api.list("/api/v1/pods").get("items") or []:
            uid = _uid(item)
            if uid in end[1]:
                used = end[1][uid] - start[1].get(uid, 0)
                meta = item["metadata"]
                pods.append(
                    {
                        "namespace": meta["namespace"],
                        "name": meta["name"],
                        "workload": owner(item),
                        "role": "workload" if meta["namespace"] in namespaces else "other",
                        "state": "desired",
                        "created": meta.get("creationTimestamp") or "",
                        "cpu_seconds": max(used, 0) / 1e9,
                    }
                )
        _mark(pods, revision, state["names"])
        for pod in pods:
            del pod["created"]
        named = sum(end[1][uid] - start[1].get(uid, 0) for uid in end[1])
        total = end[0] - start[0]
        return {
            "source": self.source,
            "pods": sorted(pods, key=lambda pod: (pod["namespace"], pod["name"])),
            # The total is read first, so what runs between the two readings may make the difference slightly negative.
            "ended_cpu_seconds": max(total - named, 0) / 1e9,
            "cpu_seconds": total / 1e9,
        }


def workload_cpu_seconds(pods: dict[str, Any]) -> float:
    """What the workload's pods used: those with a name, and those that ended in the window."""
    return float(sum(pod["cpu_seconds"] for pod in pods["pods"] if pod["role"] == "workload") + pods["ended_cpu_seconds"])


def owner(item: dict[str, Any]) -> str:
    """``Kind namespace/name`` of what made a pod: the Deployment where a ReplicaSet stands between; the pod itself when nobody did."""
    meta = item["metadata"]
    made = (meta.get("ownerReferences") or [{"kind": "Pod", "name": meta["name"]}])[0]
    kind, name = made["kind"], made["name"]
    suffix = "-" + str((meta.get("labels") or {}).get("pod-template-hash") or "")
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        kind, name = "Deployment", name[: -len(suffix)]
    return f"{kind} {meta['namespace']}/{name}"


def _uid(item: dict[str, Any]) -> str:
    meta = item["metadata"]
    return str((meta.get("annotations") or {}).get(_CONFIG_HASH) or meta["uid"])


def _mark(pods: list[dict[str, Any]], revision: Revision, names: dict[str, list[str]]) -> None:
    wanted = {
        f"{item['kind']} {item['metadata'].get('namespace') or ''}/{item['metadata']['name']}": int(item["spec"].get("replicas", 1))
        for item in revision.objects()
        if isinstance(item.get("spec"), dict) and item["kind"] in ("Deployment", "StatefulSet", "ReplicaSet")
    }
    by_owner: dict[str, list[dict[str, Any]]] = {}
    for pod in pods:
        by_owner.setdefault(pod["workload"], []).append(pod)
    for who, members in by_owner.items():
        if who in names["orphans"]:
            changed, word = members, "orphan"
        elif who in names["drifted"]:
            excess = len(members) - wanted.get(who, len(members))
            newest = sorted(members, key=lambda pod: (pod["created"], pod["name"]))
            changed, word = (newest[-excess:] if excess > 0 else members), "drifted"
        else:
            continue
        for pod in changed:
            pod["state"] = word
