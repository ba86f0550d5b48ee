import json

import jsonschema
import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from synthetic_journal import invalid
from synthetic_reports import CASES, make


@pytest.mark.parametrize("case", CASES)
def test_every_report_fits_its_schema(case):
    report = CASES[case]()
    reports.validate(json.loads(reports.to_json(report)))
    assert reports.to_markdown(report).decode().startswith("# Control-plane energy: ")


@pytest.mark.parametrize("case", CASES)
def test_the_same_journal_gives_the_same_bytes(case):
    first, second = CASES[case](), CASES[case]()
    assert reports.to_json(first) == reports.to_json(second)
    assert reports.to_markdown(first) == reports.to_markdown(second)


def test_why_no_joules_were_measured_is_in_the_report():
    text = reports.to_markdown(make()).decode()
    assert "rapl: energy\\_uj is readable by root only" in text
    assert "Cloud Carbon Footprint" in text


def test_a_source_without_valid_windows_is_named():
    report = make(source={"name": "rapl", "kind": "counter", "scope": "rapl:package"})
    assert report["energy"]["why_not_measured"] == ["rapl: not one valid window in every period that counts"]


def test_exclusions_and_checksums_are_in_the_report():
    report = make(change=lambda rows: [invalid(rows[0], "suspend | seen"), *rows[1:]])
    text = reports.to_markdown(report).decode()
    assert "suspend \\| seen" in text
    assert "ab" * 32 in text
    assert len(report["exclusions"]) == 2


def test_a_nasty_name_stays_text():
    text = reports.to_markdown(CASES["nasty host"]()).decode()
    assert "we\\|b\\<1\\>\\_\\*\\`x\\` \\# \\[a\\](b)" in text.splitlines()[0]
    heads = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(heads) == 1


def test_the_schema_is_a_schema_and_refuses_what_is_not_a_report():
    schema = json.loads(reports.SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    report = make()
    report["metrics"]["rest"]["effect"]["verdict"] = "maybe"
    with pytest.raises(KjouleError, match="verdict"):
        reports.validate(report)
    report = make()
    report["now"] = "2024"
    with pytest.raises(KjouleError):
        reports.validate(report)


def test_warnings_name_steal_errors_and_restarts():
    def change(rows):
        for row in rows:
            for phase in row["phases"]:
                phase["machine"]["steal_seconds"] = 0.05 * phase["seconds"]
                if phase["kind"] == "steady" and row["arm"] == "flux":
                    phase["counters"]["reconciles"]["kustomization"]["error"] = 1
        rows[-1]["boot_id"] = "boot-2"
        return rows

    text = " ".join(make(change=change)["warnings"])
    assert "5.0 % of a CPU" in text
    assert "6 reconciles failed" in text
    assert "restarted" in text
