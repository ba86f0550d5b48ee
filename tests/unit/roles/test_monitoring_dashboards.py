# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboards hold what Grafana's own schema knows, and nothing that it would drop without a word."""

from __future__ import annotations

import json
import re

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as schema
from grafana_foundation_sdk.models import prometheus

DASHBOARDS = ["arms", "energy"]
#: What Grafana's data source for Prometheus reads from an annotation beyond the schema of a dashboard.
OF_THE_DATA_SOURCE = {"step", "titleFormat", "textFormat", "tagKeys", "useValueForTime"}


@pytest.fixture(params=DASHBOARDS)
def dashboard(request, root):
    return json.loads((root / "roles/monitoring/files/dashboards" / f"{request.param}.json").read_text(encoding="utf-8"))


def lost(given, kept, where=""):
    """Paths of what ``given`` says and ``kept`` does not."""
    if isinstance(given, dict):
        return [
            entry for key in given for entry in ([f"{where}/{key}"] if key not in kept else lost(given[key], kept[key], f"{where}/{key}"))
        ]
    if isinstance(given, list):
        assert len(given) == len(kept), where
        return [entry for index, pair in enumerate(zip(given, kept)) for entry in lost(*pair, f"{where}/{index}")]
    return [] if given == kept else [where]


def test_grafanas_schema_keeps_all_of_it(dashboard):
    plugins.register_default_plugins()
    kept = json.loads(JSONEncoder().encode(schema.Dashboard.from_json(dashboard)))
    beyond = {path for path in lost(dashboard, kept) if path.startswith("/annotations/") and path.rsplit("/", 1)[1] in OF_THE_DATA_SOURCE}
    assert set(lost(dashboard, kept)) == beyond


def test_every_panel_asks_prometheus_and_has_its_own_place(dashboard):
    plugins.register_default_plugins()
    panels = schema.Dashboard.from_json(dashboard).panels
    assert panels
    taken = set()
    for panel in panels:
        assert all(isinstance(target, prometheus.Dataquery) for target in panel.targets), panel.title
        place = panel.grid_pos
        cells = {(x, y) for x in range(place.x, place.x + place.w) for y in range(place.y, place.y + place.h)}
        assert place.x + place.w <= 24
        assert not cells & taken, panel.title
        taken |= cells
    assert len({panel.id_val for panel in panels}) == len(panels)


def test_every_figure_has_a_unit_and_says_what_it_is(dashboard):
    for panel in dashboard["panels"]:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]


def test_only_the_data_source_that_the_role_provides_is_asked(dashboard, root):
    provided = re.search(r"uid: (\S+)", (root / "roles/monitoring/templates/datasource.yml.j2").read_text())[1]
    assert set(re.findall(r'"uid": "([^"]*)"', json.dumps(dashboard))) == {provided, dashboard["uid"]}
