# SPDX-License-Identifier: GPL-3.0-or-later
"""A setting that nothing reads is an error, and the message names the one that was meant."""

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.settings import check_names, known_settings


def test_every_setting_and_every_variable_of_somebody_else_passes():
    check_names([*known_settings(), "ansible_host", "apps", "report_grid", "_kjoule_app"])


@pytest.mark.parametrize(
    ("written", "meant"), [("kjoule_app", "kjoule_apps"), ("kjoule_grd", "kjoule_grid"), ("kjoule_intervall", "kjoule_interval")]
)
def test_a_slip_of_the_pen_is_named_with_what_was_meant(written, meant):
    with pytest.raises(KjouleError) as error:
        check_names(["kjoule_blocks", written])
    assert written in error.value.what
    assert error.value.next_step == f"write {meant}"


def test_what_resembles_nothing_is_named_too():
    with pytest.raises(KjouleError, match=r"setting kjoule_own_thing, kjoule_zebra: .*Next: take it out"):
        check_names(["kjoule_zebra", "kjoule_own_thing"])
