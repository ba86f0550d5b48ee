# SPDX-License-Identifier: GPL-3.0-or-later
"""The role kernel as a MachineConfig of OpenShift, rendered by Ansible's own templating."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_what_the_role_would_do(tmp_path: Path) -> None:
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [{"ansible.builtin.include_role": {"name": "kjoule.bench.kernel", "tasks_from": "machine_config"}}],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    settings = {
        "kernel_machine_config_dest": str(tmp_path / "out.yml"),
        "kernel_modules": ["intel_rapl_msr"],
        "kernel_arguments": ["psi=1"],
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", tmp_path / "play.yml", "-e", json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((tmp_path / "out.yml").read_text())
    assert (config["apiVersion"], config["kind"]) == ("machineconfiguration.openshift.io/v1", "MachineConfig")
    assert config["metadata"]["labels"] == {"machineconfiguration.openshift.io/role": "worker"}
    assert config["spec"]["kernelArguments"] == ["psi=1"]
    assert config["spec"]["extensions"] == ["kernel-devel"]
    (file,) = config["spec"]["config"]["storage"]["files"]
    assert (file["path"], file["mode"]) == ("/etc/modules-load.d/kjoule.conf", 0o644)
    assert base64.b64decode(file["contents"]["source"].split("base64,")[1]) == b"intel_rapl_msr\n"
