# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side: what the host measured becomes a line; Ansible's part is stubbed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.kjoule.bench.plugins.action.energy_calibrate import ActionModule


def window(busy, level=None):
    row = {
        "seconds": 10.0,
        "joules": 10 * (20 + 4 * busy),
        "busy_seconds": 10 * busy,
        "cpus": 4,
        "valid": True,
        "reasons": [],
        "own_cpu_seconds": 0.0,
        "at_seconds": 3.0 * busy % 7,
        "powers_watts": [20.0, 20.1],
    }
    return row if level is None else {**row, "level": level}


POINTS = {
    "measured_at": "2026-11-25T00:00:00Z",
    "host": {},
    "source": {"name": "rapl", "scope": "rapl:package", "accuracy": None},
    "seed": 1,
    "idle": [window(0.0), window(0.0)],
    "steps": [window(0.4 * step, 0.1 * step) for step in range(1, 11)],
    "cooldown": [],
}


def run(answer, **arguments):
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, diff=False, action="energy_calibrate", environment=None)
    action = ActionModule.__new__(ActionModule)
    action._task = task
    action._execute_module = lambda **_options: dict(answer)
    ActionModule.__mro__[1].run, original = lambda *_a, **_k: {}, ActionModule.__mro__[1].run
    try:
        return action.run(task_vars={})
    finally:
        ActionModule.__mro__[1].run = original


def test_points_become_a_line():
    result = run({"changed": True, "points": POINTS, "why_not": None})
    assert result["calibration"]["joules_per_cpu_second"]["value"] == pytest.approx(4.0)
    assert "4.000 J per CPU-second" in result["msg"]
    assert "points" not in result


def test_without_points_the_reason_is_told():
    result = run({"changed": False, "points": None, "why_not": "this host was not calibrated"}, state="read")
    assert (result["calibration"], result["why_not"]) == (None, "this host was not calibrated")


def test_points_without_a_line_fail_a_calibration_and_not_a_run():
    flat = {**POINTS, "steps": []}
    with pytest.raises(AnsibleActionFail, match="too few valid windows"):
        run({"changed": True, "points": flat, "why_not": None})
    result = run({"changed": False, "points": flat, "why_not": None}, state="read")
    assert result["calibration"] is None
    assert "too few" in result["why_not"]


@pytest.mark.parametrize("answer", [{"failed": True, "msg": "no"}, {"unreachable": True, "msg": "no"}, {"changed": True}])
def test_what_the_host_answers_instead_is_handed_on(answer):
    assert run(answer) == answer
