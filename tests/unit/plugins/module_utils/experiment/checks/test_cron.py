# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of crontabs against a calendar: 2024-05-01 was a Wednesday."""

from __future__ import annotations

import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.checks.cron import fires_within


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOON = 1714564800.0  # 2024-05-01 12:00:00 UTC


@pytest.mark.parametrize(
    "line",
    [
        "* * * * *",
        "1 12 * * *",
        "*/1 * * * *",
        "0-5/2,1 12 1 5 *",
        "1 12 * may wed",
        "1 12 13 * 3",
        "1 12 1 * mon",
        "1 12 * * 1-5",
        "1/20 * * * *",
    ],
)
def test_these_fire_a_minute_after_noon(line):
    assert fires_within(line, NOON, NOON + 61)
    assert fires_within(line, NOON + 59, NOON + 60)


@pytest.mark.parametrize(
    "line", ["2 12 * * *", "1 11 * * *", "1 12 2 * *", "1 12 * jun *", "1 12 13 * mon", "1 12 * * 0,7", "@daily", "@reboot"]
)
def test_these_do_not(line):
    assert not fires_within(line, NOON, NOON + 61)


@pytest.mark.parametrize("line", ["x 12 * * *", "*/0 * * * *", "1 12", "", "@sometimes", "1 12 * * noday"])
def test_what_cannot_be_read_fires_never(line):
    assert not fires_within(line, NOON, NOON + 86400)


def test_the_moment_itself_belongs_to_the_span_that_ends_there():
    assert not fires_within("0 12 * * *", NOON, NOON + 600)
    assert fires_within("0 12 * * *", NOON - 600, NOON)


def test_words_stand_for_their_lines():
    midnight = NOON + 12 * 3600
    assert fires_within("@hourly", NOON + 3000, NOON + 3600)
    assert fires_within("@daily", midnight - 1, midnight)
    assert not fires_within("@weekly", midnight - 1, midnight), "Thursday"
    assert fires_within("@weekly", midnight + 3 * 86400 - 1, midnight + 3 * 86400)
