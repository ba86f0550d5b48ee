# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a DaemonSet runs, and why it does not: told from the object and its pods, as the API server has them."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

from ..errors import KjouleError
from .images import refuse_missing_images, waiting_containers

Json = dict[str, Any]
#: The DaemonSet (None where there is none yet), and the pods of its selector.
Seen = tuple[Optional[Json], list[Json]]

#: How much of a log is told, in characters from its end.
_LAST_WORDS = 600


def wait_for_daemonset(
    look: Callable[[], Seen],
    name: str,
    *,
    seconds: float,
    image_advice: str,
    namespace: str,
    pause: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Look until every node that shall have it runs a ready pod of what is asked for now; the number of these nodes.

    Raises KjouleError as soon as waiting does not help (an image that is not to be had, a program that ends again and again), and after
    ``seconds`` for everything else, with what is missing and the reason that the cluster gives.
    """
    deadline = clock() + seconds
    describe = f"kubectl describe pods -n {namespace}"
    while True:
        daemonset, pods = look()
        current = [pod for pod in pods if daemonset is not None and is_current(pod, daemonset)]
        refuse_missing_images(current, image_advice)
        _refuse_crashing(current, f"kubectl logs -n {namespace} --previous")
        problem = _missing(daemonset, current)
        if problem is None:
            return int((daemonset or {})["status"]["desiredNumberScheduled"])
        if clock() > deadline:
            raise KjouleError(
                f"the DaemonSet {name} does not run",
                expected=f"a ready pod on every node that shall have one, within {seconds:g} s",
                seen=problem,
                next_step=describe,
            )
        sleep(pause)


def is_current(pod: Json, daemonset: Json) -> bool:
    """Whether a pod is of the template that the DaemonSet has now. One that is being replaced tells nothing about what comes."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    template = daemonset["spec"]["template"]
    for key in ("labels", "annotations"):
        wanted = ((template.get("metadata") or {}).get(key) or {}).items()
        if not wanted <= (pod["metadata"].get(key) or {}).items():
            return False
    images = [[container["image"] for container in spec["containers"]] for spec in (template["spec"], pod["spec"])]
    return images[0] == images[1]


def _refuse_crashing(pods: list[Json], next_step: str) -> None:
    for name, container, waiting in waiting_containers(pods):
        if waiting.get("reason") == "CrashLoopBackOff":
            ended = (container.get("lastState") or {}).get("terminated") or {}
            words = " ".join(str(ended.get("message") or "").split())[-_LAST_WORDS:]
            raise KjouleError(
                f"the program of the image {container.get('image')} ends again and again",
                expected="one that goes on running",
                seen=f"{name}: CrashLoopBackOff, exit status {ended.get('exitCode', 'unknown')}, last words: {words or 'none'}",
                next_step=f"{next_step} {name}",
            )


def _missing(daemonset: Json | None, current: list[Json]) -> str | None:
    """What is missing, in words, with the reason of the first pod that has one."""
    if daemonset is None:
        return "there is no such DaemonSet"
    status = daemonset.get("status") or {}
    wanted = int(status.get("desiredNumberScheduled") or 0)
    if int(status.get("observedGeneration") or 0) < int(daemonset["metadata"]["generation"]):
        return "the controller of DaemonSets has not looked at it yet"
    if wanted == 0:
        return "no node that may have one"
    counts = [int(status.get(key) or 0) for key in ("numberReady", "updatedNumberScheduled")]
    if min(counts) >= wanted:
        return None
    return f"{min(counts)} of {wanted} ready" + "".join(f"; {reason}" for reason in _reasons(current)[:1])


def _reasons(pods: list[Json]) -> list[str]:
    """Why pods do not run, by the name of each: what its node says of a container, or the scheduler or its node of the pod."""
    found = []
    for name, container, waiting in waiting_containers(pods):
        found.append(f"{name} ({container.get('image')}): {waiting.get('reason')} {waiting.get('message') or ''}".strip())
    for pod in pods:
        image = pod["spec"]["containers"][0]["image"]
        conditions = {one["type"]: one for one in (pod.get("status") or {}).get("conditions") or []}
        for kind in ("PodScheduled", "ContainersReady", "Ready"):
            one = conditions.get(kind) or {}
            if one.get("status") == "False":
                found.append(f"{pod['metadata']['name']} ({image}): {one.get('reason') or kind} {one.get('message') or ''}".strip())
                break
        else:
            if not conditions:
                found.append(f"{pod['metadata']['name']} ({image}): its node has said nothing about it")
    return [reason[:400] for reason in found]
