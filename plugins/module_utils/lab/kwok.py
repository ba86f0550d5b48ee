# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab on this host: a real Kubernetes control plane with pretended nodes, started by kwokctl from local binaries.

No container runs, so what can be measured is the control plane and the delivery. kwok itself is the cost of pretending
and is kept apart by its role. kwokctl is used to create the cluster only: which processes belong to it, whether it is
ready and that it is gone are established here, because kwokctl trusts its pid files and reports a wait that timed out as success.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import time
from typing import Any, Callable

from ..errors import KjouleError
from .api import ApiError, ApiUnavailable, KubeApi
from .base import DISCARD_GRACE_SECONDS, READY_TIMEOUT_SECONDS, BaseLab, LabInfo
from .directory import create_lab_directory, remove_lab_directory
from .identity import find_marked, owner
from .ports import LOOPBACK, free_ports, is_loopback, listening
from .process import KILL_SECONDS, ManagedProcess, cannot_start, log_tail, send, spawn, terminate_all, wait_gone

# What --version (kubectl: version --client) answers, with the version in a group.
_VERSION_ANSWERS = {
    "etcd": r"etcd Version: (\S+)",
    "kube-apiserver": r"Kubernetes (v\S+)",
    "kube-controller-manager": r"Kubernetes (v\S+)",
    "kube-scheduler": r"Kubernetes (v\S+)",
    "kubectl": r"Client Version: (v\S+)",
    "kwok": r"kwok version (\S+)",
    "kwokctl": r"kwokctl version (\S+)",
}
BINARIES = tuple(_VERSION_ANSWERS)

# Component -> (binary, role), in the order in which they need one another.
_COMPONENTS = {
    "etcd": ("etcd", "cluster"),
    "kube-apiserver": ("kube-apiserver", "cluster"),
    "kube-controller-manager": ("kube-controller-manager", "cluster"),
    "kube-scheduler": ("kube-scheduler", "cluster"),
    "kwok-controller": ("kwok", "simulator"),
}

# Port name -> key of KwokctlConfiguration.
_PORTS = {
    "kube-apiserver": "kubeApiserverPort",
    "etcd": "etcdPort",
    "etcd-peer": "etcdPeerPort",
    "kube-controller-manager": "kubeControllerManagerPort",
    "kube-scheduler": "kubeSchedulerPort",
    "kwok-controller": "kwokControllerPort",
}
PORT_NAMES = tuple(_PORTS)

CLUSTER_NAME = "kjoule"
START_SECONDS = 5.0  # so long after kwokctl has ended a component may take to come up, before it counts as dead
NODE_PODS = 10000  # a pretended node has no kubelet that would suffer from more than the usual 110 pods


class KwokLab(BaseLab):
    """One cluster in <state_dir>/labs/<lab_id>; ``fresh`` makes it, ``discard`` leaves nothing of it.

    ``binaries`` maps the names in ``BINARIES`` to paths, ``fixed_ports`` some names in ``PORT_NAMES`` to ports; the other
    ports are free ones. ``settle`` is a time in seconds to wait after readiness; ``ready_timeout`` the limit for ``fresh``.
    """

    provider = "kwok"

    def __init__(
        self,
        binaries: dict[str, str],
        state_dir: str,
        *,
        lab_id: str,
        fixed_ports: dict[str, int] | None = None,
        nodes: int = 1,
        settle: float = 0.0,
        ready_timeout: float = READY_TIMEOUT_SECONDS,
    ) -> None:
        missing = [name for name in BINARIES if not binaries.get(name)]
        if missing:
            raise KjouleError(
                "the lab lacks binaries",
                expected=f"paths of {', '.join(BINARIES)}",
                seen=f"none for {', '.join(missing)}",
                next_step="run playbooks/lab.yml, which provides them",
            )
        if nodes < 1:
            raise KjouleError("a lab needs a node", expected="nodes: 1 or more", seen=str(nodes))
        super().__init__(binaries["kubectl"], state_dir, lab_id, settle, ready_timeout)
        self.binaries = {name: os.path.abspath(os.path.expanduser(binaries[name])) for name in BINARIES}
        self.nodes = nodes
        self.ports: dict[str, int] = {}
        self._fixed_ports = dict(fixed_ports or {})
        self._kwokctl: ManagedProcess | None = None

    # --- life

    def fresh(self) -> LabInfo:
        """Make the cluster and return when it is ready: see ``_wait_ready`` for what that means.

        Raises KjouleError, with the end of the log of what failed; then nothing of the lab is left.
        """
        begin = time.monotonic()
        if self._started:
            raise KjouleError(f"the lab {self.lab_id} was made already", next_step="discard it, then make a new one")
        self.versions = self._check_binaries()
        for last in (False, True):
            self.directory = create_lab_directory(self.state_dir, self.lab_id)
            self._started = True
            try:
                self._start()
                self._wait_ready(begin + self.ready_timeout)
                break
            except BaseException as error:
                stolen = isinstance(error, KjouleError) and "address already in use" in str(error)
                self.discard()
                # Somebody took a free port between our look and the server's start; a fixed port is not ours to change.
                if last or not stolen:
                    raise
        if self.settle > 0:
            time.sleep(self.settle)
        return LabInfo(time.monotonic() - begin, dict(self.versions))

    def discard(self) -> float:
        """End every process of the lab and remove its directory; returns the seconds that took. Idempotent.

        Works after a failed ``fresh`` and when components are dead. Processes that arms started with this lab's id are ended as well.
        Raises KjouleError when a process or file cannot be removed.
        """
        begin = time.monotonic()
        if not self._started:
            return 0.0
        if self._api is not None:
            self._api.close()
        if self._kwokctl is not None:
            self._kwokctl.terminate(0.0)  # first, so that it starts nothing more
        me = owner()
        for _attempt in range(10):  # a process can have forked while it was being ended
            found = [
                p for p in find_marked(self.lab_id) if not p.owner_alive or (p.owner_pid, p.owner_start_ticks) == (me.pid, me.start_ticks)
            ]
            if not found:
                break
            terminate_all([process.identity for process in found], DISCARD_GRACE_SECONDS)
        # One that somebody else killed just now has no environment to be found by any more, but its port can still be open.
        wait_gone(self._components.values(), KILL_SECONDS)
        remove_lab_directory(self.directory)
        self._started = False
        self._api = None
        self._kwokctl = None
        self._components = {}
        self.ports = {}
        return time.monotonic() - begin

    def __enter__(self) -> KwokLab:
        self.fresh()
        return self

    def __exit__(self, *_details: object) -> None:
        self.discard()

    # --- what others use

    def component_roles(self) -> dict[str, str]:
        return {name: role for name, (_binary, role) in _COMPONENTS.items()}

    def dead_components(self) -> list[str]:
        """Components that ran and do so no longer. Nothing restarts them."""
        return [name for name, identity in self._components.items() if not identity.alive()]

    def component_log(self, name: str) -> str:
        """Path of a component's log."""
        return os.path.join(self._cluster_directory(), "logs", f"{name}.log")

    # --- start

    def _cluster_directory(self) -> str:
        return os.path.join(self.directory, "kwok", "clusters", CLUSTER_NAME)

    def _check_binaries(self) -> dict[str, str]:
        """Ask every binary for its version, before anything is written or started. Returns versions without a leading v."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            return dict(zip(BINARIES, pool.map(lambda name: _version(name, self.binaries[name]), BINARIES)))

    def _configuration(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "runtime": "binary",
            "kubeVersion": "v" + self.versions["kube-apiserver"],
            "etcdVersion": self.versions["etcd"],
            "bindAddress": LOOPBACK,  # the default is 0.0.0.0, and this etcd asks nobody for a password
            "cacheDir": os.path.join(self.directory, "kwok", "cache"),
            "etcdBinary": self.binaries["etcd"],
            "kubeApiserverBinary": self.binaries["kube-apiserver"],
            "kubeControllerManagerBinary": self.binaries["kube-controller-manager"],
            "kubeSchedulerBinary": self.binaries["kube-scheduler"],
            "kwokControllerBinary": self.binaries["kwok"],
            "kubectlBinary": self.kubectl,
        }
        options.update({key: self.ports[name] for name, key in _PORTS.items()})
        # etcd keeps its fsync: --unsafe-no-fsync would make the lab start a little sooner, but each write of a delivery would then cost
        # less than it does in a cluster that people run, and that cost is what is measured.
        # The address that the Service `kubernetes` would lead pods to, if there were any. Left to itself the API server takes that of the
        # default route, and refuses to start on a host that has none; loopback it does not accept. 192.0.2.1 is reserved (RFC 5737).
        arguments = {
            "advertise-address": "192.0.2.1",
            # The default, a /24, has room for 254 Services.
            "service-cluster-ip-range": "10.96.0.0/12",
        }
        # A candidate that cannot renew its lease within 10 s ends itself. On a machine that is busy for a moment that would end the period;
        # nobody waits to take over here. The lease is still renewed every 2 s, so that it costs what it does in a cluster.
        patience = {"leader-elect-lease-duration": "2m", "leader-elect-renew-deadline": "90s"}
        patches = {"kube-apiserver": arguments, "kube-controller-manager": patience, "kube-scheduler": patience}
        return {
            "kind": "KwokctlConfiguration",
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "options": options,
            "componentsPatches": [
                {"name": name, "extraArgs": [{"key": key, "value": value} for key, value in given.items()]}
                for name, given in patches.items()
            ],
        }

    def _start(self) -> None:
        self.ports = free_ports(list(PORT_NAMES), self._fixed_ports)
        for name in ("bin", "home", "tmp", "kwok"):
            os.mkdir(os.path.join(self.directory, name), 0o700)
        os.symlink(self.kubectl, os.path.join(self.directory, "bin", "kubectl"))  # kwokctl takes kubectl from PATH first
        configuration = os.path.join(self.directory, "kwokctl.json")
        with open(configuration, "w", encoding="utf-8") as stream:
            json.dump(self._configuration(), stream, indent=1)
        # A clean environment: KWOK_* of the user would overrule the configuration, and ~/.kwok/kwok.yaml would be merged into it.
        environment = {**self.command_environment(), "KWOK_WORKDIR": os.path.join(self.directory, "kwok")}
        self._kwokctl = spawn(
            [
                self.binaries["kwokctl"],
                "--config",
                configuration,
                "--name",
                CLUSTER_NAME,
                "create",
                "cluster",
                "--kubeconfig",
                self.kubeconfig,
            ],
            name="kwokctl",
            lab_id=self.lab_id,
            log_path=os.path.join(self.directory, "kwokctl.log"),
            env=environment,
            cwd=self.directory,
        )

    # --- readiness

    def _wait_ready(self, deadline: float) -> None:
        """Wait for each of these in turn; together they are what "ready" means here."""
        steps: list[tuple[str, str, Callable[[], bool]]] = [
            ("every component runs", "kwokctl", self._all_identified),
            ("/readyz of the API server says ok", "kube-apiserver", self._api_ready),
            ("the namespace kube-system exists", "kube-apiserver", self._release_candidates),
            ("kube-controller-manager answers /healthz", "kube-controller-manager", lambda: self._healthy("kube-controller-manager")),
            ("kube-scheduler answers /healthz", "kube-scheduler", lambda: self._healthy("kube-scheduler")),
            ("the nodes exist", "kube-apiserver", self._nodes_created),
            (
                "the ServiceAccount default exists",
                "kube-controller-manager",
                lambda: self._exists("/api/v1/namespaces/default/serviceaccounts/default"),
            ),
            (
                "the ConfigMap kube-root-ca.crt exists",
                "kube-controller-manager",
                lambda: self._exists("/api/v1/namespaces/default/configmaps/kube-root-ca.crt"),
            ),
            ("kube-controller-manager leads", "kube-controller-manager", lambda: self._leads("kube-controller-manager")),
            ("kube-scheduler leads", "kube-scheduler", lambda: self._leads("kube-scheduler")),
            ("every node is Ready", "kwok-controller", self._nodes_ready),
            ("kwokctl has ended", "kwokctl", self._kwokctl_done),
        ]
        for what, suspect, check in steps:
            while not self._attempt(check):
                self._fail_if_dead()
                if time.monotonic() > deadline:
                    raise self._failure(
                        f"the lab is not ready: waited in vain until {what}", suspect, f"not after {self.ready_timeout:g} s"
                    )
                time.sleep(0.03)
        self._fail_if_dead()
        self._check_loopback()

    @staticmethod
    def _attempt(check: Callable[[], bool]) -> bool:
        try:
            return check()
        except ApiUnavailable:
            return False
        except ApiError as error:
            if error.status in (401, 403, 404, 409, 429, 500, 503, 504):  # while it starts: roles, namespaces and hooks are still to come
                return False
            raise

    def _all_identified(self) -> bool:
        exes = {os.path.realpath(self.binaries[binary]): name for name, (binary, _role) in _COMPONENTS.items()}
        for process in find_marked(self.lab_id):
            name = exes.get(process.identity.exe)
            if name is not None and not _asks_version(process.identity.pid):
                self._components.setdefault(name, process.identity)
        if len(self._components) < len(_COMPONENTS):
            return False
        self._components = {name: self._components[name] for name in _COMPONENTS}
        self._hold(True)
        return True

    def _hold(self, stop: bool) -> None:
        """Stop the components that elect a leader until their namespace is there, or let them go on.

        kwokctl starts everything at once. A candidate that asks for its lease before the API server has made kube-system is refused,
        and asks again after 2 to 4 s (retry period and jitter of client-go). Holding it back saves that, and leaves the processor to the
        API server. Switching leader election off would save it too, but its lease is part of what a control plane costs at rest.
        """
        for name in ("kube-controller-manager", "kube-scheduler"):
            send(self._components[name], signal.SIGSTOP if stop else signal.SIGCONT)

    def _release_candidates(self) -> bool:
        self.api.get("/api/v1/namespaces/kube-system")
        self._hold(False)
        return True

    def _api_ready(self) -> bool:
        if self._api is None:
            pki = os.path.join(self._cluster_directory(), "pki")
            self._api = KubeApi(
                f"https://{LOOPBACK}:{self.ports['kube-apiserver']}",
                cafile=os.path.join(pki, "ca.crt"),
                certfile=os.path.join(pki, "admin.crt"),
                keyfile=os.path.join(pki, "admin.key"),
            )
        return self._api.ready()

    def _healthy(self, name: str) -> bool:
        # Its certificate is made in memory at its start, so there is nothing to check it against; the port is on loopback.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(LOOPBACK, self.ports[name], timeout=2, context=context)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            return response.read().strip() == b"ok" and response.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _exists(self, path: str) -> bool:
        return bool(self.api.get(path))

    def _leads(self, name: str) -> bool:
        """Whether the component holds its lease: before that it answers /healthz but does nothing."""
        with open(f"/proc/{self._components[name].pid}/cmdline", "rb") as stream:
            if b"--leader-elect=false" in stream.read().split(b"\0"):
                return True
        lease = self.api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}")
        return bool((lease.get("spec") or {}).get("holderIdentity"))

    def _nodes_created(self) -> bool:
        """Make the nodes that kwok pretends to run: as `kwokctl scale node` does, but with room for many pods."""
        resources = {"cpu": "256", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": str(NODE_PODS)}
        for index in range(self.nodes):
            name = f"node-{index:06d}"
            labels = {
                "beta.kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/role": "agent",
                "node-role.kubernetes.io/agent": "",
                "type": "kwok",
            }
            metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"}}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"allocatable": resources, "capacity": resources}}
            try:
                self.api.create("/api/v1/nodes", node)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        return True

    def _nodes_ready(self) -> bool:
        nodes = self.api.list("/api/v1/nodes").get("items") or []
        ready = [
            node
            for node in nodes
            if any(c.get("type") == "Ready" and c.get("status") == "True" for c in (node.get("status") or {}).get("conditions") or [])
            and not (node.get("spec") or {}).get("taints")  # not-ready is taken off a moment after Ready
        ]
        return len(ready) == self.nodes

    def _kwokctl_done(self) -> bool:
        assert self._kwokctl is not None
        return self._kwokctl.popen.poll() is not None

    def _check_loopback(self) -> None:
        for name, identity in self._components.items():
            for address, port in listening(identity.pid):
                if not is_loopback(address):
                    raise KjouleError(
                        f"{name} listens beyond this host",
                        expected="loopback addresses only",
                        seen=f"{address}:{port}",
                        next_step="use the kwok version that docs/ names; this one ignores bindAddress",
                    )

    # --- failure

    def _fail_if_dead(self) -> None:
        assert self._kwokctl is not None
        code = self._kwokctl.popen.poll()
        if code:
            raise self._failure(f"kwokctl failed with exit status {code}", "kwokctl")
        dead = self.dead_components()
        if not dead and code == 0 and len(self._components) < len(_COMPONENTS) and not self._all_identified():
            # kwokctl has forked them all, but on a busy machine the last fork may not have come to its exec.
            deadline = time.monotonic() + START_SECONDS
            while not self._all_identified():
                if time.monotonic() > deadline:
                    dead = [name for name in _COMPONENTS if name not in self._components]
                    break
                time.sleep(0.03)
        if dead:
            raise self._failure(f"{dead[0]} ended while the lab was starting", dead[0])

    def _failure(self, what: str, suspect: str, seen: str | None = None) -> KjouleError:
        for name in _COMPONENTS:
            # etcd says it above a long trace, and the others then only say that etcd does not answer.
            if "no space left on device" in log_tail(self.component_log(name), 200):
                return KjouleError(
                    f"{what}: no space left for {name} below {self.state_dir}",
                    expected="a ready cluster",
                    next_step="free space, or set kjoule_state_dir to another disk",
                )
        path = os.path.join(self.directory, "kwokctl.log") if suspect == "kwokctl" else self.component_log(suspect)
        tail = log_tail(path, 15)
        return KjouleError(
            what,
            expected="a ready cluster",
            seen=f"{seen + '; ' if seen else ''}the end of {suspect}'s log:\n{tail or '(empty)'}\n",
            next_step="correct what the log names; on a busy or slow host raise the lab's ready timeout",
        )


def _asks_version(pid: int) -> bool:
    """Whether this is a component's binary that kwokctl runs for a moment only, to learn its version."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            arguments = stream.read()
        return not arguments or b"--version" in arguments.split(b"\0")  # a zombie has none
    except OSError:
        return True  # gone already


def _version(name: str, path: str) -> str:
    """The version that a binary says it is, without a leading v.

    Raises KjouleError when it is missing, damaged or another program.
    """
    command = [path, "version", "--client"] if name == "kubectl" else [path, "--version"]
    next_step = "run playbooks/lab.yml again: it checks the binaries and replaces damaged ones"
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            timeout=30,
            check=False,
        )
    except OSError as error:
        raise cannot_start(name, path, error) from error
    except subprocess.TimeoutExpired as error:
        raise KjouleError(f"{name} at {path} does not answer", expected="its version within 30 s", next_step=next_step) from error
    output = done.stdout.decode("utf-8", "replace")
    match = re.search(_VERSION_ANSWERS[name], output)
    if done.returncode != 0 or match is None:
        raise KjouleError(
            f"{name} at {path} is damaged or another program",
            expected=f"{' '.join(command[1:])} to answer like {_VERSION_ANSWERS[name]!r}",
            seen=f"exit status {done.returncode}: {output.strip()[:300]!r}",
            next_step=next_step,
        )
    return match.group(1).lstrip("v")
