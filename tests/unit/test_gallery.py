# SPDX-License-Identifier: GPL-3.0-or-later
"""The reports in docs/gallery are what their plans and journals give, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import read_plan, run_files

GALLERY = Path(__file__).resolve().parents[2] / "docs" / "gallery"
RUNS = sorted(path.name for path in GALLERY.iterdir() if path.is_dir())


def test_there_is_a_run_to_look_at():
    assert {"snowflake-against-itself", "snowflake-and-flux-ab"} <= set(RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_a_report_can_be_computed_again_bit_for_bit(run):
    paths = run_files(GALLERY, run, "local")
    plan = read_plan(paths["plan"])
    report = reports.build_report(plan, journals.read(paths["journal"], plan))
    computed = {"json": reports.to_json(report), "md": reports.to_markdown(report), "html": reports.to_html(report)}
    different = [kind for kind, content in computed.items() if Path(paths[kind]).read_bytes() != content]
    assert different == [], "make report RUN=" + run + " ARGS='-e kjoule_reports_dir=docs/gallery'"


def test_the_same_against_the_same_is_not_called_different():
    plan = read_plan(run_files(GALLERY, "snowflake-against-itself", "local")["plan"])
    assert plan["settings"]["arms"] == ["snowflake", "snowflake"]
    report = reports.read_report(run_files(GALLERY, "snowflake-against-itself", "local")["json"])
    assert report["metrics"]["rest"]["effect"]["verdict"] != "different"


def test_flux_against_the_snowflake_is_different_with_an_interval_clear_of_nought():
    report = reports.read_report(run_files(GALLERY, "snowflake-and-flux-ab", "local")["json"])
    effect = report["metrics"]["rest"]["effect"]
    assert effect["verdict"] == "different"
    assert effect["low"] > 0
