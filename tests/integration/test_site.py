# SPDX-License-Identifier: GPL-3.0-or-later
"""The project as a person uses it: from a clone, and as an installed collection.

Everything but the two tests that say so works without binaries. None starts a lab.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
STAGES = ["prepare", "lab", "stack", "measure", "report"]


def run(*command: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's commands; colours and the caller's own Ansible settings are kept out."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    kept["PATH"] = f"{BIN}{os.pathsep}{kept['PATH']}"
    kept.update(ANSIBLE_NOCOLOR="1", **environment)
    return subprocess.run([str(part) for part in command], cwd=cwd, env=kept, capture_output=True, text=True, check=False)


def site(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run("ansible-playbook", "site.yml", "-i", "inventories/local", *arguments)


def recap(output: str) -> dict[str, int]:
    """The numbers of the last line of the recap."""
    line = [line for line in output.splitlines() if re.match(r"local\s+: ok=", line)][-1]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


# The second run


def test_a_second_run_changes_nothing():
    """Needs the binaries."""
    first = site("--tags", "prepare,lab,stack")
    assert first.returncode == 0, first.stdout + first.stderr
    second = site("--tags", "prepare,lab,stack")
    assert second.returncode == 0, second.stdout + second.stderr
    assert recap(second.stdout)["changed"] == 0


def test_checking_changes_nothing_either():
    """Needs the binaries."""
    checked = site("--tags", "prepare,lab,stack", "--check", "--diff")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert recap(checked.stdout)["changed"] == 0


# Tags


@pytest.mark.parametrize("stage", STAGES)
def test_a_tag_selects_its_stage_and_no_other(stage):
    listed = site("--list-tasks", "--tags", stage)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    tasks = [line for line in listed.stdout.splitlines() if line.startswith("      ") and "TAGS: [" in line]
    # The check of a role's arguments is tagged `always` by Ansible and comes with every stage; it only looks.
    own = [line for line in tasks if "TAGS: [always" not in line]
    assert own
    assert [line for line in own if f"TAGS: [{stage}]" not in line] == []


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kjoule_arms=snowflake,fluxx"], "expected one of snowflake, flux, saw 'fluxx'"),
        (["kjoule_blocks=3"], "3 blocks cannot give p < 0.05"),
        (["kjoule_scenario=nonsense"], "nonsense"),
        (["kjoule_apps=many"], "saw 'many'"),
    ],
)
def test_bad_input_ends_the_run_with_the_reason_and_leaves_nothing(tmp_path, arguments, message):
    reports, state, cache = tmp_path / "reports", tmp_path / "state", tmp_path / "cache"
    places = [f"kjoule_reports_dir={reports}", f"kjoule_state_dir={state}", f"kjoule_cache_dir={cache}"]
    ended = site(*[part for setting in [*places, *arguments] for part in ("-e", setting)])
    assert ended.returncode != 0
    assert message in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_few_blocks_are_fine_without_inference(tmp_path):
    started = site(
        "--tags", "prepare", "-e", "kjoule_blocks=3", "-e", "kjoule_inference=false", "-e", f"kjoule_reports_dir={tmp_path / 'r'}"
    )
    assert started.returncode == 0, started.stdout + started.stderr
    assert not (tmp_path / "r").exists()


# The installed collection


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder elsewhere, with the collection as built from this tree below ``collections``."""
    folder = tmp_path_factory.mktemp("elsewhere")
    built = run("ansible-galaxy", "collection", "build", "--output-path", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = folder.glob("kjoule-bench-*.tar.gz")
    # --offline: the collections this one depends on come with the package `ansible` and count as installed.
    put = run("ansible-galaxy", "collection", "install", "--offline", archive, "-p", folder / "collections", cwd=folder)
    assert put.returncode == 0, put.stdout + put.stderr
    (folder / "hosts.yml").write_text((ROOT / "inventories/local/hosts.yml").read_text())
    return folder


def use(installed: Path, *command: object) -> subprocess.CompletedProcess[str]:
    return run(*command, cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed / "collections"))


def test_the_archive_holds_what_a_user_needs_and_nothing_else(installed):
    top = installed / "collections/ansible_collections/kjoule/bench"
    found = {path.name for path in top.iterdir()}
    assert {"plugins", "roles", "playbooks", "meta", "docs", "tools", "README.md", "LICENSE", "requirements.txt"} <= found
    assert found & {"tests", "collections", "inventories", "ansible.cfg", "reports", ".venv", ".git", "molecule", "Makefile"} == set()
    assert list(top.rglob("*.pyc")) == []
    assert [path for path in top.rglob("*") if path.is_symlink()] == []


def test_the_site_runs_by_its_full_name(installed):
    checked = use(installed, "ansible-playbook", "-i", "hosts.yml", "kjoule.bench.site", "--syntax-check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = use(installed, "ansible-playbook", "-i", "hosts.yml", "kjoule.bench.site", "--list-tasks")
    for stage in STAGES:
        assert f"TAGS: [{stage}]" in listed.stdout


def test_the_installed_collection_checks_settings_with_its_own_version(installed):
    ended = use(installed, "ansible-playbook", "-i", "hosts.yml", "kjoule.bench.site", "-e", "kjoule_blocks=3")
    assert ended.returncode != 0
    assert "3 blocks cannot give" in ended.stdout + ended.stderr
    assert not (installed / "reports").exists()


@pytest.mark.parametrize("kind", ["module", "role", "callback"])
def test_the_documentation_of_the_installed_collection_can_be_read(installed, kind):
    listed = use(installed, "ansible-doc", "-t", kind, "--list", "kjoule.bench")
    names = sorted(set(re.findall(r"kjoule\.bench\.\w+", listed.stdout)))
    assert names, listed.stderr
    shown = use(installed, "ansible-doc", "-t", kind, *names)
    assert shown.returncode == 0, shown.stderr
    assert "ERROR" not in shown.stderr
