# SPDX-License-Identifier: GPL-3.0-or-later
"""A command line is words, and only whole words are the same."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.kernel import tokens


def test_words_are_separated_by_spaces_outside_of_quotes() -> None:
    line = '  root=UUID=1-2 ro dyndbg="file drivers/usb/* +p; module x" quiet\t-- single '
    assert tokens.split(line) == ["root=UUID=1-2", "ro", 'dyndbg="file drivers/usb/* +p; module x"', "quiet", "--", "single"]
    assert tokens.split("") == []


def test_a_lone_quote_is_refused() -> None:
    with pytest.raises(KjouleError, match="quotes in pairs"):
        tokens.split('ro dyndbg="file')


def test_a_word_inside_another_is_not_that_word() -> None:
    assert tokens.missing(["xpsi=1", "psi=10", "psi=1x"], ["psi=1"]) == ["psi=1"]
    assert tokens.without(["psi=1", "psi=10"], ["psi=1"]) == ["psi=10"]


@pytest.mark.parametrize("bad", ["", "two words", "=1", "a\nb", "$(reboot)", 'x="', "it's", "a`b`", "a\\b", "#x"])
def test_what_is_not_one_plain_word_is_refused(bad: str) -> None:
    with pytest.raises(KjouleError, match=r"not a kernel argument|quotes in pairs"):
        tokens.check([bad])


def test_one_parameter_has_one_value_except_where_several_are_usual() -> None:
    with pytest.raises(KjouleError, match="psi is asked for twice"):
        tokens.check(["psi=1", "psi=0"])
    assert tokens.check(["console=tty0", "console=ttyS0"]) == ["console=tty0", "console=ttyS0"]


def test_another_value_is_a_contradiction_with_dash_or_underscore() -> None:
    for word in ("cgroup_no_v1=memory", "cgroup-no-v1=memory"):
        with pytest.raises(KjouleError, match=f"{word} contradicts cgroup_no_v1=all.*in /etc/default/grub"):
            tokens.check_conflicts(["quiet", word], ["cgroup_no_v1=all"], "/etc/default/grub")
    tokens.check_conflicts(["console=ttyS1"], ["console=ttyS0"], "x")
    tokens.check_conflicts(["psi=1"], ["psi=1"], "x")


@pytest.mark.parametrize(
    "word", ["systemd.unified_cgroup_hierarchy=0", "systemd.unified_cgroup_hierarchy=no", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
)
def test_cgroup_v1_by_somebody_elses_decision_is_not_overruled(word: str) -> None:
    with pytest.raises(KjouleError, match=r"contradicts|forces cgroup v1"):
        tokens.check_conflicts([word], ["cgroup_no_v1=all", "systemd.unified_cgroup_hierarchy=1"], "x")
    tokens.check_conflicts([word], ["psi=1"], "x")


def test_cgroup_v2_said_in_other_words_forces_nothing() -> None:
    assert not any(
        tokens.forces_cgroup_v1(word) for word in ("systemd.unified_cgroup_hierarchy=1", "systemd.unified_cgroup_hierarchy", "quiet")
    )


def test_of_a_word_that_is_there_twice_the_last_one_is_ours() -> None:
    assert tokens.without_last(["psi=1", "ro", "psi=1", "quiet"], ["psi=1", "audit=0"]) == ["psi=1", "ro", "quiet"]
    assert tokens.without_last(["ro"], []) == ["ro"]
