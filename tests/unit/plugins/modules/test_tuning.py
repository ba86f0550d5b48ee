# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's own work, on a host made of files. The role is run in tests/integration/test_tuning_role.py."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.tuning.knobs import FileKnob, Refused
from ansible_collections.kjoule.bench.plugins.modules import tuning


@pytest.fixture
def host(tmp_path):
    path = tmp_path / "host/proc/sys/kernel/nmi_watchdog"
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    return tmp_path / "host"


def watchdog(host):
    return (host / "proc/sys/kernel/nmi_watchdog").read_text().strip()


@pytest.fixture
def call(host, tmp_path, monkeypatch):
    def run_main(check_mode=False, **arguments):
        class Done(BaseException):
            pass

        warnings = []

        class Module:
            def __init__(self, argument_spec, supports_check_mode):
                assert supports_check_mode
                defaults = {name: about.get("default") for name, about in argument_spec.items()}
                self.check_mode = check_mode
                self.params = {**defaults, "root": str(host), "save_dir": str(tmp_path / "saved"), **arguments}

            def warn(self, text):
                warnings.append(text)

            def exit_json(self, **result):
                raise Done({**result, "warnings": warnings})

            def fail_json(self, **result):
                raise Done({"failed": True, **result})

        monkeypatch.setattr(tuning, "AnsibleModule", Module)
        with pytest.raises(Done) as done:
            tuning.main()
        return done.value.args[0]

    return run_main


def test_tuned_twice_and_restored_twice(call, host):
    states = [call(state=state) for state in ("tuned", "tuned", "restored", "restored")]
    assert [answer["changed"] for answer in states] == [True, False, True, False]
    assert watchdog(host) == "1"
    path = str(host / "proc/sys/kernel/nmi_watchdog")
    assert states[0]["diff"] == {"before": f"{path}: 1\n", "after": f"{path}: 0\n"}


def test_check_mode_and_showing_change_nothing(call, host):
    assert call(check_mode=True)["changed"]
    shown = call(state="shown")
    assert not shown["changed"]
    assert {row["knob"]: bool(row["found"]) for row in shown["knobs"]} == {
        "governor": False,
        "turbo": False,
        "nmi_watchdog": True,
        "timers": False,
    }
    assert watchdog(host) == "1"


def test_what_is_refused_is_a_warning_and_what_is_wrong_a_failure(call, host, tmp_path, monkeypatch):
    def refuse(_self, _item, _value):
        raise Refused("needs root")

    monkeypatch.setattr(FileKnob, "set", refuse)
    answer = call()
    assert (answer["changed"], answer["warnings"]) == (False, ["nmi_watchdog: needs root"])
    (tmp_path / "saved").mkdir(exist_ok=True)
    (tmp_path / "saved" / "tuning.json").write_text("{")
    assert "by hand" in call(state="restored")["msg"]
