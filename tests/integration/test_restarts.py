# SPDX-License-Identifier: GPL-3.0-or-later
"""A changed setting reaches what runs already. systemctl is a double that writes down what it is asked, of units that run."""

from __future__ import annotations

import hashlib
import os
import re

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

    def play(role, *more, fails="", words=(), said=None, **variables):
        log.write_text("")
        include = {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": "configure"}}
        done = run_tasks(tmp_path, [include, *more], variables, *words)
        if said is not None:
            said.append(done.stdout + done.stderr)
        if fails:
            assert done.returncode == 2, done.stdout
            assert re.search(fails, done.stdout), done.stdout
        else:
            changed(done)
        words = [line.replace("'", "").split() for line in log.read_text().splitlines()]
        return [(line[0], line[1].removesuffix(".service")) for line in words if line[0] in ("restart", "reload", "stop", "disable")]

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


#: What ends a play after the files were written and before its handlers.
BREAK = {"ansible.builtin.fail": {"msg": "the line broke"}}


def test_what_a_failed_play_did_not_have_prometheus_and_grafana_take_up_the_next_one_has_them(asked, tmp_path):
    where = {**places(tmp_path, "monitoring"), "monitoring_targets": [{"host": "alpha", "address": "127.0.0.1:1"}]}
    (tmp_path / "install" / "promtool").symlink_to(world.need("promtool")["promtool"])
    asked("monitoring", **where)
    where["monitoring_zones"] = ["package"]
    assert asked("monitoring", BREAK, fails="the line broke", **where) == []
    assert "dram" not in (tmp_path / "config" / "rules.yml").read_text()
    assert asked("monitoring", **where) == [("reload", "kjoule-prometheus")]
    assert asked("monitoring", **where) == []
    more = {**where, "monitoring_retention": "3d", "monitoring_grafana_port": 3001}
    assert asked("monitoring", BREAK, fails="the line broke", **more) == []
    (tmp_path / "install" / "prometheus").write_text("another version, put there by install.yml")
    again = [("reload", "kjoule-prometheus"), ("restart", "kjoule-grafana"), ("restart", "kjoule-prometheus")]
    assert sorted(asked("monitoring", **more)) == again
    assert asked("monitoring", **more) == []


def test_a_retention_that_cannot_be_is_refused_before_the_rules_are_written(asked, tmp_path):
    where = {**places(tmp_path, "monitoring"), "monitoring_targets": [{"host": "alpha", "address": "127.0.0.1:1"}]}
    says = r"monitoring_retention: expected a duration .*, saw a month\. Next: "
    assert asked("monitoring", fails=says, monitoring_retention="a month", **where) == []
    assert list((tmp_path / "config").iterdir()) == []


def test_what_a_failed_play_did_not_have_kepler_take_up_the_next_one_has_it(asked, tmp_path):
    where = {**places(tmp_path, "kepler"), "artifacts_result": {"kepler": {"version": "v0.11.4"}}, "kepler_node_name": "known"}
    asked("kepler", **where)
    (tmp_path / "install" / "kepler").write_text("another version, put there by install.yml")
    assert asked("kepler", fails="does not know monitor.intervall", kepler_config={"monitor": {"intervall": "1s"}}, **where) == []
    assert asked("kepler", **where) == [("restart", "kjoule-kepler")]
    assert asked("kepler", BREAK, fails="the line broke", kepler_port=28283, **where) == []
    assert asked("kepler", kepler_port=28283, **where) == [("restart", "kjoule-kepler")]
    assert asked("kepler", kepler_port=28283, **where) == []


def test_a_password_that_changed_is_taken_up_and_neither_it_nor_a_checksum_of_it_is_in_the_output(asked, tmp_path):
    where = {**places(tmp_path, "monitoring"), "monitoring_targets": [{"host": "alpha", "address": "127.0.0.1:1"}]}
    (tmp_path / "install" / "promtool").symlink_to(world.need("promtool")["promtool"])
    secrets = ["a first secret of the test", "another one"]
    restart = [("restart", "kjoule-grafana")]
    assert restart[0] in asked("monitoring", **where, monitoring_grafana_admin_password=secrets[0])
    assert asked("monitoring", **where, monitoring_grafana_admin_password=secrets[0]) == []
    where["monitoring_grafana_admin_password"] = secrets[1]
    assert asked("monitoring", BREAK, fails="the line broke", **where) == []
    said = []
    assert asked("monitoring", words=("-vvv", "--diff"), said=said, **where) == restart
    assert asked("monitoring", words=("-vvv", "--diff"), said=said, **where) == []
    kept = (tmp_path / "config" / "grafana-started-with").read_text()
    for secret in secrets:
        for told in (secret, *(hashlib.new(name, secret.encode()).hexdigest() for name in ("md5", "sha1", "sha256", "sha512"))):
            assert told not in kept
            assert not [text for text in said if told in text]


def test_a_grafana_and_a_password_that_are_asked_for_no_more_go(asked, tmp_path):
    where = {**places(tmp_path, "monitoring"), "monitoring_targets": [{"host": "alpha", "address": "127.0.0.1:1"}]}
    (tmp_path / "install" / "promtool").symlink_to(world.need("promtool")["promtool"])
    asked("monitoring", **where, monitoring_grafana_admin_password="a secret of the test")
    password = tmp_path / "config" / "grafana-admin-password"
    assert password.exists()
    assert asked("monitoring", **where) == [("restart", "kjoule-grafana")]
    assert not password.exists()
    for name in ("grafana-v11.6.0/bin", "grafana-11.5.0/bin"):
        (tmp_path / "install" / name).mkdir(parents=True)
        (tmp_path / "install" / name / "grafana").write_text("")
    (tmp_path / "install" / "grafana").symlink_to("grafana-v11.6.0")
    assert sorted(asked("monitoring", **where, monitoring_grafana=False)) == [("disable", "kjoule-grafana"), ("stop", "kjoule-grafana")]
    left = {path.name for folder in ("install", "config", "units") for path in (tmp_path / folder).iterdir()}
    prometheus = {"promtool", "prometheus.yml", "rules.yml", "kjoule-prometheus.service", "prometheus-started-with", "prometheus-has-read"}
    assert left == prometheus
    assert asked("monitoring", **where, monitoring_grafana=False) == []
