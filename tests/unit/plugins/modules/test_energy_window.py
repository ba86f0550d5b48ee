# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from harness.module import run_module
from harness.powercap import Tree, Zone
from harness.shapes import Constant


@pytest.fixture
def rapl(tmp_path):
    Tree(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(), start_uj=5_000_000)])
    return {"rapl": {"sysfs_root": str(tmp_path), "update_seconds": 0.001}}


def test_a_while_of_a_host_without_a_counter_is_cpu_time_and_a_labelled_estimate():
    result = run_module("energy_window", seconds=0.05, source="estimate")
    assert (result.get("failed"), result["changed"], result["energy"], result["rc"]) == (None, False, None, None)
    assert result["estimate"]["scope"] == "estimate:cpu-time"
    assert "no energy can be read here" in result["text"]
    assert result["seconds"] >= 0.05


def test_a_command_has_its_window_its_output_and_its_status(rapl, tmp_path):
    counter = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    command = f"sh -c 'echo 17000000 > {counter}; echo out; echo err >&2; exit 3'"
    result = run_module("energy_window", cmd=command, source=rapl)
    assert (result["failed"], result["msg"]) == (True, "the command ended with status 3")
    assert (result["rc"], result["stdout"], result["stderr"]) == (3, "out\n", "err\n")
    assert result["energy"]["joules"] == pytest.approx(12.0)
    assert result["energy"]["scope"] == "rapl:package"


def test_check_mode_runs_nothing_and_says_what_would_be_read(rapl, tmp_path):
    result = run_module("energy_window", check=True, argv=["touch", str(tmp_path / "made")], source=rapl)
    assert (result["changed"], result["skipped"], result["source"]["scope"]) == (True, True, "rapl:package")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of the following is required: seconds, cmd, argv"),
        ({"seconds": 1, "cmd": "true"}, "mutually exclusive"),
        ({"seconds": -1}, "option seconds: expected a number above 0, saw -1.0"),
        ({"cmd": "'"}, "option cmd cannot be split into words"),
        ({"cmd": " "}, "the command is empty"),
        ({"seconds": 1, "source": "raple"}, "kjoule_source: rapl"),
        ({"argv": ["no-such-program-here"]}, "the command no-such-program-here cannot be started"),
        ({"seconds": 1, "joules_per_cpu_second": {"value": 3}}, "no low, high, source"),
    ],
)
def test_what_cannot_be_measured_is_refused_without_a_traceback(arguments, message):
    result = run_module("energy_window", **{"source": "estimate", **arguments})
    assert result["failed"]
    assert message in result["msg"]
    assert "Traceback" not in str(result)
