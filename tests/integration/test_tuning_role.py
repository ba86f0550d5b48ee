# SPDX-License-Identifier: GPL-3.0-or-later
"""The role with the real ansible-playbook, on a host made of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

PLAY = """
- name: A run on a quiet host
  hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    tuning_root: "{{ lookup('env', 'HOST') }}"
    tuning_save_dir: "{{ lookup('env', 'SAVE') }}"
    tuning_knobs: [nmi_watchdog]
  tasks:
    - name: All of it
      block:
        - name: Quiet
          ansible.builtin.import_role: {name: kjoule.bench.tuning}
        - name: What it said
          ansible.builtin.copy: {content: "{{ tuning_result | to_json }}", dest: "{{ lookup('env', 'SAVE') }}/said", mode: "0600"}
        - name: A run that fails
          ansible.builtin.fail: {msg: as it happens}
      always:
        - name: Back
          ansible.builtin.import_role: {name: kjoule.bench.tuning, tasks_from: restore}
"""


def test_the_role_puts_the_host_back_when_the_run_fails(tmp_path, root):
    host = tmp_path / "host"
    watchdog = host / "proc/sys/kernel/nmi_watchdog"
    watchdog.parent.mkdir(parents=True)
    watchdog.write_text("1\n")
    (tmp_path / "play.yml").write_text(PLAY)
    save = tmp_path / "saved"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(tmp_path / "play.yml")],
        cwd=root,
        env={**os.environ, "HOST": str(host), "SAVE": str(save), "ANSIBLE_LOCALHOST_WARNING": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "as it happens" in done.stdout, done.stdout + done.stderr
    said = json.loads((save / "said").read_text())
    assert [change["after"] for change in said[0]["changed"]] == ["0"]
    assert watchdog.read_text().strip() == "1"
    assert not (save / "tuning.json").exists()
