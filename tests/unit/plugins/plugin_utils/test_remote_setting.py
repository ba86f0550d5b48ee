# SPDX-License-Identifier: GPL-3.0-or-later
"""kjoule_prometheus is checked when the plan is made, before anything is asked."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.remote_setting import checked_setting
from ansible_collections.kjoule.bench.plugins.plugin_utils.run_settings import build_settings

GOOD = {
    "url": "http://127.0.0.1:9090",
    "sources": {
        "kepler": {"labels": {"instance": "nuc1:28282"}, "zones": ["package", "dram"]},
        "scaphandre": None,
        "pdu": {"query": 'pdu_outlet_watts{outlet="7"}', "unit": "W", "accuracy": 0.01},
        "old": {"reader": "kepler", "node": "nuc1"},
    },
}


def test_nothing_is_nothing_and_what_is_right_stays_as_it_is():
    assert checked_setting("prometheus", None) == checked_setting("prometheus", {}) == {}
    assert checked_setting("prometheus", GOOD) == GOOD


def test_it_is_part_of_the_plan():
    settings, _seed = build_settings({"prometheus": GOOD})
    assert settings["prometheus"] == GOOD
    assert build_settings({})[0]["prometheus"] == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://127.0.0.1:9090", "a dictionary with url and sources"),
        ({"url": "http://x"}, "url and sources"),
        ({"sources": {"kepler": {}}, "password": "hunter2"}, "no option 'password'.*write 'password_file'"),
        ({"sources": {"pdu": {"unit": "W"}}}, "query and unit"),
        ({"sources": {"pdu": {"query": "a", "unit": "W/h"}}}, "Wh, 3600 J"),
        ({"sources": {"pdu": {"query": "a"}}}, "the unit of a PromQL expression"),
        ({"sources": {"pdu": {"query": "sum(a", "unit": "W"}}}, "brackets that match"),
        ({"sources": {"pdu": {"query": "a", "unit": "W", "zone": "x"}}}, "no option 'zone'"),
        ({"sources": {"kepler": {"labels": ["a"]}}}, "option labels"),
        ({"sources": {"kepler": {"zones": 3}}}, "option zones"),
        ({"sources": {"kepler": "yes"}}, "a dictionary"),
    ],
)
def test_what_is_wrong_is_named(value, said):
    with pytest.raises(KjouleError, match=said) as error:
        checked_setting("prometheus", value)
    assert "hunter2" not in str(error.value)
