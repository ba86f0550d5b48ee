# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in a cluster that somebody else made: namespaces of its own in it, and nothing else touched.

What the lab made carries its label; only that is removed, and only if it is still the object that was made (by uid). The cluster is named
twice, once by kubeconfig and context and once in the inventory, so that none is measured by accident. Its processes have to run on this
host, for their CPU time is read here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pwd
import re
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, Callable, TypeVar

from ..energy.cgroups import CgroupClock, group_of
from ..energy.clocks import ProcessClock
from ..energy.meter import Clock
from ..errors import KjouleError
from .api import ApiError, ApiUnavailable, KubeApi, patiently
from .base import DISCARD_GRACE_SECONDS, READY_TIMEOUT_SECONDS, BaseLab, LabInfo
from .directory import create_lab_directory, remove_lab_directory, write_private
from .identity import ProcessIdentity, find_marked, identify, owner, parent, pids
from .nodes import not_ready, only_node
from .ports import holder, is_here
from .process import cannot_start, terminate_all

Found = TypeVar("Found")

LABEL = "kjoule.example/lab"
#: The namespace that says that the cluster is taken. There is one name, so there is one lab at a time.
CLAIM = "kjoule-lab"
_NAMESPACES = "/api/v1/namespaces"
_CLAIMED = f"{_NAMESPACES}/{CLAIM}"
#: Those that every cluster has, or that Kubernetes keeps for itself.
_SYSTEM_NAMESPACE = re.compile(rf"{_NAMESPACES}/(default|kube-.*)")
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: What the workload and Flux use, wherever they are.
_WANTED_NAMESPACES = ("kjoule-apps", "flux-system")
#: What the names of Flux's definitions end in.
FLUX_GROUP = ".toolkit.fluxcd.io"
#: What Flux's manifests call its rights. They stay where only its namespace and its definitions were removed.
_FLUX_RIGHTS = "-flux-system"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"

# Name of an executable -> (component, role).
_PROCESSES = {
    "etcd": ("etcd", "cluster"),
    "kube-apiserver": ("kube-apiserver", "cluster"),
    "kube-controller-manager": ("kube-controller-manager", "cluster"),
    "kube-scheduler": ("kube-scheduler", "cluster"),
    "kubelet": ("kubelet", "cluster"),
    "containerd": ("containerd", "cluster"),
    "kube-proxy": ("kube-proxy", "cluster"),
    "coredns": ("coredns", "cluster"),
    "kwok": ("kwok-controller", "simulator"),
}

#: What a lab usually makes, for the commands in messages.
_KINDS = (
    "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,persistentvolumes,storageclasses,priorityclasses,ingressclasses,"
    "runtimeclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations"
)
_DAEMONS = ("kubelet", "containerd")
#: What a cluster runs in as many pods as it likes (kubeadm: two of CoreDNS); each is a component.
_REPLICATED = ("coredns",)
#: Clusters of others may be busier than a lab that was made a moment ago.
_REQUEST_SECONDS = 60.0


class ExistingLab(BaseLab):
    """``options``: kubeconfig (its path), context (default: the current one), confirm (the name of the context or cluster, once more) and
    processes (what the command lines of the cluster's processes have in common, where several clusters run on this host).

    The other arguments are those of ``KwokLab``; of ``binaries`` kubectl is used.
    """

    provider = "existing"
    #: Only root may ask which process holds a port, and what the processes of others execute.
    needs_root = True

    def __init__(
        self,
        binaries: dict[str, str],
        state_dir: str,
        *,
        lab_id: str,
        options: dict[str, str],
        fixed_ports: dict[str, int] | None = None,
        settle: float = 0.0,
        ready_timeout: float = READY_TIMEOUT_SECONDS,
    ) -> None:
        for name, next_step in (
            ("kubeconfig", "set kjoule_existing_kubeconfig to the kubeconfig of the cluster, on the host"),
            ("confirm", "set kjoule_existing_confirm to the name of the context or the cluster that may be measured"),
        ):
            if not options.get(name):
                raise KjouleError("an existing cluster is measured only if it is named", seen=f"no {name}", next_step=next_step)
        super().__init__(binaries["kubectl"], state_dir, lab_id, settle, ready_timeout)
        self._options = dict(options)
        self._roles: dict[str, str] = {}
        self._made: dict[str, str] = {}
        self._expected: list[str] = []

    # --- life

    def fresh(self) -> LabInfo:
        """Claim the cluster and return when it is ready for a lab.

        Raises KjouleError, with nothing changed, for another user than root (where ``needs_root``), for a cluster that is another than the
        one that was confirmed, that does not answer, that has not one node which is ready, that does not run on this host, that has
        another lab in it, or the namespaces or the Flux of somebody else.
        """
        begin = time.monotonic()
        if self.needs_root:
            _check_root(self.provider)
        self.directory = create_lab_directory(self.state_dir, self.lab_id)
        self._started = True
        try:
            for name in ("bin", "home", "tmp"):
                os.mkdir(os.path.join(self.directory, name), 0o700)
            os.symlink(self.kubectl, os.path.join(self.directory, "bin", "kubectl"))
            config = self._read_kubeconfig()
            self._confirm(config)
            write_private(self.kubeconfig, json.dumps(config))
            self._api = KubeApi.from_kubeconfig_json(config, timeout=_REQUEST_SECONDS)
            server = str(config["clusters"][0]["cluster"]["server"])
            self._wait_ready(server, begin + self.ready_timeout)
            self._wait_node(begin + self.ready_timeout)
            self._find_processes(server)
            self._refuse_what_is_in_use()
            self._claim()
        except BaseException:
            self.discard()
            raise
        if self.settle > 0:
            time.sleep(self.settle)
        return LabInfo(time.monotonic() - begin, dict(self.versions))

    @property
    def labels(self) -> dict[str, str]:
        return {LABEL: label_value(self.lab_id)}

    def adopt(self, path: str) -> None:
        """Mark what was just made at ``path`` as this lab's, so that ``discard`` removes it."""
        made = self.api.patch(path, {"metadata": {"labels": self.labels}})
        self._made[path] = str(made["metadata"]["uid"])

    def refuse_taken(self, paths: Sequence[str]) -> None:
        """Raise KjouleError for what is in the cluster already, and for namespaces that every cluster has: these are never the lab's."""
        taken = [path for path in paths if _SYSTEM_NAMESPACE.fullmatch(path) or self._unless_gone(functools.partial(self.api.get, path))]
        if taken:
            raise KjouleError(
                "the workload would change and remove what this lab did not make",
                expected="a workload of namespaces, and objects outside of any, that are not in the cluster yet",
                seen=", ".join(taken),
                next_step="give them other names in kjoule_workload_dir, or measure with kjoule_lab: kwok; "
                "what is nobody's any more you can remove yourself",
            )

    @contextlib.contextmanager
    def delivering(self, paths: Sequence[str]) -> Iterator[None]:
        """What is at these paths and is this lab's may be changed, nothing else; what is new there and carries ``labels`` is this lab's.

        Where the delivery breaks off, ``discard`` looks what it has made.
        """
        self.refuse_taken([path for path in paths if self._live(path) is None])
        self._expected = list(dict.fromkeys([*self._expected, *paths]))
        yield
        self._adopt_expected()

    def _adopt_expected(self) -> None:
        """Take over what the delivery made, which carries the label. What does not is somebody else's and remains in ``_expected``."""
        others = []
        for path in self._expected:
            found = self._unless_gone(functools.partial(self.api.get, path))
            if found is None or found["metadata"]["uid"] == self._made.get(path):
                continue
            if (found["metadata"].get("labels") or {}).get(LABEL) == self.labels[LABEL]:
                self._made[path] = str(found["metadata"]["uid"])
            else:
                others.append(path)
        self._expected = others

    def discard(self) -> float:
        """Remove what was adopted, wait until it is gone, and give the cluster free. Returns the seconds that took. Idempotent.

        An API server that is away is waited for. Raises KjouleError for what stays; nothing that this lab did not make is touched: where
        somebody made what a delivery should have made, that is told when everything of the lab is gone.
        """
        begin = time.monotonic()
        if not self._started:
            return 0.0
        me = owner()
        mine = [
            process.identity
            for process in find_marked(self.lab_id)
            if not process.owner_alive or (process.owner_pid, process.owner_start_ticks) == (me.pid, me.start_ticks)
        ]
        terminate_all(mine, DISCARD_GRACE_SECONDS)
        try:
            if self._made or self._expected:
                patiently(self.api, self._give_free, self.ready_timeout)
        except ApiUnavailable as error:
            unknown = [path for path in self._expected if path not in self._made]
            raise KjouleError(
                f"what the lab {self.lab_id} made in the cluster cannot be removed, for its API server is away",
                seen=f"{error.seen or error.what}; left are {', '.join(self._made)}"
                + (f"; of a delivery that broke off there may also be {', '.join(unknown)}" if unknown else ""),
                next_step=f"start the cluster, then: kubectl delete {self._kinds()} -l {LABEL}={self.labels[LABEL]}",
            ) from error
        finally:
            if self._api is not None:
                self._api.close()
            remove_lab_directory(self.directory)  # in any case: the kubeconfig in it may be an administrator's
        self._started = False
        self._api = None
        self._components = {}
        others, self._expected = self._expected, []
        if others:
            raise KjouleError(
                "somebody made what this lab should have delivered; it stays in the cluster",
                expected=f"the label {LABEL}={self.labels[LABEL]} on what the workload makes outside of namespaces",
                seen=f"none on {', '.join(others)}",
                next_step="do not change the cluster while it is measured; what is nobody's you can remove yourself",
            )
        return time.monotonic() - begin

    # --- what others use

    @property
    def real_pods(self) -> bool:
        """Whether a kubelet of this cluster runs on this host."""
        return "kubelet" in self._components

    def clocks(self) -> Sequence[Clock]:
        """Those of the node's daemons are the control groups of their units: what they start (shims, mounts) belongs to them."""
        return [self._unit_clock(clock) if clock.name in _DAEMONS else clock for clock in super().clocks()]

    @staticmethod
    def _unit_clock(clock: Clock) -> Clock:
        path = group_of(clock.identity.pid) if isinstance(clock, ProcessClock) else None
        return CgroupClock(clock.name, path) if path is not None and path.endswith(".service") else clock

    def component_roles(self) -> dict[str, str]:
        return dict(self._roles)

    # --- which cluster

    def _read_kubeconfig(self) -> dict[str, Any]:
        """The one context, with what its files hold inside."""
        path = os.path.abspath(os.path.expanduser(self._options["kubeconfig"]))
        command = [self.kubectl, "config", "view", "--raw", "--flatten", "--minify", "-o", "json"]
        if self._options.get("context"):
            command.append(f"--context={self._options['context']}")
        environment = {**self.command_environment(), "KUBECONFIG": path}
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=30, check=False)
        except OSError as error:
            raise cannot_start("kubectl", self.kubectl, error) from error
        if done.returncode != 0 or not os.path.exists(path):
            raise KjouleError(
                f"the kubeconfig {path} cannot be used",
                expected=f"one with the context {self._options.get('context') or 'that it calls current'}",
                seen=done.stderr.decode("utf-8", "replace").strip() or "no such file",
                next_step="correct kjoule_existing_kubeconfig or kjoule_existing_context",
            )
        return dict(json.loads(done.stdout))

    def _confirm(self, config: dict[str, Any]) -> None:
        context, cluster = config["contexts"][0]["name"], config["clusters"][0]["name"]
        if self._options["confirm"] not in (context, cluster):
            raise KjouleError(
                "the kubeconfig leads to another cluster than the one that may be measured",
                expected=f"{self._options['confirm']} (kjoule_existing_confirm)",
                seen=f"context {context}, cluster {cluster} at {config['clusters'][0]['cluster'].get('server')}",
                next_step="choose the context with kjoule_existing_context; confirm this one only if you mean it",
            )

    def _wait_ready(self, server: str, deadline: float) -> None:
        while not self.api.ready():
            if time.monotonic() > deadline:
                raise KjouleError(
                    f"the cluster at {server} is not ready",
                    expected=f"ok from /readyz within {self.ready_timeout:g} s",
                    next_step="start it, or point kjoule_existing_kubeconfig at one that runs",
                )
            time.sleep(0.2)
        self.versions = {"kube-apiserver": str(self.api.get("/version")["gitVersion"]).lstrip("v")}

    def _wait_node(self, deadline: float) -> None:
        while reason := not_ready(only_node(self.api)):
            if time.monotonic() > deadline:
                raise KjouleError(
                    "the node of the cluster is not ready",
                    expected=f"the condition Ready within {self.ready_timeout:g} s",
                    seen=reason,
                    next_step="look at its kubelet: kubectl describe node",
                )
            time.sleep(0.2)

    def _find_processes(self, server: str) -> None:
        """The cluster's processes on this host: the API server by the port, the others by their names."""
        parts = urllib.parse.urlsplit(server)
        port = parts.port or 443
        found = holder(port) if is_here(parts.hostname or "") else None
        if found is None or not found[1].startswith("kube-apiserver"):
            raise KjouleError(
                f"the API server {server} is no process of this host",
                expected="a control plane whose CPU time can be read here",
                seen=f"{found[1]} on that port" if found else "nobody on that port here",
                next_step="measure on the machine that the control plane runs on (the node itself, not a workstation)",
            )
        server_pid = found[0]
        self._take(
            self._candidates(
                lambda pid: pid == server_pid or self._options.get("processes", "") in command_line(pid), api_server=server_pid
            )
        )

    @staticmethod
    def _candidates(belongs: Callable[[int], bool], api_server: int | None = None) -> dict[str, list[ProcessIdentity]]:
        """Processes of this host that are called like a part of a cluster, and belong to this one."""
        everyone: dict[str, list[ProcessIdentity]] = {}
        for pid in pids():
            process = identify(pid)
            name = os.path.basename(process.exe) if process is not None else ""
            if process is None or name not in _PROCESSES or (api_server is not None and (name == "kube-apiserver") != (pid == api_server)):
                continue
            if belongs(pid):
                everyone.setdefault(name, []).append(process)
        # A child of the same program is one that has not yet executed what it was made for (kube-proxy calls iptables all the time).
        return {name: [one for one in found if parent(one.pid) not in {other.pid for other in found}] for name, found in everyone.items()}

    def _take(self, everyone: dict[str, list[ProcessIdentity]]) -> None:
        # Where one kubelet runs on this host, every pod is its.
        many = _REPLICATED if len(everyone.get("kubelet", [])) == 1 else ()
        double = sorted(name for name, processes in everyone.items() if len(processes) > 1 and name not in many)
        if double:
            raise KjouleError(
                f"several processes on this host are called {', '.join(double)}, and whose they are cannot be told",
                expected="one cluster on this host",
                seen=", ".join(f"{name}: pids {', '.join(str(one.pid) for one in everyone[name])}" for name in double),
                next_step="set kjoule_existing_processes to what the command lines of this cluster's processes have in common",
            )
        for name, (component, role) in _PROCESSES.items():
            for number, process in enumerate(sorted(everyone.get(name, []), key=lambda one: (one.start_ticks, one.pid)), start=1):
                numbered = component if number == 1 else f"{component}-{number}"
                self._components[numbered] = process
                self._roles[numbered] = role

    # --- what is in it

    def _refuse_what_is_in_use(self) -> None:
        there = {item["metadata"]["name"]: item["metadata"] for item in self.api.list(_NAMESPACES).get("items") or []}
        if CLAIM in there:
            whose = (there[CLAIM].get("labels") or {}).get(LABEL, "of an unknown name")
            who = (there[CLAIM].get("annotations") or {}).get(LABEL, "unknown")
            raise KjouleError(
                "this cluster has another lab in it",
                expected="one lab at a time",
                seen=f"lab {whose}, since {there[CLAIM].get('creationTimestamp')}, by {who}",
                next_step=f"wait for it; if its run is dead, remove what carries the label: kubectl delete {_KINDS} -l {LABEL}",
            )
        taken = [name for name in _WANTED_NAMESPACES if name in there]
        definitions = [item["metadata"]["name"] for item in self.api.list(_CRDS).get("items") or []]
        flux = [name for name in definitions if name.endswith(FLUX_GROUP)]
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            found = self.api.list(f"{_RBAC}/{kind.lower()}s").get("items") or []
            flux += [f"{kind} {item['metadata']['name']}" for item in found if item["metadata"]["name"].endswith(_FLUX_RIGHTS)]
        if flux or "flux-system" in taken:
            raise KjouleError(
                "Flux is installed in this cluster already, by somebody else",
                expected="a cluster without Flux: the arm installs its own, and the snowflake has none",
                seen=", ".join([*(f"namespace {name}" for name in taken if name == "flux-system"), *flux]),
                next_step="measure another cluster, or take that Flux out of this one yourself (flux uninstall, kubectl delete)",
            )
        if taken:
            raise KjouleError(
                f"the namespace {', '.join(taken)} is in use, and this lab did not make it",
                expected="no such namespace",
                next_step="remove it if it is nobody's any more; kjoule does not touch what it did not make",
            )

    def _claim(self) -> None:
        me = owner()
        metadata = {
            "name": CLAIM,
            "labels": self.labels,
            "annotations": {LABEL: f"pid {me.pid} on {socket.gethostname()}"},
        }
        made = self.api.create(_NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self._made[_CLAIMED] = str(made["metadata"]["uid"])

    # --- removing

    def _kinds(self) -> str:
        """For commands: the usual kinds, and those of what this lab has made or may have made."""
        kinds = _KINDS.split(",")
        for path in [*self._made, *self._expected]:
            *group, _version, plural, _name = path.split("/")[2:]
            if plural not in kinds:
                kinds.append(".".join([plural, *group]))
        return ",".join(dict.fromkeys(kinds))

    def _give_free(self) -> None:
        self._adopt_expected()
        self._release_finalizers()
        self._remove([path for path in self._made if path != _CLAIMED])
        self._remove(list(self._made))  # the claim goes last: until then the cluster is not free

    def _release_finalizers(self) -> None:
        """Flux's own objects, and those of a definition of the workload's, wait for a controller that does not run any more."""
        for path in self._made:
            if not path.startswith(_CRDS):
                continue
            definition = self._live(path)
            if definition is None:
                continue
            spec = definition["spec"]
            served = [entry for entry in spec["versions"] if entry.get("served")]
            if not served:
                continue
            version = next((entry for entry in served if entry.get("storage")), served[0])["name"]
            kind = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
            found = self._unless_gone(functools.partial(self.api.list, kind)) or {}  # one that is not established has no objects
            for item in found.get("items") or []:
                meta = item["metadata"]
                inside = f"/namespaces/{meta['namespace']}" if meta.get("namespace") else ""
                where = f"/apis/{spec['group']}/{version}{inside}/{spec['names']['plural']}/{meta['name']}"
                if meta.get("finalizers"):
                    self._unless_gone(functools.partial(self.api.patch, where, {"metadata": {"finalizers": None}}))

    def _live(self, path: str) -> dict[str, Any] | None:
        """What is at ``path``, if it is what this lab made."""
        found = self._unless_gone(lambda: self.api.get(path))
        return found if found is not None and found["metadata"]["uid"] == self._made.get(path) else None

    @staticmethod
    def _unless_gone(call: Callable[[], Found]) -> Found | None:
        try:
            return call()
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _remove(self, paths: list[str]) -> None:
        """Remove what is at these paths, if this lab made it, and wait until it is gone."""
        for path in paths:
            if self._live(path) is not None:
                self._unless_gone(functools.partial(self.api.delete, path))
        deadline = time.monotonic() + self.ready_timeout
        while True:
            left = [path for path in paths if self._live(path) is not None]
            for path in set(paths) - set(left):
                self._made.pop(path, None)
            if not left:
                return
            if time.monotonic() > deadline:
                raise KjouleError(
                    "what this lab made does not go away",
                    expected=f"nothing of it after {self.ready_timeout:g} s",
                    seen=", ".join(left),
                    next_step=f"see what holds it: kubectl get {self._kinds()} -l {LABEL}={self.labels[LABEL]} -o yaml",
                )
            paths = left
            time.sleep(0.1)


def label_value(lab_id: str) -> str:
    """The id as the value of a label, which has 63 characters at most and ends in a letter or digit: where it does not fit, with a hash."""
    if len(lab_id) <= 63 and lab_id[-1].isalnum():
        return lab_id
    return f"{lab_id[:50].rstrip('-._')}-{hashlib.sha256(lab_id.encode()).hexdigest()[:12]}"


def _check_root(provider: str) -> None:
    if os.geteuid() != 0:
        try:
            name = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            name = f"user id {os.geteuid()}"
        raise KjouleError(
            f"the lab {provider} reads the processes of the cluster, which are other users'",
            expected="root",
            seen=name,
            next_step="connect as root, or set ansible_become: true for the host",
        )


def command_line(pid: int) -> str:
    """The command line of a process with blanks between its parts; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
