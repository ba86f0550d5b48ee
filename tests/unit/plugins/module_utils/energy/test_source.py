# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import (
    Accuracy,
    Channel,
    Reading,
    Vanished,
    description_of,
)
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


class Plug:
    name = "plug"
    kind = "gauge"
    scope = "plug:wall"
    channels = (Channel("wall", "W"),)
    resolution = 0.1
    update_seconds = 1.0
    accuracy = Accuracy(0.01, "data sheet")

    def describe(self):
        return description_of(self, model="P1")

    def read(self):
        return Reading(10, (42.0,), 20)

    def close(self):
        pass


def test_every_source_describes_itself_in_the_same_words_and_adds_its_own():
    assert Plug().describe() == {
        "name": "plug",
        "kind": "gauge",
        "scope": "plug:wall",
        "channels": [{"name": "wall", "unit": "W", "range_joules": None, "limit_watts": 20_000.0}],
        "resolution": 0.1,
        "update_seconds": 1.0,
        "accuracy": {"relative": 0.01, "origin": "data sheet"},
        "model": "P1",
    }


def test_a_reading_stands_at_the_middle_of_the_time_it_took():
    assert Plug().read().t_ns == 15
    assert (Plug().read().epoch, Plug().read().meter_ns) == (None, None)


def test_a_channel_that_vanished_is_an_error_that_a_person_can_act_on():
    assert isinstance(Vanished("zone gone"), KjouleError)
