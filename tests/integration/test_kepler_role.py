# SPDX-License-Identifier: GPL-3.0-or-later
"""The role kepler without a Kepler: a host that has no counters, and the unit of the generation before 0.10."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path

import prometheus as world
import pytest
import units
from harness.powercap import Tree, Zone, drive
from harness.shapes import Constant
from test_monitoring import changed, run_tasks

pytestmark = pytest.mark.integration

#: What kepler v0.9.0 knows: flags of cmd/exporter/exporter.go, variables of pkg/config/config.go and pkg/node/node.go.
LEGACY_FLAGS = {"address", "apiserver", "enable-gpu", "kubeconfig", "config-dir", "metrics-path", "enable-cgroup-id", "enable-msr"}
LEGACY_VARIABLES = {"NODE_NAME", "ENABLE_PROCESS_METRICS", "EXPOSE_ESTIMATED_IDLE_POWER_METRICS"}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """One play: the role on a host without counters, refusals, and the settings of the old generation."""
    top = tmp_path_factory.mktemp("kepler")
    for name in ("none/class", "install", "config", "units"):
        (top / name).mkdir(parents=True)
    (top / "install" / "kepler").symlink_to("/bin/true")

    def include(tasks_from, **more):
        return {"ansible.builtin.include_role": {"name": "kjoule.bench.kepler", "tasks_from": tasks_from}, "vars": more}

    def refused(name, **wrong):
        told = {"ansible.builtin.debug": {"msg": name + ": {{ ansible_failed_result.msg }}"}}
        return {"block": [include("main", **wrong)], "rescue": [told]}

    required = refused("required", kepler_required="true")  # as from the command line
    bracketed = refused("bracketed", kepler_address="[::1]")
    legacy = {"kepler_generation": "legacy", "kepler_metrics": ["node", "process"], "kepler_unit_dir": str(top / "units")}
    variables = {
        "artifacts_result": {"kepler": {"version": "v0.9.0"}},
        "kepler_sysfs": str(top / "none"),
        "kepler_install_dir": str(top / "install"),
        "kepler_config_dir": str(top / "config"),
        "kepler_node_name": "known",
        "__kepler_runs_services": False,
    }
    nothing = include("main", kepler_unit_dir=str(top / "nowhere"))
    done = run_tasks(top, [nothing, required, bracketed, include("configure", **legacy)], variables)
    return top, changed(done), done.stdout


def test_a_host_without_counters_goes_on_without_kepler_and_is_told_why_unless_it_is_required(played):
    top, count, said = played
    assert re.search("No Kepler on this host: RAPL cannot be read.*Runs go on; their joules are estimated from CPU time", said), said
    assert re.search(r"required: Kepler is required on this host \(kepler_required\) and cannot measure here: RAPL cannot be read", said), (
        said
    )
    assert re.search(r"bracketed: kepler_address is an address as it is: .*saw \[::1\]\. Next: set it to ::1", said), said
    assert not (top / "nowhere").exists()
    assert count == 1  # the unit of the old generation, and nothing else


def test_a_port_that_somebody_has_is_told_before_anything_is_changed_also_where_kepler_runs_on_another(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").write_text('#!/bin/sh\nprintf "ActiveState=active\\nMainPID=$MAIN_PID\\n"\n')
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    tree, stop = Tree(tmp_path / "sys", [Zone("intel-rapl:0", "package-0", Constant(30.0))]), threading.Event()
    moving = threading.Thread(target=drive, args=(tree, time.monotonic_ns(), 0.05, stop))
    moving.start()
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            wrong = {"kepler_sysfs": str(tmp_path / "sys"), "kepler_zones": ["package"], "kepler_port": port}
            role = {"name": "kjoule.bench.kepler", "tasks_from": "preflight"}
            # None runs; one runs and listens elsewhere; it is the one that listens there.
            tasks = [
                {
                    "block": [{"ansible.builtin.include_role": role}, {"ansible.builtin.debug": {"msg": f"{name}: its own"}}],
                    "rescue": [{"ansible.builtin.debug": {"msg": name + ": {{ ansible_failed_result.msg }}"}}],
                    "environment": {"MAIN_PID": str(pid)},
                }
                for name, pid in {"stopped": 0, "elsewhere": os.getppid(), "there": os.getpid()}.items()
            ]
            done = run_tasks(tmp_path, tasks, wrong)
    finally:
        stop.set()
        moving.join()
    assert changed(done) == 0
    for name, runs in {"stopped": "does not run", "elsewhere": "runs, but not there"}.items():
        says = rf"{name}: Port {port} on 127\.0\.0\.1 is taken, and kjoule-kepler {runs}; .*set kepler_port to a free port"
        assert re.search(says, done.stdout), done.stdout
    assert '"there: its own"' in done.stdout, done.stdout


#: A module that brings a counter, which stands still.
LOADS = "mkdir -p {0} && echo package-0 > {0}/name && echo 1 > {0}/energy_uj && echo 262143328850 > {0}/max_energy_range_uj"


@pytest.mark.parametrize("modprobe", [None, "exit 1", LOADS], ids=["none", "refuses", "loads"])
def test_a_module_that_cannot_be_loaded_is_no_error_and_the_counters_are_looked_at_again(tmp_path, monkeypatch, modprobe):
    """A PATH with everything but a modprobe, or with a double of it."""
    (tmp_path / "bin").mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            link = tmp_path / "bin" / program.name
            if program.name != "modprobe" and not link.is_symlink():
                link.symlink_to(program)
    counters = tmp_path / "sys"
    if modprobe:
        script = tmp_path / "bin" / "modprobe"
        script.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n' + modprobe.format(counters / "class/powercap/intel-rapl:0"))
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    role = {"ansible.builtin.include_role": {"name": "kjoule.bench.kepler", "tasks_from": "preflight"}}
    given = {"kepler_sysfs": str(counters), "kepler_zones": ["package"], "__kepler_may_load_the_module": True}
    done = run_tasks(tmp_path, [role], given)
    assert changed(done) == int(modprobe == LOADS)
    seen = "the RAPL counters stand still" if modprobe == LOADS else "RAPL cannot be read"
    assert re.search(f"No Kepler on this host: .*{seen}.*Runs go on; their joules are estimated", done.stdout), done.stdout
    if modprobe:
        assert (tmp_path / "asked").read_text() == "intel_rapl_msr\n"


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A double of it, of units that run: where it writes down what it is asked."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "systemctl"
    says = "LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n"
    script.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\ncase "$1" in show) printf "{says}" ;; esac\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "asked"


#: What a role leaves on a host, beside its unit.
WRITES = {
    "kepler": ["opt/kjoule/kepler/kepler", "etc/kjoule/kepler/kepler.yaml", "etc/kjoule/kepler/started-with"],
    "monitoring": [
        *(f"opt/kjoule/monitoring/{name}" for name in ("prometheus", "promtool", "grafana-v11.6.0/bin/grafana")),
        *(f"etc/kjoule/monitoring/{name}" for name in ("prometheus.yml", "rules.yml", "prometheus-started-with", "grafana.ini")),
        *(f"etc/kjoule/monitoring/{name}" for name in ("provisioning/dashboards/kjoule.yml", "dashboards/arms.json")),
    ],
}


def folders_of(top, role):
    """A host that the role was on: its variables."""
    found = {
        f"{role}_install_dir": top / "opt/kjoule" / role,
        f"{role}_config_dir": top / "etc/kjoule" / role,
        f"{role}_unit_dir": top / "units",
    }
    for folder in found.values():
        folder.mkdir(parents=True, exist_ok=True)
    for part in WRITES[role]:
        (top / part).parent.mkdir(parents=True, exist_ok=True)
        (top / part).write_text("")
    return {name: str(folder) for name, folder in found.items()}


def test_an_earlier_kepler_ends_where_the_counters_are_there_no_more_and_a_teardown_leaves_no_empty_folders(tmp_path, systemctl):
    (tmp_path / "none/class").mkdir(parents=True)
    where = {**folders_of(tmp_path, "kepler"), **folders_of(tmp_path, "monitoring"), "kepler_sysfs": str(tmp_path / "none")}
    unit = tmp_path / "units" / "kjoule-kepler.service"
    unit.write_text("")
    kubeconfig = tmp_path / "etc/kjoule/kepler/kubeconfig"
    kubeconfig.write_text("of a person")

    def include(role, tasks_from):
        return {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": tasks_from}}

    done = run_tasks(tmp_path, [include("kepler", "main")], where)
    assert changed(done) > 0
    assert "No Kepler on this host: RAPL cannot be read" in done.stdout
    asked = [line.replace("'", "").split()[:2] for line in systemctl.read_text().splitlines()]
    assert ["stop", "kjoule-kepler"] in asked
    assert ["disable", "kjoule-kepler"] in asked
    assert not unit.exists()
    assert list(kubeconfig.parent.iterdir()) == [kubeconfig]
    kubeconfig.unlink()
    # What lies beside it in the folders around stays, and they with it.
    assert (tmp_path / "opt/kjoule/monitoring/prometheus").exists()
    foreign = tmp_path / "etc/kjoule/of-somebody-else"
    foreign.write_text("")
    changed(run_tasks(tmp_path, [include("kepler", "main"), include("kepler", "remove"), include("monitoring", "remove")], where))
    assert list((tmp_path / "opt").iterdir()) == []
    assert list((tmp_path / "etc/kjoule").iterdir()) == [foreign]
    assert changed(run_tasks(tmp_path, [include("kepler", "remove"), include("monitoring", "remove")], where)) == 0


def test_what_a_person_has_in_a_folder_that_both_use_stays(tmp_path, systemctl):
    """Without our units all of it, with them all but what the roles wrote."""
    shared = tmp_path / "shared"
    for name in ("grafana-agent/bin/grafana", "grafana-9.1/README", "dashboards/own.json", "provisioning/own.yml", "kubeconfig"):
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_text("")
    own = sorted(shared.rglob("*"))
    ours = ["grafana-v11.6.0/bin/grafana", "dashboards/arms.json", "grafana.ini", "prometheus", "prometheus.yml", "kepler", "kepler.yaml"]
    for name in ours:
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_text("")
    (shared / "grafana").mkdir()
    both = sorted(shared.rglob("*"))
    where = {f"{role}_{name}_dir": str(shared) for role in ("kepler", "monitoring") for name in ("install", "config")}
    where |= {f"{role}_unit_dir": str(tmp_path) for role in ("kepler", "monitoring")}
    parts = (("monitoring", "without_grafana"), ("monitoring", "remove"), ("kepler", "remove"))
    tasks = [{"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": tasks}} for role, tasks in parts]
    assert changed(run_tasks(tmp_path, tasks, where)) == 0
    assert sorted(shared.rglob("*")) == both
    units = [tmp_path / f"kjoule-{name}.service" for name in ("grafana", "prometheus", "kepler")]
    for unit in units:
        unit.write_text("")
    assert changed(run_tasks(tmp_path, tasks, where)) > 0
    assert sorted(shared.rglob("*")) == sorted([*own, shared / "grafana"])  # a folder, so not our link
    assert not [unit for unit in units if unit.exists()]


def test_a_kubeconfig_that_is_not_there_is_told_where_there_are_counters(tmp_path):
    tree, stop = Tree(tmp_path / "sys", [Zone("intel-rapl:0", "package-0", Constant(30.0))]), threading.Event()
    moving = threading.Thread(target=drive, args=(tree, time.monotonic_ns(), 0.05, stop))
    moving.start()
    given = {"kepler_zones": ["package"], "kepler_kubeconfig": "/etc/kjoule-of-nobody/kubeconfig", "__kepler_may_load_the_module": False}
    role = {"name": "kjoule.bench.kepler", "tasks_from": "preflight"}
    tasks = [
        {"ansible.builtin.include_role": role, "vars": {"kepler_sysfs": str(tmp_path / "none")}},
        {"ansible.builtin.include_role": role, "vars": {"kepler_sysfs": str(tmp_path / "sys")}},
    ]
    try:
        done = run_tasks(tmp_path, tasks, given)
    finally:
        stop.set()
        moving.join()
    assert done.returncode == 2, done.stdout
    assert "No Kepler on this host: RAPL cannot be read" in done.stdout
    says = (
        r"kepler_kubeconfig: expected a file on this host, saw nothing at /etc/kjoule-of-nobody/kubeconfig\. Nothing was changed\. Next: "
    )
    assert re.search(says, done.stdout), done.stdout


def test_the_zones_of_the_settings_are_the_ones_that_are_looked_at_and_the_one_that_is_not_there_is_named(tmp_path):
    Tree(tmp_path / "sys", [Zone("intel-rapl:0", "package-0", Constant(0.0)), Zone("intel-rapl:0:0", "core", Constant(0.0))])
    variables = {"kepler_sysfs": str(tmp_path / "sys"), "kepler_config": {"rapl": {"zones": ["psys"]}}}
    role = {"name": "kjoule.bench.kepler", "tasks_from": "preflight"}
    done = run_tasks(tmp_path, [{"ansible.builtin.include_role": role}], variables)
    assert changed(done) == 0
    assert re.search("No Kepler on this host: this host has no zone psys: expected psys, saw core, package", done.stdout), done.stdout


def test_the_old_generation_is_started_with_flags_and_variables_that_it_knows_and_without_a_file(played):
    top, _count, _said = played
    unit = top / "units" / "kjoule-kepler.service"
    command = units.command(unit, top)
    assert {argument.lstrip("-").split("=")[0] for argument in command[1:]} <= LEGACY_FLAGS
    given = dict(entry.split("=", 1) for line in units.settings(unit)["Environment"] for entry in shlex.split(line))
    assert given == {"NODE_NAME": "known", "ENABLE_PROCESS_METRICS": "true", "EXPOSE_ESTIMATED_IDLE_POWER_METRICS": "false"}
    assert set(given) == LEGACY_VARIABLES
    assert list((top / "config").iterdir()) == []
    assert {"CAP_BPF", "CAP_PERFMON"} <= set(units.settings(unit)["CapabilityBoundingSet"][0].split())


def test_kepler_listens_on_an_address_of_ipv6_in_brackets(tmp_path):
    tasks = []
    for generation in ("rewrite", "legacy"):
        (tmp_path / generation).mkdir()
        role = {"name": "kjoule.bench.kepler", "tasks_from": "configure"}
        tasks.append(
            {
                "ansible.builtin.include_role": role,
                "vars": {
                    "kepler_generation": generation,
                    "kepler_config_dir": str(tmp_path / generation),
                    "kepler_unit_dir": str(tmp_path / generation),
                },
            }
        )
    given = {"artifacts_result": {"kepler": {"version": "v0.11.4"}}, "kepler_address": "::1", "__kepler_runs_services": False}
    assert changed(run_tasks(tmp_path, tasks, given)) > 0
    assert "listenAddresses:\n  - '[::1]:28282'" in (tmp_path / "rewrite" / "kepler.yaml").read_text()
    assert "-address=[::1]:28282" in units.command(tmp_path / "legacy" / "kjoule-kepler.service", tmp_path)


def test_systemd_takes_the_unit_of_the_old_generation(played):
    world.need("systemd-analyze")
    unit: Path = played[0] / "units" / "kjoule-kepler.service"
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr, done.stderr  # what it does not know is a warning by line, not a failure
