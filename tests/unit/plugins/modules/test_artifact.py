# SPDX-License-Identifier: GPL-3.0-or-later
"""The module hands its options on and turns one kind of error into a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kjoule.bench.plugins.modules import artifact


@pytest.fixture
def run(capsys, tmp_path):
    """Runs the module in a cache of its own; returns what it printed."""

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"cache_dir": str(tmp_path / "cache"), "_ansible_check_mode": check, "_ansible_diff": True, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            artifact.main()
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\necho tool v1.2.3\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def table(tmp_path, tool):
    import hashlib

    return {
        "tool": {
            "version": "v1.2.3",
            "artifacts": {
                "tool": {
                    "url": tool.as_uri(),
                    "sha256": {arch: hashlib.sha256(tool.read_bytes()).hexdigest() for arch in ("amd64", "arm64")},
                    "version_args": ["--version"],
                    "version_text": "{version}",
                }
            },
        }
    }


def test_what_is_got_is_told_and_the_second_run_changes_nothing(run, table, tmp_path):
    first = run(names=["tool"], table=table)
    assert first["changed"]
    assert first["missing"] == ["tool"]
    assert set(first["artifacts"]["tool"]) == {"path", "version", "sha256", "origin", "source"}
    assert first["artifacts"]["tool"]["path"] in first["diff"]["after"]
    assert first["cache_dir"] == str(tmp_path / "cache")
    second = run(names=["tool"], table=table)
    assert not second["changed"]
    assert second["missing"] == []
    assert second["artifacts"] == first["artifacts"]


def test_check_mode_says_what_would_be_got_and_where_from(run, table, tmp_path):
    answer = run(check=True, names=["tool"], table=table)
    assert answer["changed"]
    assert answer["artifacts"]["tool"]["origin"] == "download"
    assert answer["artifacts"]["tool"]["sha256"] is None
    assert not (tmp_path / "cache").exists()


def test_an_unknown_name_fails_with_the_known_ones(run, table):
    answer = run(names=["tol"], table=table)
    assert answer["failed"]
    assert answer["msg"].startswith("artifact 'tol' is not in the table: expected one of tool")


def test_an_unknown_origin_fails(run, table):
    answer = run(names=["tool"], table=table, origin="torrent")
    assert answer["failed"]
    assert "auto, path, download, mirror, build" in answer["msg"]


def test_a_file_of_ones_own_changes_nothing(run, table, tool):
    answer = run(names=["tool"], table=table, origin="path", paths={"tool": str(tool)})
    assert not answer["changed"]
    assert answer["artifacts"]["tool"]["path"] == str(tool)


def test_a_host_without_a_command_fails(run):
    assert "no nosuchcommand" in run(commands=["nosuchcommand"])["msg"]


def test_the_tool_chain_is_looked_for_when_asked(run, tmp_path):
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.30.1\n")
    go.chmod(0o755)
    answer = run(toolchain=True, go=str(go))
    assert answer["go"] == {"command": str(go), "version": "1.30.1", "origin": "host"}
    assert not answer["changed"]
    assert run(toolchain=True, go=str(go), go_minimum="1.31.0", check=True)["changed"]
    assert "needs Go 1.31.0 or newer" in run(toolchain=True, go=str(go), go_minimum="1.31.0")["msg"]


def test_no_result_has_a_name_that_ansible_reads_as_its_own(run, table):
    """A module that returns ``unreachable`` takes its host out of the play."""
    answer = run(names=["tool"], table=table)
    assert not {"unreachable", "failed", "skipped"} & set(answer)


def test_the_role_offers_the_modules_origins(root):
    specs = yaml.safe_load((root / "roles/artifacts/meta/argument_specs.yml").read_text())["argument_specs"]
    for spec in specs.values():
        assert spec["options"]["artifacts_origin"]["choices"] == artifact.ARGUMENT_SPEC["origin"]["choices"]
