# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm.base import Surroundings
from ansible_collections.kjoule.bench.plugins.module_utils.arm.flux import FluxArm
from ansible_collections.kjoule.bench.plugins.module_utils.arm.registry import ARMS, make_arm
from ansible_collections.kjoule.bench.plugins.module_utils.arm.snowflake import SnowflakeArm
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.options import ARMS as PLANNED


def surroundings(tmp_path):
    settings = {"interval_seconds": 5, "layout": "per-app", "timeout_seconds": 10}
    return Surroundings(SimpleNamespace(directory=str(tmp_path)), SimpleNamespace(environment={}), {}, settings, lambda: None)


def test_an_arm_is_made_by_its_name_and_touches_nothing(tmp_path):
    assert isinstance(make_arm("snowflake", surroundings(tmp_path)), SnowflakeArm)
    assert isinstance(make_arm("flux", surroundings(tmp_path)), FluxArm)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_arm_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(KjouleError, match=r"arm 'argo' is not known: expected snowflake or flux.*kjoule_arms"):
        make_arm("argo", surroundings(tmp_path))


def test_the_plan_knows_the_same_arms():
    assert sorted(PLANNED) == sorted(ARMS)
