# SPDX-License-Identifier: GPL-3.0-or-later
"""Two looks at a made-up host in which one thing has happened, and what the checks make of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks.host_state import CpuTime, Host, Timer
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks.judge import AFTER, BEFORE, Circumstances, judge, level_of
from ansible_collections.kjoule.bench.plugins.plugin_utils.checks import table

SECOND = 1_000_000_000


@pytest.fixture
def quiet(tmp_path):
    """A host that tells everything and on which nothing is wrong."""
    state = Host(root=str(tmp_path)).look()
    return replace(
        state,
        cpu=CpuTime(1000, 10_000, 0, 0),
        core_throttles=5,
        package_throttles=2,
        governors={"policy0": "performance"},
        frequency_limits={"policy0": (3_000_000, 3_000_000)},
        turbo=False,
        smt=False,
        nmi_watchdog=False,
        on_mains=True,
        celsius=40.0,
        swap_used_bytes=0,
        swapped_pages=70,
        power_caps={"package-0 long_term": (28_000_000, 28_000_000)},
        energy_filter=False,
        timers=(),
        free_bytes=100 * 2**30,
        doubt_ns=0,
    )


def later(state, seconds=100.0, **changes):
    step = int(seconds * SECOND)
    cpu = replace(state.cpu, busy=state.cpu.busy + 50, total=state.cpu.total + 10_000)
    times = {name: getattr(state, name) + step for name in ("realtime_ns", "monotonic_ns", "boottime_ns")}
    return replace(state, **{**times, "cpu": cpu, **changes})


ABOUT = Circumstances(planned_seconds=60, base_celsius=40.0, others_share=0.01, sample_times_ns=list(range(0, 20 * SECOND, SECOND)))


def results(checks, first, last, about=ABOUT, **thresholds):
    rows = {name: {**row, **thresholds.get(name, {})} for name, row in table().items()}
    return {result["name"]: result for result in judge(checks, rows, first, last, about)}


def test_on_a_quiet_host_every_check_is_ok(quiet):
    for checks in (BEFORE, AFTER):
        found = results(checks, quiet, later(quiet))
        assert set(found) == set(checks)
        assert {name for name, result in found.items() if result["level"] != "ok"} == set()
        assert all(result["advice"] == "" for result in found.values())


def test_a_host_that_tells_nothing_is_not_known_and_nothing_is_wrong(tmp_path):
    state = Host(root=str(tmp_path)).look()
    before = results(BEFORE, state, state, Circumstances())
    assert {result["level"] for result in before.values()} == {"ok", "unknown"}
    assert before["turbo"] == {
        "name": "turbo",
        "level": "unknown",
        "figure": None,
        "unit": "1 is on",
        "threshold": 0,
        "text": "not known here: no switch for turbo",
        "advice": "",
    }
    after = results(AFTER, state, later(state, cpu=state.cpu), Circumstances())
    assert after["jitter"]["level"] == after["steal"]["level"] == after["others"]["level"] == "unknown"


@pytest.mark.parametrize(
    ("name", "change", "figure"),
    [
        ("governor", {"governors": {"policy0": "powersave", "policy1": "schedutil", "policy2": "performance"}}, 2),
        ("turbo", {"turbo": True}, 1),
        ("nmi_watchdog", {"nmi_watchdog": True}, 1),
        ("frequency", {"frequency_limits": {"policy0": (3_000_000, 3_000_000), "policy1": (1_500_000, 3_000_000)}}, 0.5),
        ("temperature", {"celsius": 55.0}, 15.0),
        ("swap", {"swap_used_bytes": 3 * 2**20}, 3.0),
        ("containers", {"containers": frozenset({"0123456789ab"})}, 1),
        ("virtual_machines", {"virtual_machines": ("kvm", "kvm")}, 2),
        ("power_cap", {"power_caps": {"package-0 long_term": (15_000_000, 60_000_000)}}, 0.75),
        ("energy_filter", {"energy_filter": True}, 1),
        ("disk", {"free_bytes": 2**30}, 1024.0),
        ("load", {"cpu": CpuTime(6000, 20_000, 0, 0)}, 0.5),
        ("cron", {"cron_runs": True, "crontabs": ("* * * * *", "@reboot")}, 1),
    ],
)
def test_before_a_period_each_disturbance_is_seen_alone(quiet, name, change, figure):
    found = results(BEFORE, quiet, later(quiet, **change))
    assert [result["name"] for result in found.values() if result["level"] != "ok"] == [name]
    assert found[name]["level"] == "warn"
    assert found[name]["figure"] == pytest.approx(figure)
    assert found[name]["advice"] == table()[name]["advice"]


def test_before_a_period_timers_are_due_within_it_and_not_after_it(quiet):
    now = later(quiet).realtime_ns
    timers = (Timer("soon.timer", now + 30 * SECOND, 0), Timer("late.timer", now + 90 * SECOND, 0), Timer("never.timer", 0, 0))
    found = results(BEFORE, quiet, later(quiet, timers=timers))["timers"]
    assert (found["level"], found["figure"]) == ("warn", 1)
    assert "soon.timer" in found["text"]
    assert "late.timer" not in found["text"]


@pytest.mark.parametrize(
    ("name", "change", "figure"),
    [
        ("steal", {"cpu": CpuTime(1050, 20_000, 500, 0)}, 0.05),
        ("guest", {"cpu": CpuTime(1050, 20_000, 0, 400)}, 0.04),
        ("throttling", {"core_throttles": 8, "package_throttles": 3}, 4),
        ("warming", {"celsius": 60.0}, 20.0),
        ("swapping", {"swapped_pages": 75}, 5),
        ("containers", {"containers": frozenset({"0123456789ab"})}, 1),
    ],
)
def test_over_a_period_each_disturbance_is_seen_alone_as_a_difference(quiet, name, change, figure):
    found = results(AFTER, quiet, later(quiet, **change))
    assert [result["name"] for result in found.values() if result["level"] != "ok"] == [name]
    assert found[name]["figure"] == pytest.approx(figure)


def test_what_happened_before_the_period_is_not_blamed_on_it(quiet):
    stolen = replace(quiet, cpu=CpuTime(1000, 10_000, 5000, 4000), core_throttles=1000, swapped_pages=10**6)
    assert {result["level"] for result in results(AFTER, stolen, later(stolen)).values()} == {"ok"}


def test_timers_and_cron_that_fired_in_the_period_are_named(quiet):
    begin = quiet.realtime_ns
    timers = (Timer("fired.timer", 0, begin + 5 * SECOND), Timer("before.timer", 0, begin - SECOND))
    found = results(AFTER, quiet, later(quiet, timers=timers, cron_runs=True, crontabs=("* * * * *",)))
    assert (found["timers"]["figure"], found["cron"]["figure"]) == (1, 1)
    assert "fired.timer" in found["timers"]["text"]


def test_a_suspended_host_fails_and_a_stepped_clock_warns(quiet):
    last = later(quiet)
    found = results(AFTER, quiet, replace(last, boottime_ns=last.boottime_ns + 60 * SECOND))
    assert (found["suspend"]["level"], found["suspend"]["figure"], found["suspend"]["threshold"]) == ("fail", 60.0, 0.1)
    for step in (-2, 2):
        found = results(AFTER, quiet, replace(last, realtime_ns=last.realtime_ns + step * SECOND))
        assert (found["time_step"]["level"], found["time_step"]["figure"]) == ("warn", 2.0)
        assert found["suspend"]["level"] == "ok"


def test_clocks_that_were_not_read_at_one_moment_are_no_suspend(quiet):
    last = later(quiet)
    slow = replace(last, boottime_ns=last.boottime_ns + SECOND // 5, realtime_ns=last.realtime_ns + SECOND // 5, doubt_ns=SECOND // 5)
    found = results(AFTER, quiet, slow)
    assert (found["suspend"]["level"], found["time_step"]["level"]) == ("ok", "ok")
    assert results(AFTER, quiet, replace(slow, boottime_ns=slow.boottime_ns + SECOND))["suspend"]["level"] == "fail"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"governors": {"policy0": "powersave"}}, "governor"),
        ({"on_mains": False}, "power supply"),
        ({"power_caps": {"package-0 long_term": (9_000_000, 28_000_000)}}, "power cap"),
        ({"turbo": True}, "turbo"),
    ],
)
def test_other_conditions_at_the_end_than_at_the_start_fail(quiet, change, what):
    found = results(AFTER, quiet, later(quiet, **change))["changed"]
    assert (found["level"], found["figure"]) == ("fail", 1)
    assert what in found["text"]


def test_others_at_work_and_a_late_sampler_warn(quiet):
    times = [second * SECOND for second in (0, 1, 2, 3.5, 5, 6.5, 8)]
    found = results(AFTER, quiet, later(quiet), replace(ABOUT, others_share=0.2, sample_times_ns=times))
    assert (found["others"]["level"], found["others"]["figure"]) == ("warn", 0.2)
    assert (found["jitter"]["level"], found["jitter"]["figure"]) == ("warn", 0.5)


def test_guests_of_a_lab_that_may_be_a_virtual_machine_are_not_blamed(quiet):
    last = later(quiet, cpu=CpuTime(1050, 20_000, 0, 5000))
    assert results(AFTER, quiet, last, replace(ABOUT, lab_has_guests=True))["guest"]["level"] == "unknown"


def test_only_checks_with_thresholds_are_made(quiet):
    rows = {"turbo": table()["turbo"]}
    assert [result["name"] for result in judge(BEFORE, rows, quiet, later(quiet), ABOUT)] == ["turbo"]


@pytest.mark.parametrize(
    ("figure", "row", "expected"),
    [
        (1.0, {"worse": "above", "warn": 1, "fail": 2}, ("ok", 1)),
        (1.1, {"worse": "above", "warn": 1, "fail": 2}, ("warn", 1)),
        (2.1, {"worse": "above", "warn": 1, "fail": 2}, ("fail", 2)),
        (9.0, {"worse": "above", "warn": None, "fail": None}, ("ok", None)),
        (0.9, {"worse": "below", "warn": 1, "fail": 0.5}, ("warn", 1)),
        (0.4, {"worse": "below", "warn": 1, "fail": 0.5}, ("fail", 0.5)),
        (None, {"worse": "above", "warn": None, "fail": 3}, ("unknown", 3)),
    ],
)
def test_levels_follow_the_thresholds(figure, row, expected):
    assert level_of(figure, row) == expected


def test_results_are_plain_data(quiet):
    text = json.dumps(list(results(AFTER, quiet, later(quiet)).values()), allow_nan=False)
    assert "steal" in text


def test_every_check_has_a_row_in_the_table_and_every_row_a_check():
    assert set(BEFORE) | set(AFTER) == set(table())
