# SPDX-License-Identifier: GPL-3.0-or-later
"""The GitOps arm with Flux where its users have it: source- and kustomize-controller as pods of the cluster.

What is installed is what `flux install --components=source-controller,kustomize-controller` installs, put together from the released
manifests: of the two controllers (definitions and Deployments), or all of Flux in one install.yaml, of which the other controllers are
left out. `kubectl kustomize` does the putting together, so the host needs no YAML library. The git server stays a process of the host. It
listens on the node's own address, because pods cannot reach the host's loopback; its repository has a name that cannot be guessed, and
only this host may push.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from ..energy.cgroups import CgroupClock, PodGroups
from ..energy.meter import Clock
from ..errors import KjouleError
from ..lab.api import ApiError, patiently
from ..lab.images import refuse_missing_images
from ..lab.nodes import only_node
from ..lab.ports import is_here
from .base import Surroundings
from .flux import CONTROLLERS, NAMESPACE, FluxArm

_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_METRICS_PORT = 8080
#: The parts of install.yaml that belong to controllers which are left out: their names begin so.
_OTHERS = ("helm-", "notification-", "image-", "source-watcher", "webhook-receiver", "allow-webhooks")
_OTHER_GROUPS = ("helm.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io", "image.toolkit.fluxcd.io", "source.extensions.fluxcd.io")


class FluxClusterArm(FluxArm):
    """See the module's text. Settings: ``flux`` of the plan, ``{registry}``: where the images come from (``ghcr.io/fluxcd``)."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._settings: dict[str, str] = surroundings.settings.get("flux") or {}
        self._prefix = f"{secrets.token_hex(16)}/"
        self._groups = PodGroups()
        self._pods: dict[str, dict[str, Any]] = {}
        self._cluster_clocks: list[Clock] = []
        self._applied = False

    # --- contract

    def install(self) -> None:
        self._git_address = self._node_address()
        super().install()

    def clocks(self) -> Sequence[Clock]:
        return [*super().clocks(), *self._cluster_clocks]

    def uninstall(self) -> None:
        """End the controllers first: one that runs would put its finalizers back on what the lab is about to remove."""
        try:
            if self._applied:
                patiently(self._s.lab.api, self._remove_controllers, self._s.timeout_seconds)
        finally:
            super().uninstall()

    # --- parts

    def _node_address(self) -> str:
        """The address of the one node, which has to be this host: that is where the git server runs."""
        node = only_node(self._s.lab.api)
        addresses = [
            str(address["address"]) for address in (node.get("status") or {}).get("addresses") or [] if address.get("type") == "InternalIP"
        ]
        here = [address for address in addresses if is_here(address)]
        if not here:
            raise KjouleError(
                "the node is not this host, where Flux would fetch from",
                expected="an InternalIP of the node that is an address of this host",
                seen=f"{node['metadata']['name']} with {', '.join(addresses) or 'none'}",
                next_step="set kjoule_flux_place: host",
            )
        return here[0]

    def _install_controllers(self) -> None:
        self._apply(self._manifests())
        self._wait_established()
        self._wait_available()
        self._find_pods()

    def _manifests(self) -> str:
        """Everything that is to be applied, as YAML, made by ``kubectl kustomize``."""
        folder = os.path.join(self._folder, "install")
        os.makedirs(folder, mode=0o700)
        resources = []
        whole = self._s.binaries.get("flux-install")
        names = ["flux-install"] if whole else [f"{name}-{part}" for name in CONTROLLERS for part in ("crds", "deployment")]
        for name in names:
            link = os.path.join(folder, f"{name}.yaml")
            os.symlink(self._s.binaries[name], link)
            resources.append(os.path.basename(link))
        if not whole:
            with open(os.path.join(folder, "about.yaml"), "w", encoding="utf-8") as stream:
                stream.write("".join(f"---\n{json.dumps(item)}\n" for item in accounts()))
            resources.append("about.yaml")
        registry = self._settings.get("registry") or "ghcr.io/fluxcd"
        with open(os.path.join(folder, "kustomization.yaml"), "w", encoding="utf-8") as stream:
            json.dump(kustomization(resources, registry, self._tags(whole)), stream)
        # kustomize reads no files from outside of its folder unless it is told that it may; these links lead to the cache.
        arguments = ["kustomize", "--load-restrictor=LoadRestrictionsNone", folder]
        text = self._s.actor.run([self._s.lab.kubectl, *arguments])
        return select(text) if whole else text

    def _tags(self, whole: str | None) -> dict[str, str]:
        """Tags of the images. install.yaml has its own; a Deployment from the module names none, so the version is it."""
        versions = self._s.versions
        return {} if whole else {name: versions[f"{name}-deployment"] for name in CONTROLLERS if versions.get(f"{name}-deployment")}

    def _apply(self, text: str) -> None:
        """Apply it and make it the lab's. Where one of it is refused, what came before that is in the cluster all the same."""
        file = os.path.join(self._folder, "install.yaml")
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(text)
        self._applied = True
        try:
            self._adopt(self._s.actor.run([self._s.lab.kubectl, "apply", "--server-side", "-o", "json", "-f", file]))
        except KjouleError:
            self._adopt(self._s.actor.run([self._s.lab.kubectl, "get", "--ignore-not-found", "-o", "json", "-f", file]))
            raise

    def _adopt(self, answer: str) -> None:
        """Take over what kubectl has named, but for what is in the namespace, which goes with it."""
        listing = json.loads(answer or '{"kind": "List", "items": []}')
        items: list[dict[str, Any]] = listing["items"] if listing.get("kind") == "List" else [listing]
        for item in items:
            meta = item["metadata"]
            if not meta.get("namespace"):
                self._s.lab.adopt(self._s.lab.api.path_for(item["apiVersion"], item["kind"], None, meta["name"]))

    def _wait_available(self) -> None:
        def available() -> bool:
            pods = self._s.lab.api.list(_PODS).get("items") or []
            refuse_missing_images(pods, "set kjoule_flux_registry to a registry that has it, or load it into the node")
            items = {item["metadata"]["name"]: item for item in self._s.lab.api.list(_DEPLOYMENTS).get("items") or []}
            return set(CONTROLLERS) <= set(items) and all(
                int((items[name].get("status") or {}).get("readyReplicas") or 0) >= 1 for name in CONTROLLERS
            )

        self._wait("the controllers are ready", available, None)

    def _find_pods(self) -> None:
        for pod in self._s.lab.api.list(_PODS).get("items") or []:
            name = (pod["metadata"].get("labels") or {}).get("app")
            if name in CONTROLLERS:
                self._pods[name] = pod
        for name in CONTROLLERS:
            path = self._groups.find(str(self._pods[name]["metadata"]["uid"])) if name in self._pods else None
            if path is None:
                raise KjouleError(
                    f"the CPU time of {name} cannot be read on this host",
                    expected="a control group of its pod below kubepods",
                    seen=", ".join(self._groups.tops()) or "no kubepods",
                    next_step="measure on the node itself, or set kjoule_flux_place: host",
                )
            self._cluster_clocks.append(CgroupClock(name, path))

    def _metrics(self, controller: str) -> str:
        """Through the API server, which reaches pods; read outside of windows."""
        try:
            name = self._pods[controller]["metadata"]["name"]
            return str(self._s.lab.api.request("GET", f"{_PODS}/{name}:{_METRICS_PORT}/proxy/metrics", accept="*/*"))
        except ApiError:
            return ""

    def _remove_controllers(self) -> None:
        for name in CONTROLLERS:
            try:
                self._s.lab.api.delete(f"{_DEPLOYMENTS}/{name}")
            except ApiError as error:
                if error.status != 404:
                    raise
        deadline = time.monotonic() + self._s.timeout_seconds
        while self._s.lab.api.list(_PODS).get("items") and time.monotonic() < deadline:
            time.sleep(0.2)
        self._applied = False


def accounts() -> list[dict[str, Any]]:
    """Namespace, accounts and rights, as Flux gives them: kustomize-controller may do everything, as whoever applies manifests must."""
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE} for name in CONTROLLERS]
    groups = ["source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io"]
    rules: list[dict[str, Any]] = [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]
    rules += [
        {"apiGroups": [""], "resources": ["namespaces", "secrets", "configmaps", "serviceaccounts"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        },
    ]
    rbac = "rbac.authorization.k8s.io"

    def binding(name: str, role: str, who: list[dict[str, Any]]) -> dict[str, Any]:
        reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": role}
        return {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": reference, "subjects": who}

    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}} for name in CONTROLLERS),
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "crd-controller-flux-system"}, "rules": rules},
        binding("crd-controller-flux-system", "crd-controller-flux-system", subjects),
        binding("cluster-reconciler-flux-system", "cluster-admin", subjects[1:]),
    ]


def kustomization(resources: list[str], registry: str, tags: dict[str, str]) -> dict[str, Any]:
    """What `kubectl kustomize` makes of it: the namespace, the images' registry, and the arguments that the arm on the host has as well."""

    def patch(name: str) -> dict[str, Any]:
        more = ["--events-addr=", "--interval-jitter-percentage=0", *(["--no-remote-bases"] if name == "kustomize-controller" else [])]
        container = "/spec/template/spec/containers/0/args/-"
        operations = [{"op": "add", "path": container, "value": argument} for argument in more]
        operations.append({"op": "add", "path": "/spec/template/spec/serviceAccountName", "value": name})
        return {"target": {"kind": "Deployment", "name": name}, "patch": json.dumps(operations)}

    images = []
    for name in CONTROLLERS:
        for old in (f"fluxcd/{name}", f"ghcr.io/fluxcd/{name}"):
            images.append({"name": old, "newName": f"{registry}/{name}", **({"newTag": tags[name]} if name in tags else {})})
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": resources,
        "images": images,
        "patches": [patch(name) for name in CONTROLLERS],
    }


def select(text: str) -> str:
    """The documents of an install.yaml without those of the controllers that are not wanted.

    Kustomize writes one field a line, so a document's kind, name and group are told from its lines.
    """
    kept = []
    for document in re.split(r"(?m)^---\s*$", text):
        kind = re.search(r"(?m)^kind: (\S+)$", document)
        name = re.search(r"(?m)^  name: (\S+)$", document)
        group = re.search(r"(?m)^  group: (\S+)$", document)
        if kind is None or name is None:
            continue
        if name.group(1).startswith(_OTHERS) or (group is not None and group.group(1) in _OTHER_GROUPS):
            continue
        kept.append(document.strip("\n"))
    return "\n---\n".join(kept) + "\n"
