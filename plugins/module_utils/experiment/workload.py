# SPDX-License-Identifier: GPL-3.0-or-later
"""The workload as data: revisions made from the plan, the same for every arm.

A revision maps the name of an app to its objects. Generated apps are a Deployment, a Service and a ConfigMap each; a user's own manifests
come with the plan. Files are JSON, which is YAML, so that both arms read the same bytes and the host needs no YAML library.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import KjouleError
from ..lab.api import KubeApi

NAMESPACE = "kjoule-apps"
_ROLLED = ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet")


@dataclass(frozen=True)
class Revision:
    """One desired state. ``number`` counts from 0, in the order in which revisions are made."""

    number: int
    apps: dict[str, list[dict[str, Any]]]

    def objects(self) -> list[dict[str, Any]]:
        return [item for objects in self.apps.values() for item in objects]


#: Does its loops, and then waits for the rest of the second. Any image with a shell and sleep will do.
_WORK = 'while :; do sleep 1 & i=0; while [ "$i" -lt "$KJOULE_ITERATIONS" ]; do i=$((i+1)); done; wait; done'


def generated_apps(
    count: int, replicas: int, seed: int, images: Sequence[str] = (), iterations: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """``count`` apps of three objects each. The seed decides the contents of their configuration.

    Without ``images`` the pods name one that nobody has, because nothing pulls it. With them they run the first, in a shell that does
    ``iterations`` loops every second: a known amount of work, whatever the machine.
    """
    generator = random.Random(seed)
    apps: dict[str, list[dict[str, Any]]] = {}
    for index in range(1, count + 1):
        name = f"app-{index:04d}"
        labels = {"app.kubernetes.io/name": name}
        settings = {f"setting-{key}": f"{generator.getrandbits(64):016x}" for key in range(4)}
        meta = {"name": name, "namespace": NAMESPACE, "labels": labels}
        container = {
            "name": "app",
            "image": f"registry.invalid/{name}:1.0.0",
            "ports": [{"containerPort": 8080, "name": "http"}],
            "envFrom": [{"configMapRef": {"name": name}}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }
        if images:
            variables = [{"name": "KJOULE_ITERATIONS", "value": str(iterations)}]
            # Told to end, a shell that waits for a child as process 1 does not; nothing of it is worth the wait of 30 s.
            container.update(image=images[0], command=["/bin/sh", "-c", f"trap 'exit 0' TERM; {_WORK}"], env=variables)
        apps[name] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": copy.deepcopy(meta), "data": settings},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": copy.deepcopy(meta),
                "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": copy.deepcopy(meta),
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
                },
            },
        ]
    return apps


class Workload:
    """Makes one revision after the other. Which apps change or go is decided by the seed, so both arms get the same."""

    def __init__(self, description: dict[str, Any], seed: int) -> None:
        self._images: list[str] = []
        if description["kind"] == "generated":
            self._images = list(description.get("images") or [])
            apps = generated_apps(
                int(description["apps"]),
                int(description["replicas"]),
                int(description["seed"]),
                self._images,
                int(description.get("iterations") or 0),
            )
        else:
            apps = {app["name"]: copy.deepcopy(app["objects"]) for app in description["apps"]}
        self._random = random.Random(seed)
        self._base = apps
        self._current: dict[str, list[dict[str, Any]]] = {}
        self._number = 0
        self._count = 0
        #: The paths of the objects that live in no namespace, Namespaces among them; known after ``adapt``.
        self.outside: list[str] = []

    @property
    def current(self) -> Revision:
        return Revision(self._number, copy.deepcopy(self._current))

    @property
    def namespaces(self) -> set[str]:
        """Where the workload's objects live, after ``adapt``."""
        return {
            str(item["metadata"]["namespace"]) for objects in self._base.values() for item in objects if item["metadata"].get("namespace")
        }

    def adapt(self, api: KubeApi, labels: Mapping[str, str] | None = None) -> list[str]:
        """Give namespaced objects without a namespace that of the workload, and those outside of namespaces the ``labels`` of the lab.

        Returns the namespaces that must be there beforehand.
        """
        own = {item["metadata"]["name"] for objects in self._base.values() for item in objects if item["kind"] == "Namespace"}
        needed = {NAMESPACE}
        outside = set()
        kinds = {(entry["group_version"], entry["kind"]): entry["namespaced"] for entry in api.resources()}
        for objects in self._base.values():
            for item in objects:
                namespaced = kinds.get((item["apiVersion"], item["kind"]))
                if namespaced is None:
                    raise KjouleError(
                        f"the API server does not know {item['kind']} of {item['apiVersion']} ({item['metadata']['name']})",
                        next_step="check apiVersion and kind of the manifest; custom resources cannot be part of a workload yet",
                    )
                if namespaced:
                    needed.add(item["metadata"].setdefault("namespace", NAMESPACE))
                else:
                    if labels:
                        item["metadata"]["labels"] = {**(item["metadata"].get("labels") or {}), **labels}
                    outside.add(api.path_for(item["apiVersion"], item["kind"], None, item["metadata"]["name"]))
        self.outside = sorted(outside)
        return sorted(needed - own)

    def deploy(self) -> Revision:
        """All apps as they are in the plan."""
        self._current = copy.deepcopy(self._base)
        return self._next()

    def update(self, change: str, apps: int) -> tuple[Revision, int]:
        """Change ``apps`` apps; returns the new revision and how many were changed."""
        self._count += 1
        chosen = self._choose(change, apps)
        for name in chosen:
            for item in self._current[name]:
                if edit(item, change, self._count, self._images):
                    break
        return self._next(), len(chosen)

    def prune(self, remove: int) -> Revision:
        """Take the last ``remove`` apps (in order of a seeded draw) out of the desired state."""
        for name in self._random.sample(sorted(self._current), min(remove, len(self._current))):
            del self._current[name]
        return self._next()

    def teardown(self) -> Revision:
        """Nothing is desired any more."""
        self._current = {}
        return self._next()

    def drift(self, change: str, apps: int) -> list[dict[str, Any]]:
        """Objects as somebody edits them behind the delivery's back; the desired state stays."""
        self._count += 1
        edited = []
        for name in self._choose(change, apps):
            for item in self._current[name]:
                other = copy.deepcopy(item)
                if edit(other, change, self._count, self._images):
                    edited.append(other)
                    break
        return edited

    def _choose(self, change: str, apps: int) -> list[str]:
        able = [
            name
            for name, objects in sorted(self._current.items())
            if any(edit(copy.deepcopy(item), change, self._count, self._images) for item in objects)
        ]
        return sorted(self._random.sample(able, min(apps, len(able))))

    def _next(self) -> Revision:
        self._number += 1
        return self.current


def edit(item: dict[str, Any], change: str, number: int, images: Sequence[str] = ()) -> bool:
    """Change one object in place: its image, its configuration or its replicas. False when there is nothing of the kind in it.

    The image becomes another one of ``images``, or, where there are none because nothing runs, one that was never there.
    """
    if change == "config":
        if item["kind"] != "ConfigMap" or not item.get("data"):
            return False
        # A value that was asked for: a key that somebody adds is nobody's wish, so no way of delivery takes it back.
        item["data"][min(item["data"])] = f"kjoule-{number}"
        return True
    if item["kind"] not in _ROLLED:
        return False
    if change == "replicas":
        if item["kind"] == "DaemonSet":
            return False
        item["spec"]["replicas"] = int(item["spec"].get("replicas", 1)) + 1
        return True
    containers = item["spec"]["template"]["spec"]["containers"]
    if images:
        containers[0]["image"] = images[(images.index(containers[0]["image"]) + 1) % len(images)]
        return True
    image = containers[0]["image"].split("@")[0]
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        repository = image
    containers[0]["image"] = f"{repository}:kjoule-{number}"
    return True


def write_app(folder: str, objects: list[dict[str, Any]]) -> None:
    """Write the files of one app, one object each, replacing what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    for index, item in enumerate(objects):
        name = f"{index:02d}-{item['kind'].lower()}.yaml"
        with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
            json.dump(item, stream, indent=1, sort_keys=True)
            stream.write("\n")


def wait_rolled_out(api: KubeApi, revision: Revision, check: Any, timeout_seconds: float) -> None:
    """Return when every Deployment, StatefulSet and the like of the revision has its replicas ready, seen through a watch.

    Raises KjouleError naming what is not ready, PeriodInvalid (from ``check``) when the lab broke.
    """
    deadline = time.monotonic() + timeout_seconds
    wanted: dict[tuple[str, str, str], set[str]] = {}
    for item in revision.objects():
        if item["kind"] in _ROLLED:
            wanted.setdefault((item["apiVersion"], item["kind"], item["metadata"].get("namespace") or NAMESPACE), set()).add(
                item["metadata"]["name"]
            )
    for (version, kind, namespace), names in wanted.items():
        path = api.path_for(version, kind, namespace)
        listing = api.list(path)
        open_names = names - {item["metadata"]["name"] for item in listing.get("items") or [] if _rolled_out(item, kind)}
        resource_version = listing["metadata"]["resourceVersion"]
        while open_names:
            check()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise KjouleError(
                    f"{kind} {', '.join(sorted(open_names)[:5])} of {namespace} did not become ready",
                    expected=f"all replicas within {timeout_seconds:g} s",
                    next_step="look at the events of the namespace, or give more time with kjoule_timeout",
                )
            with api.watch(path, resource_version=resource_version, timeout_seconds=min(5.0, remaining)) as events:
                for event in events:
                    item = event["object"]
                    resource_version = item["metadata"]["resourceVersion"]
                    if event["type"] in ("ADDED", "MODIFIED") and _rolled_out(item, kind):
                        open_names.discard(item["metadata"]["name"])
                    if not open_names:
                        break


def _rolled_out(item: dict[str, Any], kind: str) -> bool:
    status = item.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(item["metadata"].get("generation") or 0):
        return False
    if kind == "DaemonSet":
        desired = int(status.get("desiredNumberScheduled") or 0)
        return int(status.get("numberReady") or 0) >= desired and int(status.get("updatedNumberScheduled") or 0) >= desired
    desired = int((item.get("spec") or {}).get("replicas", 1))
    ready = int(status.get("readyReplicas") or 0)
    updated = int(status.get("updatedReplicas") or 0) if kind != "ReplicaSet" else ready
    return ready >= desired and updated >= desired and int(status.get("replicas") or 0) == desired
