import json

import jsonschema
import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.answer import terminal
from ansible_collections.kjoule.bench.plugins.plugin_utils.journal import Journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from ansible_collections.kjoule.bench.plugins.plugin_utils.words import interval, markdown, significant
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, invalid, records

TRUTHS = {"snowflake": SNOWFLAKE, "flux": FLUX}
NASTY = "we|b<1>_*`x`\n# [a](b)"


def make(recipe=None, blocks=None, host="web1", change=None, source=None, **options):
    plan = build_plan(options, host, run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    rows = records(plan, recipe or Recipe(TRUTHS, noise_cpu=0.001), blocks)
    if change:
        rows = change(rows)
    return reports.build_report(plan, Journal(header(plan, **(source or {})), rows))


CASES = {
    "a day": lambda: make(),
    "measured": lambda: make(Recipe(TRUTHS, noise_cpu=0.001, watts_idle=40.0), profile="full", interval_seconds=4, apps=5),
    "a against a": lambda: make(Recipe({"snowflake-1": SNOWFLAKE, "snowflake-2": SNOWFLAKE}, 0.001), arms=["snowflake", "snowflake"]),
    "flux against flux": lambda: make(Recipe({"flux-1": FLUX, "flux-2": FLUX}, 0.001), arms=["flux", "flux"]),
    "one block": lambda: make(blocks=1),
    "no block": lambda: make(blocks=0),
    "all invalid": lambda: make(change=lambda rows: [invalid(row, "reason " * 60) for row in rows]),
    "no inference": lambda: make(blocks=2, inference=False),
    "other state": lambda: make(Recipe(TRUTHS, hash_of={"flux": "other"})),
    "idle only": lambda: make(scenario=[{"name": "idle", "hold": 8}]),
    "long host": lambda: make(host="h" * 200),
    "nasty host": lambda: make(host=NASTY),
}


@pytest.mark.parametrize("case", CASES)
def test_every_report_fits_its_schema_and_every_answer_its_terminal(case):
    report = CASES[case]()
    reports.validate(json.loads(reports.to_json(report)))
    lines = terminal(report, ["reports/" + "r" * 150 + "/web1.md"])
    assert 3 <= len(lines) <= 15
    assert max(map(len, lines)) <= 110
    assert not any("\n" in line for line in lines)
    assert lines[-1].startswith("Report: ")
    assert lines[-1].endswith("/web1.md")
    assert reports.to_markdown(report).decode().startswith("# Control-plane energy: ")


@pytest.mark.parametrize("case", CASES)
def test_the_same_journal_gives_the_same_bytes(case):
    first, second = CASES[case](), CASES[case]()
    assert reports.to_json(first) == reports.to_json(second)
    assert reports.to_markdown(first) == reports.to_markdown(second)


def said(case):
    return "\n".join(terminal(CASES[case]()))


def test_the_answer_of_a_day_says_what_was_asked():
    text = said("a day")
    for words in (
        "At rest flux adds to snowflake: +3",
        "p = 0.031: different",
        "controllers alone",
        "kWh a year",
        "A deployment",
        "A change",
    ):
        assert words in text
    for words in ("still drifted", "orphaned", "Extrapolated to a 10 min interval, not measured", "6 valid of 6", "estimated at 2.76"):
        assert words in text
    assert "no containers ran" in text


def test_measured_joules_are_called_measured():
    text = said("measured")
    assert "Measured on the whole host (rapl:package+dram): +0.1" in text
    assert "estimated" not in text.lower()


def test_a_against_a_is_called_by_its_name():
    text = said("a against a")
    assert "A against A" in text
    assert "snowflake-2 adds to snowflake-1" in text
    assert "equivalent" in text


def test_without_valid_blocks_the_reason_and_the_next_step_are_said():
    assert "nothing was measured yet" in said("no block")
    text = said("all invalid")
    assert "none of the 12 recorded periods" in text
    assert "reason reason" in text
    assert "Next:" in text


def test_without_p_the_answer_says_why():
    assert "no p: inference is switched off" in said("no inference")
    assert "no p: 1 valid blocks, 6 needed" in said("one block")


def test_an_unfair_comparison_is_said_before_the_figures():
    lines = terminal(CASES["other state"]())
    assert lines[1].startswith("Not a fair comparison")


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
    assert "6 reconciles did not succeed" in text
    assert "restarted" in text


def test_numbers_for_readers():
    assert [significant(value) for value in (0, 0.000123456, 12.345, 123456, -1.5, 1e-18)] == [
        "0",
        "0.000123",
        "12.3",
        "123456",
        "-1.50",
        "0",
    ]
    assert interval({"mean": 0.0213, "low": 0.0201, "high": 0.0225}, 1000, "mCPU", sign=True) == "+21.3 mCPU (95 % CI 20.1 to 22.5)"
    assert markdown("a\tb\x00c") == "a b c"
