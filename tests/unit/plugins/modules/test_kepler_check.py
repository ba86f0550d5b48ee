# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module answers; the checks themselves are tested in module_utils/monitoring."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kjoule.bench.plugins.modules import kepler_check


@pytest.fixture
def run(capsys):
    def go(**arguments):
        with patch_module_args(arguments), pytest.raises(SystemExit):
            kepler_check.main()
        return json.loads(capsys.readouterr().out)

    return go


def test_a_host_without_counters_is_an_answer_and_no_failure(run, tmp_path):
    answer = run(check="preflight", sysfs=str(tmp_path))
    assert (answer["usable"], answer["changed"], "failed" in answer) == (False, False, False)
    assert "RAPL cannot be read" in answer["reason"]


def test_a_setting_that_would_be_ignored_fails(run):
    answer = run(check="config", version="v0.11.4", config={"rapl": {"zone": ["package"]}})
    assert answer["failed"]
    assert "rapl.zone" in answer["msg"]
    assert run(check="config", version="v0.11.4", config={"rapl": {"zones": ["package"]}})["changed"] is False


def test_settings_need_a_version(run):
    assert "version" in run(check="config")["msg"]


def test_a_kepler_that_is_not_there_fails(run):
    answer = run(check="health", url="http://127.0.0.1:1", timeout=0.0)
    assert answer["failed"]
    assert "127.0.0.1:1" in answer["msg"]
