# SPDX-License-Identifier: GPL-3.0-or-later
"""make compare, playbooks/compare.yml and the page of the fleet, as a user runs them, on journals of real runs."""

from __future__ import annotations

import json
import os
import re
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


def run(reports: Path, *command: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_NOCOLOR="1", PATH=f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def playbook(reports: Path, name: str, *arguments: str) -> tuple[int, str]:
    command = ["ansible-playbook", f"playbooks/{name}.yml", "-i", str(reports / "hosts.yml"), "-e", f"kjoule_reports_dir={reports}"]
    return run(reports, *command, *arguments)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two hosts measured the same run, and one of them a second time; and what was said about the first run."""
    reports = tmp_path_factory.mktemp("reports")
    hosts = {name: {"ansible_connection": "local"} for name in ("one", "two")}
    (reports / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    said = {}
    for name, measured in (("first", ["one", "two"]), ("second", ["one"])):
        for host in measured:
            copy(reports, name, host, AB)
        code, said[name] = playbook(reports, "report", "-e", f"kjoule_run_id={name}", "--limit", ",".join(measured))
        assert code == 0, said[name]
    return reports, said["first"]


def test_the_hosts_of_a_run_are_put_on_one_page_and_the_terminal_says_what_it_says(runs):
    reports, said = runs
    fleet = json.loads((reports / "first" / "fleet.json").read_text(encoding="utf-8"))
    assert (fleet["hosts"], fleet["missing"]) == (2, [])
    assert b"</html>" in (reports / "first" / "fleet.html").read_bytes()
    last = said[said.rindex("Fleet of 2 hosts") :]
    assert "Over 2 hosts flux uses more CPU than snowflake at rest" in last
    assert "fleet.html, .md and .json" in last
    assert not (reports / "second" / "fleet.json").exists()


def test_two_runs_of_a_host_are_compared_by_make(runs):
    """As the README has it; the virtual environment is there, so nothing is installed."""
    reports, _said = runs
    given = f"-e kjoule_reports_dir={reports} --limit one"
    code, said = run(reports, "make", "compare", "RUNS=first second", f"INVENTORY={reports / 'hosts.yml'}", f"ARGS={given}")
    assert code == 0, said
    assert "effect of flux minus snowflake in run second, less that in run first" in said
    assert "rest: 0 mCPU" in said or "rest: +0 mCPU" in said


REFUSALS = {
    "another-kind": ("first other", "the plans differ in arms"),
    "missing": ("first third", "run third has no report of missing"),
    "only-one": ("first", "the names of two"),
    "none": ("", "the names of two"),
    "elsewhere": ("first ../second", "run_id"),
}


def test_runs_that_cannot_be_compared_are_refused_with_the_reason(runs, tmp_path):
    """Every refusal on a host of its own, in one call; the reports of the hosts are those of the gallery, under other names."""
    reports, _said = runs
    hosts = {name: {"ansible_connection": "local", "kjoule_compare_runs": names} for name, (names, _words) in REFUSALS.items()}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    for host in hosts:
        for name, of in (("first", AB), ("other", AA)):
            report = json.loads((GALLERY / of / "local.json").read_text(encoding="utf-8"))
            (reports / name).mkdir(exist_ok=True)
            (reports / name / f"{host}.json").write_text(json.dumps({**report, "run_id": name, "host": host}), encoding="utf-8")
    code, said = playbook(reports, "compare", "-i", str(tmp_path / "hosts.yml"), "--limit", ",".join(hosts))
    assert code != 0
    assert "Traceback" not in said
    answers = {host: " ".join(text.split()) for host, text in re.findall(r"fatal: \[([\w-]+)\]: FAILED! => (.*)", said)}
    assert answers.keys() == hosts.keys(), said
    for host, (_names, words) in REFUSALS.items():
        assert words in answers[host]
