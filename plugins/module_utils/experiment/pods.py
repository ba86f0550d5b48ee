# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of pods by phase: whose they are, and whether anybody still wants them.

The groups are read at the edges of a window, with the other clocks. Names, owners and what the state of the cluster says about them are
asked of the API server afterwards, outside of the window. A pod that began in the window counts from nought; what pods used that ended in
it is the difference to the total of all pods, and has no name.
"""

from __future__ import annotations

import datetime
from typing import Any, Protocol

from ..energy.cgroups import PodReading
from ..lab.api import ApiError, KubeApi
from .workload import Revision

#: A static pod's group is named after this, not after the uid of its image in the API.
_CONFIG_HASH = "kubernetes.io/config.hash"


class PodReader(Protocol):
    """Where pods' CPU time is read: ``PodGroups``, ``GuestPods``."""

    source: str
    inside: str | None

    def read(self) -> PodReading:
        """All counters now."""


class PodMeter:
    """Reads pods; ``describe`` makes the part of a phase record that tells of them."""

    def __init__(self, reader: PodReader) -> None:
        self._reader = reader
        self.inside = reader.inside

    def read(self) -> PodReading:
        return self._reader.read()

    def describe(
        self,
        api: KubeApi,
        start: PodReading,
        end: PodReading,
        revision: Revision,
        state: dict[str, Any],
        namespaces: set[str],
        window: tuple[float, float],
    ) -> dict[str, Any]:
        """``{source, pods: [{namespace, name, workload, role, state, seconds, cpu_seconds}], ended_cpu_seconds, cpu_seconds}``.

        ``window`` is when it began and ended, in seconds since 1970: a pod that began within it lived for less (``seconds``).
        ``namespaces`` are those that revisions live in: pods there have the role workload, the others (the node's own, the arm's, which are
        components) the role other. ``state`` is desired; orphan where the pod's owner is no longer asked for; drifted where its owner is
        another than asked for: where it was scaled up, the newest pods beyond the number asked for, and otherwise all of them.

        Of pods in a virtual machine there is ``machine`` as well: ``{component, cpu_seconds, read_seconds}``, the CPU time of all that the
        guest counts, and between which of its own readings. Everything is what was used between those, times the length of the window by
        theirs.
        """
        scale = _scale(start, end, window)
        pods = []
        for item in api.list("/api/v1/pods").get("items") or []:
            uid, meta = _uid(item), item["metadata"]
            created = meta.get("creationTimestamp") or ""
            pods.append(
                {
                    "namespace": meta["namespace"],
                    "name": meta["name"],
                    "workload": owner(item),
                    "role": "workload" if meta["namespace"] in namespaces else "other",
                    "state": "desired",
                    "created": created,
                    "uid": uid,
                    "seconds": window[1] - (window[0] if uid in start.pods else _began(created, window)),
                    "cpu_seconds": max((end.pods.get(uid, 0) - start.pods.get(uid, 0)) * scale, 0) / 1e9,
                }
            )
        # A pod that has no counter yet is none to report, but it is one of those in excess.
        _mark(pods, revision, state["names"], api)
        pods = [pod for pod in pods if pod.pop("uid") in end.pods]
        for pod in pods:
            del pod["created"]
        named = sum(end.pods[uid] - start.pods.get(uid, 0) for uid in end.pods) * scale
        total = (end.total_ns - start.total_ns) * scale
        described: dict[str, Any] = {
            "source": self._reader.source,
            "pods": sorted(pods, key=lambda pod: (pod["namespace"], pod["name"])),
            # The total is read first, so what runs between the two readings may make the difference slightly negative.
            "ended_cpu_seconds": max(total - named, 0) / 1e9,
            "cpu_seconds": total / 1e9,
        }
        if start.node_ns is not None and end.node_ns is not None and start.at_ns is not None and end.at_ns is not None:
            described["machine"] = {
                "component": self.inside,
                "cpu_seconds": (end.node_ns - start.node_ns) * scale / 1e9,
                "read_seconds": (end.at_ns - start.at_ns) / 1e9,
            }
        return described


def _scale(start: PodReading, end: PodReading, window: tuple[float, float]) -> float:
    """The window by the time between the readings of somebody else's counters; 0 where those are one reading: nothing is known then."""
    if start.at_ns is None or end.at_ns is None:
        return 1.0
    return (window[1] - window[0]) / ((end.at_ns - start.at_ns) / 1e9) if end.at_ns > start.at_ns else 0.0


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


def _began(created: str, window: tuple[float, float]) -> float:
    """When a pod began that was not there at the start of the window. The API server knows whole seconds; the edges are the bounds."""
    try:
        moment = datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    except ValueError:
        return window[0]
    return min(max(moment, window[0]), window[1])


def _uid(item: dict[str, Any]) -> str:
    meta = item["metadata"]
    return str((meta.get("annotations") or {}).get(_CONFIG_HASH) or meta["uid"])


def _mark(pods: list[dict[str, Any]], revision: Revision, names: dict[str, list[str]], api: KubeApi) -> None:
    wanted = {
        f"{item['kind']} {item['metadata'].get('namespace') or ''}/{item['metadata']['name']}": item
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
            asked = _replicas(wanted[who]) if who in wanted else len(members)
            oldest = sorted(members, key=lambda pod: (pod["created"], pod["name"]))
            # Those in excess may not be there yet: what the owner says now decides whether it was scaled up, not how many pods there are.
            scaled_up = len(members) > asked or (who in wanted and _live_replicas(api, wanted[who]) > asked)
            changed, word = (oldest[asked:] if scaled_up else members), "drifted"
        else:
            continue
        for pod in changed:
            pod["state"] = word


def _replicas(item: dict[str, Any]) -> int:
    return int(item["spec"].get("replicas", 1))


def _live_replicas(api: KubeApi, item: dict[str, Any]) -> int:
    """How many the owner is asked for in the cluster now; those of the revision where it has just gone."""
    meta = item["metadata"]
    path = f"/apis/{item['apiVersion']}/namespaces/{meta.get('namespace') or 'default'}/{item['kind'].lower()}s/{meta['name']}"
    try:
        return _replicas(api.get(path))
    except ApiError as error:
        if error.status != 404:
            raise
        return _replicas(item)
