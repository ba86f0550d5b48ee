# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, on a directory that holds a system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CODE = (
    "import sys; from ansible.module_utils import basic; basic._ANSIBLE_ARGS = sys.argv[1].encode(); basic._ANSIBLE_PROFILE = 'legacy'; "
    "from ansible_collections.kjoule.bench.plugins.modules.kernel_arguments import main; main()"
)


def run(check: bool = False, **arguments: Any) -> dict[str, Any]:
    given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp"}}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(given)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_arguments_are_predicted_added_and_taken_out(tmp_path: Path) -> None:
    entry = tmp_path / "efi/loader/entries/a.conf"
    entry.parent.mkdir(parents=True)
    entry.write_text("linux /vmlinuz\noptions root=/dev/sda1 ro\n")
    predicted = run(check=True, root=str(tmp_path), arguments=["psi=1"])
    assert (predicted["changed"], predicted["bootloader"]) == (True, "systemd-boot")
    assert predicted["diff"][0]["after"] == "linux /vmlinuz\noptions root=/dev/sda1 ro psi=1\n"
    assert entry.read_text() == predicted["diff"][0]["before"]
    assert run(root=str(tmp_path), arguments=["psi=1"])["reboot_required"] is True
    assert entry.read_text() == predicted["diff"][0]["after"]
    assert run(root=str(tmp_path), arguments=["psi=1"])["changed"] is False
    assert run(root=str(tmp_path), state="absent")["files"] == ["/efi/loader/entries/a.conf"]
    assert entry.read_text() == predicted["diff"][0]["before"]


def test_what_stays_is_told(tmp_path: Path) -> None:
    """On a host whose GRUB reads no drop-ins. Only predicted: update-grub would be that of this machine."""
    settings, menu, update = (tmp_path / path for path in ("etc/default/grub", "boot/grub/grub.cfg", "usr/sbin/update-grub"))
    for path, text in ((settings, 'GRUB_CMDLINE_LINUX=""\n'), (menu, "linux /vmlinuz ro psi=1\n"), (update, "#!/bin/sh\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    update.chmod(0o755)
    assert run(check=True, root=str(tmp_path), arguments=["psi=1"])["kept"] == []
    record = tmp_path / "var/lib/kjoule/kernel_arguments/record.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"schema": "kjoule.boot/1", "loader": "grub", "arguments": ["psi=1"], "files": {}}))
    settings.write_text('GRUB_CMDLINE_LINUX="psi=1"\nGRUB_CMDLINE_LINUX_DEFAULT="psi=1"\n')
    gone = run(check=True, root=str(tmp_path), state="absent")
    assert gone["kept"] == [{"path": "/etc/default/grub", "arguments": ["psi=1"]}]
    assert gone["diff"][0]["after"] == 'GRUB_CMDLINE_LINUX=""\nGRUB_CMDLINE_LINUX_DEFAULT="psi=1"\n'


def test_what_cannot_be_done_is_told_in_words(tmp_path: Path) -> None:
    failed = run(root=str(tmp_path), arguments=["psi=1"])
    assert failed["failed"]
    assert failed["msg"].startswith("no boot loader was found that takes kernel arguments")
    assert run(root=str(tmp_path), state="absent")["changed"] is False
