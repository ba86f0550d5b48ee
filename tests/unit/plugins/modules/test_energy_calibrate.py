# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module does with its options; measuring is in module_utils/energy/test_calibrate.py."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.modules import energy_calibrate as module


@pytest.fixture
def call(tmp_path, monkeypatch):
    """The module's main in this process: ``(answer, calls of calibrate)``; ``points`` is what the host holds already."""

    def run_main(points=None, check_mode=False, fails=False, **arguments):
        class Done(BaseException):
            pass

        calls = []

        class Module:
            def __init__(self, argument_spec, supports_check_mode):
                assert supports_check_mode
                self.check_mode = check_mode
                defaults = {name: about.get("default") for name, about in argument_spec.items()}
                self.params = {**defaults, "state_dir": str(tmp_path), **arguments}

            def exit_json(self, **result):
                raise Done(result)

            def fail_json(self, **result):
                raise Done({"failed": True, **result})

        def calibrate(*given):
            calls.append(given)
            if fails:
                raise KjouleError("there is nothing to calibrate with")
            return {"new": True}

        monkeypatch.setattr(module, "AnsibleModule", Module)
        monkeypatch.setattr(module, "calibrate", calibrate)
        monkeypatch.setattr(module, "read_points", lambda _directory: (points, None if points else "this host was not calibrated"))
        with pytest.raises(Done) as done:
            module.main()
        return done.value.args[0], calls

    return run_main


def test_what_is_there_and_holds_is_not_measured_again(call):
    old = {"old": True}
    assert call(points=old) == ({"changed": False, "points": old, "why_not": None}, [])
    answer, calls = call(points=old, state="measured", step_seconds=1.0, repeats=1, seed=7)
    assert (answer["changed"], answer["points"]) == (True, {"new": True})
    assert (calls[0][2].step, calls[0][2].repeats, calls[0][3]) == (1.0, 1, 7)
    assert call()[0]["points"] == {"new": True}


def test_reading_and_check_mode_measure_nothing(call):
    assert call(state="read") == ({"changed": False, "points": None, "why_not": "this host was not calibrated"}, [])
    assert call(check_mode=True) == ({"changed": True}, [])
    assert call(points={"old": True}, check_mode=True)[0]["changed"] is False


def test_what_is_wrong_is_told_in_words(call):
    assert call(fails=True)[0] == {"failed": True, "msg": "there is nothing to calibrate with"}
