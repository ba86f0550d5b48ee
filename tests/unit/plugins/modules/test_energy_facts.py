# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

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
