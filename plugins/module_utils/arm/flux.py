# SPDX-License-Identifier: GPL-3.0-or-later
"""The GitOps arm: Flux's source- and kustomize-controller as host processes, a git server on loopback, commits and pushes.

Repositories are laid out as teams lay theirs out: ``cluster/`` holds what Flux itself is told (one Kustomization for each app, or one
for all), ``apps/<app>/`` the manifests. With one repository both are in it; with several the apps are dealt out to repositories of their
own, ``cluster/`` stays alone in the first and holds their GitRepositories, too. A root Kustomization applies ``cluster/``, so the operator
touches git and nothing else. Convergence is read from the API: every Kustomization has applied what was pushed to its repository.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, Callable

from ..energy.clocks import ProcessClock
from ..energy.meter import Clock
from ..errors import KjouleError, PeriodInvalid
from ..experiment.workload import Revision, write_app
from ..lab.api import condition
from ..lab.existing import FLUX_GROUP
from ..lab.ports import free_ports
from ..lab.process import ManagedProcess, spawn
from . import git_server
from .base import Surroundings

NAMESPACE = "flux-system"
CONTROLLERS = ("source-controller", "kustomize-controller")
ROOT = "cluster"
#: The repository of ``cluster/``, and of the apps where there is one for all.
FLEET = "fleet"
_GROUP = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
_SOURCE = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories"
PORT_NAMES = ("git-server", "source-metrics", "source-health", "source-storage", "kustomize-metrics", "kustomize-health")
_RECONCILES = re.compile(r'^controller_runtime_reconcile_total\{controller="([^"]+)",result="([^"]+)"\} (\S+)$', re.MULTILINE)
_REFUSED = ("BuildFailed", "ReconciliationFailed", "PruneFailed", "InvalidURL", "InvalidPath")


def source_text(module: Any) -> str:
    """The source of a module, wherever it was loaded from (a file, or the zip file that Ansible sends to a host)."""
    spec = importlib.util.find_spec(module.__name__)
    loader: Any = spec.loader if spec is not None else None
    text = loader.get_source(module.__name__) if hasattr(loader, "get_source") else None
    if not text:
        raise KjouleError(f"the source of {module.__name__} cannot be read", next_step="install the collection again")
    return str(text)


#: Read when this is loaded: a period that outlives its connection also outlives the zip file that it came in.
_GIT_SERVER = source_text(git_server)


class FluxArm:
    """See the module's text. ``repositories`` says how many the apps are dealt out to, ``layout`` whether each app has a Kustomization of
    its own (``per-app``) or each repository has one for all of its apps (``one``)."""

    name = "flux"

    def __init__(self, surroundings: Surroundings) -> None:
        self._s = surroundings
        self._folder = os.path.join(surroundings.lab.directory, "flux")
        self._work = os.path.join(self._folder, "work")
        self._cpu_file = os.path.join(self._folder, "git-server.cpu")
        self._processes: dict[str, ManagedProcess] = {}
        self._ports: dict[str, int] = {}
        self._delivered: Revision | None = None
        several = int(surroundings.settings.get("repositories") or 1)
        #: The repositories of the apps.
        self._sources = [FLEET] if several == 1 else [f"apps-{number:0{len(str(several))}d}" for number in range(1, several + 1)]
        self._homes: dict[str, str] = {}  # app -> its repository
        self._heads: dict[str, str] = {}  # repository -> the last commit that was pushed
        self._pushed: list[str] = []  # by the last delivery
        self._kustomizations: dict[str, str] = {ROOT: FLEET}  # those that there are to be -> their repository
        # Where the git server listens, and what stands before the names of its repositories.
        self._git_address = "127.0.0.1"
        self._prefix = ""
        self._interval = f"{float(surroundings.settings['interval_seconds']):g}s"
        actor = surroundings.actor
        actor.environment.update(
            {
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.path.join(self._folder, "gitconfig"),
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_AUTHOR_NAME": "operator",
                "GIT_AUTHOR_EMAIL": "operator@kjoule.invalid",
                "GIT_COMMITTER_NAME": "operator",
                "GIT_COMMITTER_EMAIL": "operator@kjoule.invalid",
            }
        )

    # --- contract

    def install(self) -> None:
        os.makedirs(self._folder, mode=0o700)
        self._ports = free_ports(list(PORT_NAMES), {k: v for k, v in (self._s.settings.get("ports") or {}).items() if k in PORT_NAMES})
        self._start_git()
        self._install_controllers()
        self._bootstrap()

    def clocks(self) -> Sequence[Clock]:
        return [
            ProcessClock(name, process.identity, self._cpu_file if name == "git-server" else None)
            for name, process in self._processes.items()
        ]

    def deliver(self, revision: Revision) -> dict[str, str]:
        """Write what changed, commit, push. Returns the last commit of every repository: git commits no nothing.

        Apps are pushed before the Kustomizations that apply them. Where a poll comes between the two, Flux does not find a path and tries
        again: with one repository this cannot happen.
        """
        before = self._delivered.apps if self._delivered else {}
        changed: set[str] = set()
        for app, objects in revision.apps.items():
            if before.get(app) != objects:
                write_app(self._folder_of(app), objects)
                changed.add(self._home(app))
        for app in before:
            if app not in revision.apps:
                shutil.rmtree(self._folder_of(app))
                changed.add(self._home(app))
        if self._write_kustomizations(revision):
            changed.add(FLEET)
        self._delivered = revision
        self._pushed = [name for name in dict.fromkeys([*self._sources, FLEET]) if name in changed]
        for repository in self._pushed:
            self._commit(repository, f"revision {revision.number}")
        return dict(self._heads)

    def wait_converged(self, handle: dict[str, str]) -> None:
        """Wait until the expected Kustomizations, and no others, are Ready at the commit of their repository, seen through a watch.

        Raises KjouleError with Flux's own message when it refuses the revision, PeriodInvalid when lab or arm broke.
        """
        deadline, wanted = time.monotonic() + self._s.timeout_seconds, f"{len(self._kustomizations)} Kustomizations Ready"
        if self._s.extra.get("flux_trigger") == "annotate":
            self._trigger()
        listing = self._s.lab.api.list(_GROUP)
        version = listing["metadata"]["resourceVersion"]
        seen = {item["metadata"]["name"]: item for item in listing.get("items") or []}
        while not self._settled(seen, handle):
            self._s.check()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise KjouleError(
                    "Flux did not apply the commit",
                    expected=f"{wanted} at {handle[FLEET][:12]} within {self._s.timeout_seconds:g} s",
                    seen=self._messages(seen) or f"{len(seen)} Kustomizations",
                    next_step="give more time with kjoule_timeout, or fewer apps",
                )
            with self._s.lab.api.watch(_GROUP, resource_version=version, timeout_seconds=min(5.0, remaining)) as events:
                for event in events:
                    item = event["object"]
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        seen.pop(item["metadata"]["name"], None)
                    elif event["type"] in ("ADDED", "MODIFIED"):
                        seen[item["metadata"]["name"]] = item
                    if self._settled(seen, handle):
                        return

    def counters(self) -> dict[str, Any]:
        """``{reconciles: {controller: {result: number}}}`` since the controllers began, from their own metrics."""
        reconciles: dict[str, dict[str, int]] = {}
        for name in CONTROLLERS:
            page = self._metrics(name)
            if not page:
                raise PeriodInvalid(f"Flux's reconciles cannot be counted: no answer from {name} on /metrics")
            for controller, result, value in _RECONCILES.findall(page):
                if controller in ("gitrepository", "kustomization"):
                    reconciles.setdefault(controller, {})[result] = int(float(value))
        return {"reconciles": reconciles}

    def _metrics(self, controller: str) -> str:
        return self._http(f"http://127.0.0.1:{self._ports[controller.replace('controller', 'metrics')]}/metrics")

    def uninstall(self) -> None:
        for process in reversed(list(self._processes.values())):
            process.terminate(1.0)
        self._processes = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- start

    def _spawn(self, name: str, argv: list[str], environment: dict[str, str]) -> None:
        self._processes[name] = spawn(
            argv,
            name=name,
            lab_id=self._s.lab.lab_id,
            log_path=os.path.join(self._folder, f"{name}.log"),
            env=environment,
            cwd=self._folder,
        )

    def _start_git(self) -> None:
        repositories = os.path.join(self._folder, "repositories")
        os.makedirs(repositories, mode=0o700)
        script = os.path.join(self._folder, "git_server.py")
        with open(script, "w", encoding="utf-8") as stream:
            stream.write(_GIT_SERVER)
        with open(self._s.actor.environment["GIT_CONFIG_GLOBAL"], "w", encoding="utf-8") as stream:
            # No housekeeping in the background: it would land in some window by chance.
            stream.write("[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n")
        git = self._s.actor.run
        names = list(dict.fromkeys([FLEET, *self._sources]))
        for name in names:
            bare = os.path.join(repositories, f"{self._prefix}{name}.git")
            git(["git", "init", "--quiet", "--bare", bare])
            git(["git", "-C", bare, "config", "http.receivepack", "true"])
        environment = {**self._s.lab.command_environment(), "GIT_CONFIG_GLOBAL": self._s.actor.environment["GIT_CONFIG_GLOBAL"]}
        port = self._ports["git-server"]
        self._spawn(
            "git-server",
            [
                *(sys.executable, "-I", "-S", script, "--root", repositories),
                *("--address", self._git_address, "--port", str(port), "--cpu-file", self._cpu_file),
            ],
            environment,
        )
        question = f"{self._url(FLEET)}/info/refs?service=git-upload-pack"
        self._wait("the git server answers", lambda: bool(self._http(question)), "git-server")
        for name in names:
            work = os.path.join(self._work, name)
            git(["git", "init", "--quiet", work])
            git(["git", "-C", work, "remote", "add", "origin", self._url(name)])
        os.makedirs(os.path.join(self._work, FLEET, ROOT))
        # An empty folder is no Kustomization, and a cluster has something to say about itself anyway.
        about = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "about-this-cluster", "namespace": NAMESPACE},
            "data": {"owner": "operator"},
        }
        self._write_cluster("about", about)
        for name in names[1:]:
            # Flux fetches no repository without a commit.
            with open(os.path.join(self._work, name, "README"), "w", encoding="ascii") as stream:
                stream.write("apps of a team\n")
            self._write_cluster(f"source-{name}", self._git_repository(name))

    def _install_controllers(self) -> None:
        self._install_definitions()
        self._start_controllers()

    def _install_definitions(self) -> None:
        actor, kubectl = self._s.actor, self._s.lab.kubectl
        actor.run([kubectl, "create", "namespace", NAMESPACE])
        self._s.lab.adopt(f"/api/v1/namespaces/{NAMESPACE}")
        for name in ("source-controller-crds", "kustomize-controller-crds"):
            applied = actor.run([kubectl, "apply", "--server-side", "-o", "name", "-f", self._s.binaries[name]])
            for line in applied.split():
                self._s.lab.adopt(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{line.partition('/')[2]}")

        self._wait_established()

    def _wait_established(self) -> None:
        """Wait for Flux's own definitions; what others of the cluster lack is not this arm's."""
        lacking = ["all of them"]

        def established() -> bool:
            items = self._s.lab.api.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").get("items") or []
            ours = [item for item in items if item["metadata"]["name"].endswith(FLUX_GROUP)]
            if ours:
                lacking[:] = [_lack(item) for item in ours if condition(item, "Established")[0] != "True"]
            return not lacking

        self._wait("Flux's custom resource definitions are established", established, None, lacking)

    def _start_controllers(self) -> None:
        ports = self._ports
        base = {**self._s.lab.command_environment(), "RUNTIME_NAMESPACE": NAMESPACE}
        storage = os.path.join(self._folder, "storage")
        os.makedirs(storage, mode=0o700)
        common = [
            "--events-addr=",
            "--watch-all-namespaces=true",
            "--enable-leader-election=false",
            "--interval-jitter-percentage=0",
            "--log-level=info",
        ]
        self._spawn(
            "source-controller",
            [
                self._s.binaries["source-controller"],
                f"--storage-path={storage}",
                f"--storage-addr=127.0.0.1:{ports['source-storage']}",
                f"--storage-adv-addr=127.0.0.1:{ports['source-storage']}",
                f"--metrics-addr=127.0.0.1:{ports['source-metrics']}",
                f"--health-addr=127.0.0.1:{ports['source-health']}",
                *common,
            ],
            {**base, "TUF_ROOT": os.path.join(self._folder, "sigstore")},
        )
        self._spawn(
            "kustomize-controller",
            [
                self._s.binaries["kustomize-controller"],
                f"--metrics-addr=127.0.0.1:{ports['kustomize-metrics']}",
                f"--health-addr=127.0.0.1:{ports['kustomize-health']}",
                "--no-remote-bases",
                *common,
            ],
            base,
        )
        for name, port in (("source-controller", "source-health"), ("kustomize-controller", "kustomize-health")):
            self._wait(f"{name} is ready", lambda port=port: bool(self._http(f"http://127.0.0.1:{ports[port]}/readyz")), name)  # type: ignore[misc]

    def _bootstrap(self) -> None:
        for name in dict.fromkeys([*self._sources, FLEET]):
            self._commit(name, "bootstrap")
        self._pushed = [FLEET]
        file = os.path.join(self._folder, "bootstrap.yaml")
        items = [self._git_repository(FLEET), self._kustomization(ROOT, FLEET, f"./{ROOT}")]
        with open(file, "w", encoding="utf-8") as stream:
            json.dump({"apiVersion": "v1", "kind": "List", "items": items}, stream)
        self._s.actor.run([self._s.lab.kubectl, "apply", "-f", file])
        self.wait_converged(dict(self._heads))
        self._wait("Flux has fetched every repository", self._fetched, "source-controller")

    def _fetched(self) -> bool:
        items = self._s.lab.api.list(_SOURCE).get("items") or []
        return len(items) == len({FLEET, *self._sources}) and all(condition(item, "Ready")[0] == "True" for item in items)

    # --- parts

    def _home(self, app: str) -> str:
        """The repository of an app: dealt out in turn, in the order in which apps appear, and kept."""
        return self._homes.setdefault(app, self._sources[len(self._homes) % len(self._sources)])

    def _folder_of(self, app: str) -> str:
        return os.path.join(self._work, self._home(app), "apps", app)

    def _url(self, repository: str) -> str:
        return f"http://{self._git_address}:{self._ports['git-server']}/{self._prefix}{repository}.git"

    def _git_repository(self, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"interval": self._interval, "url": self._url(name), "ref": {"branch": "main"}},
        }

    def _kustomization(self, name: str, repository: str, path: str) -> dict[str, Any]:
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "interval": self._interval,
                "retryInterval": self._interval,
                "path": path,
                "prune": True,
                "wait": False,
                "sourceRef": {"kind": "GitRepository", "name": repository},
            },
        }

    def _write_kustomizations(self, revision: Revision) -> bool:
        """Bring ``cluster/`` to what the revision needs; whether that changed anything."""
        wanted = {ROOT: FLEET}
        paths: dict[str, str] = {}
        for app in revision.apps:
            home = self._home(app)
            if self._s.settings["layout"] == "per-app":
                name, path = f"app-{app}", f"./apps/{app}"
            else:
                name, path = "apps" if home == FLEET else home, "./apps"
            wanted[name], paths[name] = home, path
        for name in wanted.keys() - self._kustomizations.keys():
            self._write_cluster(name, self._kustomization(name, wanted[name], paths[name]))
        for name in self._kustomizations.keys() - wanted.keys():
            os.unlink(self._cluster_file(name))
        changed = wanted != self._kustomizations
        self._kustomizations = wanted
        return changed

    def _cluster_file(self, name: str) -> str:
        return os.path.join(self._work, FLEET, ROOT, f"{name}.yaml")

    def _write_cluster(self, name: str, item: dict[str, Any]) -> None:
        with open(self._cluster_file(name), "w", encoding="utf-8") as stream:
            json.dump(item, stream, indent=1, sort_keys=True)
            stream.write("\n")

    def _commit(self, repository: str, message: str) -> None:
        git, work = self._s.actor.run, os.path.join(self._work, repository)
        git(["git", "-C", work, "add", "--all"])
        git(["git", "-C", work, "commit", "--quiet", "--message", message])
        git(["git", "-C", work, "push", "--quiet", "origin", "HEAD:refs/heads/main"])
        with open(os.path.join(work, ".git", "refs", "heads", "main"), encoding="ascii") as stream:
            self._heads[repository] = stream.read().strip()

    def _trigger(self) -> None:
        """Ask for a fetch now, as ``flux reconcile source git`` does, instead of waiting for the next poll."""
        if not self._pushed:
            return
        self._s.actor.run(
            [
                self._s.lab.kubectl,
                "annotate",
                "--overwrite",
                "--namespace",
                NAMESPACE,
                *(f"gitrepositories.source.toolkit.fluxcd.io/{name}" for name in self._pushed),
                f"reconcile.fluxcd.io/requestedAt={time.time_ns()}",
            ]
        )

    def _settled(self, seen: dict[str, dict[str, Any]], commits: dict[str, str]) -> bool:
        for name, item in seen.items():
            commit = commits[self._kustomizations.get(name, FLEET)]
            status, reason, message = condition(item, "Ready")
            attempted = str((item.get("status") or {}).get("lastAttemptedRevision") or "")
            if name in self._kustomizations and status == "False" and reason in _REFUSED and attempted.endswith(commit):
                raise KjouleError(
                    f"Flux refuses the revision: Kustomization {name}, {reason}",
                    seen=message[:1500],
                    next_step="correct the manifest that it names; try it with kubectl apply --dry-run=server",
                )
        if set(seen) != set(self._kustomizations):
            return False
        for name, item in seen.items():
            state = item.get("status") or {}
            applied = str(state.get("lastAppliedRevision") or "").endswith(commits[self._kustomizations[name]])
            if not applied or condition(item, "Ready")[0] != "True":
                return False
            if state.get("observedGeneration") != item["metadata"].get("generation"):
                return False
        return True

    def _messages(self, seen: dict[str, dict[str, Any]]) -> str:
        texts = []
        for name, item in sorted(seen.items()):
            status, reason, message = condition(item, "Ready")
            if status != "True":
                texts.append(f"{name}: {reason} {message}"[:300])
        return "; ".join(texts[:3])

    def _wait(self, what: str, check: Callable[[], bool], process: str | None, lacking: Sequence[str] = ()) -> None:
        deadline = time.monotonic() + self._s.timeout_seconds
        while True:
            begin = time.monotonic()
            if check():
                return
            self._s.check()
            managed = self._processes.get(process) if process else None
            if managed is not None and not managed.alive():
                raise KjouleError(
                    f"{process} ended before it was ready", seen=managed.log_tail(5) or "no output", next_step="read its message"
                )
            if time.monotonic() > deadline:
                tail = managed.log_tail(5) if managed else ""
                raise KjouleError(
                    f"waited in vain until {what}",
                    expected=f"at most {self._s.timeout_seconds:g} s",
                    seen=tail or ", ".join(lacking) or None,
                    next_step="kubectl describe what is named; give more time with kjoule_timeout" if lacking else None,
                )
            # Never longer at asking than at waiting: a slow host has better things to do until it is ready.
            time.sleep(max(0.03, time.monotonic() - begin))

    @staticmethod
    def _http(url: str) -> str:
        """The text of a page, '' when it cannot be had. No proxy of the environment is asked."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=5) as answer:
                return str(answer.read().decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException):
            return ""


def _lack(definition: dict[str, Any]) -> str:
    _status, reason, message = condition(definition, "Established")
    return " ".join(part for part in (definition["metadata"]["name"], reason, message) if part)
