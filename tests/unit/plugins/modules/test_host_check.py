# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it: facts of a tree, or the first thing that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kjoule.bench.plugins.modules import host_check


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(**arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            host_check.main()
        return json.loads(capsys.readouterr().out)

    return call


def test_it_says_what_the_host_is_and_changes_nothing(run: Any, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian\n")
    result = run(tree=str(tmp_path), distributions=["debian"], modules=["msr"], free_mb={"/": 0.001})
    assert result["changed"] is False
    assert result["distribution"]["id"] == "debian"
    assert result["kernel"]["modules"] == {"msr": "missing"}
    assert result["virtualization"]["role"] == "host"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distributions": ["debian"]}, "this distribution is not supported"),
        ({"free_mb": {"/": 1e12}}, "there is too little space in /"),
        ({"virtualization": True}, "this host cannot run virtual machines"),
    ],
)
def test_what_is_wrong_is_told_in_words(run: Any, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    failed = run(tree=str(tmp_path), **arguments)
    assert failed["failed"]
    assert failed["msg"].startswith(message)
    assert "Next: " in failed["msg"]
