# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import directory
from ansible_collections.kjoule.bench.plugins.module_utils.lab.process import sweep


def of(lab_id: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in found if entry["lab_id"] == lab_id]


def test_a_lab_directory_is_private_and_names_its_owner(tmp_path, lab_id):
    path = pathlib.Path(directory.create_lab_directory(str(tmp_path), lab_id))
    assert path == tmp_path / "labs" / lab_id
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "owner.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((path / "owner.json").read_text())["pid"] == os.getpid()
    assert of(lab_id, sweep(str(tmp_path))) == []
    with pytest.raises(KjouleError, match="exists already"):
        directory.create_lab_directory(str(tmp_path), lab_id)
    directory.remove_lab_directory(str(path))
    directory.remove_lab_directory(str(path))
    assert not path.exists()


def test_a_full_disk_is_told_and_keeps_the_old_file(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    target = tmp_path / "lease.json"
    target.write_text("old")
    real_open = os.open

    def full(path, flags, mode=0o777):
        return real_open("/dev/full", os.O_WRONLY) if str(path).endswith(".tmp") else real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(KjouleError, match=r"no space left.*free space"):
        directory.write_private(str(target), "new")
    monkeypatch.undo()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]


def test_the_unpacked_module_of_a_killed_period_goes_with_its_lab(tmp_path, lab_id):
    payload = tmp_path / "ansible_kjoule.bench.period_payload_x7k_9q2a" / "ansible_kjoule.bench.period_payload.zip"
    file = payload / "ansible_collections" / "kjoule" / "bench" / "plugins" / "module_utils" / "lab" / "directory.py"
    root = payload.parent
    root.mkdir()
    assert directory.payload_directory(str(file)) == str(root)
    assert directory.payload_directory("/usr/share/ansible/collections/lab/directory.py") is None
    state = tmp_path / "state"
    lab = pathlib.Path(directory.create_lab_directory(str(state), lab_id))
    owner = json.loads((lab / "owner.json").read_text())
    (lab / "owner.json").write_text(json.dumps({**owner, "start_ticks": owner["start_ticks"] - 1, "payload": str(root)}))
    assert [entry["action"] for entry in of(lab_id, sweep(str(state), check=True))] == ["would remove"]
    assert root.exists()
    assert [entry["action"] for entry in of(lab_id, sweep(str(state)))] == ["removed"]
    assert not root.exists()


def test_what_is_no_unpacked_module_stays(tmp_path):
    kept = [tmp_path / "precious", tmp_path / "target"]
    for path in kept:
        path.mkdir()
    link = tmp_path / "ansible_x_payload_link"
    link.symlink_to(kept[1])
    for path in (str(kept[0]), str(link), str(tmp_path / "ansible_x_payload_gone"), None, 7):
        directory.remove_payload(path)
    assert all(path.is_dir() for path in kept)
    assert link.is_symlink()
