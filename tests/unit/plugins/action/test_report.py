import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.kjoule.bench.plugins.action.report import ActionModule
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from ansible_collections.kjoule.bench.plugins.plugin_utils import runs

sys.path.insert(0, str(Path(__file__).parents[1] / "plugin_utils"))

from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, records


@pytest.fixture
def run(tmp_path):
    """A finished run of one host, as left by the measuring half."""
    choice = runs.choose_run(tmp_path, {"web1": {}}, run_id="r1", now="2024-05-01T10:00:00Z", stamp="", drawn_seed=7)
    runs.write_plans(tmp_path, choice)
    path = runs.run_files(tmp_path, "r1", "web1")["journal"]
    plan = choice.plans["web1"]
    for record in [header(plan), *records(plan, Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}))]:
        journals.append_record(path, record)
    return tmp_path


def act(check_mode=False, host="web1", **args):
    task = SimpleNamespace(args=args, check_mode=check_mode, async_val=0, action="kjoule.bench.report", diff=False, environment=None)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    return ActionModule(task, connection, SimpleNamespace(), DataLoader(), None, None).run(task_vars={"inventory_hostname": host})


def test_the_reports_are_written_once_and_only_when_they_differ(run):
    first = act(reports_dir=str(run), run_id="r1")
    assert first["changed"]
    assert any("At rest flux adds" in line for line in first["kjoule_answer"])
    files = {kind: Path(first["paths"][kind]).read_bytes() for kind in ("json", "md", "html")}
    again = act(reports_dir=str(run))
    assert not again["changed"]
    assert again["run_id"] == "r1"
    assert files == {kind: Path(again["paths"][kind]).read_bytes() for kind in ("json", "md", "html")}
    assert first["blocks"]["valid"] == [1, 2, 3, 4, 5, 6]
    assert first["caveats"] == ["All blocks gave the same difference: no meter is that steady, look at the source."]


def test_plan_and_journal_alone_give_the_same_bytes_anywhere(run, tmp_path_factory, monkeypatch):
    there = tmp_path_factory.mktemp("somewhere else") / "copied"
    (there / "r1").mkdir(parents=True)
    for kind in ("plan", "journal"):
        source = Path(runs.run_files(run, "r1", "web1")[kind])
        (there / "r1" / source.name).write_bytes(source.read_bytes())
    written = []
    for folder, zone, language in ((run, "UTC", "C"), (there, "Asia/Kathmandu", "de_DE.UTF-8")):
        with monkeypatch.context() as surroundings:
            surroundings.chdir(folder)
            for name, value in (("TZ", zone), ("LANG", language), ("LC_ALL", language), ("HOME", str(folder))):
                surroundings.setenv(name, value)
            time.tzset()
            paths = act(reports_dir=".", run_id="r1")["paths"]
            assert Path(paths["json"]).parent == folder / "r1"
            written.append({kind: Path(paths[kind]).read_bytes() for kind in ("json", "md", "html")})
        time.tzset()
    assert written[0] == written[1]
    assert str(run).encode() not in b"".join(written[0].values())


def test_check_mode_predicts_and_writes_nothing(run):
    before = sorted(run.rglob("*"))
    assert act(check_mode=True, reports_dir=str(run))["changed"]
    assert sorted(run.rglob("*")) == before
    act(reports_dir=str(run))
    assert not act(check_mode=True, reports_dir=str(run))["changed"]


def test_check_mode_has_no_need_of_a_run(tmp_path):
    result = act(check_mode=True, reports_dir=str(tmp_path))
    assert not result["changed"]
    assert "nothing to report" in result["kjoule_answer"][0]
    assert result["paths"]["md"]


def test_a_missing_run_or_plan_is_named(run, tmp_path_factory):
    with pytest.raises(AnsibleActionFail, match="no run of web1"):
        act(reports_dir=str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(AnsibleActionFail, match="no plan of web2"):
        act(reports_dir=str(run), run_id="r1", host="web2")


def test_a_damaged_journal_fails_with_its_line(run):
    path = Path(runs.run_files(run, "r1", "web1")["journal"])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "damaged\n", *lines[3:]]))
    with pytest.raises(AnsibleActionFail, match="line 4"):
        act(reports_dir=str(run))


def test_what_the_user_knows_better_is_in_the_report_and_a_mistake_is_named(run):
    before = act(reports_dir=str(run), run_id="r1")
    after = act(reports_dir=str(run), run_id="r1", assumptions={"grid": "FRA", "pue": ""})
    assert after["changed"]
    assert "France" in Path(after["paths"]["md"]).read_text()
    assert before["kjoule_answer"] == after["kjoule_answer"]
    with pytest.raises(AnsibleActionFail, match="write FRA"):
        act(reports_dir=str(run), run_id="r1", assumptions={"grid": "FRR"})
