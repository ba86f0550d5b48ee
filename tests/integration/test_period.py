# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole periods of both arms on a real control plane, and what they have to have in common."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import Period
from ansible_collections.kjoule.bench.plugins.plugin_utils.phases import residual_of
from tiny import DAY, assert_nothing_left, binaries, item_of, lab_of, make_plan, phases

pytestmark = pytest.mark.integration

ARMS = ("snowflake", "flux")
MANIFESTS = {
    "team/all.yaml": """
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: team}
data: {since: 2026-01-01, answer: "42"}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: team}
data: {token: c2VjcmV0}
type: Opaque
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: team}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.org/web:1}]}
""",
    "plain/config.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: no-namespace-of-its-own}
data: {key: value}
""",
}


def measure(plan: dict[str, Any], arm: str, state: Path) -> dict[str, Any]:
    item = item_of(plan, arm)
    record = Period(plan, item, binaries(), str(state)).run()
    assert_nothing_left(state, lab_of(plan, item))
    return record


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    plan = make_plan("day")
    return {arm: measure(plan, arm, tmp_path_factory.mktemp(arm)) for arm in ARMS}


@pytest.mark.parametrize("arm", ARMS)
def test_a_period_is_valid_and_has_every_phase(day, arm):
    record = day[arm]
    assert record["valid"], record["reasons"]
    assert record["error"] is None
    assert list(phases(record)) == ["baseline", "install", *(phase["name"] for phase in DAY)]
    assert 0 < record["lab"]["discard_seconds"] < record["seconds"]


def test_both_arms_bring_about_the_same_cluster(day):
    for name in ("deploy", "steady", "update"):
        states = [phases(day[arm])[name]["state"] for arm in ARMS]
        assert states[0]["hash"] == states[1]["hash"]
        assert [state["objects"] for state in states] == [6, 6]
        assert all(state["drifted"] == state["orphans"] == state["missing"] == 0 for state in states)
    for arm in ARMS:
        assert phases(day[arm])["deploy"]["state"]["hash"] != phases(day[arm])["update"]["state"]["hash"]


def test_flux_takes_an_edit_back_and_the_snowflake_keeps_it(day):
    assert {arm: phases(day[arm])["drift"]["state"]["drifted"] for arm in ARMS} == {"snowflake": 1, "flux": 0}


def test_flux_removes_what_is_no_longer_wanted_and_the_snowflake_keeps_it(day):
    assert {arm: phases(day[arm])["prune"]["state"]["orphans"] for arm in ARMS} == {"snowflake": 3, "flux": 0}


def test_only_flux_reconciles_a_cluster_at_rest(day):
    counted = {arm: phases(day[arm])["steady"]["counters"]["reconciles"] for arm in ARMS}
    assert counted["snowflake"] == {}
    # The root and two apps, four times in four intervals if none is late. Flux asks to be called again, so the result is requeue_after.
    assert sum(counted["flux"]["kustomization"].values()) >= 3
    assert sum(counted["flux"]["gitrepository"].values()) >= 1
    assert "error" not in counted["flux"]["kustomization"]


@pytest.mark.parametrize("arm", ARMS)
def test_what_is_attributed_and_what_is_not_add_up_to_the_machine(day, arm):
    for phase in day[arm]["phases"]:
        residual = residual_of(phase)
        assert residual is not None, phase["name"]
        assert math.isfinite(residual)
        busy = phase["machine"]["busy_seconds"]
        attributed = sum(phase["cpu_seconds"].values()) + phase["actor"]["cpu_seconds"]
        assert busy - attributed == pytest.approx(residual, abs=1e-9)
        # /proc/stat counts in ticks on each processor, so it can miss a little of what the exact clocks have seen.
        assert residual > -0.3 - 0.15 * attributed, phase["name"]
        assert min(phase["cpu_seconds"].values()) >= 0


def test_only_the_arm_flux_has_processes_of_its_own(day):
    own = {arm: {name for name, role in phases(day[arm])["steady"]["components"].items() if role == "arm"} for arm in ARMS}
    assert own == {"snowflake": set(), "flux": {"git-server", "source-controller", "kustomize-controller"}}
    assert all(phases(day["flux"])["steady"]["cpu_seconds"][name] > 0 for name in own["flux"])
    assert all(phases(day[arm])["deploy"]["actor"]["calls"] > 0 for arm in ARMS)


def test_one_kustomization_for_all_does_the_same(day, tmp_path):
    record = measure(make_plan("one", layout="one", extra={"flux_trigger": "annotate"}), "flux", tmp_path)
    assert record["valid"], record["reasons"]
    for name in ("deploy", "update"):
        assert phases(record)[name]["state"]["hash"] == phases(day["flux"])[name]["state"]["hash"]
    assert phases(record)["drift"]["state"]["drifted"] == phases(record)["prune"]["state"]["orphans"] == 0


def test_apps_in_repositories_of_their_own_are_the_same_apps_and_without_sampling_only_edges_are_read(day, tmp_path):
    record = measure(make_plan("several", repositories=2, sampling="off"), "flux", tmp_path)
    assert record["valid"], record["reasons"]
    for name in ("deploy", "update"):
        assert phases(record)[name]["state"]["hash"] == phases(day["flux"])[name]["state"]["hash"]
    assert phases(record)["drift"]["state"]["drifted"] == phases(record)["prune"]["state"]["orphans"] == 0
    assert record["samples"]["t_ns"] == []
    assert all(phases(record)["steady"]["cpu_seconds"][name] > 0 for name in ("etcd", "source-controller", "git-server"))
    polls = {
        arm: sum(phases(one)["steady"]["counters"]["reconciles"]["gitrepository"].values())
        for arm, one in (("one", day["flux"]), ("several", record))
    }
    assert polls["several"] > polls["one"]  # that of the cluster, and one for each repository


def test_a_users_own_manifests_work_in_both_arms(tmp_path):
    for name, text in MANIFESTS.items():
        path = tmp_path / "workload" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    scenario = [{"name": "deploy", "revision": "base"}, {"name": "steady", "hold": "2 intervals"}, {"name": "teardown"}]
    options = {key: value for key, value in {"apps": None, "workload": str(tmp_path / "workload"), "scenario": scenario}.items()}
    plan = make_plan("own", **options)
    hashes = set()
    for arm in ARMS:
        record = measure(plan, arm, tmp_path / arm)
        assert record["valid"], record["reasons"]
        state = phases(record)["steady"]["state"]
        assert (state["objects"], state["drifted"], state["missing"]) == (5, 0, 0), state["names"]
        assert phases(record)["teardown"]["state"]["missing"] == 0
        hashes.add(state["hash"])
    assert len(hashes) == 1
