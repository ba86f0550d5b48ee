# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/compare.yml and the page of the fleet, as a user runs them, on journals of real runs that come with the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import plan_hash

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "docs" / "gallery"
AB, AA = "snowflake-and-flux-ab", "snowflake-against-itself"


def copy(reports: Path, run: str, host: str, of: str) -> None:
    """The plan and the journal of a run in the gallery, under the name of another run and host."""
    plan = json.loads((GALLERY / of / "local.plan.json").read_text(encoding="utf-8"))
    plan.update(run_id=run, host=host)
    plan["plan_hash"] = plan_hash(plan)
    first, *rest = (GALLERY / of / "local.journal.jsonl").read_text(encoding="utf-8").splitlines()
    header = {**json.loads(first), "run_id": run, "plan_hash": plan["plan_hash"]}
    (reports / run).mkdir(parents=True, exist_ok=True)
    (reports / run / f"{host}.plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (reports / run / f"{host}.journal.jsonl").write_text("\n".join([json.dumps(header), *rest, ""]), encoding="utf-8")


def playbook(reports: Path, name: str, *arguments: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_NOCOLOR="1", PATH=f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}")
    inventory = reports / "hosts.yml"
    inventory.write_text("all: {hosts: {one: {ansible_connection: local}, two: {ansible_connection: local}}}\n", encoding="utf-8")
    command = ["ansible-playbook", f"playbooks/{name}.yml", "-i", str(inventory), "-e", f"kjoule_reports_dir={reports}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two hosts measured the same run, and one of them a second time; a third run is of another kind."""
    reports = tmp_path_factory.mktemp("reports")
    for run, host, of in (("first", "one", AB), ("first", "two", AB), ("second", "one", AB), ("other", "one", AA)):
        copy(reports, run, host, of)
    said = ""
    for run, hosts in (("first", "all"), ("second", "one"), ("other", "one")):
        code, text = playbook(reports, "report", "-e", f"kjoule_run_id={run}", "--limit", hosts)
        assert code == 0, text
        said += text if run == "first" else ""
    return reports, said


def test_the_hosts_of_a_run_are_put_on_one_page_and_the_terminal_says_what_it_says(runs):
    reports, said = runs
    fleet = json.loads((reports / "first" / "fleet.json").read_text(encoding="utf-8"))
    assert (fleet["hosts"], fleet["missing"]) == (2, [])
    assert b"</html>" in (reports / "first" / "fleet.html").read_bytes()
    last = said[said.rindex("Fleet of 2 hosts") :]
    assert "Over 2 hosts flux uses more CPU than snowflake at rest" in last
    assert "fleet.html, .md and .json" in last
    assert not (reports / "second" / "fleet.json").exists()


def test_two_runs_of_a_host_are_compared(runs):
    code, said = playbook(runs[0], "compare", "-e", "kjoule_compare_runs='first second'", "--limit", "one")
    assert code == 0, said
    assert "effect of flux minus snowflake in run second, less that in run first" in said
    assert "rest: 0 mCPU" in said or "rest: +0 mCPU" in said


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("first other", "the plans differ in arms"),
        ("first third", "run third has no report of one"),
        ("first", "the names of two"),
        ("", "the names of two"),
        ("first ../second", "run_id"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_with_the_reason(runs, names, words):
    code, said = playbook(runs[0], "compare", "-e", f"kjoule_compare_runs='{names}'", "--limit", "one")
    assert code != 0
    assert words in " ".join(said.split())
    assert "Traceback" not in said
