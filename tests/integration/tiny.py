# SPDX-License-Identifier: GPL-3.0-or-later
"""Periods and runs that are as short as a real control plane allows, for tests."""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import Period, lab_id
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import boot_id, identify
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES
from ansible_collections.kjoule.bench.plugins.module_utils.lab.ports import listening
from ansible_collections.kjoule.bench.plugins.module_utils.lab.process import find_marked
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from ansible_collections.kjoule.bench.plugins.plugin_utils.schedule import remaining

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = str(ROOT / "collections")
FLUX = ("source-controller", "kustomize-controller", "source-controller-crds", "kustomize-controller-crds")
OPTIONS: dict[str, Any] = {
    "apps": 2,
    "interval_seconds": 1,
    "baseline_seconds": 0.5,
    "settle_seconds": 0.1,
    "sample_seconds": 0.2,
    "blocks": 1,
    "inference": False,
    "timeout_seconds": 40,
    "seed": 1,
}
DAY = [
    {"name": "idle", "hold": "1 interval"},
    {"name": "deploy", "revision": "base"},
    {"name": "steady", "hold": "4 intervals"},
    {"name": "update", "change": "image", "apps": 1, "times": 1},
    {"name": "drift", "edit": "replicas", "apps": 1, "hold": "3 intervals"},
    {"name": "prune", "remove": 1, "hold": "1 interval"},
]
LONG = [{"name": "idle", "hold": 1}, {"name": "deploy", "revision": "base"}, {"name": "steady", "hold": 900}]
SHORT = [{"name": "idle", "hold": 1}]


@functools.lru_cache
def binaries() -> dict[str, str]:
    """From KJOULE_TEST_BINARIES (a JSON file of name to path), else from the cache that the stages lab and stack fill."""
    given = os.environ.get("KJOULE_TEST_BINARIES")
    if given:
        found = json.loads(Path(given).read_text(encoding="utf-8"))
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        found = {}
        for name in (*BINARIES, *FLUX):
            paths = sorted(glob.glob(f"{cache}/kjoule/artifacts/{name}-v[0-9]*/{name.replace('-crds', '.crds')}*"))
            paths = [path for path in paths if os.path.basename(path) in (name, name.replace("-crds", ".crds.yaml"))]
            if paths:
                found[name] = paths[-1]
    missing = [name for name in (*BINARIES, *FLUX) if not os.path.isfile(found.get(name, ""))]
    if missing:
        pytest.fail(f"no {', '.join(missing)}: run site.yml --tags prepare,lab,stack, or set KJOULE_TEST_BINARIES")
    return found


def described() -> dict[str, dict[str, Any]]:
    """The binaries as the roles hand them over."""
    names = {name: hashlib.sha256(name.encode()).hexdigest() for name in binaries()}
    return {name: {"path": path, "version": "v0", "sha256": names[name], "origin": "path"} for name, path in binaries().items()}


def make_plan(run_id: str, **options: Any) -> dict[str, Any]:
    """The plan of a tiny run. Its id holds this process's pid, so that tests at the same time do not see each other's processes."""
    wanted = {**OPTIONS, "scenario": DAY, **options}
    return build_plan(wanted, "local", run_id=f"{run_id}-{os.getpid()}", created_at="2026-01-01T00:00:00Z", drawn_seed=1)


def item_of(plan: dict[str, Any], arm: str) -> dict[str, Any]:
    return next(item for item in remaining(plan, []) if item["arm"] == arm)


def lab_of(plan: dict[str, Any], item: dict[str, Any], state: Path | None = None) -> str:
    """The name of a period's lab; without a state directory what all its names begin with."""
    return f"{plan['run_id']}-{item['period_id']}" if state is None else lab_id(plan, item, str(state))


def phases(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {phase["name"]: phase for phase in record["phases"]}


def controller(pid: int | None = None) -> dict[str, Any]:
    identity = identify(pid or os.getpid())
    assert identity is not None
    return {"boot_id": boot_id(), "pid": identity.pid, "start_ticks": identity.start_ticks, "hostname": socket.gethostname()}


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def marked(prefix: str) -> dict[str, int]:
    """Processes of labs whose id starts like that: name to pid. The git server is a Python and goes by its script."""
    found = {}
    for process in find_marked():
        if process.lab_id.startswith(prefix):
            name = os.path.basename(process.identity.exe)
            with contextlib.suppress(OSError):
                if b"git_server.py" in Path(f"/proc/{process.identity.pid}/cmdline").read_bytes():
                    name = "git-server"
            found[name] = process.identity.pid
    return found


def ports_of(prefix: str) -> set[int]:
    return {port for pid in marked(prefix).values() for _address, port in listening(pid)}


def assert_nothing_left(state: Path, prefix: str, ports: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """No process, no lab directory, no open port."""
    assert marked(prefix) == {}
    labs = state / "labs"
    assert [path.name for path in labs.iterdir() if path.name != ".lock"] == [] if labs.exists() else True
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


class Stage:
    """Where a period is, seen from a thread beside it: calls ``act`` once as soon as a phase of this name has begun its work."""

    def __init__(self, period: Period, phase: str, act: Callable[[], None], delay_seconds: float = 0.3) -> None:
        self.ports: set[int] = set()
        prepare = period._prepare

        def wrapped(item: dict[str, Any]) -> Any:
            if item["name"] == phase:
                self.ports = ports_of(period._lab.lab_id)
                threading.Timer(delay_seconds, act).start()
            return prepare(item)

        period._prepare = wrapped  # type: ignore[method-assign]


MEASURE = """
import json, sys
sys.path.insert(0, {collections!r})
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.runner import run_period
try:
    header, record = run_period(**json.load(sys.stdin), host="local")
    print(json.dumps({{"record": record}}))
except KjouleError as error:
    print(json.dumps({{"failed": str(error)}}))
"""


@contextlib.contextmanager
def measuring(state: Path, plan: dict[str, Any], item: dict[str, Any], by: dict[str, Any] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that measures one period, as the module does; ended at the latest with the context."""
    child = subprocess.Popen(
        [sys.executable, "-c", MEASURE.format(collections=COLLECTIONS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    arguments = {"state_dir": str(state), "plan": plan, "item": item, "binaries": described(), "controller": by or controller()}
    child.stdin.write(json.dumps(arguments))
    child.stdin.close()
    child.stdin = None
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait(30)
        if child.stdout is not None:
            child.stdout.close()


def answer_of(child: subprocess.Popen[str], seconds: float = 120.0) -> dict[str, Any]:
    output, _errors = child.communicate(timeout=seconds)
    answer: dict[str, Any] = json.loads(output)
    return answer


def playbook(*arguments: object, **popen: Any) -> subprocess.Popen[str]:
    """ansible-playbook site.yml as a user starts it, with the caller's own Ansible settings kept out."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_NOCOLOR="1", PATH=f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}")
    command = ["ansible-playbook", "site.yml", "-i", "inventories/local", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)
