# SPDX-License-Identifier: GPL-3.0-or-later
"""Which boot loader a host has, and what of its files is a command line. What is done with them: test_arguments.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import trees
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.loaders import Grub, Grubby, detect


@pytest.mark.parametrize(
    ("make", "name"), [(trees.grub, "grub"), (trees.red_hat, "grubby"), (trees.systemd_boot, "systemd-boot"), (trees.extlinux, "extlinux")]
)
def test_each_is_recognised(make, name: str, tmp_path: Path) -> None:
    assert detect(str(make(tmp_path))).name == name


def test_rescue_recovery_and_memory_tests_are_nobodys_business(tmp_path: Path) -> None:
    assert [line.words for line in Grub(str(trees.grub(tmp_path / "a"))).lines()] == [
        ["root=UUID=abc", "ro", "console=ttyS0", "quiet", "splash"]
    ]
    assert not any("rescue" in line.path for line in Grubby(str(trees.red_hat(tmp_path / "b"))).lines())


def test_a_variable_of_grub_stands_for_its_words(tmp_path: Path) -> None:
    root = trees.red_hat(tmp_path, "$kernelopts $tuned_params audit=0")
    assert Grubby(str(root)).lines()[0].words == ["root=UUID=abc", "ro", "audit=0"]


def test_red_hats_grub_without_grubby_says_what_to_install(tmp_path: Path) -> None:
    (trees.red_hat(tmp_path) / "usr/sbin/grubby").unlink()
    with pytest.raises(KjouleError, match="dnf install grubby"):
        detect(str(tmp_path))


def test_a_grub_whose_menu_cannot_be_made_says_what_to_install(tmp_path: Path) -> None:
    root = trees.grub(tmp_path)
    for name in ("update-grub", "grub-mkconfig"):
        (root / "usr/sbin" / name).unlink()
    with pytest.raises(KjouleError, match="install grub2-common"):
        detect(str(root))


def test_a_grub_that_reads_no_drop_ins_gets_none(tmp_path: Path) -> None:
    root = trees.grub(tmp_path, "GRUB_DEFAULT=0", drop_ins=False)
    (change,) = Grub(str(root)).changes(["psi=1"], [])
    assert (change.path, change.after) == ("/etc/default/grub", b'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="psi=1"\n')


def test_a_setting_that_is_written_in_another_way_stays_in_effect(tmp_path: Path) -> None:
    root = trees.grub(tmp_path, "GRUB_CMDLINE_LINUX=audit=0\n", drop_ins=False)
    (change,) = Grub(str(root)).changes(["audit=0", "psi=1"], [])
    assert change.after == b'GRUB_CMDLINE_LINUX=audit=0\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX psi=1"\n'
    trees.put(root, change.path, change.after.decode())
    assert Grub(str(root)).changes(["audit=0", "psi=1"], []) == []


@pytest.mark.parametrize(
    ("settings", "lacking"),
    [
        ('GRUB_CMDLINE_LINUX="psi=1"\n', []),
        ('GRUB_CMDLINE_LINUX_DEFAULT="psi=1"\n', []),
        ('GRUB_CMDLINE_LINUX="psi=1"\nGRUB_CMDLINE_LINUX=""\n', ["psi=1"]),
        ('GRUB_CMDLINE_LINUX="psi=1"\nGRUB_CMDLINE_LINUX+=" quiet"\n', []),
        ('GRUB_CMDLINE_LINUX="psi=1"\nexport GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX} quiet"\n', []),
        ('GRUB_CMDLINE_LINUX_DEFAULT="psi=1"\nGRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX quiet"\n', ["psi=1"]),
    ],
)
@pytest.mark.parametrize("drop_ins", [True, False])
def test_grub_has_a_word_when_a_setting_in_effect_has_it(tmp_path: Path, settings: str, lacking: list[str], drop_ins: bool) -> None:
    root = trees.grub(tmp_path, settings, drop_ins)
    (root / "boot/grub/grub.cfg").write_text("linux /vmlinuz older than the settings\n")
    assert Grub(str(root)).lacking(["psi=1"]) == lacking


def test_of_two_in_one_setting_the_last_one_goes(tmp_path: Path) -> None:
    root = trees.grub(tmp_path, 'GRUB_CMDLINE_LINUX="psi=1  quiet psi=1"\nGRUB_CMDLINE_LINUX_DEFAULT="psi=1"\n', drop_ins=False)
    (change,) = Grub(str(root)).changes([], ["psi=1"])
    assert change.after == b'GRUB_CMDLINE_LINUX="psi=1 quiet"\nGRUB_CMDLINE_LINUX_DEFAULT="psi=1"\n'
