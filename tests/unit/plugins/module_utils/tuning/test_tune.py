# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is tuned and put back, whatever happens in between."""

from __future__ import annotations

import json

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.tuning.knobs import DEFAULT_NAMES, NAMES, Refused, make_knobs
from ansible_collections.kjoule.bench.plugins.module_utils.tuning.tune import FILE, restore, show, tune


@pytest.fixture
def host(tunable, tmp_path):
    tunable.save = str(tmp_path / "saved")
    tunable.file = tmp_path / "saved" / FILE
    tunable.knobs = lambda *names: make_knobs(list(names or DEFAULT_NAMES), **tunable.where)
    return tunable


def changes(rows):
    return {row["knob"]: [(change["before"], change["after"]) for change in row["changed"]] for row in rows if row["changed"]}


def test_a_host_is_tuned_and_put_back_as_it_was(host):
    original = host.state()
    rows = tune(host.knobs(), host.save)
    assert changes(rows) == {
        "governor": [("powersave", "performance"), ("schedutil", "performance")],
        "turbo": [("0", "1")],
        "nmi_watchdog": [("1", "0")],
        "timers": [("active", "inactive"), ("active", "inactive")],
    }
    assert host.governors() == ["performance", "performance"]
    assert host.running_timers() == []
    assert host.read("sys/devices/system/cpu/smt/control") == "on", "only when it is named"
    back = restore(host.save, **host.where)
    assert changes(back)["governor"] == [("performance", "powersave"), ("performance", "schedutil")]
    assert host.state() == original
    assert not host.file.parent.exists(), "nothing is left behind"


def test_a_transient_timer_goes_on_and_it_is_said(host):
    host.timer("run-r0815.timer", "/run/systemd/transient")
    original = host.state()
    for rows in (show(host.knobs("timers")), tune(host.knobs("timers"), host.save, check_mode=True), tune(host.knobs("timers"), host.save)):
        assert "run-r0815.timer" in rows[0]["note"]
        assert rows[0]["found"]["run-r0815.timer"] == "transient"
    assert host.running_timers() == ["run-r0815.timer"]
    restore(host.save, **host.where)
    assert host.state() == original


def test_a_timer_whose_unit_is_gone_is_forgotten(host):
    """Its package was removed meanwhile, or an earlier version had stopped a transient one."""
    tune(host.knobs("timers"), host.save)
    (host.units / "apt.timer").unlink()
    (row,) = restore(host.save, **host.where)
    assert (row["found"]["apt.timer"], row["refused"]) == ("gone", [])
    assert host.running_timers() == ["certbot.timer"]
    assert not host.file.exists()


def test_once_more_changes_nothing_and_forgets_nothing(host):
    original = host.state()
    tune(host.knobs(), host.save)
    tuned = host.file.read_bytes()
    assert changes(tune(host.knobs(), host.save)) == {}
    assert host.file.read_bytes() == tuned
    restore(host.save, **host.where)
    assert host.state() == original
    assert restore(host.save, **host.where) == []


def test_after_a_crash_the_first_state_of_all_is_the_one_that_comes_back(host):
    original = host.state()
    tune(host.knobs("governor"), host.save)
    host.write("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n")  # somebody, between two runs
    tune(host.knobs("governor", "smt"), host.save)
    restore(host.save, **host.where)
    assert host.state() == original


def test_a_crash_between_saving_and_setting_loses_nothing(host, monkeypatch):
    original = host.state()

    class Crash(BaseException):
        pass

    knobs = host.knobs("turbo", "nmi_watchdog")
    monkeypatch.setattr(knobs[1], "set", lambda *_arguments: (_ for _ in ()).throw(Crash()))
    with pytest.raises(Crash):
        tune(knobs, host.save)
    assert host.read("sys/devices/system/cpu/intel_pstate/no_turbo") == "1"
    restore(host.save, **host.where)
    assert host.state() == original


def test_after_a_reboot_there_is_nothing_to_put_back_and_the_file_goes(host):
    original = host.state()
    tune(host.knobs(), host.save)
    for name, text in original[0].items():
        host.write(name, text)
    for unit in original[1]:
        (host.timers / unit).touch()
    assert changes(restore(host.save, **host.where)) == {}
    assert host.state() == original
    assert not host.file.exists()


def test_what_somebody_has_changed_since_is_left_and_said(host):
    tune(host.knobs("governor"), host.save)
    host.write("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand\n")
    (row,) = restore(host.save, **host.where)
    assert host.governors() == ["ondemand", "schedutil"]
    assert "changed to ondemand" in row["note"]


def test_a_domain_that_is_gone_is_forgotten(host):
    tune(host.knobs("governor"), host.save)
    (host.root / "sys/devices/system/cpu/cpufreq/policy1/scaling_governor").unlink()
    (row,) = restore(host.save, **host.where)
    assert "gone" in row["found"].values()
    assert not host.file.exists()


def test_check_mode_says_what_would_change_and_changes_nothing(host):
    original = host.state()
    would = changes(tune(host.knobs(), host.save, check_mode=True))
    assert host.state() == original
    assert not host.file.exists()
    assert changes(tune(host.knobs(), host.save)) == would
    tuned = host.state()
    assert len(changes(restore(host.save, check_mode=True, **host.where))) == 4
    assert host.state() == tuned
    assert host.file.exists()


def refuse(*_arguments):
    raise Refused("it may not be written: needs root")


def test_what_is_refused_is_told_and_the_rest_is_done(host, monkeypatch):
    knobs = host.knobs("turbo", "nmi_watchdog")
    monkeypatch.setattr(knobs[0], "set", refuse)
    turbo, watchdog = tune(knobs, host.save)
    assert turbo["refused"] == ["it may not be written: needs root"]
    assert turbo["changed"] == []
    assert watchdog["changed"]
    assert list(json.loads(host.file.read_text())["knobs"]) == ["nmi_watchdog"], "what was not set is not put back"


def test_what_cannot_be_put_back_stays_in_the_file_for_the_next_try(host, monkeypatch):
    original = host.state()
    tune(host.knobs(), host.save)
    host.script("systemctl", "#!/bin/sh\necho 'Access denied' >&2\nexit 1\n")
    with pytest.raises(KjouleError, match=r"not as it was before it was tuned: saw .*Access denied"):
        restore(host.save, **host.where)
    assert host.governors() == ["powersave", "schedutil"], "the rest is put back all the same"
    assert list(json.loads(host.file.read_text())["knobs"]) == ["timers"]
    assert host.state()[1] != original[1]


def test_nothing_is_changed_when_the_state_of_before_cannot_be_kept(host, tmp_path):
    original = host.state()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KjouleError, match="cannot be kept"):
        tune(host.knobs(), str(tmp_path / "file" / "below"))
    assert host.state() == original


@pytest.mark.parametrize(
    "content", ["", "{", '{"schema": "kjoule.tuning/9", "knobs": {}}', '{"schema": "kjoule.tuning/1", "knobs": {"turbo": 1}}']
)
def test_a_file_that_cannot_be_read_is_not_overwritten(host, content):
    host.file.parent.mkdir()
    host.file.write_text(content)
    for act in (lambda: tune(host.knobs(), host.save), lambda: restore(host.save, **host.where)):
        with pytest.raises(KjouleError, match="set the host back by hand"):
            act()
    assert host.file.read_text() == content


def test_showing_tells_and_changes_nothing(host):
    original = host.state()
    rows = {row["knob"]: row for row in show(host.knobs(*NAMES))}
    assert list(rows["turbo"]["found"].values()) == ["0"]
    assert all(row["gain"] for row in rows.values())
    assert host.state() == original


def test_a_knob_that_is_not_there_is_no_failure(host, tmp_path):
    (tmp_path / "bare").mkdir()
    rows = tune(make_knobs(list(DEFAULT_NAMES), root=str(tmp_path / "bare")), host.save)
    assert all(row["note"] and not row["changed"] and not row["refused"] for row in rows)
    assert not host.file.exists()
