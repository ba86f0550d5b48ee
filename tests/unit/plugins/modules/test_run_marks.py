# SPDX-License-Identifier: GPL-3.0-or-later
"""The module writes what Prometheus lacks, and nothing in check mode. Prometheus is a double here; a real one is in test_monitoring.py."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kjoule.bench.plugins.modules import run_marks

PHASE = {
    "name": "idle",
    "kind": "idle",
    "index": 0,
    "start_ns": 60 * 10**9,
    "end_ns": 70 * 10**9,
    "valid": True,
    "cpu_seconds": {},
    "components": {},
    "actor": {"cpu_seconds": 0.0},
    "machine": {"busy_seconds": 1.0},
    "energy": [],
}


@pytest.fixture
def state_dir(tmp_path):
    clock = {"realtime_ns": 10**15, "monotonic_ns": 0}
    lines = [{"kind": "header", "run_id": "r", "host": {"name": "alpha"}}]
    lines += [
        {"kind": "period", "period_id": name, "arm": "flux", "label": "flux", "valid": True, "clock": clock, "phases": [PHASE]}
        for name in ("p1", "p2")
    ]
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "runs" / "r" / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.fixture
def run(state_dir, capsys, monkeypatch):
    written = []
    monkeypatch.setattr(run_marks, "kepler_marks", lambda _url, series: [])
    monkeypatch.setattr(run_marks, "write_marks", lambda _url, series: written.extend(one.labels["period"] for one in series))

    def go(shown=(), check=False, **arguments):
        written.clear()
        monkeypatch.setattr(run_marks, "shown_periods", lambda *_asked: set(shown))
        given = {"run_id": "r", "state_dir": str(state_dir), **arguments, "_ansible_check_mode": check}
        with patch_module_args(given), pytest.raises(SystemExit):
            run_marks.main()
        return json.loads(capsys.readouterr().out), sorted(set(written))

    return go


def test_only_periods_that_prometheus_lacks_are_written(run):
    answer, written = run(shown={"p1"})
    assert (answer["changed"], answer["periods"], written) == (True, ["p2"], ["p2"])
    answer, written = run(shown={"p1", "p2"})
    assert (answer["changed"], answer["periods"], written) == (False, [], [])


def test_checking_writes_nothing_and_says_what_it_would(run):
    answer, written = run(check=True)
    assert (answer["changed"], answer["periods"], written) == (True, ["p1", "p2"], [])


def test_a_run_that_is_not_on_this_host_is_told(run):
    answer, _written = run(run_id="another")
    assert answer["failed"]
    assert "has no header" in answer["msg"]
