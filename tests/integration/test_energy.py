# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole period on a real control plane, beside a powercap tree that a process drives with known power."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import Period
from harness import powercap
from harness.shapes import SHAPES
from tiny import binaries, item_of, make_plan

pytestmark = pytest.mark.integration


@pytest.fixture
def sysfs(tmp_path: Path) -> Iterator[Path]:
    """A sysfs whose one package uses the watts of the shape ``constant``."""
    root = tmp_path / "sys"
    popen = subprocess.Popen([sys.executable, powercap.__file__, "--root", str(root), "--shape", "constant"], stdout=subprocess.PIPE)
    assert popen.stdout is not None
    popen.stdout.readline()
    yield root
    popen.terminate()
    popen.communicate()


def test_every_phase_of_a_period_holds_the_joules_that_were_put_in(tmp_path: Path, sysfs: Path) -> None:
    # On a busy machine the process that writes the tree comes late; half a second it never is.
    plan = make_plan("energy", source={"rapl": {"sysfs_root": str(sysfs), "update_seconds": 0.5}}, baseline_seconds=6)
    period = Period(plan, item_of(plan, "snowflake"), binaries(), str(tmp_path / "state"))
    assert period.source_description["scope"] == "rapl:package"
    record = period.run()
    assert record["valid"], record["reasons"]
    watts = SHAPES["constant"](1).power_watts(0.0)
    for phase in record["phases"]:
        (energy,) = phase["energy"]
        assert (energy["scope"], energy["source"], energy["valid"]) == ("rapl:package", "rapl", True)
        if energy["seconds"] < 10 * 0.5:
            assert energy["warnings"][0].startswith("short:")
            assert energy["joules"] <= watts * (energy["seconds"] + 0.5)
            continue
        assert abs(energy["joules"] - watts * energy["seconds"]) <= energy["uncertainty_joules"], phase["name"]
        assert energy["seconds"] == pytest.approx(phase["seconds"], abs=0.5)
    samples = record["samples"]["energy"]
    assert (samples["channels"], samples["unit"]) == (["package-0"], "J")
    assert len(samples["t_ns"]) == len(samples["values"]) >= 2 * len(record["phases"])
