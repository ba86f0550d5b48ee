# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import registry, single
from ansible_collections.kjoule.bench.plugins.module_utils.energy.estimate import GENERIC_ROW
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Recorder
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.powercap import Tree, Zone, drive
from harness.shapes import Constant


@pytest.fixture
def bare(tmp_path):
    """Options under which no local source works."""
    exporter = {"url": "http://127.0.0.1:9"}  # the port of discard, where nobody listens
    nowhere = {name: {"sysfs_root": str(tmp_path / "bare")} for name in registry.AUTO}
    return {**nowhere, "ipmi": {"ipmitool": str(tmp_path / "ipmitool")}, "kepler": exporter, "scaphandre": exporter}


@pytest.fixture
def driven(tmp_path):
    """A tree that is given 50 W in real time, and moves every half second at least, however busy this machine is."""
    tree = Tree(tmp_path / "sys", [Zone("intel-rapl:0", "package-0", Constant(50.0), start_uj=10**6, update_seconds=1e-6)])
    stop = threading.Event()
    thread = threading.Thread(target=drive, args=(tree, time.monotonic_ns(), 0.002, stop))
    thread.start()
    yield {"rapl": {"sysfs_root": str(tree.root), "update_seconds": 0.5}}
    stop.set()
    thread.join()


def test_a_host_with_nothing_readable_gets_a_clear_list(bare):
    rows = single.survey(bare)
    assert [row["name"] for row in rows] == [*registry.SOURCES, "estimate"]
    assert [row["name"] for row in rows if row["works"]] == ["estimate"]
    assert all(row["why"] for row in rows if not row["works"])
    assert [row["name"] for row in rows if row["works"] is None] == ["redfish", "shelly", "tasmota"]
    assert single.chosen(rows) == "estimate"
    text = single.lines(rows)
    assert any(line.startswith("rapl: does not work;") and "intel_rapl_msr" in line for line in text)
    assert text[-1].startswith("estimate: works, taken by auto; estimate:cpu-time")


def test_a_window_in_real_time_holds_what_was_injected(driven):
    result = single.measure(driven, 1.2, None, None, 0.2, GENERIC_ROW)
    energy = result["energy"]
    assert (energy["valid"], energy["scope"]) == (True, "rapl:package"), energy["reasons"]
    assert energy["readings"] >= 2
    assert abs(energy["joules"] - 50.0 * energy["seconds"]) <= energy["uncertainty_joules"]
    assert "J +- " in result["text"]


def test_a_command_counts_its_own_cpu_time_and_is_ended_with_its_window(tmp_path):
    result = single.measure(
        "estimate", None, ["sh", "-c", "pwd; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"], str(tmp_path), 1.0, GENERIC_ROW
    )
    assert (result["rc"], result["stdout"]) == (0, f"{tmp_path}\n")
    assert result["cpu"]["command_seconds"] > 0
    assert result["estimate"]["low"] <= result["estimate"]["joules"] <= result["estimate"]["high"]
    assert result["estimate"]["joules_per_cpu_second"] == GENERIC_ROW["joules_per_cpu_second"]


def test_a_source_that_is_gone_at_the_end_does_not_cost_the_result_of_the_command(tmp_path):
    tree = Tree(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(), start_uj=5)])
    setting = {"rapl": {"sysfs_root": str(tmp_path), "update_seconds": 0.001}}
    result = single.measure(setting, None, ["sh", "-c", f"rm {tree.file(tree.zones[0])}; echo done"], None, 60.0, GENERIC_ROW)
    assert (result["rc"], result["stdout"], result["energy"]["valid"], result["energy"]["joules"]) == (0, "done\n", False, None)
    assert "vanished" in result["energy"]["reasons"][0]
    assert "invalid: RAPL counter" in result["text"]


def test_a_zone_that_vanishes_ends_the_wait(tmp_path, monkeypatch):
    tree = Tree(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(), start_uj=5)])
    setting = {"rapl": {"sysfs_root": str(tmp_path), "update_seconds": 0.001}}
    edges = []
    edge, read = Recorder.edge, RaplSource.read

    def first_edge(recorder):
        edges.append(edge(recorder))
        return edges[-1]

    def vanishing(source):
        if edges:
            Path(tree.file(tree.zones[0])).unlink(missing_ok=True)
        return read(source)

    monkeypatch.setattr(Recorder, "edge", first_edge)
    monkeypatch.setattr(RaplSource, "read", vanishing)
    result = single.measure(setting, 600.0, None, None, 0.05, GENERIC_ROW)
    assert len(edges) == 1
    assert result["seconds"] < 300
    assert not result["energy"]["valid"]


def test_a_source_or_a_command_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(KjouleError, match="RAPL cannot be read"):
        single.measure({"rapl": {"sysfs_root": str(tmp_path)}}, 1.0, None, None, 1.0, GENERIC_ROW)
    with pytest.raises(KjouleError, match="cannot be started"):
        single.measure("estimate", None, ["true"], str(tmp_path / "nowhere"), 1.0, GENERIC_ROW)
