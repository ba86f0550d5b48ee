# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks around one period, on a host made of files."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks import quiet as module
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks.quiet import (
    QuietHost,
    failures,
    others_share,
    planned_seconds,
)
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.journal import SCHEMA, append_record, journal_path
from ansible_collections.kjoule.bench.plugins.plugin_utils.checks import checked

SETTINGS = {
    "checks": checked("checks", True),
    "scenario": [{"hold_seconds": 20}, {"name": "teardown"}],
    "baseline_seconds": 2,
    "settle_seconds": 0.5,
    "sample_seconds": 1,
    "lab": "kwok",
}
PHASE = {
    "seconds": 10.0,
    "machine": {"busy_seconds": 12.0, "cpus": 4},
    "cpu_seconds": {"etcd": 5.0, "kjoule": 1.0},
    "actor": {"cpu_seconds": 2.0},
}


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)


def by_name(results):
    return {result["name"]: result for result in results}


def test_what_happens_between_the_looks_is_told(laptop, tmp_path):
    quiet = QuietHost(SETTINGS, str(tmp_path), "r", laptop.host)
    before = by_name(quiet.before())
    assert before["governor"]["figure"] == 1
    assert before["swap"]["figure"] == 1024
    laptop.write({"proc/vmstat": "pswpin 100\npswpout 27\n", "proc/stat": "cpu  1000 10 500 8800 200 5 5 230 100 10\n"})
    after = by_name(quiet.after([PHASE], [0, 1_000_000_000, 2_000_000_000]))
    assert after["swapping"]["figure"] == 7
    assert after["steal"]["figure"] == 0.2
    assert after["others"]["figure"] == 0.1
    assert after["jitter"]["figure"] == 0.0


def test_the_base_temperature_is_that_at_the_start_of_the_run_or_the_one_that_was_set(laptop, tmp_path):
    def rise(settings):
        return by_name(QuietHost(settings, str(tmp_path), "r", laptop.host).before())["temperature"]["figure"]

    assert rise(SETTINGS) == 0.0, "the first period"
    append_record(journal_path(str(tmp_path), "r"), {"kind": "header", "schema": SCHEMA, "host": {"celsius": 30.0}})
    assert rise(SETTINGS) == 13.5
    assert rise({**SETTINGS, "checks": checked("checks", {"temperature": {"base": 40}})}) == 3.5


def test_without_thresholds_nothing_is_looked_at(laptop, tmp_path):
    quiet = QuietHost({**SETTINGS, "checks": {}}, str(tmp_path), "r", laptop.host)
    laptop.host.look = None
    assert quiet.before() == []
    assert quiet.after([], []) == []


def test_what_others_did_is_the_rest_of_the_busy_time():
    assert others_share([]) is None
    assert others_share([PHASE, {**PHASE, "machine": {"busy_seconds": 8.0, "cpus": 4}}]) == pytest.approx(4 / 80)
    assert others_share([{**PHASE, "machine": {"busy_seconds": 7.9, "cpus": 4}}]) == 0.0, "ticks against nanoseconds"


def test_a_period_takes_at_least_its_windows_and_pauses():
    assert planned_seconds(SETTINGS) == 2 + 20 + 3 * 0.5


def test_failures_are_reasons_in_words():
    results = [{"name": "load", "level": "warn", "text": "a"}, {"name": "suspend", "level": "fail", "text": "the host slept for 60.0 s"}]
    assert failures(results) == ["the host was not quiet (suspend): the host slept for 60.0 s"]
