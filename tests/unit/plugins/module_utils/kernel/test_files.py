# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is written whole or not at all, and what it was is kept under a name of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.kernel import files


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KjouleError, match=r"/f cannot be written: saw No space left on device. Next: free some space"):
        files.write(str(tmp_path), "/f", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("f", "old")]


def test_paths_with_signs_in_them_get_different_names() -> None:
    record = files.Record("/nonexistent")
    assert record.original_path("/a/b") != record.original_path("/a%2Fb")


def test_only_the_first_original_is_kept(tmp_path: Path) -> None:
    record = files.Record(str(tmp_path))
    record.keep("grub", ["a=1"], [files.Change("/f", b"first", b"second"), files.Change("/g", None, b"x")])
    record.keep("grub", ["b=1"], [files.Change("/f", b"second", b"third")])
    again = files.Record(str(tmp_path))
    assert (again.arguments, again.original("/f"), again.original("/g")) == (["a=1", "b=1"], b"first", None)


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    files.write(str(tmp_path), f"{files.RECORD_DIRECTORY}/record.json", b'{"schema": "kjoule.boot/9"}')
    with pytest.raises(KjouleError, match=r"expected schema kjoule.boot/1, saw 'kjoule.boot/9'"):
        files.Record(str(tmp_path))


def test_nothing_else_that_lies_beside_the_record_is_removed(tmp_path: Path) -> None:
    record = files.Record(str(tmp_path))
    record.keep("grub", [], [])
    other = tmp_path / "var/lib/kjoule/other"
    other.write_text("mine")
    record.remove()
    assert other.exists()
    assert not (tmp_path / files.RECORD_DIRECTORY.lstrip("/")).exists()


def test_a_record_is_put_back_as_it_was(tmp_path: Path) -> None:
    record = files.Record(str(tmp_path))
    none = record.copy()
    record.keep("grub", ["a=1"], [files.Change("/f", b"first", b"second")])
    one = record.copy()
    record.keep("grub", ["b=1"], [files.Change("/g", b"x", None)])
    assert files.Record(str(tmp_path)).arguments == ["a=1", "b=1"]
    one.put_back()
    assert files.Record(str(tmp_path)).arguments == ["a=1"]
    none.put_back()
    assert files.Record(str(tmp_path)).data is None
