# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a host and the assumptions of the report, looked at before anything happens."""

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.kjoule.bench.plugins.action.settings import ActionModule


def act(variables, **args):
    task = SimpleNamespace(args=args, check_mode=False, async_val=0, action="kjoule.bench.settings", diff=False, environment=None)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    return ActionModule(task, connection, SimpleNamespace(), DataLoader(), None, None).run(task_vars=variables)


def test_good_settings_change_nothing():
    assert act({"inventory_hostname": "a", "kjoule_apps": 3}, assumptions={"grid": "FRA", "pue": ""})["changed"] is False


def test_a_misspelt_name_fails():
    with pytest.raises(AnsibleActionFail, match=r"setting kjoule_app: .*Next: write kjoule_apps"):
        act({"kjoule_app": 3})


@pytest.mark.parametrize(
    ("name", "value"), [("grid", "XX"), ("pue", 0.5), ("watts_per_pod", "1,5"), ("lifetime_years", 0), ("embodied_kg", -1)]
)
def test_a_wrong_assumption_fails_now_and_not_in_the_report(name, value):
    with pytest.raises(AnsibleActionFail, match=f"setting {name}: expected "):
        act({}, assumptions={name: value})
