# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of the roles kepler and monitoring make of one another, and which of them are refused. No service runs."""

from __future__ import annotations

import re

import prometheus as world
import pytest
import yaml
from test_monitoring import changed, run_tasks

pytestmark = pytest.mark.integration

#: Where the homes of people are, and that of the administrator.
HOMES, HOME = "/home", "/root"
#: Settings of Kepler -> the address that Prometheus reads, and the zones that its rules add up.
FOLLOWS = {
    "plain": ({}, "127.0.0.1:28282", "package(-.+)?|dram"),
    "moved": ({"kepler_address": "::", "kepler_port": 28555, "kepler_zones": ["psys"]}, "[::1]:28555", "psys"),
    "named": (
        {"kepler_address": "10.0.0.7", "kepler_zones": ["dram"], "kepler_config": {"rapl": {"zones": ["core", "package"]}}},
        "10.0.0.7:28282",
        "package(-.+)?",
    ),
    "dies": (
        {"kjoule_kepler": True, "kepler_zones": ["package-0-die-0", "package-0-die-1", "dram"]},
        "127.0.0.1:28282",
        "package(-.+)?|dram",
    ),
    "everywhere": ({"kepler_address": "0.0.0.0", "kepler_zones": [], "kjoule_kepler": True}, "127.0.0.1:28282", "package(-.+)?|dram"),
    # What another host's Kepler reads is its own affair.
    "another": (
        {"kjoule_kepler": True, "monitoring_zones": ["psys"], "monitoring_targets": [{"host": "b", "address": "10.0.0.9:28282"}]},
        "10.0.0.9:28282",
        "psys",
    ),
    "slowest": ({"monitoring_scrape_seconds": 15}, "127.0.0.1:28282", "package(-.+)?|dram"),
}
#: Role, tasks, settings and what is said of them.
REFUSED = {
    "unread": (
        "monitoring",
        "configure",
        {"kepler_zones": ["package"], "monitoring_zones": ["package", "dram"]},
        "without dram there would be",
    ),
    "unset": (
        "monitoring",
        "zones",
        {"kjoule_kepler": True, "monitoring_zones": ["psys"]},
        r"reads \(package, dram\), saw psys; .*kepler_zones",
    ),
    "core": ("monitoring", "zones", {"kepler_zones": ["core"]}, "The zones core cannot be added"),
    "never": ("monitoring", "configure", {"monitoring_scrape_seconds": 0}, "monitoring_scrape_seconds: expected 1 to 15, .*saw 0. Next: "),
    "seldom": (
        "monitoring",
        "durations",
        {"monitoring_scrape_seconds": "16"},
        "monitoring_scrape_seconds: expected 1 to 15, .*saw 16. Next: ",
    ),
    **{
        f"retention {wrong}": ("monitoring", "durations", {"monitoring_retention": wrong}, rf"longer than nothing .*, saw {wrong}\. Next: ")
        for wrong in ("0d", "30", "", "1d1w")
    },
    **{
        f"kubeconfig {path}": ("kepler", "kubeconfig", {"kepler_kubeconfig": path}, rf"kepler_kubeconfig: .*saw {path}\. Next: .*--flatten")
        for path in (
            f"{HOME}/.kube/config",
            f"{HOMES}/ann/.kube/config",
            "~/.kube/config",
            "/run/user/1000/k",
            "/tmp/k",
            "/var/tmp/k",
            HOMES,
        )
    },
    "kubeconfig by kepler_config": (
        "kepler",
        "configure",
        {"kepler_config": {"kube": {"enabled": True, "config": f"{HOME}/k"}}},
        f"saw {HOME}/k. Next",
    ),
    "kubeconfig before anything": ("kepler", "preflight", {"kepler_kubeconfig": f"{HOME}/k"}, f"saw {HOME}/k. Next"),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """All of it in one play."""
    top = tmp_path_factory.mktemp("settings")
    (top / "promtool").symlink_to(world.need("promtool")["promtool"])
    tasks = []
    for name, (given, _address, _zones) in FOLLOWS.items():
        (top / name).mkdir()
        where = {"monitoring_config_dir": str(top / name), "monitoring_unit_dir": str(top / name)}
        role = {"name": "kjoule.bench.monitoring", "tasks_from": "configure"}
        tasks.append({"ansible.builtin.include_role": role, "vars": {**where, **given}})
    (top / "refused").mkdir()
    for name, (role, tasks_from, wrong, _says) in REFUSED.items():
        include = {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": tasks_from}, "vars": wrong}
        told = {"ansible.builtin.debug": {"msg": name + ": {{ ansible_failed_result.msg }}"}}
        tasks.append({"block": [include], "rescue": [told]})
    readable = {"kepler_kubeconfig": "/etc/kjoule/kepler/kubeconfig"}
    tasks.append({"ansible.builtin.include_role": {"name": "kjoule.bench.kepler", "tasks_from": "kubeconfig"}, "vars": readable})
    variables = {
        "artifacts_result": {"kepler": {"version": "v0.11.4"}},
        "monitoring_grafana": False,
        "monitoring_install_dir": str(top),
        "kepler_node_name": "known",
        "__monitoring_runs_services": False,
        "__kepler_runs_services": False,
    }
    for role in ("kepler", "monitoring"):
        variables |= {f"{role}_{folder}_dir": str(top / "refused") for folder in ("config", "unit")}
    # What a block sets has to win, so these are of the play and not of the command line.
    done = run_tasks(top, [{"block": tasks, "vars": variables}], {})
    changed(done)
    return top, done.stdout


@pytest.mark.parametrize("name", FOLLOWS)
def test_prometheus_follows_the_settings_of_kepler(played, name):
    top, _said = played
    _given, address, zones = FOLLOWS[name]
    jobs = {job["job_name"]: job for job in yaml.safe_load((top / name / "prometheus.yml").read_text())["scrape_configs"]}
    assert [one["targets"] for one in jobs["kepler"]["static_configs"]] == [[address]]
    rules = (top / name / "rules.yml").read_text()
    # In one order, or each play would change the rules.
    assert set(re.findall(r'zone=~"([^"]+)"', rules)) == {zones}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(played, name):
    top, said = played
    assert re.search(rf'"{re.escape(name)}: .*{REFUSED[name][3]}', said), said
    assert list((top / "refused").iterdir()) == []
