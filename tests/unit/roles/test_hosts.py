# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles of a host decide by its facts and settings, decided by Ansible's own templating. No host is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
X86 = "6.8.0-45-generic"
RASPBERRY = "6.8.0-1013-raspi"


def play(folder: Path, tasks: list[dict[str, Any]], files: list[str], *words: str) -> str:
    """Run the tasks on this machine with a role's variables, and give back what Ansible printed."""
    content = [{"hosts": "localhost", "gather_facts": False, "vars_files": [str(ROOT / name) for name in files], "tasks": tasks}]
    (folder / "play.yml").write_text(yaml.safe_dump(content))
    python = ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local", *python, folder / "play.yml", *words],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def values(folder: Path, expressions: list[tuple[str, dict[str, Any]]], files: list[str], *words: str) -> list[Any]:
    """What each expression is with its variables."""
    tasks = [
        {"ansible.builtin.copy": {"content": "{{ (" + text + ") | to_json }}", "dest": str(folder / f"{index}.json")}, "vars": given}
        for index, (text, given) in enumerate(expressions)
    ]
    play(folder, tasks, files, *words)
    return [json.loads((folder / f"{index}.json").read_text()) for index in range(len(expressions))]


def host(like: list[str], release: str, architecture: str, state: str = "missing") -> dict[str, Any]:
    kernel = {"release": release, "architecture": architecture, "headers": False, "modules": {"intel_rapl_msr": state}}
    return {"kernel_headers": True, "__kernel_host": {"distribution": {"like": like}, "kernel": kernel}}


def test_the_kernels_packages_are_those_that_exist_for_the_host(tmp_path: Path) -> None:
    """A module that is built in is no reason for a package, and no processor but x86 has RAPL."""
    ubuntu = ["ubuntu", "debian"]
    hosts = [
        host(ubuntu, X86, "x86_64"),
        host(ubuntu, X86, "x86_64", "builtin"),
        host(ubuntu, RASPBERRY, "aarch64"),
        host(["rocky", "rhel", "centos"], "5.14.0-503.el9.x86_64", "x86_64"),
    ]
    assert values(tmp_path, [("__kernel_packages", given) for given in hosts], ["roles/kernel/vars/main.yml"]) == [
        [f"linux-headers-{X86}", f"linux-modules-extra-{X86}"],
        [f"linux-headers-{X86}"],
        [f"linux-headers-{RASPBERRY}"],
        ["kernel-devel-5.14.0-503.el9.x86_64"],
    ]


def test_a_processor_gets_the_machine_and_the_firmware_of_its_kind(tmp_path: Path) -> None:
    (task,) = [task for task in yaml.safe_load((ROOT / "roles/kvm/tasks/main.yml").read_text()) if "include_role" in str(task)]
    text = task["vars"]["packages_names"].strip("{} ")
    given = [
        {"__kvm_host": {"distribution": {"like": like}, "virtualization": {"arm": arm}}}
        for like in (["debian"], ["rhel"])
        for arm in (False, True)
    ]
    sets = values(tmp_path, [(text, variables) for variables in given], ["roles/kvm/vars/main.yml"])
    machine = {"qemu-system-x86", "qemu-system-arm", "ovmf", "qemu-efi-aarch64", "edk2-ovmf", "edk2-aarch64"}
    assert [set(names) & machine for names in sets] == [
        {"qemu-system-x86", "ovmf"},
        {"qemu-system-arm", "qemu-efi-aarch64"},
        {"edk2-ovmf"},
        {"edk2-aarch64"},
    ]


@pytest.mark.parametrize("word", ["true", "false"])
def test_what_to_prepare_may_be_said_on_the_command_line(tmp_path: Path, word: str) -> None:
    """``-e name=false`` gives a string, which is neither a truth value for ``when`` nor to be taken for true."""
    files = ["playbooks/prepare.yml", "playbooks/teardown.yml", "playbooks/tasks/prepare_host.yml"]
    found = [task for name in files for task in yaml.safe_load((ROOT / name).read_text())]
    tasks = [task for item in found for task in item.get("tasks", [item]) if "kjoule_prepare_" in str(task.get("when"))]
    assert len(tasks) == 6
    unrecorded = {"__teardown_records": {"results": [{"stat": {"exists": False}}]}}
    names = [f"kjoule_prepare_{name}" for name in ("kernel", "kvm", "rapl")]
    words = [part for name in names for part in ("-e", f"{name}={word}")]
    play(
        tmp_path,
        [
            {"ansible.builtin.copy": {"content": "x", "dest": str(tmp_path / f"{index}.done")}, "when": task["when"], "vars": unrecorded}
            for index, task in enumerate(tasks)
        ],
        [],
        *words,
    )
    assert len(list(tmp_path.glob("*.done"))) == (6 if word == "true" else 0)


def test_a_host_that_may_not_be_rebooted_is_not_when_the_command_line_says_so(tmp_path: Path) -> None:
    tasks = [
        {
            "ansible.builtin.include_role": {"name": "kjoule.bench.kernel", "tasks_from": "reboot"},
            "vars": {"kernel_reboot_required": True},
        }
    ]
    # In check mode, so that nothing is rebooted where this fails.
    printed = play(tmp_path, tasks, [], "--check", "-e", "kjoule_reboot_ok=false")
    assert "needs a reboot before its kernel has what was set" in printed
    # The module that reboots says "changed" in check mode, where it would.
    assert "changed=0" in printed
