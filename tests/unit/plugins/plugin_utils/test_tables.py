# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables that come with the collection can be read, and say where their figures come from."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.tables import DATA, read_table


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.yml")))
def test_a_table_is_read_and_holds_something(name):
    assert read_table(name)


def test_every_estimate_has_a_source():
    assert all(row["source"].strip() for row in read_table("estimate.yml"))
