# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's commands, recorded by a kubectl that does nothing else."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm.actor import Actor
from ansible_collections.kjoule.bench.plugins.module_utils.arm.base import Surroundings
from ansible_collections.kjoule.bench.plugins.module_utils.arm.snowflake import SnowflakeArm
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.workload import Workload

# Notes its arguments and the names of the objects in the folder that it was given.
KUBECTL = """#!{python}
import json, os, sys
folder = sys.argv[-1]
names = [json.load(open(os.path.join(folder, name)))["metadata"]["name"] for name in sorted(os.listdir(folder))]
with open({log!r}, "a") as stream:
    print(json.dumps([sys.argv[1:], names]), file=stream)
"""


@pytest.fixture
def kubectl(tmp_path):
    log = tmp_path / "log"
    file = tmp_path / "kubectl"
    file.write_text(KUBECTL.format(python=sys.executable, log=str(log)))
    file.chmod(0o755)

    def calls():
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        log.unlink(missing_ok=True)
        return [(arguments[0], os.path.basename(arguments[-1]), len(names), set(names)) for arguments, names in lines]

    return SimpleNamespace(path=str(file), calls=calls)


@pytest.fixture
def make(tmp_path, kubectl):
    def arm(**extra):
        lab = SimpleNamespace(directory=str(tmp_path / "lab"), kubectl=kubectl.path)
        surroundings = Surroundings(lab, Actor({"PATH": os.environ["PATH"]}, 20), {}, {"timeout_seconds": 20}, lambda: None, extra)
        one = SnowflakeArm(surroundings)
        one.install()
        return one

    return arm


@pytest.fixture
def workload():
    return Workload({"kind": "generated", "apps": 3, "replicas": 1, "seed": 1}, 5)


def test_a_deployment_applies_each_app_and_an_update_only_what_changed(make, workload, kubectl):
    arm = make()
    arm.wait_converged(arm.deliver(workload.deploy()))
    assert [call[:3] for call in kubectl.calls()] == [("apply", f"app-000{number}", 3) for number in (1, 2, 3)]
    before = workload.current
    after, _count = workload.update("image", 1)
    changed = [name for name in after.apps if after.apps[name] != before.apps[name]]
    arm.deliver(after)
    assert kubectl.calls() == [("apply", changed[0], 3, {changed[0]})]
    arm.deliver(after)
    assert kubectl.calls() == []


def test_an_app_that_goes_is_forgotten_in_the_cluster_unless_told_otherwise(make, workload, kubectl, tmp_path):
    arm = make()
    arm.deliver(workload.deploy())
    kubectl.calls()
    arm.deliver(workload.prune(1))
    assert kubectl.calls() == []
    assert len(list((tmp_path / "lab" / "operator").iterdir())) == 2


def test_with_pruning_by_hand_the_operator_deletes_what_went(make, workload, kubectl):
    arm = make(snowflake_prune="delete")
    arm.deliver(workload.deploy())
    kubectl.calls()
    revision = workload.prune(1)
    arm.deliver(revision)
    gone = ({"app-0001", "app-0002", "app-0003"} - set(revision.apps)).pop()
    assert kubectl.calls() == [("delete", gone, 3, {gone})]


def test_the_end_of_the_workload_is_deleted_in_either_case(make, workload, kubectl, tmp_path):
    arm = make()
    arm.deliver(workload.deploy())
    kubectl.calls()
    arm.deliver(workload.teardown())
    assert [call[:2] for call in kubectl.calls()] == [("delete", f"app-000{number}") for number in (1, 2, 3)]
    assert list((tmp_path / "lab" / "operator").iterdir()) == []


def test_it_has_no_processes_no_counters_and_leaves_no_files(make, workload, tmp_path):
    arm = make()
    arm.deliver(workload.deploy())
    assert arm.clocks() == []
    assert arm.counters() == {"reconciles": {}}
    arm.uninstall()
    arm.uninstall()
    assert list((tmp_path / "lab").iterdir()) == []
