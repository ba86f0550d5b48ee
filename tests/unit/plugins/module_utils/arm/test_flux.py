# SPDX-License-Identifier: GPL-3.0-or-later
"""The GitOps arm without Flux: a real git and the real git server, and Kustomizations as controllers left them."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm import git_server
from ansible_collections.kjoule.bench.plugins.module_utils.arm.actor import Actor
from ansible_collections.kjoule.bench.plugins.module_utils.arm.base import Surroundings
from ansible_collections.kjoule.bench.plugins.module_utils.arm.flux import FluxArm, source_text
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError, PeriodInvalid
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.workload import Revision, Workload
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import find_marked, marker_environment
from ansible_collections.kjoule.bench.plugins.module_utils.lab.ports import free_ports

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD = "fedcba9876543210fedcba9876543210fedcba98"
HANDLE = {"fleet": COMMIT}


class Api:
    """Lists Kustomizations, then hands out events, batch by batch."""

    def __init__(self, items=(), *batches):
        self.items, self.batches, self.versions = list(items), list(batches), []

    def list(self, path):
        assert path.endswith("/kustomizations")
        return {"metadata": {"resourceVersion": "10"}, "items": self.items}

    @contextmanager
    def watch(self, path, *, resource_version, timeout_seconds):
        self.versions.append(resource_version)
        yield iter(self.batches.pop(0) if self.batches else [])


@pytest.fixture
def make(tmp_path):
    made = []

    def arm(api=None, layout="per-app", repositories=1, timeout=20.0, kubectl="/nowhere/kubectl", check=lambda: None, **extra):
        lab_id = f"unit-{uuid.uuid4().hex}"
        directory = tmp_path / lab_id
        directory.mkdir()
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), **marker_environment(lab_id)}
        lab = SimpleNamespace(
            directory=str(directory), lab_id=lab_id, kubectl=kubectl, api=api, command_environment=lambda: dict(environment)
        )
        settings = {"interval_seconds": 5.0, "layout": layout, "repositories": repositories, "timeout_seconds": timeout, "ports": {}}
        one = FluxArm(Surroundings(lab, Actor(environment, 30), {}, settings, check, extra))
        made.append(one)
        return one

    yield arm
    for one in made:
        one.uninstall()
        assert find_marked(one._s.lab.lab_id) == []
        assert not os.path.exists(one._folder)


# the repository


@pytest.fixture
def started(make):
    def start(**options):
        arm = make(**options)
        os.makedirs(arm._folder)
        arm._ports = free_ports(["git-server"])
        arm._start_git()
        for name in ("fleet", *arm._sources):
            if name not in arm._heads:
                arm._commit(name, "bootstrap")
        return arm

    return start


def git(arm, *arguments, repository="fleet"):
    bare = os.path.join(arm._folder, "repositories", f"{repository}.git")
    return subprocess.run(["git", "-C", bare, *arguments], env=arm._s.actor.environment, capture_output=True, text=True, check=True).stdout


def files(arm, repository="fleet"):
    return set(git(arm, "ls-tree", "-r", "--name-only", "main", repository=repository).split())


def content(arm, name):
    return json.loads(git(arm, "show", f"main:{name}"))


def head(arm, repository="fleet"):
    return git(arm, "rev-parse", "main", repository=repository).strip()


@pytest.fixture
def workload():
    return Workload({"kind": "generated", "apps": 3, "replicas": 1, "seed": 1}, 2)


MANIFESTS = ("00-configmap.yaml", "01-service.yaml", "02-deployment.yaml")


def test_each_app_has_a_kustomization_and_its_manifests(started, workload):
    arm = started()
    assert arm.deliver(workload.deploy()) == {"fleet": head(arm)}
    apps = [f"app-000{number}" for number in (1, 2, 3)]
    wanted = {f"cluster/app-{app}.yaml" for app in apps} | {f"apps/{app}/{name}" for app in apps for name in MANIFESTS}
    assert files(arm) == wanted | {"cluster/about.yaml"}
    spec = content(arm, "cluster/app-app-0002.yaml")["spec"]
    assert (spec["path"], spec["prune"], spec["interval"], spec["retryInterval"]) == ("./apps/app-0002", True, "5s", "5s")
    assert content(arm, "apps/app-0002/02-deployment.yaml") == workload.current.apps["app-0002"][2]
    assert set(arm._kustomizations) == {"cluster", "app-app-0001", "app-app-0002", "app-app-0003"}


def test_a_change_is_one_commit_of_the_files_that_changed(started, workload):
    arm = started()
    arm.deliver(workload.deploy())
    revision, _count = workload.update("image", 1)
    arm.deliver(revision)
    changed = git(arm, "diff", "--name-only", "main~1", "main").split()
    assert len(changed) == 1
    assert changed[0].endswith("/02-deployment.yaml")
    assert git(arm, "log", "--format=%s|%an", "-1", "main") == f"revision {revision.number}|operator\n"


def test_an_app_that_goes_takes_its_kustomization_with_it(started, workload):
    arm = started()
    arm.deliver(workload.deploy())
    revision = workload.prune(2)
    arm.deliver(revision)
    (left,) = revision.apps
    assert files(arm) == {"cluster/about.yaml", f"cluster/app-{left}.yaml", *(f"apps/{left}/{name}" for name in MANIFESTS)}
    assert set(arm._kustomizations) == {"cluster", f"app-{left}"}
    arm.deliver(workload.teardown())
    assert files(arm) == {"cluster/about.yaml"}
    assert set(arm._kustomizations) == {"cluster"}


def test_the_other_layout_has_one_kustomization_for_all(started, workload):
    arm = started(layout="one")
    arm.deliver(workload.deploy())
    assert {name for name in files(arm) if name.startswith("cluster/")} == {"cluster/about.yaml", "cluster/apps.yaml"}
    assert content(arm, "cluster/apps.yaml")["spec"]["path"] == "./apps"
    assert set(arm._kustomizations) == {"cluster", "apps"}
    arm.deliver(workload.teardown())
    assert files(arm) == {"cluster/about.yaml"}
    assert set(arm._kustomizations) == {"cluster"}


@pytest.mark.parametrize("layout", ["per-app", "one"])
def test_where_nothing_changed_there_is_nothing_to_commit(started, workload, layout):
    arm = started(layout=layout)
    assert arm.deliver(Revision(0, {})) == {"fleet": head(arm)}
    last = arm.deliver(workload.deploy())
    assert arm.deliver(workload.deploy()) == last


def test_with_several_repositories_the_apps_are_dealt_out_and_the_first_holds_what_flux_is_told(started, workload):
    arm = started(repositories=2)
    assert files(arm) == {"cluster/about.yaml", "cluster/source-apps-1.yaml", "cluster/source-apps-2.yaml"}
    assert content(arm, "cluster/source-apps-2.yaml")["spec"]["url"].endswith("/apps-2.git")
    handle = arm.deliver(workload.deploy())
    assert handle == {name: head(arm, name) for name in ("fleet", "apps-1", "apps-2")}
    assert files(arm, "apps-1") == {"README", *(f"apps/app-000{n}/{name}" for n in (1, 3) for name in MANIFESTS)}
    assert files(arm, "apps-2") == {"README", *(f"apps/app-0002/{name}" for name in MANIFESTS)}
    spec = content(arm, "cluster/app-app-0002.yaml")["spec"]
    assert (spec["path"], spec["sourceRef"]["name"]) == ("./apps/app-0002", "apps-2")


def test_a_change_is_pushed_to_the_repository_of_its_app_and_to_no_other(started, workload):
    arm = started(repositories=2)
    before = arm.deliver(workload.deploy())
    revision, _count = workload.update("image", 1)
    after = arm.deliver(revision)
    (app,) = (app for app in revision.apps if arm._delivered.apps[app][2]["spec"]["template"]["spec"]["containers"][0]["image"][-1] == "1")
    assert {name for name in after if after[name] != before[name]} == {arm._home(app)}
    arm.deliver(workload.teardown())
    assert files(arm, "apps-1") == files(arm, "apps-2") == {"README"}
    assert not [name for name in files(arm) if name.startswith("cluster/app")]


def test_one_kustomization_for_all_is_one_for_each_repository(started, workload):
    arm = started(repositories=2, layout="one")
    arm.deliver(workload.deploy())
    assert arm._kustomizations == {"cluster": "fleet", "apps-1": "apps-1", "apps-2": "apps-2"}
    assert content(arm, "cluster/apps-2.yaml")["spec"]["path"] == "./apps"
    assert content(arm, "cluster/apps-2.yaml")["spec"]["sourceRef"]["name"] == "apps-2"


def test_each_kustomization_is_held_to_the_commit_of_its_own_repository(make):
    arm = make(repositories=2)
    arm._kustomizations = {"cluster": "fleet", "app-a": "apps-1"}
    seen = {"cluster": kustomization("cluster", OLD), "app-a": kustomization("app-a")}
    assert arm._settled(seen, {"fleet": OLD, "apps-1": COMMIT, "apps-2": OLD})
    assert not arm._settled(seen, {"fleet": COMMIT, "apps-1": COMMIT, "apps-2": OLD})
    assert not arm._settled(seen, {"fleet": OLD, "apps-1": OLD, "apps-2": OLD})


def test_the_operators_git_is_counted_and_the_servers_is_the_arms(started, workload):
    arm = started()
    arm._s.actor.take_use()
    before = arm.clocks()[0].read_ns()
    arm.deliver(workload.deploy())
    assert arm._s.actor.take_use().calls == 3  # add, commit, push
    (clock,) = arm.clocks()
    assert clock.name == "git-server"
    assert clock.read_ns() > before


def test_a_git_server_that_cannot_start_is_told_with_its_last_words(make):
    arm = make()
    os.makedirs(arm._folder)
    arm._ports = {"git-server": 99999}
    with pytest.raises(KjouleError, match=r"(?s)git-server ended before it was ready: saw .*port must be"):
        arm._start_git()


def test_the_servers_source_is_read_wherever_it_was_loaded_from():
    assert "class Handler" in source_text(git_server)
    with pytest.raises(KjouleError, match="source of sys"):
        source_text(__import__("sys"))


# convergence


def kustomization(
    name, commit=COMMIT, status="True", reason="ReconciliationSucceeded", message="Applied revision", generation=1, **changes
):
    """As kustomize-controller leaves it after an apply."""
    revision = f"main@sha1:{commit}"
    return {
        "kind": "Kustomization",
        "metadata": {"name": name, "generation": generation, "resourceVersion": "11"},
        "status": {
            "conditions": [
                {"type": "Reconciling", "status": "False"},
                {"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": 1},
            ],
            "lastAppliedRevision": revision,
            "lastAttemptedRevision": revision,
            "observedGeneration": 1,
            **changes,
        },
    }


def settled(arm, *items, wanted=("cluster", "app-a")):
    arm._kustomizations = dict.fromkeys(wanted, "fleet")
    return arm._settled({item["metadata"]["name"]: item for item in items}, HANDLE)


def test_it_is_settled_when_all_have_applied_the_commit(make):
    assert settled(make(), kustomization("cluster"), kustomization("app-a"))


@pytest.mark.parametrize(
    "second",
    [
        None,
        {"metadata": {"name": "app-a", "generation": 1}},
        kustomization("app-a", OLD),
        kustomization("app-a", status="Unknown", reason="Progressing"),
        kustomization("app-a", generation=2),
        kustomization("app-a", status="False", reason="ArtifactFailed"),
        kustomization("app-a", status="False", reason="ReconciliationFailed", lastAttemptedRevision=f"main@sha1:{OLD}"),
        kustomization("app-b"),
    ],
)
def test_it_is_not_settled_while_one_lags_or_is_missing(make, second):
    assert not settled(make(), kustomization("cluster"), *([second] if second else []))


def test_one_that_should_be_gone_is_waited_for_whatever_it_says(make):
    gone = kustomization("app-b", status="False", reason="ReconciliationFailed")
    assert not settled(make(), kustomization("cluster"), kustomization("app-a"), gone)


@pytest.mark.parametrize("reason", ["BuildFailed", "ReconciliationFailed", "PruneFailed"])
def test_a_refused_revision_is_told_in_fluxs_own_words(make, reason):
    message = "Deployment/kjoule-apps/app dry-run failed (Invalid): spec.replicas: Invalid value: -1"
    refused = kustomization("app-a", status="False", reason=reason, message=message, lastAppliedRevision=f"main@sha1:{OLD}")
    with pytest.raises(
        KjouleError, match=rf"Kustomization app-a, {reason}: saw Deployment/kjoule-apps/app .*Invalid value: -1.*dry-run=server"
    ):
        settled(make(), kustomization("cluster"), refused)


def event(kind, item, version):
    item = copy.deepcopy(item)
    item["metadata"]["resourceVersion"] = version
    return {"type": kind, "object": item}


def test_the_watch_goes_on_until_old_ones_are_gone_and_new_ones_are_ready(make):
    api = Api(
        [kustomization("cluster", OLD), kustomization("app-b", OLD)],
        [event("MODIFIED", kustomization("cluster"), "12"), event("BOOKMARK", {"metadata": {}}, "13")],
        [event("ADDED", {"metadata": {"name": "app-a", "generation": 1}}, "14"), event("DELETED", kustomization("app-b"), "15")],
        [event("MODIFIED", kustomization("app-a"), "16")],
    )
    arm = make(api)
    arm._kustomizations = {"cluster": "fleet", "app-a": "fleet"}
    arm.wait_converged(HANDLE)
    assert api.versions == ["10", "13", "15"]


def test_no_watch_is_needed_when_it_is_there_already(make):
    api = Api([kustomization("cluster")])
    make(api).wait_converged(HANDLE)
    assert api.versions == []


def test_what_does_not_come_in_time_is_told_with_what_flux_says(make):
    arm = make(Api([kustomization("cluster", status="False", reason="ArtifactFailed", message="no artifact")]), timeout=0.05)
    with pytest.raises(
        KjouleError, match=r"1 Kustomizations Ready at 0123456789ab within 0\.05 s, saw cluster: ArtifactFailed no artifact"
    ):
        arm.wait_converged(HANDLE)


def test_a_broken_lab_ends_the_wait(make):
    def check():
        raise PeriodInvalid("source-controller ended during the period")

    with pytest.raises(PeriodInvalid, match="source-controller ended"):
        make(Api(), check=check).wait_converged(HANDLE)


def test_asked_to_flux_is_told_of_the_push_and_that_is_the_actors_work(make, tmp_path):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    kubectl.chmod(0o755)
    arm = make(Api([kustomization("cluster")]), kubectl=str(kubectl), flux_trigger="annotate")
    arm._pushed = ["apps-1", "fleet"]
    arm.wait_converged(HANDLE)
    said = (tmp_path / "said").read_text()
    assert said.startswith(
        "annotate --overwrite --namespace flux-system gitrepositories.source.toolkit.fluxcd.io/apps-1 "
        "gitrepositories.source.toolkit.fluxcd.io/fleet reconcile.fluxcd.io/requestedAt="
    )
    assert arm._s.actor.take_use().calls == 1


# counters

METRICS = """# TYPE controller_runtime_reconcile_total counter
controller_runtime_reconcile_total{controller="kustomization",result="error"} 1
controller_runtime_reconcile_total{controller="kustomization",result="requeue_after"} 1.2e+01
controller_runtime_reconcile_total{controller="bucket",result="success"} 3
"""


@pytest.fixture
def metrics_port():
    """A controller's metrics page on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield web.server_port
        web.shutdown()
        thread.join()


def test_reconciles_come_from_the_controllers_own_metrics(make, metrics_port):
    arm = make()
    arm._ports = {"source-metrics": metrics_port, "kustomize-metrics": metrics_port}
    assert arm.counters() == {"reconciles": {"kustomization": {"error": 1, "requeue_after": 12}}}


def test_a_controller_that_cannot_be_counted_makes_the_period_invalid(make, metrics_port):
    arm = make()
    arm._ports = {"source-metrics": metrics_port, "kustomize-metrics": free_ports(["none"])["none"]}
    with pytest.raises(PeriodInvalid, match="kustomize-controller"):
        arm.counters()


# what was installed


def definition(name, status="True", **more):
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Established", "status": status, **more}]}}


FLUXES = [definition("gitrepositories.source.toolkit.fluxcd.io"), definition("kustomizations.kustomize.toolkit.fluxcd.io")]


def test_a_definition_of_somebody_else_is_not_waited_for(make):
    theirs = definition("widgets.example.com", "False", reason="NotAccepted")
    make(SimpleNamespace(list=lambda path: {"items": [theirs, *FLUXES]}), timeout=0.05)._wait_established()


@pytest.mark.parametrize(
    ("items", "seen"),
    [
        (
            [FLUXES[0], definition("kustomizations.kustomize.toolkit.fluxcd.io", "False", reason="NotAccepted", message="names conflict")],
            r"kustomizations\.kustomize\.toolkit\.fluxcd\.io NotAccepted names conflict",
        ),
        ([{"metadata": {"name": "gitrepositories.source.toolkit.fluxcd.io"}}], r"gitrepositories\.source\.toolkit\.fluxcd\.io"),
        ([definition("widgets.example.com")], "all of them"),
    ],
)
def test_a_definition_of_flux_that_is_not_established_is_named(make, items, seen):
    with pytest.raises(KjouleError, match=rf"definitions are established: expected at most 0\.05 s, saw {seen}\. Next: kubectl describe"):
        make(SimpleNamespace(list=lambda path: {"items": items}), timeout=0.05)._wait_established()
