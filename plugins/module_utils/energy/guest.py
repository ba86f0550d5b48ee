# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of the pods inside a virtual machine, as the kubelet in it counts, asked through the API server.

The host sees the machine as one process. The kubelet's Summary API (/stats/summary, kubernetes/kubelet pkg/apis/stats/v1alpha1) has
cumulative counters of the node, of all pods together (the system container ``pods``, which is the group kubepods) and of every pod. It
reads them by itself every 10 to 15 s, each at a moment of its own, so a reading is older than the moment in which it is asked for: every
counter carries its own time.
"""

from __future__ import annotations

import datetime
from typing import Any, Protocol

from ..errors import KjouleError, PeriodInvalid
from .cgroups import GuestReading, PodReading


class Api(Protocol):
    """What is needed of ``KubeApi``."""

    def get(self, path: str) -> dict[str, Any]:
        """An object by its path."""


class GuestPods:
    """Reads the pods of the one node of a cluster; ``inside`` is the component that the machine is on the host."""

    source = "kubelet in the virtual machine"

    def __init__(self, api: Api, inside: str) -> None:
        self._api = api
        self._path: str | None = None
        self.inside: str | None = inside

    def read(self) -> PodReading:
        """Raises PeriodInvalid when the kubelet cannot be asked or does not count."""
        try:
            if self._path is None:
                nodes = [item["metadata"]["name"] for item in self._api.get("/api/v1/nodes").get("items") or []]
                if len(nodes) != 1:
                    raise KjouleError(
                        "pods of several nodes cannot be told from one host", expected="one node", seen=", ".join(nodes) or "none"
                    )
                self._path = f"/api/v1/nodes/{nodes[0]}/proxy/stats/summary?only_cpu_and_memory=true"
            summary = self._api.get(self._path)
            node = summary["node"]
            total = next(part for part in node["systemContainers"] if part["name"] == "pods")["cpu"]
            pods = {str(pod["podRef"]["uid"]): pod["cpu"] for pod in summary.get("pods") or [] if _counts(pod)}
            return PodReading(
                int(total["usageCoreNanoSeconds"]),
                {uid: int(cpu["usageCoreNanoSeconds"]) for uid, cpu in pods.items()},
                GuestReading(
                    int(node["cpu"]["usageCoreNanoSeconds"]),
                    _nanoseconds(node["cpu"]["time"]),
                    _nanoseconds(total["time"]),
                    {uid: _nanoseconds(cpu["time"]) for uid, cpu in pods.items()},
                ),
            )
        except (KeyError, StopIteration, TypeError, ValueError) as error:
            raise PeriodInvalid(
                "the kubelet in the virtual machine does not say what its pods used",
                expected="cpu.usageCoreNanoSeconds and cpu.time of the node, of the system container pods and of every pod",
                seen=f"{type(error).__name__}: {error}",
                next_step=f"kubectl get --raw {self._path}",
            ) from error


def _counts(pod: dict[str, Any]) -> bool:
    """A pod that has just begun or ended has no figure, or no time of one, yet or any more."""
    cpu = pod.get("cpu") or {}
    return cpu.get("usageCoreNanoSeconds") is not None and cpu.get("time") is not None


def _nanoseconds(text: str) -> int:
    moment = datetime.datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    if not text.endswith("Z"):
        raise ValueError(f"a time in UTC, saw {text}")
    fraction = text[19:-1].lstrip(".")
    return int(moment.timestamp()) * 10**9 + int((fraction + "0" * 9)[:9])
