# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh is really told by the inventories that come with kjoule. A double of ssh notes it; nothing is connected to."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SSH = """#!/bin/sh
[ -e "{calls}" ] || printf '%s\\n' "$@" > "{calls}"
exit 255
"""


def in_effect(words: list[str]) -> dict[str, str]:
    """Of an option that is given twice the first one counts (ssh_config(5))."""
    options: dict[str, str] = {}
    for before, word in zip(words, words[1:]):
        if before == "-o":
            options.setdefault(word.split("=", 1)[0], shlex.split(word.split("=", 1)[1])[0])
    return options


@pytest.mark.parametrize("name", ["baremetal", "hetzner"])
def test_a_connection_is_kept_and_a_dead_one_noticed(name: str, root: Path, tmp_path: Path) -> None:
    calls, ssh = tmp_path / "calls", tmp_path / "ssh"
    ssh.write_text(SSH.format(calls=calls))
    ssh.chmod(0o755)
    (tmp_path / "hosts.ini").write_text("[baremetal]\nnode1 ansible_host=192.0.2.11\n")
    (tmp_path / "group_vars").mkdir()
    shutil.copy(root / f"inventories/{name}/group_vars/baremetal.yml", tmp_path / "group_vars")
    ansible = str(Path(sys.executable).with_name("ansible"))
    done = subprocess.run(
        [ansible, "-i", str(tmp_path / "hosts.ini"), "all", "-m", "ansible.builtin.raw", "-a", "true"],
        cwd=root,
        env={**os.environ, "ANSIBLE_SSH_EXECUTABLE": str(ssh)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert calls.exists(), done.stdout + done.stderr
    words = calls.read_text().splitlines()
    options = in_effect(words)
    wanted = {"ControlMaster": "auto", "ControlPersist": "600", "ServerAliveInterval": "15", "ServerAliveCountMax": "4"}
    assert {option: options.get(option) for option in wanted} == wanted
    assert "ControlPath" in options
    assert "-C" in words
