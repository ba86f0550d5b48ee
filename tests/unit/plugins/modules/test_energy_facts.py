# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness.module import run_module
from harness.powercap import Tree, Zone
from harness.shapes import Constant


def test_a_host_learns_what_it_can_read_and_why_not_the_rest(tmp_path):
    Tree(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(), start_uj=5)])
    result = run_module("energy_facts", sources={"rapl": {"sysfs_root": str(tmp_path)}, "hwmon": {"sysfs_root": str(tmp_path)}})
    assert (result.get("failed"), result["changed"]) == (None, False)
    facts = result["ansible_facts"]["kjoule_energy"]
    assert facts["auto"] == "rapl"
    rows = {row["name"]: row for row in facts["sources"]}
    assert (rows["rapl"]["works"], rows["rapl"]["scope"], rows["rapl"]["why"]) == (True, "rapl:package", None)
    assert rows["rapl"]["source"]["channels"][0]["name"] == "package-0"
    assert (rows["hwmon"]["works"], rows["hwmon"]["why"][:28]) == (False, "hwmon cannot be used for ene")
    assert rows["redfish"]["why"].startswith("needs to be named with its options: url")
    assert rows["redfish"]["works"] is None
    assert result["lines"][0] == "rapl: works, taken by auto; rapl:package"


def test_a_source_that_is_not_known_is_refused():
    result = run_module("energy_facts", sources={"rapple": {}})
    assert result["failed"]
    assert "the energy source is not known" in result["msg"]


#: Everything is imported as the user of the tests; then it is another user who looks, with the groups given.
LOOK = """
import json, os, sys
from ansible_collections.kjoule.bench.plugins.module_utils.energy import ipmi
from ansible_collections.kjoule.bench.plugins.module_utils.energy.single import survey
ipmi.DEVICES = (sys.argv[2],)
configured, groups = json.loads(sys.argv[1]), json.loads(sys.argv[3])
survey(configured)
if os.geteuid() == 0:
    os.setgroups(groups)
    os.setgid(NOBODY)
    os.setuid(NOBODY)
print(json.dumps(survey(configured)))
"""
NOBODY = 65534


@pytest.fixture
def guarded():
    """A host whose meters only root may read: its folder, and what an unprivileged user is told of each source."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        Tree(folder, [Zone("intel-rapl:0", "package-0", Constant(), start_uj=5)])
        chip = folder / "class" / "hwmon" / "hwmon0"
        chip.mkdir(parents=True)
        (chip / "name").write_text("power_meter\n")
        (chip / "power1_average").write_text("42000000\n")
        (folder / "ipmi0").touch()
        (folder / "ipmitool").write_text("#!/bin/sh\n")
        (folder / "ipmitool").chmod(0o755)
        for file in folder.rglob("*"):
            if file.name in ("energy_uj", "power1_average", "ipmi0"):
                file.chmod(0o400 if os.geteuid() == 0 else 0)

        def told(*groups):
            sysfs = {"sysfs_root": str(folder)}
            configured = {"rapl": sysfs, "hwmon": sysfs, "ipmi": {"ipmitool": str(folder / "ipmitool")}}
            arguments = [json.dumps(configured), str(folder / "ipmi0"), json.dumps(groups)]
            done = subprocess.run(
                [sys.executable, "-c", LOOK.replace("NOBODY", str(NOBODY)), *arguments],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
            )
            return {row["name"]: row for row in json.loads(done.stdout)}

        yield folder, told


def test_an_unprivileged_user_learns_which_rule_group_or_setting_would_help(guarded):
    _folder, told = guarded
    rows = told()
    for name in ("rapl", "hwmon", "ipmi"):
        assert rows[name]["works"] is False, name
    user = pwd.getpwuid(NOBODY if os.geteuid() == 0 else os.geteuid()).pw_name
    for name, rule in (("rapl", 'SUBSYSTEM=="powercap"'), ("hwmon", 'SUBSYSTEM=="hwmon"')):
        for part in (f"user {user}", "become: true", f"udev rule {rule}", "CAP_DAC_READ_SEARCH"):
            assert part in rows[name]["why"], (name, part)
    for part in ("become: true", 'udev rule KERNEL=="ipmi'):
        assert part in rows["ipmi"]["why"]
    assert rows["estimate"]["works"], "there is always something"


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can give a file to a group")
def test_who_joins_the_group_that_it_names_can_read(guarded):
    folder, told = guarded
    (counter,) = folder.rglob("energy_uj")
    group = grp.getgrgid(next(gid for gid in range(1, 100) if _there(gid)))
    os.chown(counter, 0, group.gr_gid)
    counter.chmod(0o440)
    assert f"into the group {group.gr_name}, which may read it" in told()["rapl"]["why"]
    assert told(group.gr_gid)["rapl"]["works"] is True


def _there(gid):
    try:
        return bool(grp.getgrgid(gid))
    except KeyError:
        return False
