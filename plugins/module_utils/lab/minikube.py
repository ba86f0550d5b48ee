# SPDX-License-Identifier: GPL-3.0-or-later
"""A minikube cluster: present, started, stopped, absent; with a home and a kubeconfig of its own, so that nothing of a user's is touched.

minikube is asked through what it documents: the JSON of ``profile list`` and ``status``, and calls as in minikube_command. Its wait ends
before CoreDNS runs, so readiness is read from the cluster.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import KjouleError
from .images import refuse_missing_images
from .minikube_command import NO_PROFILE, MinikubeCommand
from .minikube_host import HostFiles
from .minikube_profile import Wanted, drift, start_arguments
from .minikube_supplies import Image, place_files, place_images, verify

#: How long an API server may be silent beside a kubelet that runs: minikube waits for it for some seconds only, and then calls it stopped.
_SILENT_SECONDS = 60.0


@dataclass
class Outcome:
    """What was done or would be: ``before`` and ``state`` as ``Minikube.state``; ``commands`` without the common options.

    ``kept``: files of the host that somebody changed after minikube had written them, so that they were not put back.
    """

    changed: bool = False
    before: str = "absent"
    state: str = "absent"
    drift: list[dict[str, Any]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    ready_seconds: float | None = None


class Minikube:
    """One profile. ``home`` holds everything that minikube keeps, and the kubeconfig; ``kubectl`` reads readiness."""

    def __init__(self, command: str, kubectl: str, home: str, profile: str, timeout_seconds: float = 900.0) -> None:
        self.kubectl, self.profile = kubectl, profile
        self.home = os.path.abspath(os.path.expanduser(home))
        self._minikube = MinikubeCommand(command, self.home, profile)
        self.kubeconfig = self._minikube.kubeconfig
        self.folder = self.home if os.path.basename(self.home) == ".minikube" else os.path.join(self.home, ".minikube")
        self.timeout_seconds = timeout_seconds
        self._host = HostFiles(os.path.join(self.home, f"kjoule-{profile}-host.json"))

    # --- what is there

    def config(self) -> dict[str, Any] | None:
        """The configuration that the profile was made with, None when there is none. Raises KjouleError for one that is damaged."""
        done = self._minikube.run(["profile", "list", "-l", "-o", "json"], timeout=60)
        try:
            listing = json.loads(done.stdout)
        except ValueError as error:
            raise self._minikube.failed("profile list", done, expected="JSON") from error
        for entry in listing.get("valid") or []:
            if entry.get("Name") == self.profile:
                return dict(entry["Config"])
        # Without a kubeconfig it lists nothing, whatever is there, and its exit status is 0 all the same.
        try:
            with open(os.path.join(self.folder, "profiles", self.profile, "config.json"), encoding="utf-8") as stream:
                return dict(json.load(stream))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise KjouleError(
                f"the minikube profile {self.profile} is damaged",
                expected=f"a configuration that minikube can read, in {self.folder}/profiles/{self.profile}",
                seen=str(error),
                next_step=f"remove it: MINIKUBE_HOME={self.home} minikube delete -p {self.profile}",
            ) from error

    def state(self) -> str:
        """``running``, ``stopped``, ``absent``, or ``incomplete``: of a cluster a part is down or paused, and the rest uses power.

        An API server that is only slow is not down, and starting its cluster again would take it down: it is asked for a while. So is
        minikube when it says null, which it does where a machine is gone, but also, with the driver none, while the API server refuses
        to tell its health because its roles are not there yet.
        """
        deadline = time.monotonic() + _SILENT_SECONDS
        while (seen := self._status()) in ("silent", "null") and time.monotonic() < deadline:
            time.sleep(1.0)
        return {"silent": "incomplete", "null": "absent"}.get(seen, seen)

    def _status(self) -> str:
        """As ``state``, and ``silent`` where only an API server does not answer, ``null`` where minikube cannot tell anything."""
        done = self._minikube.run(["status", "-o", "json"], timeout=120)
        if done.returncode == NO_PROFILE:
            return "absent"
        try:
            answer = json.loads(done.stdout)
        except ValueError as error:
            raise self._minikube.failed("status", done, expected="JSON") from error
        if answer is None:
            return "null"
        nodes = answer if isinstance(answer, list) else [answer]
        if all(node.get("Host") == "Nonexistent" for node in nodes):
            return "absent"
        if all(node.get("Host") == "Stopped" for node in nodes):
            return "stopped"
        if not all(node.get("Host") == "Running" and node.get("Kubelet") == "Running" for node in nodes):
            return "incomplete"
        return "running" if all(node.get("Worker") or node.get("APIServer") == "Running" for node in nodes) else "silent"

    def refuse_foreign(self, config: dict[str, Any]) -> None:
        """Raises KjouleError unless the profile, whose ``config`` this is, was made here."""
        if not self._is_ours():
            raise KjouleError(
                f"the minikube profile {self.profile} was made by somebody else",
                expected="a profile that the role minikube_lab made, or none of that name",
                seen=f"driver {config.get('Driver')}, in {self.home}",
                next_step="choose another minikube_lab_profile or minikube_lab_home, or measure it as lab existing",
            )

    def _is_ours(self) -> bool:
        return os.path.exists(self._mark())

    # --- what is made of it

    def ensure(
        self,
        state: str,
        wanted: Wanted,
        *,
        files: list[dict[str, str]] | None = None,
        images: list[Image] | None = None,
        recreate: bool = False,
        offline: bool = False,
        force: bool = False,
        check_mode: bool = False,
    ) -> Outcome:
        """Bring the profile into ``state`` (present, started, stopped, absent). See the module minikube_cluster for the options.

        Raises KjouleError, before anything is changed, for a profile that somebody else made, for one of another configuration unless
        ``recreate``, for a file that is not what its checksum says, and for a name that is taken; afterwards for what minikube refuses.
        """
        with contextlib.nullcontext() if check_mode else self._alone():
            config = self.config()
            seen = self.state() if config is not None else "absent"
            outcome = Outcome(before=seen, state=seen)
            if config is not None:
                self.refuse_foreign(config)
            if state in ("absent", "stopped"):
                self._lower(state, seen, outcome, check_mode)
            else:
                self._raise(state, seen, wanted, config, outcome, (files or [], images or []), (recreate, offline, force, check_mode))
            return outcome

    def _lower(self, state: str, seen: str, outcome: Outcome, check_mode: bool) -> None:
        if state == "stopped" and seen == "absent":
            raise KjouleError(
                f"there is no minikube profile {self.profile} to be stopped",
                seen=f"none in {self.home}",
                next_step="make it: state present",
            )
        goal = "absent" if state == "absent" else "stopped"
        # A profile whose machine is gone still has files, and `delete` is what removes them.
        if seen == goal and not (state == "absent" and self._is_ours()):
            return
        outcome.changed, outcome.state = True, goal
        if state == "stopped":
            self._do(["stop"], outcome, check_mode)
            return
        self._delete(outcome, check_mode)
        if not check_mode:
            for path in (self.kubeconfig, self._mark()):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _raise(
        self,
        state: str,
        seen: str,
        wanted: Wanted,
        config: dict[str, Any] | None,
        outcome: Outcome,
        supplies: tuple[list[dict[str, str]], list[Image]],
        how: tuple[bool, bool, bool, bool],
    ) -> None:
        files, images = supplies
        recreate, offline, force, check_mode = how
        if wanted.driver == "none" and self.profile != "minikube":
            raise KjouleError(
                "with the driver none there is one profile on a host",
                expected="the name minikube",
                seen=self.profile,
                next_step="set minikube_lab_profile: minikube",
            )
        verify(files, images)
        outcome.drift = drift(config, wanted) if config is not None else []
        if outcome.drift and not recreate:
            raise KjouleError(
                f"the minikube profile {self.profile} was made otherwise, and minikube cannot change it",
                expected=", ".join(f"{item['setting']} {item['wanted']}" for item in outcome.drift),
                seen=", ".join(f"{item['setting']} {item['seen']}" for item in outcome.drift),
                next_step="make it anew (minikube_lab_recreate: true; what is in it is lost), or set what it has",
            )
        if outcome.drift:
            outcome.changed, seen = True, "absent"
            self._delete(outcome, check_mode)
        if seen == "absent" and config is None:
            self._refuse_taken_name(wanted)
        if seen == "running" or (state == "present" and seen != "absent"):
            if seen == "running":
                self._wait_ready(wanted, self.timeout_seconds)
                outcome.changed = self._load(wanted, images, outcome, check_mode) or outcome.changed
            return
        outcome.changed, outcome.state = True, "running"
        if not check_mode:
            cache = os.path.join(self.folder, "cache")
            place_files(cache, files)
            if wanted.driver != "none":
                place_images(cache, images)
        if wanted.driver == "none":
            self._load(wanted, images, outcome, check_mode)
        begin = time.monotonic()
        if not check_mode:
            if wanted.driver == "none":
                self._host.before_start(first=seen == "absent")
            # Before it is made: what a start that failed leaves is ours, too.
            with open(self._mark(), "w", encoding="utf-8") as stream:
                json.dump({"made_by": "kjoule", "kubernetes_version": wanted.kubernetes_version}, stream)
        try:
            self._do(start_arguments(wanted, offline=offline, force=force, cached=bool(images)), outcome, check_mode)
        finally:
            if not check_mode:
                self._host.settle()
        if check_mode:
            return
        if wanted.driver != "none":
            self._load(wanted, images, outcome, check_mode)
        self._wait_ready(wanted, self.timeout_seconds)
        outcome.ready_seconds = round(time.monotonic() - begin, 3)

    # --- parts

    def _mark(self) -> str:
        """Says that this profile was made here. Only such a profile is started, stopped or removed."""
        return os.path.join(self.home, f"kjoule-{self.profile}.json")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time for each home. The kernel frees the lock when its holder dies."""
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        handle = os.open(os.path.join(self.home, "kjoule.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise KjouleError(
                    f"another run is working on the minikube clusters in {self.home}",
                    expected="one at a time",
                    next_step="wait for it, or give each its own minikube_lab_home and minikube_lab_profile",
                ) from error
            yield
        finally:
            os.close(handle)

    def _refuse_taken_name(self, wanted: Wanted) -> None:
        """Machines have one name space, whatever the home: what is called like the profile is somebody else's."""
        taken = None
        if wanted.driver == "none":
            if os.path.exists("/var/lib/minikube/certs"):
                taken = "/var/lib/minikube: a cluster of minikube, from another home"
            elif os.path.isdir("/etc/kubernetes/manifests") and os.listdir("/etc/kubernetes/manifests"):
                taken = "/etc/kubernetes/manifests: a node of kubeadm"
        else:
            asked = ["virsh", "-c", "qemu:///system", "list", "--all", "--name"] if wanted.driver == "kvm2" else []
            asked = asked or ["docker", "ps", "--all", "--format", "{{.Names}}"]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
                if self.profile in done.stdout.split():
                    taken = f"a {'domain of libvirt' if wanted.driver == 'kvm2' else 'container'} called {self.profile}"
        if taken:
            raise KjouleError(
                f"the name of the minikube profile {self.profile} is taken on this host",
                expected="nothing of that name",
                seen=taken,
                next_step="choose another minikube_lab_profile"
                if wanted.driver != "none"
                else "take that node away, or measure it as lab existing",
            )

    def _load(self, wanted: Wanted, images: list[Image], outcome: Outcome, check_mode: bool) -> bool:
        """Put images into the node's runtime that it has not; with the driver none that is this host's."""
        if not images:
            return False
        here = wanted.driver == "none"
        if here and wanted.container_runtime != "containerd":
            raise KjouleError(
                "images are imported into containerd only",
                expected="container_runtime containerd with the driver none",
                seen=wanted.container_runtime,
                next_step=f"load them yourself, or use containerd: {', '.join(image.archive for image in images)}",
            )
        listed = (
            self._minikube.call(["ctr", "-n", "k8s.io", "images", "list", "-q"])
            if here
            else self._minikube.run(["image", "ls"], timeout=120)
        )
        there = set(listed.stdout.split())
        missing = [image for image in images if not set(image.names) <= there]
        for image in missing:
            if here:
                outcome.commands.append(f"ctr images import {image.archive}")
                if not check_mode:
                    self._minikube.call(["ctr", "-n", "k8s.io", "images", "import", image.archive])
            else:
                self._do(["image", "load", image.archive], outcome, check_mode)
        return bool(missing)

    def _wait_ready(self, wanted: Wanted, timeout: float) -> None:
        """Every node Ready and CoreDNS with all its replicas, read from the cluster."""
        deadline = time.monotonic() + timeout
        while True:
            problem = self._not_ready(wanted)
            if problem is None:
                return
            if time.monotonic() > deadline:
                raise KjouleError(
                    f"the minikube cluster {self.profile} did not become ready",
                    expected=f"every node and CoreDNS ready within {timeout:g} s",
                    seen=problem,
                    next_step=f"MINIKUBE_HOME={self.home} minikube logs -p {self.profile}",
                )
            time.sleep(1.0)

    def _not_ready(self, wanted: Wanted) -> str | None:
        """What is missing, in words. Raises KjouleError for an image that cannot be had: waiting does not bring it."""
        found = {}
        for what in ("nodes", "deployments", "pods"):
            arguments = ["--kubeconfig", self.kubeconfig, "--context", self.profile, "get", what, "-n", "kube-system", "-o", "json"]
            done = self._minikube.call([self.kubectl, *arguments], check=False)
            if done.returncode != 0:
                return done.stderr.strip()[-300:] or "the API server does not answer"
            found[what] = json.loads(done.stdout)["items"]
        refuse_missing_images(found["pods"], "name it in minikube_lab_images, or a registry that has it as minikube_lab_image_repository")
        ready = [node for node in found["nodes"] if _is_true(node, "Ready")]
        if len(ready) < wanted.nodes:
            return f"{len(ready)} of {wanted.nodes} nodes are Ready"
        for deployment in found["deployments"]:
            if deployment["metadata"]["name"] == "coredns":
                status, replicas = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
                got = int(status.get("readyReplicas") or 0)
                return None if got >= replicas > 0 else f"CoreDNS has {got} of {replicas} replicas ready"
        return "there is no CoreDNS yet"

    def _delete(self, outcome: Outcome, check_mode: bool) -> None:
        """The profile, and with the driver none what minikube changed on this host and leaves there."""
        if not check_mode:
            self._host.before_delete()
        self._do(["delete"], outcome, check_mode)
        if check_mode:
            return
        changed, kept = self._host.put_back()
        outcome.kept += kept
        reload, services = self._host.readers(changed)
        running = [name for name in services if self._minikube.call(["systemctl", "is-active", name], check=False).returncode == 0]
        for command in [["systemctl", "daemon-reload"]] * reload + [["systemctl", "restart", name] for name in running]:
            outcome.commands.append(" ".join(command))
            self._minikube.call(command)
        self._host.forget()

    def _do(self, arguments: list[str], outcome: Outcome, check_mode: bool) -> None:
        outcome.commands.append("minikube " + " ".join(arguments))
        if check_mode:
            return
        done = self._minikube.run(arguments, timeout=self.timeout_seconds)
        if done.returncode != 0:
            raise self._minikube.failed(arguments[0], done)


def _is_true(item: dict[str, Any], kind: str) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)
