# SPDX-License-Identifier: GPL-3.0-or-later
"""A minikube cluster: present, started, stopped, absent; with a home and a kubeconfig of its own, so that nothing of a user's is touched.

minikube is asked through what it documents: the JSON of ``profile list`` and ``status``, the CloudEvents of ``start -o json``, and exit
statuses by class (pkg/minikube/reason/exitcodes.go). Two things it does not tell are established here: ``start`` on a profile of another
configuration only warns, so the profile is compared first; and its wait ends before CoreDNS runs, so readiness is read from the cluster.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..artifact.files import hash_file
from ..child import run_child
from ..errors import KjouleError
from .images import refuse_missing_images
from .process import cannot_start

DRIVERS = ("kvm2", "docker", "none")
RUNTIMES = ("containerd", "docker", "cri-o")
_NO_PROFILE = 85
#: How long an API server may be silent beside a kubelet that runs: minikube waits for it for some seconds only, and then calls it stopped.
_SILENT_SECONDS = 60.0
_ERROR_EVENT = "io.k8s.sigs.minikube.error"
#: Exit statuses by tens: what went wrong, and what to do.
_CLASSES = {
    1: ("minikube could not do it", "read its message"),
    2: ("this machine is too small for it", "give the profile less (minikube_lab_cpus, minikube_lab_memory_mb), or take a larger host"),
    3: ("the machine of the profile failed", "read its message; `minikube logs` tells more"),
    4: (
        "a file or an image is not to be had",
        "name it in minikube_lab_files or minikube_lab_images, or open the way to it",
    ),
    5: ("the driver failed", "correct what it names; for kvm2 the role kvm prepares a host"),
    6: ("what the driver needs is not there or does not run", "install or start what it names; for kvm2 the role kvm does"),
    7: ("the network of this host is in the way", "correct what it names"),
    8: ("the guest failed", "read its message; `minikube logs` tells more"),
    9: ("the container runtime failed", "look at the runtime's own log"),
    10: ("the control plane did not come up", "read its message; `minikube logs` tells more"),
}


@dataclass(frozen=True)
class Wanted:
    """What the profile is to be. None means that minikube decides, and is not compared. ``extra_config``: ``component.key=value``."""

    driver: str
    kubernetes_version: str
    container_runtime: str = "containerd"
    cpus: int | None = None
    memory_mb: int | None = None
    disk_mb: int | None = None
    nodes: int = 1
    image_repository: str = ""
    extra_config: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """A docker archive on the host, with its sha256 and the names of the image in it."""

    archive: str
    sha256: str
    names: tuple[str, ...]


@dataclass
class Outcome:
    """What was done or would be: ``before`` and ``state`` are running, stopped or absent; ``commands`` without the common options."""

    changed: bool = False
    before: str = "absent"
    state: str = "absent"
    drift: list[dict[str, Any]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    ready_seconds: float | None = None


class Minikube:
    """One profile. ``home`` holds everything that minikube keeps, and the kubeconfig; ``kubectl`` reads readiness."""

    def __init__(self, command: str, kubectl: str, home: str, profile: str, timeout_seconds: float = 900.0) -> None:
        self.command, self.kubectl, self.profile = command, kubectl, profile
        self.home = os.path.abspath(os.path.expanduser(home))
        self.kubeconfig = os.path.join(self.home, "kubeconfig")
        self.folder = self.home if os.path.basename(self.home) == ".minikube" else os.path.join(self.home, ".minikube")
        self.timeout_seconds = timeout_seconds

    # --- what is there

    def config(self) -> dict[str, Any] | None:
        """The configuration that the profile was made with, None when there is none. Raises KjouleError for one that is damaged."""
        done = self._run(["profile", "list", "-l", "-o", "json"], timeout=60)
        try:
            listing = json.loads(done.stdout)
        except ValueError as error:
            raise self._failed("profile list", done, expected="JSON") from error
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
        """``running``, ``stopped`` or ``absent``. A cluster of which a part is down counts as stopped: starting it brings it back.

        An API server that is only slow is not down, and starting its cluster again would take it down: it is asked for a while. So is
        minikube when it says null, which it does where a machine is gone, but also, with the driver none, while the API server refuses
        to tell its health because its roles are not there yet.
        """
        deadline = time.monotonic() + _SILENT_SECONDS
        while (seen := self._status()) in ("silent", "null") and time.monotonic() < deadline:
            time.sleep(1.0)
        return {"silent": "stopped", "null": "absent"}.get(seen, seen)

    def _status(self) -> str:
        """As ``state``, and ``silent`` where only an API server does not answer, ``null`` where minikube cannot tell anything."""
        done = self._run(["status", "-o", "json"], timeout=120)
        if done.returncode == _NO_PROFILE:
            return "absent"
        try:
            answer = json.loads(done.stdout)
        except ValueError as error:
            raise self._failed("status", done, expected="JSON") from error
        if answer is None:
            return "null"
        nodes = answer if isinstance(answer, list) else [answer]
        if all(node.get("Host") == "Nonexistent" for node in nodes):
            return "absent"
        if not all(node.get("Host") == "Running" and node.get("Kubelet") == "Running" for node in nodes):
            return "stopped"
        return "running" if all(node.get("Worker") or node.get("APIServer") == "Running" for node in nodes) else "silent"

    def is_ours(self) -> bool:
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
            if config is not None and not self.is_ours():
                raise KjouleError(
                    f"the minikube profile {self.profile} was made by somebody else",
                    expected="a profile that this role made, or none of that name",
                    seen=f"driver {config.get('Driver')}, in {self.home}",
                    next_step="choose another minikube_lab_profile or minikube_lab_home, or measure it as lab existing",
                )
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
        if seen == goal and not (state == "absent" and self.is_ours()):
            return
        outcome.changed, outcome.state = True, goal
        self._do(["delete"] if state == "absent" else ["stop"], outcome, check_mode)
        if state == "absent" and not check_mode:
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
        for item in files:
            _verify(item["path"], item["sha256"])
        for image in images:
            _verify(image.archive, image.sha256)
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
            self._do(["delete"], outcome, check_mode)
        if seen == "absent" and config is None:
            self._refuse_taken_name(wanted)
        if seen == "running" or (state == "present" and seen == "stopped"):
            if seen == "running":
                self._wait_ready(wanted, self.timeout_seconds)
                outcome.changed = self._load(wanted, images, outcome, check_mode) or outcome.changed
            return
        outcome.changed, outcome.state = True, "running"
        if not check_mode:
            self._place(files)
            if wanted.driver != "none":
                self._fill_image_cache(images)
        if wanted.driver == "none":
            self._load(wanted, images, outcome, check_mode)
        begin = time.monotonic()
        if not check_mode:
            # Before it is made: what a start that failed leaves is ours, too.
            with open(self._mark(), "w", encoding="utf-8") as stream:
                json.dump({"made_by": "kjoule", "kubernetes_version": wanted.kubernetes_version}, stream)
        self._do(start_arguments(wanted, offline=offline, force=force, cached=bool(images)), outcome, check_mode)
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

    def _place(self, files: list[dict[str, str]]) -> None:
        """Put files where minikube looks for what it has downloaded. It takes what lies there as it is, unchecked."""
        for item in files:
            target = os.path.join(self.folder, "cache", item["cache"])
            if os.path.exists(target) and hash_file(target) == item["sha256"]:
                continue
            _copy(item["path"], target, 0o755)

    def _fill_image_cache(self, images: list[Image]) -> None:
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        for image in images:
            for name in image.names:
                target = os.path.join(self.folder, "cache", "images", machine, name.replace(":", "_"))
                if not os.path.exists(target) or hash_file(target) != image.sha256:
                    _copy(image.archive, target, 0o644)

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
        listed = self._command(["ctr", "-n", "k8s.io", "images", "list", "-q"]) if here else self._run(["image", "ls"], timeout=120)
        there = set(listed.stdout.split())
        missing = [image for image in images if not set(image.names) <= there]
        for image in missing:
            if here:
                outcome.commands.append(f"ctr images import {image.archive}")
                if not check_mode:
                    self._command(["ctr", "-n", "k8s.io", "images", "import", image.archive])
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
            done = self._command([self.kubectl, *arguments], check=False)
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

    # --- calls

    def environment(self) -> dict[str, str]:
        """What minikube runs with: its own home and kubeconfig, no colours, no questions to the network about newer versions."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MINIKUBE_") and name != "KUBECONFIG"}
        return {
            **kept,
            "HOME": os.environ.get("HOME") or self.home,
            "MINIKUBE_HOME": self.home,
            "KUBECONFIG": self.kubeconfig,
            "MINIKUBE_IN_STYLE": "false",
            "MINIKUBE_WANTUPDATENOTIFICATION": "false",
            "MINIKUBE_WANTNONEDRIVERWARNING": "false",
            "CHANGE_MINIKUBE_NONE_USER": "false",
        }

    def _do(self, arguments: list[str], outcome: Outcome, check_mode: bool) -> None:
        outcome.commands.append("minikube " + " ".join(arguments))
        if check_mode:
            return
        done = self._run(arguments, timeout=self.timeout_seconds)
        if done.returncode != 0:
            raise self._failed(arguments[0], done)

    def _run(self, arguments: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        return self._command([self.command, *arguments, "-p", self.profile], timeout=timeout, check=False)

    def _command(self, argv: list[str], timeout: float = 300.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        name = os.path.basename(argv[0])
        try:
            child = run_child(argv, environment=self.environment(), timeout_seconds=timeout)
        except OSError as error:
            raise cannot_start(name, argv[0], error) from error
        if not child.in_time:
            raise KjouleError(
                f"{name} {argv[1]} did not end", expected=f"an end within {timeout:g} s", next_step="give it more (minikube_lab_timeout)"
            )
        output, errors = (text.decode("utf-8", "replace") for text in (child.stdout, child.stderr))
        done = subprocess.CompletedProcess(argv, child.returncode, output, errors)
        if check and done.returncode != 0:
            raise KjouleError(f"{name} {argv[1]} failed with exit status {done.returncode}", seen=errors.strip()[-800:] or "no output")
        return done

    def _failed(self, what: str, done: subprocess.CompletedProcess[str], expected: str | None = None) -> KjouleError:
        title, next_step = _CLASSES.get(done.returncode // 10, _CLASSES[1])
        message, advice = error_event(done.stdout)
        return KjouleError(
            f"minikube {what} of the profile {self.profile}, exit status {done.returncode}: {title}",
            expected=expected,
            seen=(message or done.stderr.strip()[-800:] or done.stdout.strip()[-800:] or "no output"),
            next_step=advice or next_step,
        )


def start_arguments(wanted: Wanted, *, offline: bool = False, force: bool = False, cached: bool = False) -> list[str]:
    """The command line of ``minikube start``, without the profile. Nothing is installed that a measurement would have to explain away."""
    arguments = [
        "start",
        f"--driver={wanted.driver}",
        f"--container-runtime={wanted.container_runtime}",
        f"--kubernetes-version={wanted.kubernetes_version}",
        f"--nodes={wanted.nodes}",
        "--interactive=false",
        "--keep-context",
        "--install-addons=false",
        "--addons=",
        "--wait=apiserver,system_pods",
        "-o",
        "json",
    ]
    for name, value in (("cpus", wanted.cpus), ("memory", wanted.memory_mb), ("disk-size", wanted.disk_mb)):
        if value is not None:
            arguments.append(f"--{name}={value}{'' if name == 'cpus' else 'mb'}")
    if wanted.image_repository:
        arguments.append(f"--image-repository={wanted.image_repository}")
    arguments += [f"--extra-config={entry}" for entry in wanted.extra_config]
    if offline:
        arguments += ["--preload=false", f"--cache-images={'true' if cached and wanted.driver != 'none' else 'false'}"]
    if force:
        arguments.append("--force")
    return arguments


def drift(config: dict[str, Any], wanted: Wanted) -> list[dict[str, Any]]:
    """``[{setting, wanted, seen}]``: where the profile's configuration (config.json) is another than the wanted one."""
    kubernetes = config.get("KubernetesConfig") or {}
    options = sorted(f"{one.get('Component')}.{one.get('Key')}={one.get('Value')}" for one in kubernetes.get("ExtraOptions") or [])
    # minikube adds options of its own; only wanted ones are asked for.
    wanted_options = [entry for entry in wanted.extra_config if entry not in options]
    pairs: list[tuple[str, Any, Any]] = [
        ("driver", wanted.driver, config.get("Driver")),
        ("kubernetes_version", wanted.kubernetes_version, kubernetes.get("KubernetesVersion")),
        ("container_runtime", wanted.container_runtime, kubernetes.get("ContainerRuntime")),
        ("nodes", wanted.nodes, len(config.get("Nodes") or [])),
        ("image_repository", wanted.image_repository, kubernetes.get("ImageRepository") or ""),
        ("cpus", wanted.cpus, config.get("CPUs")),
        ("memory_mb", wanted.memory_mb, config.get("Memory")),
        ("disk_mb", wanted.disk_mb, config.get("DiskSize")),
    ]
    found = [{"setting": name, "wanted": want, "seen": seen} for name, want, seen in pairs if want is not None and want != seen]
    if wanted_options:
        found.append({"setting": "extra_config", "wanted": ", ".join(wanted_options), "seen": ", ".join(options) or "none"})
    return found


def error_event(output: str) -> tuple[str, str]:
    """Message and advice of the last error among the CloudEvents of ``start -o json``; empty texts when there is none."""
    found = ("", "")
    for line in output.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            event = json.loads(line)
            if event.get("type") == _ERROR_EVENT:
                data = event.get("data") or {}
                found = (str(data.get("message") or "").strip()[:1500], str(data.get("advice") or "").strip()[:500])
    return found


def _is_true(item: dict[str, Any], kind: str) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def _verify(path: str, expected: str) -> None:
    try:
        seen = hash_file(path)
    except OSError as error:
        raise KjouleError(f"the file {path} cannot be read", seen=error.strerror, next_step="put it there, or correct its path") from error
    if seen != expected.lower():
        raise KjouleError(
            f"the file {path} is not the one that was named",
            expected=f"sha256 {expected}",
            seen=f"sha256 {seen}",
            next_step="get it again, or correct its checksum",
        )


def _copy(source: str, target: str, mode: int) -> None:
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".kjoule-", dir=os.path.dirname(target))
    try:
        with os.fdopen(handle, "wb") as stream, open(source, "rb") as content:
            shutil.copyfileobj(content, stream, 1 << 20)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
