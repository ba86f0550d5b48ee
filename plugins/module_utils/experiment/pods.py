# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of pods by phase: whose they are, and whether anybody still wants them.

The groups are read at the edges of a window, with the other clocks. Names, owners and what the state of the cluster says about them are
asked of the API server afterwards, outside of the window. A pod that began in the window counts from nought; what pods used that ended in
it, or before the API server was asked, is the difference to the total of all pods, and has no name.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from ..energy.cgroups import PodReading
from ..lab.api import ApiError, KubeApi
from .workload import Revision

#: A static pod's group is named after this, not after the uid of its image in the API.
_CONFIG_HASH = "kubernetes.io/config.hash"
#: How old a new pod in a virtual machine has to be, when its kubelet reads it, for what it used to be extrapolated. That moment and that of
#: its creation are told in whole seconds (apimachinery, metav1.Time), so their difference is at most a tenth off.
_SHORTEST_NS = 10 * 10**9


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
        #: uid -> what every pod that was ever looked at was: its state, its namespace.
        self._states: dict[str, str] = {}
        self._namespaces: dict[str, str] = {}

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

        ``ended_cpu_seconds`` is what pods used that are not among ``pods``. For pods of this host there is also
        ``ended_workload_cpu_seconds``: as much of it as is known to be the workload's (``_ended_workload``).
        ``window`` is when it began and ended, in seconds since 1970: a pod that began within it lived for less (``seconds``).
        ``namespaces`` are those that revisions live in: pods there have the role workload, the others (the node's own, the arm's, which are
        components) the role other. ``state`` is desired; orphan where the pod's owner is no longer asked for; drifted where its owner is
        another than asked for: where it was scaled up, the newest pods beyond the number asked for, and otherwise all of them. A pod that
        is being deleted is no longer one of those that the owner has: it is what it was at the last look, or desired.

        Of pods in a virtual machine there is ``machine`` as well: ``{component, cpu_seconds, read_seconds}``, the CPU time of all that the
        guest counts, and between which of its own readings. Everything is brought from between those to the window (``_used``,
        ``_stretched``) such that ``cpu_seconds`` are those of the pods and ``ended_cpu_seconds``, exactly.
        """
        pods, used, finished = [], {}, set()
        for item in api.list("/api/v1/pods").get("items") or []:
            uid, meta = _uid(item), item["metadata"]
            created, deleted = meta.get("creationTimestamp") or "", bool(meta.get("deletionTimestamp"))
            found = _used(uid, created, start, end, window)
            if found is not None:
                used[uid] = found
            if uid not in end.pods and _finished(item, window):
                finished.add(uid)
            pods.append(
                {
                    "namespace": meta["namespace"],
                    "name": meta["name"],
                    "workload": owner(item),
                    "role": "workload" if meta["namespace"] in namespaces else "other",
                    "state": self._states.get(uid, "desired") if deleted else "desired",
                    "created": created,
                    "deleted": deleted,
                    "uid": uid,
                }
            )
        # A pod of which nothing is counted yet is none to report, but it is one of those in excess.
        _mark(pods, revision, state["names"], api)
        self._states.update((pod["uid"], pod["state"]) for pod in pods)
        self._namespaces.update((pod["uid"], pod["namespace"]) for pod in pods)
        pods = [pod for pod in pods if pod["uid"] in used]
        for pod in pods:
            del pod["created"], pod["deleted"]
            found = used[pod.pop("uid")]
            pod.update(seconds=found.seconds, cpu_seconds=found.ns / 1e9)
        named = sum(found.ns for found in used.values())
        if start.guest is None or end.guest is None:
            total = float(end.total_ns - start.total_ns)
        else:
            edges = (start.guest.total_at_ns, end.guest.total_at_ns)
            total = _stretched(end.total_ns - start.total_ns, edges, window, used.values())
        # The total is read first, so what runs between the two readings may make the difference slightly negative.
        ended = max(total - named, 0.0)
        described: dict[str, Any] = {
            "source": self._reader.source,
            "pods": sorted(pods, key=lambda pod: (pod["namespace"], pod["name"])),
            "ended_cpu_seconds": ended / 1e9,
            "cpu_seconds": (named + ended) / 1e9,
        }
        if start.guest is None or end.guest is None:
            described["ended_workload_cpu_seconds"] = self._ended_workload(ended, start, end, set(used), finished, namespaces) / 1e9
        else:
            edges = (start.guest.at_ns, end.guest.at_ns)
            described["machine"] = {
                "component": self.inside,
                "cpu_seconds": _stretched(end.guest.node_ns - start.guest.node_ns, edges, window, used.values()) / 1e9,
                "read_seconds": (edges[1] - edges[0]) / 1e9,
            }
        return described

    def _ended_workload(
        self, ended: float, start: PodReading, end: PodReading, reported: set[str], finished: set[str], namespaces: set[str]
    ) -> float:
        """Of the CPU nanoseconds of pods that ended, those of pods that were seen in a namespace of the workload, in this look or before.

        Those that the API server forgot after the window have counters of their own. What is left is of all others together: of those that
        were there at its start, of the ``finished``, and of any that nobody saw. It is the workload's where all that are known of are.
        """
        forgotten = {uid: max(end.pods[uid] - start.pods.get(uid, 0), 0) for uid in end.pods if uid not in reported}
        gone = (set(start.pods) - set(end.pods)) | finished
        workload: float = sum(used for uid, used in forgotten.items() if self._namespaces.get(uid) in namespaces)
        if gone and all(self._namespaces.get(uid) in namespaces for uid in gone):
            workload += max(ended - sum(forgotten.values()), 0)
        return min(workload, ended)


class _Used(NamedTuple):
    """What a pod used in the window: ``ns`` of CPU time over ``seconds``.

    Of one that is new in a virtual machine also its ``rate`` (CPU), when it ``began`` and ``until`` when that holds (guest's clock, ns).
    """

    seconds: float
    ns: float
    rate: float = 0.0
    began: float = 0.0
    until: float = 0.0

    def before(self, moment: int) -> float:
        """CPU nanoseconds of a new pod until a moment of the guest's clock; 0 of one that is not new."""
        return self.rate * max(min(moment, self.until) - self.began, 0.0)


def _used(uid: str, created: str, start: PodReading, end: PodReading, window: tuple[float, float]) -> _Used | None:
    """What a pod used, by its own counter; None where nothing is known of it.

    In a virtual machine that is its rate between two moments of the guest's clock times its ``seconds``. The moments are those of its two
    readings; of a pod that is new its creation (at the earliest the guest's reading before) and its only reading. A new pod that was
    younger than ``_SHORTEST_NS`` when it was read has the seconds until then, and is not extrapolated. Where one moment is not after the
    other there is no rate.
    """
    if uid not in end.pods:
        return None
    counted = max(end.pods[uid] - start.pods.get(uid, 0), 0)
    new, moment = uid not in start.pods, _moment(created)
    # The API server knows whole seconds; the edges are the bounds.
    lived = window[1] - (min(max(moment, window[0]), window[1]) if new else window[0])
    if start.guest is None or end.guest is None:
        return _Used(lived, counted)
    read = end.guest.pods_at_ns[uid]
    if not new:
        apart = read - start.guest.pods_at_ns[uid]
        return _Used(lived, counted / apart * lived * 1e9) if apart > 0 else None
    began = max(moment * 1e9, start.guest.at_ns)
    if read <= began:
        return None
    rate, old_enough = counted / (read - began), read - began >= _SHORTEST_NS
    seconds = lived if old_enough else min(lived, (read - began) / 1e9)
    return _Used(seconds, rate * seconds * 1e9, rate, began, math.inf if old_enough else read)


def _stretched(counted: int, edges: tuple[int, int], window: tuple[float, float], used: Iterable[_Used]) -> float:
    """CPU nanoseconds in the window, of a counter of pods and more that was read at the ``edges`` of the guest's clock.

    What was there at both is in the window what it was between the edges, by their lengths. New pods are not: they are taken out before,
    and put back as they are in the window. 0 where the edges are one reading: nothing is known then.
    """
    if edges[1] <= edges[0]:
        return 0.0
    new = [pod for pod in used if pod.rate]
    scale = (window[1] - window[0]) * 1e9 / (edges[1] - edges[0])
    return (counted - sum(pod.before(edges[1]) for pod in new)) * scale + sum(pod.ns for pod in new)


def workload_cpu_seconds(pods: dict[str, Any]) -> float:
    """What the workload's pods on this host used: those with a name, and those that ended and are known to be of it."""
    return float(sum(pod["cpu_seconds"] for pod in pods["pods"] if pod["role"] == "workload") + pods["ended_workload_cpu_seconds"])


def owner(item: dict[str, Any]) -> str:
    """``Kind namespace/name`` of what made a pod: the Deployment where a ReplicaSet stands between; the pod itself when nobody did."""
    meta = item["metadata"]
    made = (meta.get("ownerReferences") or [{"kind": "Pod", "name": meta["name"]}])[0]
    kind, name = made["kind"], made["name"]
    suffix = "-" + str((meta.get("labels") or {}).get("pod-template-hash") or "")
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        kind, name = "Deployment", name[: -len(suffix)]
    return f"{kind} {meta['namespace']}/{name}"


def _moment(created: str) -> float:
    """When a pod was created, in seconds since 1970; minus infinity where that cannot be told."""
    try:
        return datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    except ValueError:
        return -math.inf


def _finished(item: dict[str, Any], window: tuple[float, float]) -> bool:
    """Whether a pod that ran to its end began in the window: one of a Job, which the API server still lists."""
    # Its creation is cut to whole seconds.
    created = _moment(item["metadata"].get("creationTimestamp") or "")
    return (item.get("status") or {}).get("phase") in ("Succeeded", "Failed") and window[0] - 1 < created <= window[1]


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
            oldest = sorted((pod for pod in members if not pod["deleted"]), key=lambda pod: (pod["created"], pod["name"]))
            asked = _replicas(wanted[who]) if who in wanted else len(oldest)
            # Those in excess may not be there yet: what the owner says now decides whether it was scaled up, not how many pods there are.
            scaled_up = len(oldest) > asked or (who in wanted and _live_replicas(api, wanted[who]) > asked)
            changed, word = (oldest[asked:] if scaled_up else oldest), "drifted"
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
