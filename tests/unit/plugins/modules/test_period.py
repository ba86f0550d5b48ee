# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's own work; Ansible's part, the arguments, is in tests/unit/test_project.py and the runs in tests/integration."""

from __future__ import annotations

import json

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.journal import append_record, journal_path
from ansible_collections.kjoule.bench.plugins.modules import period

PLAN = {"run_id": "r", "plan_hash": "h", "host": "web1", "tool_version": "0.1.0", "settings": {}}
HEADER = {"kind": "header", "schema": "kjoule.journal/1", "run_id": "r", "plan_hash": "h"}


@pytest.fixture
def call(tmp_path, monkeypatch):
    """The module's main in this process, with the arguments that Ansible would hand over."""

    def run_main(**arguments):
        class Done(BaseException):
            pass

        class Module:
            def __init__(self, argument_spec, required_if, supports_check_mode):
                assert supports_check_mode
                defaults = {name: about.get("default") for name, about in argument_spec.items()}
                self.check_mode = arguments.pop("check_mode", False)
                self.params = {**defaults, "state_dir": str(tmp_path), "plan": PLAN, **arguments}

            def exit_json(self, **result):
                raise Done(result)

            def fail_json(self, **result):
                raise Done({"failed": True, **result})

        monkeypatch.setattr(period, "AnsibleModule", Module)
        with pytest.raises(Done) as done:
            period.main()
        return done.value.args[0]

    return run_main


def test_the_journal_of_a_run_is_read_check_mode_or_not(call, tmp_path):
    assert call(state="read") == {"changed": False, "journal": ""}
    append_record(journal_path(str(tmp_path), "r"), HEADER)
    for check_mode in (False, True):
        assert json.loads(call(state="read", check_mode=check_mode)["journal"]) == HEADER


def test_check_mode_measures_nothing(call, tmp_path):
    assert call(item={}, check_mode=True) == {"changed": True}
    assert list(tmp_path.iterdir()) == []


def test_a_period_is_measured_on_the_host_of_the_plan(call, monkeypatch, tmp_path):
    seen = []

    def measured(*arguments):
        seen.append(arguments)
        return HEADER, {"period_id": "b01-p1-a1"}

    monkeypatch.setattr(period, "run_period", measured)
    result = call(item={"period_id": "b01-p1-a1"}, binaries={"etcd": {}}, controller={"pid": 1})
    assert result == {"changed": True, "header": HEADER, "record": {"period_id": "b01-p1-a1"}}
    assert seen == [(str(tmp_path), PLAN, {"period_id": "b01-p1-a1"}, {"etcd": {}}, {"pid": 1}, "web1")]


def test_giving_free_what_was_not_taken_changes_nothing(call):
    assert call(state="released") == {"changed": False}


def test_what_is_wrong_is_told_in_words(call, tmp_path, monkeypatch):
    append_record(journal_path(str(tmp_path), "r"), {**HEADER, "plan_hash": "other"})
    result = call(state="read")
    assert result["failed"]
    assert "belongs to another plan" in result["msg"]
    monkeypatch.setattr(period.sys, "platform", "darwin")
    assert "expected Linux" in call(state="read")["msg"]
