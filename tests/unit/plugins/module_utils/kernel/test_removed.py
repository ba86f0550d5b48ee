# SPDX-License-Identifier: GPL-3.0-or-later
"""What was taken out is remembered for one boot. What follows from it: test_arguments.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import trees
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.removed import REMOVED, recall, remember


def boot(root: Path, boot_id: str) -> str:
    trees.put(root, "/proc/sys/kernel/random/boot_id", boot_id + "\n")
    return str(root)


def test_it_is_remembered_in_this_boot_and_in_no_other(tmp_path: Path) -> None:
    root = boot(tmp_path, "one")
    assert recall(root) == ("auto", [])
    remember(root, "grub", ["psi=1", 'dyndbg="file a +p"'])
    assert recall(root) == ("grub", ["psi=1", 'dyndbg="file a +p"'])
    boot(tmp_path, "two")
    assert recall(root) == ("auto", [])


def test_without_any_nothing_is_left_of_it(tmp_path: Path) -> None:
    root = boot(tmp_path, "one")
    remember(root, "grub", [])
    assert not (tmp_path / "run").exists()
    remember(root, "grub", ["psi=1"])
    remember(root, "grub", [])
    assert not (tmp_path / "run/kjoule").exists()


def test_what_others_keep_beside_it_stays(tmp_path: Path) -> None:
    root = boot(tmp_path, "one")
    other = trees.put(tmp_path, "/run/kjoule/other", "mine")
    remember(root, "grub", ["psi=1"])
    remember(root, "grub", [])
    assert other.read_text() == "mine"


def test_a_system_that_does_not_run_has_nothing_to_remember(tmp_path: Path) -> None:
    remember(str(tmp_path), "grub", ["psi=1"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "kjoule.removed/9"}', '{"schema": "kjoule.removed/1", "boot_id": "one"}'])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    root = boot(tmp_path, "one")
    trees.put(tmp_path, REMOVED, text)
    with pytest.raises(KjouleError, match=f"{REMOVED} is damaged: expected .*kjoule.removed/1, saw .*Next: reboot this host"):
        recall(root)
