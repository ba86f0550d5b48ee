# SPDX-License-Identifier: GPL-3.0-or-later
"""A changed setting reaches what runs already. systemctl is a double that writes down what it is asked, of units that run."""

from __future__ import annotations

import os

import prometheus as world
import pytest
from test_monitoring import changed, run_tasks

pytestmark = pytest.mark.integration

SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
case "$1" in
  show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n' ;;
esac
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Plays the tasks that write a role's files: what systemctl was asked to do with the units afterwards."""
    folder, log = tmp_path / "bin", tmp_path / "systemctl.log"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL.format(log=log))
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def play(role, **variables):
        log.write_text("")
        include = {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": "configure"}}
        changed(run_tasks(tmp_path, [include], variables))
        words = [line.replace("'", "").split() for line in log.read_text().splitlines()]
        return [(line[0], line[1].removesuffix(".service")) for line in words if line[0] in ("restart", "reload")]

    return play


def places(top, role):
    for name in ("install", "config", "units"):
        (top / name).mkdir()
    return {f"{role}_{name}_dir": str(top / folder) for name, folder in (("install", "install"), ("config", "config"), ("unit", "units"))}


def test_prometheus_and_grafana_take_up_what_changed(asked, tmp_path):
    where = {**places(tmp_path, "monitoring"), "monitoring_targets": [{"host": "alpha", "address": "127.0.0.1:1"}]}
    (tmp_path / "install" / "promtool").symlink_to(world.need("promtool")["promtool"])
    assert set(asked("monitoring", **where)) >= {("restart", "kjoule-prometheus"), ("restart", "kjoule-grafana")}
    assert asked("monitoring", **where) == []
    where["monitoring_targets"].append({"host": "beta", "address": "127.0.0.1:2"})
    assert asked("monitoring", **where) == [("reload", "kjoule-prometheus")]
    # The retention is in the unit, and in the settings for samples that come late.
    again = asked("monitoring", **where, monitoring_retention="3d", monitoring_grafana_port=3001)
    assert sorted(again) == [("reload", "kjoule-prometheus"), ("restart", "kjoule-grafana"), ("restart", "kjoule-prometheus")]


def test_kepler_takes_up_what_changed(asked, tmp_path):
    where = {**places(tmp_path, "kepler"), "artifacts_result": {"kepler": {"version": "v0.11.4"}}, "kepler_node_name": "known"}
    assert asked("kepler", **where) == [("restart", "kjoule-kepler")]
    assert asked("kepler", **where) == []
    assert asked("kepler", **where, kepler_port=28283) == [("restart", "kjoule-kepler")]
