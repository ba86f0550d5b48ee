import html
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.journal import Journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import Recipe, header, invalid, records
from synthetic_reports import CASES, TRUTHS, make

ROOT = Path(__file__).parents[4]


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


@pytest.mark.parametrize("wrong", ["0.02", True, None, [0.02]])
def test_one_wrong_value_in_a_long_list_of_numbers_is_refused_by_its_place(wrong):
    report = make()
    report["metrics"]["rest"]["sides"]["flux"]["values"][4] = wrong
    with pytest.raises(KjouleError, match="metrics/rest/sides/flux/values/4"):
        reports.validate(report)


@pytest.mark.parametrize("wrong", [0, 1.5, True])
def test_a_block_has_a_whole_number_from_one_on(wrong):
    report = make()
    report["blocks"]["valid"][2] = wrong
    with pytest.raises(KjouleError, match="blocks/valid/2"):
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


def test_a_clock_that_was_set_back_changes_no_figure_and_no_order():
    def set_back(rows):
        times = [f"2024-05-01T{23 - number:02d}:00:00Z" for number in range(len(rows))]
        return [{**row, "started_at": time, "finished_at": time} for row, time in zip(rows, times)]

    straight, back = make(), make(change=set_back)
    order = [(row["block"], row["label"], row["value"]) for row in back["run_order"]]
    assert order == [(row["block"], row["label"], row["value"]) for row in straight["run_order"]]
    assert [row["started_at"][11:13] for row in back["run_order"]] == [f"{23 - number:02d}" for number in range(12)]
    assert back["provenance"]["journal"]["finished_at"] == "2024-05-01T12:00:00Z"
    assert {key for key in back if back[key] != straight[key]} == {"run_order", "provenance"}


def test_energy_that_the_controller_read_is_measured_energy_computed_again_from_the_journal_alone():
    """10 W more under flux than under snowflake, read through Prometheus after the periods."""
    from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
    from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
    from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, records

    plan = build_plan({}, "web1", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    periods = records(plan, Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}))
    lines = [header(plan)]
    for record in periods:
        watts = 50.0 if record["label"] == "flux" else 40.0
        windows = []
        for phase in record["phases"]:
            entry = {"source": "pdu", "scope": "prometheus:pdu", "kind": "measured", "joules": watts * phase["seconds"], "valid": True}
            windows.append({"index": phase["index"], "name": phase["name"], "energy": [entry]})
        lines += [record, {"kind": "energy", "period_id": record["period_id"], "source": {"name": "pdu"}, "phases": windows}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    report = reports.build_report(plan, journals.parse(text, plan=plan))
    assert report["energy"]["kind"] == "measured"
    (entry,) = [entry for entry in report["measured_energy"] if entry["scope"] == "prometheus:pdu"]
    assert entry["metrics"]["rest_joules"]["effect"]["mean"] == pytest.approx(10.0)


@pytest.mark.parametrize(("hypervisor", "said"), [("qemu", True), ("kvm", False), (None, False)])
def test_a_run_on_an_emulated_host_says_that_it_is_none_of_energy(hypervisor, said):
    from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
    from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
    from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, records

    plan = build_plan({}, "web1", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    first = header(plan)
    first["host"] = {**first["host"], "virtualization": hypervisor}
    text = "".join(json.dumps(line) + "\n" for line in [first, *records(plan, Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}))])
    report = reports.build_report(plan, journals.parse(text, plan=plan))
    emulated = [warning for warning in report["warnings"] if "emulated" in warning]
    assert bool(emulated) is said
    assert all(warning in reports.to_markdown(report).decode() for warning in emulated)


def test_a_run_with_one_arm_only_has_no_answer_and_says_so():
    report = CASES["one arm"]()
    assert report["blocks"]["valid"] == []
    text = reports.to_markdown(report).decode()
    assert "No answer" in text
    assert "interrupted: the block was not finished" in text


def test_values_that_are_all_the_same_give_figures_and_a_warning():
    same, steady = CASES["identical values"](), CASES["zero variance"]()
    assert same["metrics"]["rest"]["effect"]["mean"] == 0
    assert same["metrics"]["rest"]["effect"]["verdict"] == "equivalent"
    assert steady["metrics"]["rest"]["effect"]["sd"] == 0
    assert steady["metrics"]["rest"]["effect"]["verdict"] == "different"
    for report in (same, steady):
        assert any("no meter is that steady" in warning for warning in report["warnings"])


@pytest.mark.parametrize("case", ["no margin", "no margin, a against a"])
def test_without_a_margin_nothing_is_equivalent_and_the_report_says_so(case):
    report = CASES[case]()
    assert all(metric["effect"]["verdict"] != "equivalent" for metric in report["metrics"].values())
    assert "Equivalence: none, for the plan has no margin." in reports.to_markdown(report).decode()


def test_the_page_of_a_long_run_is_small_too_and_says_what_it_leaves_to_the_json():
    """Ten thousand periods: every difference and every period is in the data, the first thousand of either in the texts."""
    options = {"blocks": 5000, "scenario": [{"name": "idle", "hold": 8}]}
    plan = build_plan(options, "web1", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    report = reports.build_report(plan, Journal(header(plan), records(plan, Recipe(TRUTHS, noise_cpu=0.001))))
    page = reports.to_html(report)
    assert len(page) < 2e6
    assert len(report["run_order"]) == 10000
    for text in (html.unescape(page.decode()), reports.to_markdown(report).decode()):
        assert "4000 more rows are in the report's JSON." in text
        assert "9000 more rows are in the report's JSON." in text


def test_a_number_that_is_none_never_reaches_a_report():
    """NaN is refused when a journal is read, and cannot be written into a report either."""
    report = make()
    report["metrics"]["rest"]["effect"]["mean"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        reports.to_json(report)


def test_neither_language_nor_display_nor_fonts_change_a_page(tmp_path):
    """Another process: German numbers, a backend that wants a display, no home and no programs that list fonts."""
    program = (
        "import sys; from synthetic_reports import make; from ansible_collections.kjoule.bench.plugins.plugin_utils import report as r;"
    )
    program += "sys.stdout.buffer.write(r.to_html(make()) + r.to_markdown(make()) + r.to_json(make()))"
    environment = {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT / "collections")]),
        "HOME": str(tmp_path),
        "MPLCONFIGDIR": str(tmp_path),
        "MPLBACKEND": "TkAgg",
        "LC_ALL": "de_DE.UTF-8",
        "LANG": "de_DE.UTF-8",
        "PATH": "",
    }
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=True)
    assert shown.stdout == reports.to_html(make()) + reports.to_markdown(make()) + reports.to_json(make())
