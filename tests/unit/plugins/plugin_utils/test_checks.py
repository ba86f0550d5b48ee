# SPDX-License-Identifier: GPL-3.0-or-later
"""The thresholds of a run, and what the results of its periods come to."""

from __future__ import annotations

import re

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import checks
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.run_settings import build_settings
from synthetic_reports import make


def result(name, level, figure=1.0, threshold=0.5):
    return {
        "name": name,
        "level": level,
        "figure": figure,
        "unit": "u",
        "threshold": threshold,
        "text": f"{name} text",
        "advice": "do | this",
    }


def test_the_table_is_the_default_and_part_of_the_plan():
    settings, _seed = build_settings({})
    assert settings["checks"] == checks.table()
    assert build_settings({"checks": False})[0]["checks"] == {}
    assert build_settings({"checks": "false"})[0]["checks"] == {}, "as -e gives it"


def test_only_what_spoils_the_windows_fails_by_default():
    assert {name for name, row in checks.table().items() if row["fail"] is not None} == {"suspend", "changed"}


def test_a_user_changes_thresholds_by_name():
    rows = checks.checked(
        "checks", {"steal": {"fail": 0.1}, "cron": False, "turbo": {"warn": None}, "temperature": {"base": 35}, "load": True}
    )
    assert (rows["steal"]["warn"], rows["steal"]["fail"]) == (0.01, 0.1)
    assert "cron" not in rows
    assert rows["turbo"]["warn"] is None
    assert rows["temperature"]["base"] == 35
    assert rows["load"] == checks.table()["load"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("loud", "expected true, false or a dictionary"),
        ([], "expected true, false or a dictionary"),
        ({"steel": False}, "write 'steal'"),
        ({"steal": 3}, "a dictionary of warn, fail, saw 3"),
        ({"steal": {"base": 3}}, "a dictionary of warn, fail"),
        ({"steal": {"warn": "much"}}, r"steal: warn: expected a number \(share of all processors\)"),
        ({"steal": {"warn": True}}, "steal: warn"),
        ({"steal": {"warn": float("nan")}}, "finite number|steal: warn"),
        ({"steal": {"fail": 0.001}}, "worse is above, saw warn 0.01, fail 0.001"),
        ({"disk": {"fail": 4000}}, "worse is below"),
    ],
)
def test_what_is_wrong_is_named(value, message):
    with pytest.raises(KjouleError, match=message):
        checks.checked("setting", value)


def test_a_period_counts_with_its_worse_moment_and_the_worst_is_kept():
    records = [
        {"period_id": "one", "checks": {"before": [result("timers", "ok")], "after": [result("timers", "warn", 2)]}},
        {
            "period_id": "two",
            "checks": {"before": [result("timers", "warn", 7)], "after": [result("timers", "ok"), result("steal", "unknown", None)]},
        },
        {"period_id": "three", "checks": {"before": [], "after": []}},
    ]
    rows = checks.summary(records)
    assert [row["name"] for row in rows] == ["timers", "steal"]
    assert rows[0]["periods"] == {"fail": 0, "warn": 2, "ok": 0, "unknown": 0}
    assert (rows[0]["worst"]["period_id"], rows[0]["worst"]["moment"], rows[0]["worst"]["figure"]) == ("two", "before", 7)
    assert checks.sentence(rows) == "The host was not quiet: timers in 2 of 2 periods."
    assert checks.sentence(rows[1:]) is None


def test_the_report_shows_what_warned_and_what_is_not_known():
    def change(rows):
        for row in rows:
            row["checks"] = {"before": [result("governor", "warn"), result("smt", "ok")], "after": [result("steal", "unknown", None)]}
        rows[0]["checks"]["after"].append(result("suspend", "fail", 60.0, 0.1))
        rows[0].update(valid=False, reasons=["the host was not quiet (suspend): slept"])
        return rows

    report = make(change=change)
    assert {row["name"]: row["worst"]["level"] for row in report["checks"]} == {
        "governor": "warn",
        "smt": "ok",
        "steal": "unknown",
        "suspend": "fail",
    }
    assert "The host was not quiet: governor in 12 of 12 periods, suspend in 1 of 1 periods." in report["warnings"]
    assert [item["why"] for item in report["exclusions"]] == ["invalid", "the other period of the block is invalid"]
    text = reports.to_markdown(report).decode()
    section = text.split("## Was the host quiet?")[1].split("##")[0]
    assert section.index("suspend") < section.index("governor"), "failures first"
    assert "do \\| this" in section
    assert "Not known on this host: steal." in section


def test_the_document_names_every_check_with_its_thresholds(root):
    text = (root / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+?) \|", text, re.MULTILINE))
    shown = {}
    for name, row in checks.table().items():
        words = [f"{level} {row['worse']} {row[level]:g}" for level in ("warn", "fail") if row[level] is not None]
        shown[name] = ", ".join(words) or "only shown"
    assert rows == shown
