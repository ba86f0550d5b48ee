# SPDX-License-Identifier: GPL-3.0-or-later
"""Python does not check a Protocol at run time, so it is checked here."""

from __future__ import annotations

import inspect

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm.base import Arm, Surroundings
from ansible_collections.kjoule.bench.plugins.module_utils.arm.flux_cluster import FluxClusterArm
from ansible_collections.kjoule.bench.plugins.module_utils.arm.registry import ARMS

CLASSES = [*ARMS.items(), ("flux", FluxClusterArm)]
CONTRACT = [name for name, value in vars(Arm).items() if inspect.isfunction(value) and not name.startswith("_")]


def test_the_contract_is_what_a_period_calls():
    assert CONTRACT == ["install", "clocks", "deliver", "wait_converged", "counters", "uninstall"]


@pytest.mark.parametrize(("_name", "arm"), CLASSES)
@pytest.mark.parametrize("method", CONTRACT)
def test_every_arm_has_every_method_with_the_same_arguments(_name, arm, method):
    ours = inspect.signature(getattr(arm, method))
    assert list(ours.parameters) == list(inspect.signature(getattr(Arm, method)).parameters)


@pytest.mark.parametrize(("name", "arm"), CLASSES)
def test_every_arm_knows_its_name(name, arm):
    assert arm.name == name


def test_the_timeout_comes_from_the_settings():
    assert Surroundings(None, None, {}, {"timeout_seconds": 7}, lambda: None).timeout_seconds == 7.0
