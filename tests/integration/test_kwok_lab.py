# SPDX-License-Identifier: GPL-3.0-or-later
"""A real control plane: made, used, broken and thrown away, with nothing left of it."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiError, ApiUnavailable, KubeApi
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.ports import is_loopback, listening
from ansible_collections.kjoule.bench.plugins.module_utils.lab.process import find_marked, sweep

pytestmark = pytest.mark.integration

COLLECTIONS = str(pathlib.Path(__file__).resolve().parents[2] / "collections")
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "example/web:1"}]}},
    },
}


@pytest.fixture(scope="session")
def binaries() -> dict[str, str]:
    """From KJOULE_TEST_BINARIES (a JSON file of name to path), else from the cache that playbooks/lab.yml fills."""
    given = os.environ.get("KJOULE_TEST_BINARIES")
    if given:
        found = json.loads(pathlib.Path(given).read_text(encoding="utf-8"))
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        found = {}
        for name in BINARIES:
            paths = sorted(glob.glob(f"{cache}/kjoule/artifacts/{name}-v[0-9]*/{name}"))
            if paths:
                found[name] = paths[-1]
    missing = [name for name in BINARIES if not os.path.isfile(found.get(name, ""))]
    if missing:
        pytest.fail(f"no {', '.join(missing)}: run playbooks/lab.yml, or set KJOULE_TEST_BINARIES to a JSON file of name to path")
    return {name: found[name] for name in BINARIES}


@pytest.fixture
def lab_id(request: pytest.FixtureRequest) -> str:
    """Unlike any other on this host, so that tests that run at the same time do not see each other's processes."""
    return f"test-{os.getpid()}-{request.node.name.split('[')[0].replace('_', '-')[:60]}"


@pytest.fixture(scope="module")
def shared(binaries: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KwokLab]:
    with KwokLab(binaries, str(tmp_path_factory.mktemp("state")), lab_id=f"test-{os.getpid()}-shared") as lab:
        yield lab


@contextlib.contextmanager
def discarded(lab: KwokLab) -> Iterator[KwokLab]:
    try:
        yield lab
    finally:
        lab.discard()


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def assert_nothing_left(state: pathlib.Path, lab_id: str, ports: dict[str, int]) -> None:
    assert find_marked(lab_id) == []
    assert not (state / "labs" / lab_id).exists()
    for port in ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_fresh_is_ready_and_discard_leaves_nothing(binaries, tmp_path, lab_id, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KWOK_KUBE_APISERVER_PORT", "1")  # a user's setting, which must not reach the lab
    state = tmp_path / "state"
    lab = KwokLab(binaries, str(state), lab_id=lab_id)
    with discarded(lab):
        info = lab.fresh()
        assert info.ready_seconds > 0
        assert info.versions["etcd"]
        assert info.versions["kube-apiserver"]
        assert list(lab.components()) == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller"]
        assert lab.component_roles()["kwok-controller"] == "simulator"
        assert lab.dead_components() == []
        assert {process.identity for process in find_marked(lab_id)} == set(lab.components().values())
        assert os.stat(lab.directory).st_mode & 0o777 == 0o700
        for name, identity in lab.components().items():
            assert listening(identity.pid), name
            assert all(is_loopback(address) for address, _port in listening(identity.pid)), name
        ports = dict(lab.ports)
        done = subprocess.run(
            [lab.kubectl, "--kubeconfig", lab.kubeconfig, "get", "nodes", "-o", "name"],
            env=lab.command_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "node/node-000000\n"
        assert lab.discard() > 0
    assert_nothing_left(state, lab_id, ports)
    assert lab.discard() == 0.0
    assert lab.components() == {}
    assert list(home.iterdir()) == []
    assert [path.name for path in (state / "labs").iterdir()] == [".lock"]


def test_a_lab_can_be_made_again_after_discard(binaries, tmp_path, lab_id):
    lab = KwokLab(binaries, str(tmp_path), lab_id=lab_id, nodes=2)
    with discarded(lab):
        lab.fresh()
        lab.api.create("/api/v1/namespaces", {"metadata": {"name": "left-over"}})
        lab.discard()
        lab.fresh()
        names = [item["metadata"]["name"] for item in lab.api.list("/api/v1/namespaces")["items"]]
        assert "left-over" not in names
        assert len(lab.api.list("/api/v1/nodes")["items"]) == 2


def test_a_killed_component_is_named_and_discard_still_cleans(binaries, tmp_path, lab_id):
    lab = KwokLab(binaries, str(tmp_path), lab_id=lab_id)
    with discarded(lab):
        lab.fresh()
        ports = dict(lab.ports)
        os.kill(lab.components()["kube-apiserver"].pid, signal.SIGKILL)
        wait_until(lambda: lab.dead_components() == ["kube-apiserver"])
        with pytest.raises(ApiUnavailable, match="cannot be reached"):
            lab.api.get("/version")
        assert lab.api.ready() is False
    assert_nothing_left(tmp_path, lab_id, ports)


OWNER = """
import sys, json, time
sys.path.insert(0, {collections!r})
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import KwokLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.process import find_marked
lab = KwokLab(json.loads({binaries!r}), {state!r}, lab_id={lab_id!r})
print("begin", flush=True)
lab.fresh()
print(json.dumps(lab.ports), flush=True)
sys.stdin.read()
"""


def start_owner(binaries: dict[str, str], state: pathlib.Path, lab_id: str) -> subprocess.Popen[str]:
    code = OWNER.format(collections=COLLECTIONS, binaries=json.dumps(binaries), state=str(state), lab_id=lab_id)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.orphans
def test_what_a_killed_owner_leaves_is_found_named_and_ended(binaries, tmp_path, lab_id):
    with start_owner(binaries, tmp_path, lab_id) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "begin\n"
        ports = json.loads(owner.stdout.readline())
        alive = sweep(str(tmp_path))
        assert [entry for entry in alive if entry["lab_id"] == lab_id] == []
        assert len(find_marked(lab_id)) == 5
        owner.kill()
    predicted = [entry for entry in sweep(str(tmp_path), check=True) if entry["lab_id"] == lab_id]
    assert {entry["action"] for entry in predicted} == {"would end", "would remove"}
    assert len(find_marked(lab_id)) == 5
    done = [entry for entry in sweep(str(tmp_path)) if entry["lab_id"] == lab_id]
    assert sorted(entry["name"] for entry in done if entry["kind"] == "process") == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kwok",
    ]
    assert [entry["action"] for entry in done if entry["kind"] == "directory"] == ["removed"]
    assert_nothing_left(tmp_path, lab_id, ports)
    assert [entry for entry in sweep(str(tmp_path)) if entry["lab_id"] == lab_id] == []


@pytest.mark.orphans
def test_an_owner_killed_while_the_lab_starts_leaves_nothing_that_sweep_does_not_end(binaries, tmp_path, lab_id):
    with start_owner(binaries, tmp_path, lab_id) as owner:
        wait_until(lambda: any(os.path.basename(process.identity.exe) == "kube-apiserver" for process in find_marked(lab_id)))
        owner.kill()
    # kwokctl outlives its parent and may start more while it is being swept: a second sweep at most has something to do.
    wait_until(lambda: [entry for entry in sweep(str(tmp_path)) if entry["lab_id"] == lab_id] == [])
    assert_nothing_left(tmp_path, lab_id, {})


def test_a_taken_fixed_port_is_told_before_anything_starts(binaries, tmp_path, lab_id):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        lab = KwokLab(binaries, str(tmp_path), lab_id=lab_id, fixed_ports={"etcd": port})
        with discarded(lab), pytest.raises(KjouleError, match=rf"port {port}.*etcd.*pid {os.getpid()}"):
            lab.fresh()
    assert_nothing_left(tmp_path, lab_id, {})


@pytest.mark.parametrize("name", ["etcd", "kwokctl"])
def test_a_damaged_binary_is_named_before_anything_starts(binaries, tmp_path, lab_id, name):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(pathlib.Path(binaries[name]).read_bytes()[:300000])
    damaged.chmod(0o755)
    lab = KwokLab({**binaries, name: str(damaged)}, str(tmp_path / "state"), lab_id=lab_id)
    with discarded(lab), pytest.raises(KjouleError, match=name):
        lab.fresh()
    assert not (tmp_path / "state").exists()


def test_a_binary_that_is_another_program_is_named(binaries, tmp_path, lab_id):
    lab = KwokLab({**binaries, "etcd": binaries["kwok"]}, str(tmp_path), lab_id=lab_id)
    with pytest.raises(KjouleError, match=r"etcd at .* is damaged or another program"):
        lab.fresh()


def test_a_lab_that_does_not_get_ready_says_why_and_leaves_nothing(binaries, tmp_path, lab_id):
    lab = KwokLab(binaries, str(tmp_path), lab_id=lab_id, ready_timeout=0.8)
    with pytest.raises(KjouleError, match=r"waited in vain until .*log"):
        lab.fresh()
    assert_nothing_left(tmp_path, lab_id, lab.ports)


def test_a_component_that_dies_at_once_is_named_with_the_end_of_its_log(binaries, tmp_path, lab_id):
    broken = tmp_path / "kube-scheduler"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Kubernetes v1.36.1 && exit 0\necho the scheduler has a headache\nexit 3\n')
    broken.chmod(0o755)
    lab = KwokLab({**binaries, "kube-scheduler": str(broken)}, str(tmp_path / "state"), lab_id=lab_id)
    with pytest.raises(KjouleError, match=r"kube-scheduler ended(.|\n)*headache"):
        lab.fresh()
    assert_nothing_left(tmp_path / "state", lab_id, {})


def test_two_labs_at_once_do_not_disturb_one_another(binaries, tmp_path, lab_id):
    labs = [KwokLab(binaries, str(tmp_path), lab_id=f"{lab_id}-{side}") for side in "ab"]
    with discarded(labs[0]), discarded(labs[1]):
        threads = [threading.Thread(target=lab.fresh) for lab in labs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not set(labs[0].ports.values()) & set(labs[1].ports.values())
        labs[0].api.create("/api/v1/namespaces", {"metadata": {"name": "only-in-a"}})
        with pytest.raises(ApiError) as error:
            labs[1].api.get("/api/v1/namespaces/only-in-a")
        assert error.value.status == 404
        labs[0].discard()
        assert labs[1].dead_components() == []
        assert labs[1].api.ready()


def test_a_lab_id_that_is_in_use_is_refused_and_left_alone(binaries, shared):
    other = KwokLab(binaries, shared.state_dir, lab_id=shared.lab_id)
    with pytest.raises(KjouleError, match="exists already"):
        other.fresh()
    other.discard()
    assert shared.dead_components() == []
    assert os.path.isdir(shared.directory)


# --- the API client


def test_a_deployment_becomes_running_pods_and_a_watch_sees_it(shared):
    api: KubeApi = shared.api
    pods = api.path_for("v1", "Pod", "default")
    with api.watch(pods, resource_version=api.list(pods)["metadata"]["resourceVersion"], timeout_seconds=120) as events:
        path = api.path_for("apps/v1", "Deployment", "default", "web")
        assert api.apply(path, DEPLOYMENT, "kjoule-test")["metadata"]["name"] == "web"
        running = set()
        for event in events:
            if event["object"]["status"].get("phase") == "Running":
                running.add(event["object"]["metadata"]["name"])
            if len(running) == 2:
                break
    assert len(running) == 2
    assert api.patch(path, {"spec": {"replicas": 0}}, "application/merge-patch+json", "other")["spec"]["replicas"] == 0
    with pytest.raises(ApiError, match=r"409.*other") as conflict:
        api.apply(path, DEPLOYMENT, "kjoule-test", force=False)
    assert conflict.value.reason == "Conflict"
    assert api.apply(path, DEPLOYMENT, "kjoule-test")["spec"]["replicas"] == 2
    api.delete(path)
    wait_until(lambda: api.list(pods)["items"] == [])


def test_a_watch_without_events_ends_when_its_time_is_over(shared):
    begin = time.monotonic()
    secrets = shared.api.path_for("v1", "Secret", "default")
    version = shared.api.list(secrets)["metadata"]["resourceVersion"]
    assert list(shared.api.watch(secrets, resource_version=version, timeout_seconds=0.4)) == []
    assert 0.3 < time.monotonic() - begin < 30


def test_a_refused_manifest_keeps_the_servers_message(shared):
    wrong = json.loads(json.dumps(DEPLOYMENT))
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(ApiError, match="does not match template") as error:
        shared.api.create("/apis/apps/v1/namespaces/default/deployments", wrong)
    assert error.value.status == 422
    assert error.value.reason == "Invalid"


def test_a_new_kind_is_found_after_its_definition(shared):
    api = shared.api
    with pytest.raises(KjouleError, match="does not know Lamp"):
        api.path_for("example.org/v1", "Lamp", "default")
    api.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": "lamps.example.org"},
            "spec": {
                "group": "example.org",
                "scope": "Namespaced",
                "names": {"plural": "lamps", "kind": "Lamp"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        },
    )

    def known() -> bool:
        try:
            return api.path_for("example.org/v1", "Lamp", "default", "desk") == "/apis/example.org/v1/namespaces/default/lamps/desk"
        except KjouleError:
            return False

    wait_until(known)
    assert {
        key: value
        for key, value in next(r for r in api.resources() if r["kind"] == "Node" and r["group_version"] == "v1").items()
        if key != "verbs"
    } == {"group_version": "v1", "kind": "Node", "plural": "nodes", "namespaced": False}
    assert not any("/" in entry["plural"] for entry in api.resources())


def test_requests_share_one_connection(shared):
    shared.api.get("/version")
    first = shared.api._local.connection.sock
    for _ in range(5):
        shared.api.get("/version")
    assert shared.api._local.connection.sock is first
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append((shared.api.get("/version"), shared.api._local.connection.sock, shared.api.close()))
    )
    thread.start()
    thread.join()
    assert seen[0][1] is not first


def test_the_kubeconfig_leads_to_the_same_server(shared):
    done = subprocess.run(
        [shared.kubectl, "config", "view", "--raw", "--flatten", "-o", "json"],
        env=shared.command_environment(),
        capture_output=True,
        check=True,
    )
    api = KubeApi.from_kubeconfig_json(json.loads(done.stdout))
    assert api.get("/version")["gitVersion"].lstrip("v") == shared.versions["kube-apiserver"]
    api.close()
