# SPDX-License-Identifier: GPL-3.0-or-later
"""The reports in docs/gallery are what their plans and journals give, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import read_plan, run_files

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "docs" / "gallery"
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


@cache
def fitted_together(*runs):
    command = [sys.executable, str(ROOT / "bench" / "costs.py"), *map(str, runs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_one_run_fitted_alone_costs_what_its_report_says():
    code, said, _errors = fitted_together(GALLERY / "snowflake-and-flux-ab")
    assert code == 0
    rows = [line for line in said.splitlines() if line.startswith(("| snowflake |", "| flux, "))]
    report = (GALLERY / "snowflake-and-flux-ab" / "local.md").read_text(encoding="utf-8")
    assert len(rows) == 8
    assert all(row in report for row in rows)


def test_halves_of_a_run_fitted_together_give_what_the_whole_gives(tmp_path):
    whole = GALLERY / "snowflake-and-flux-ab"
    header, *records = (whole / "local.journal.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for half in (0, 1):
        (tmp_path / str(half)).mkdir()
        shutil.copy(whole / "local.plan.json", tmp_path / str(half))
        own = [line for line in records if json.loads(line).get("block", 0) % 2 == half]
        (tmp_path / str(half) / "local.journal.jsonl").write_text(header + "".join(own), encoding="utf-8")
    code, said, _errors = fitted_together(tmp_path / "0", tmp_path / "1")
    assert code == 0
    assert said == fitted_together(whole)[1]
    assert said != fitted_together(tmp_path / "0")[1]


@pytest.mark.parametrize(
    ("other", "words"), [(GALLERY / "snowflake-against-itself", "runs of one host and one version"), (Path("none"), "has no plan of local")]
)
def test_runs_that_do_not_belong_together_are_refused(other, words):
    code, _said, errors = fitted_together(GALLERY / "snowflake-and-flux-ab", other)
    assert code != 0
    assert words in errors
