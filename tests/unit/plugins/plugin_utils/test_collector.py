# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for cycles rests while something is computed, and is afterwards as it was before."""

from __future__ import annotations

import gc

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import collector


@pytest.fixture
def _as_before():
    was_on = gc.isenabled()
    yield
    (gc.enable if was_on else gc.disable)()


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_afterwards_as_it_was_before(on):
    (gc.enable if on else gc.disable)()

    @collector.paused()
    def wrong():
        assert not gc.isenabled()
        raise ValueError("a torn line")

    for _time in range(2):
        with pytest.raises(ValueError, match="torn"):
            wrong()
        assert gc.isenabled() is on


@pytest.mark.usefixtures("_as_before")
def test_an_inner_pause_does_not_end_the_outer_one():
    gc.enable()
    with collector.paused():
        with collector.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
