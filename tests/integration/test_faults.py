# SPDX-License-Identifier: GPL-3.0-or-later
"""What can break while a period is measured: it is named, nothing is left of it, and no finished period is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import host as hosts
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.journal import append_record, journal_path
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import Period
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.runner import read_journal, release, run_period
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from tiny import (
    LONG,
    SHORT,
    Stage,
    answer_of,
    assert_nothing_left,
    binaries,
    controller,
    described,
    item_of,
    lab_of,
    make_plan,
    marked,
    measuring,
    playbook,
    ports_of,
    wait_until,
)

pytestmark = pytest.mark.integration


# --- a component ends


@pytest.mark.parametrize(
    ("victim", "arm", "phase"),
    [
        ("source-controller", "flux", "steady"),
        ("kustomize-controller", "flux", "deploy"),
        ("git-server", "flux", "deploy"),
        ("kube-apiserver", "flux", "steady"),
        ("kube-apiserver", "snowflake", "deploy"),
        ("etcd", "snowflake", "steady"),
    ],
)
def test_a_component_that_ends_spoils_the_period_and_is_named(tmp_path, victim, arm, phase):
    plan = make_plan("killed", scenario=LONG)
    item = item_of(plan, arm)
    period = Period(plan, item, binaries(), str(tmp_path))

    def kill() -> None:
        os.kill(marked(lab_of(plan, item))[victim], signal.SIGKILL)

    # With no delay, what the phase does runs into it: git push, kubectl apply, a watch.
    stage = Stage(period, phase, kill, 0.0 if phase == "deploy" else 0.5)
    record = period.run()
    assert stage.ports
    assert record["valid"] is False
    assert re.match(rf"(deploy: |steady: )?[a-z, -]*{victim}", record["reasons"][0]), record["reasons"]
    assert [entry["name"] for entry in record["phases"]][:3] == ["baseline", "install", "idle"]
    assert record["seconds"] < 900  # not at the end of the hold
    assert_nothing_left(tmp_path, lab_of(plan, item), stage.ports)


# --- something is wrong from the beginning


def refused(tmp_path: Path, arm: str, files: dict[str, str], **options: Any) -> str:
    folder = tmp_path / "workload"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    scenario = [{"name": "deploy", "revision": "base"}]
    plan = make_plan("refused", workload=str(folder), apps=None, scenario=scenario, **options)
    item = item_of(plan, arm)
    with pytest.raises(KjouleError) as error:
        Period(plan, item, binaries(), str(tmp_path / "state")).run()
    assert_nothing_left(tmp_path / "state", lab_of(plan, item))
    return str(error.value)


WRONG = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: other}}
    spec: {containers: [{name: web, image: example.org/web:1}]}
"""


@pytest.mark.parametrize(
    ("arm", "who"),
    [("snowflake", "kubectl apply -f failed"), ("flux", "Flux refuses the revision: Kustomization app-web, ReconciliationFailed")],
)
def test_a_manifest_that_the_api_refuses_is_told_in_the_words_of_the_arm(tmp_path, arm, who):
    text = refused(tmp_path, arm, {"web/web.yaml": WRONG})
    assert who in text
    assert "does not match template" in text
    assert "Next:" in text


@pytest.mark.parametrize(("name", "arm"), [("kube-apiserver", "snowflake"), ("git-server", "flux"), ("kustomize-metrics", "flux")])
def test_a_port_that_is_taken_is_named_with_its_holder(tmp_path, name, arm):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        plan = make_plan("port", scenario=SHORT, ports={name: port})
        item = item_of(plan, arm)
        with pytest.raises(KjouleError, match=rf"port {port}.*{name}.*pid {os.getpid()}.*Next"):
            Period(plan, item, binaries(), str(tmp_path)).run()
    assert_nothing_left(tmp_path, lab_of(plan, item))


def test_a_port_that_nothing_has_is_refused(tmp_path):
    plan = make_plan("port", scenario=SHORT, ports={"git-sever": 4711})
    with pytest.raises(KjouleError, match="no port called git-sever"):
        Period(plan, item_of(plan, "snowflake"), binaries(), str(tmp_path)).run()


@pytest.mark.parametrize("damage", ["missing", "cut off", "another program"])
def test_a_controller_that_cannot_run_is_named(tmp_path, damage):
    broken = tmp_path / "source-controller"
    if damage == "cut off":
        broken.write_bytes(Path(binaries()["source-controller"]).read_bytes()[:300000])
    elif damage == "another program":
        broken.write_text("#!/bin/sh\necho I am somebody else\nexit 3\n")
    if damage != "missing":
        broken.chmod(0o755)
    plan = make_plan("damaged", scenario=SHORT)
    item = item_of(plan, "flux")
    with pytest.raises(KjouleError, match=r"source-controller (cannot be started|ended before it was ready)(.|\n)*Next"):
        Period(plan, item, {**binaries(), "source-controller": str(broken)}, str(tmp_path / "state")).run()
    assert_nothing_left(tmp_path / "state", lab_of(plan, item))


def test_too_little_space_is_told_before_anything_starts(tmp_path, monkeypatch):
    free = os.statvfs_result((4096, 4096, 1000, 100, 100, 1, 1, 1, 0, 255))
    monkeypatch.setattr(hosts.os, "statvfs", lambda _path: free)
    plan = make_plan("space", scenario=SHORT)
    with pytest.raises(KjouleError, match="too little space for a lab below"):
        run_period(str(tmp_path), plan, item_of(plan, "snowflake"), described(), controller(), "local")
    assert_nothing_left(tmp_path, plan["run_id"])
    assert not Path(journal_path(str(tmp_path), plan["run_id"])).exists()


@pytest.fixture
def small(tmp_path: Path):
    """A file system of 60 MB: the check of the space is passed over, and etcd runs into its end."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_named_and_left_clean(small):
    plan = make_plan("full", scenario=SHORT)
    item = item_of(plan, "snowflake")
    with pytest.raises(KjouleError, match="no space left for etcd"):
        Period(plan, item, binaries(), str(small)).run()
    assert_nothing_left(small, lab_of(plan, item))


# --- somebody else, or an end from outside


@contextlib.contextmanager
def somebody_else() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for another ansible-playbook and lives as long as it is needed."""
    with subprocess.Popen(["sleep", "3600"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_by_the_name_of_the_first(tmp_path):
    plan, other = make_plan("first", scenario=LONG), make_plan("second", scenario=SHORT)
    item = item_of(plan, "snowflake")
    with somebody_else() as somebody, measuring(tmp_path, plan, item) as child:
        wait_until(lambda: "kube-scheduler" in marked(plan["run_id"]))
        for second in (other, plan):
            with pytest.raises(KjouleError, match=rf"one period at a time, saw run {plan['run_id']}.*its period has pid {child.pid}"):
                run_period(str(tmp_path), second, item_of(second, "flux"), described(), controller(somebody.pid), "local")
        ports = ports_of(plan["run_id"])

        # SIGTERM in the middle of it: the lab is gone, the lock is free.
        child.terminate()
        answer = answer_of(child)
        assert "was interrupted: SIGTERM" in answer["failed"]
        assert_nothing_left(tmp_path, plan["run_id"], ports)
        assert read_journal(str(tmp_path), plan) == ""

        # Between two periods the host still belongs to the run, until it is given back or its controller has ended.
        with pytest.raises(KjouleError, match=rf"belongs to another run(.|\n)*{plan['run_id']}"):
            run_period(str(tmp_path), other, item_of(other, "flux"), described(), controller(somebody.pid), "local")
        assert release(str(tmp_path), plan, controller())
        _header, record = run_period(str(tmp_path), other, item_of(other, "snowflake"), described(), controller(somebody.pid), "local")
        assert record["valid"]


@pytest.mark.orphans
def test_what_a_killed_period_left_is_ended_and_named_by_the_next(tmp_path):
    plan = make_plan("crashed", scenario=SHORT)
    first, second = item_of(plan, "flux"), item_of(plan, "snowflake")
    _header, kept = run_period(str(tmp_path), plan, second, described(), controller(), "local")
    with measuring(tmp_path, make_plan("crashed", scenario=LONG) | {"plan_hash": plan["plan_hash"]}, first) as child:
        wait_until(lambda: "kustomize-controller" in marked(plan["run_id"]))
        ports = ports_of(plan["run_id"])
        child.kill()
        child.wait()
    assert "kube-apiserver" in marked(plan["run_id"])
    again = {**second, "period_id": "b01-p1-a2", "attempt": 2}
    _header, record = run_period(str(tmp_path), plan, again, described(), controller(), "local")
    found = {(entry["kind"], entry["name"], entry["action"]) for entry in record["leftovers"]}
    assert found >= {
        ("process", "kube-apiserver", "ended"),
        ("process", "source-controller", "ended"),
        ("directory", lab_of(plan, first, tmp_path), "removed"),
    }
    assert record["valid"]
    assert_nothing_left(tmp_path, plan["run_id"], ports)
    kept_again, last = journals.parse(read_journal(str(tmp_path), plan)).periods
    assert (kept_again, last) == (kept, record)


@pytest.mark.parametrize("moment", ["the lab comes up", "a phase runs"])
def test_a_period_ends_at_once_with_its_controller(tmp_path, moment):
    plan = make_plan("orphan", scenario=LONG)
    item = item_of(plan, "snowflake")
    with somebody_else() as somebody, measuring(tmp_path, plan, item, controller(somebody.pid)) as child:
        wait_until(lambda: "etcd" in marked(plan["run_id"]))
        if moment == "a phase runs":
            wait_until(lambda: (tmp_path / "labs" / lab_of(plan, item, tmp_path) / "operator" / "app-0002").exists())
        somebody.kill()
        answer = answer_of(child, 60)  # not at the end of the hold
    assert "its ansible-playbook ended" in answer["failed"]
    assert_nothing_left(tmp_path, plan["run_id"])
    assert read_journal(str(tmp_path), plan) == ""


# --- the journal


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, sweeping: Any) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A state directory with a journal of one period, its plan and the record."""
    state, plan = tmp_path_factory.mktemp("state"), make_plan("journal", scenario=SHORT)
    with sweeping():
        _header, record = run_period(str(state), plan, item_of(plan, "snowflake"), described(), controller(), "local")
    return state, plan, record


def test_a_journal_of_another_plan_is_refused(measured):
    state, plan, _record = measured
    with pytest.raises(KjouleError, match="belongs to another plan"):
        run_period(str(state), {**plan, "plan_hash": "0" * 64}, item_of(plan, "flux"), described(), controller(), "local")


def test_a_run_goes_on_only_with_the_binaries_it_began_with(measured):
    state, plan, _record = measured
    other = {**described(), "etcd": {**described()["etcd"], "sha256": "0" * 64}}
    with pytest.raises(KjouleError, match="etcd is not the one that this run began with"):
        run_period(str(state), plan, item_of(plan, "flux"), other, controller(), "local")


def test_a_line_that_was_cut_off_is_no_record_and_goes_with_the_next(measured):
    state, plan, record = measured
    path = journal_path(str(state), plan["run_id"])
    with open(path, "ab") as stream:
        stream.write(b'{"kind": "period", "period_id": "b01-p2-')
    assert journals.parse(read_journal(str(state), plan), plan=plan).periods == [record]
    append_record(path, {**record, "period_id": "other", "attempt": 9})
    assert [entry["period_id"] for entry in journals.parse(read_journal(str(state), plan)).periods] == [record["period_id"], "other"]


# --- ansible-playbook


def settings(tmp_path: Path, **more: Any) -> list[str]:
    scenario = tmp_path / "tiny.yml"
    scenario.write_text(json.dumps([{"name": "idle", "hold": 1}, {"name": "deploy"}, {"name": "steady", "hold": "2 intervals"}]))
    values = {
        "kjoule_state_dir": str(tmp_path / "state"),
        "kjoule_reports_dir": str(tmp_path / "reports"),
        "kjoule_run_id": f"site-{os.getpid()}-{tmp_path.name}"[:60],
        "kjoule_scenario": str(scenario),
        "kjoule_inference": False,
        "kjoule_apps": 2,
        "kjoule_interval": 1,
        "kjoule_baseline_seconds": 0.5,
        "kjoule_seed": 3,
        **more,
    }
    return ["-e", json.dumps(values)]


def lines(path: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return []


def left_of(run_id: str, session: int) -> list[str]:
    """Processes of the run's ansible-playbook that are still there: the command line names its settings, workers included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (os.getpid(), session):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if run_id.encode() in command and b"ansible-playbook" in command:
                    found.append(entry.name)
    return found


@pytest.mark.orphans
def test_a_run_whose_ansible_is_killed_goes_on_and_ends_with_a_report(tmp_path):
    arguments = settings(tmp_path, kjoule_blocks=2)
    run_id = json.loads(arguments[1])["kjoule_run_id"]
    reports = tmp_path / "reports" / run_id
    copy = reports / "local.journal.jsonl"

    # SIGKILL in the second block's first period, with the first block finished.
    with playbook(*arguments, start_new_session=True) as first:
        wait_until(lambda: len(lines(copy)) == 3 and "kube-scheduler" in marked(run_id), 400)
        ports = ports_of(run_id)
        first.kill()
        wait_until(lambda: marked(run_id) == {} and left_of(run_id, first.pid) == [])
        assert_nothing_left(tmp_path / "state", run_id, ports)
    finished = lines(copy)
    assert [entry.get("period_id") for entry in finished] == [None, "b01-p1-a1", "b01-p2-a1"]

    # Ctrl-C in the same place; before, the copy loses the end of its last line.
    copy.write_bytes(copy.read_bytes()[:-20])
    with playbook(*arguments, start_new_session=True) as second:
        wait_until(lambda: len(lines(copy)) == 3 and "kube-scheduler" in marked(run_id), 400)
        os.killpg(second.pid, signal.SIGINT)
        second.wait(300)
        wait_until(lambda: marked(run_id) == {} and left_of(run_id, second.pid) == [])
        assert_nothing_left(tmp_path / "state", run_id)
    assert lines(copy) == finished

    with playbook(*arguments) as third:
        output, _errors = third.communicate(timeout=400)
    assert third.returncode == 0, output
    assert lines(copy)[:3] == finished
    assert [entry["period_id"] for entry in lines(copy)[3:]] == ["b02-p1-a1", "b02-p2-a1"]
    assert "goes on: 2 periods are recorded" in output
    assert_nothing_left(tmp_path / "state", run_id)
    assert not (tmp_path / "state" / "host.lease.json").exists()

    # The report is a function of plan and journal.
    files = [reports / "local.json", reports / "local.md"]
    before = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    with playbook("--tags", "report", *arguments) as fourth:
        output, _errors = fourth.communicate(timeout=400)
    assert fourth.returncode == 0, output
    assert [path.read_bytes() for path in files] == before


def test_an_arm_against_itself_goes_the_same_way(tmp_path):
    arguments = settings(tmp_path, kjoule_blocks=1, kjoule_arms=["snowflake", "snowflake"])
    run_id = json.loads(arguments[1])["kjoule_run_id"]
    with playbook(*arguments) as run:
        output, _errors = run.communicate(timeout=400)
    assert run.returncode == 0, output
    records = lines(tmp_path / "reports" / run_id / "local.journal.jsonl")[1:]
    assert {(entry["label"], entry["arm"], entry["valid"]) for entry in records} == {
        ("snowflake-1", "snowflake", True),
        ("snowflake-2", "snowflake", True),
    }
    assert "A against A: both sides are snowflake" in output
    assert_nothing_left(tmp_path / "state", run_id)
