# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import sysfs
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Vanished
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

REFUSAL = ("root only", "THE RULE")


def fails_with(monkeypatch, number):
    def fail(path, *args, **kwargs):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(sysfs, "open", fail, raising=False)  # modes bind nobody when the tests run as root


def test_a_figure_is_read(tmp_path):
    (tmp_path / "f").write_text("42\n")
    assert sysfs.read_number(str(tmp_path / "f"), "thing", "microjoules", REFUSAL) == 42


def test_who_may_not_read_learns_who_may_and_each_way_of_being_one(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("1")
    for mode, group_helps in ((0o400, False), (0o440, True)):
        path.chmod(mode)
        with monkeypatch.context() as patch:
            fails_with(patch, errno.EACCES)
            with pytest.raises(KjouleError) as caught:
                sysfs.read_number(str(path), "thing", "microjoules", REFUSAL)
        assert f"mode {mode:04o} (root only)" in str(caught.value)
        steps = caught.value.next_step.split("; or ")
        assert steps[0] == "become: true"
        assert any("into the group" in step for step in steps) == group_helps
        assert any("THE RULE" in step for step in steps)
        assert any("CAP_DAC_READ_SEARCH" in step for step in steps)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOENT, Vanished), (errno.ENODEV, Vanished), (errno.EIO, KjouleError)])
def test_a_file_that_is_gone_is_told_from_one_that_fails(tmp_path, monkeypatch, number, kind):
    fails_with(monkeypatch, number)
    with pytest.raises(KjouleError) as caught:
        sysfs.read_number(str(tmp_path / "f"), "thing", "microjoules", REFUSAL)
    assert type(caught.value) is kind


def test_what_describes_may_be_missing_or_odd(tmp_path):
    (tmp_path / "f").write_text("-1\n")
    assert sysfs.number_of(str(tmp_path / "f")) is None
    assert sysfs.number_of(str(tmp_path / "g")) is None
    assert sysfs.text_of(str(tmp_path / "f")) == "-1"
