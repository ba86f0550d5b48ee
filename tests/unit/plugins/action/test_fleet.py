import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.kjoule.bench.plugins.action import compare as compare_action
from ansible_collections.kjoule.bench.plugins.action.fleet import ActionModule
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils import runs

sys.path.insert(0, str(Path(__file__).parents[1] / "plugin_utils"))

from synthetic_reports import make

REPORT = make()


@pytest.fixture
def run(tmp_path):
    """Reports of two hosts in one run, and of one of them in another."""
    for run_id, host in (("r1", "web1"), ("r1", "web2"), ("r2", "web1")):
        path = Path(runs.run_files(tmp_path, run_id, host)["json"])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(reports.to_json({**REPORT, "host": host, "run_id": run_id}))
    return tmp_path


def act(module=ActionModule, check_mode=False, **args):
    task = SimpleNamespace(args=args, check_mode=check_mode, async_val=0, action="kjoule.bench.fleet", diff=False, environment=None)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    return module(task, connection, SimpleNamespace(), DataLoader(), None, None).run(task_vars={"inventory_hostname": "web1"})


def test_the_fleet_is_written_once_and_names_who_is_missing(run):
    arguments = {"reports_dir": str(run), "run_id": "r1", "hosts": ["web1", "web2", "web3"]}
    assert act(check_mode=True, **arguments)["changed"]
    assert not (run / "r1" / "fleet.json").exists()
    first = act(**arguments)
    assert first["changed"]
    assert (first["hosts"], first["missing"]) == (2, ["web3"])
    assert {Path(path).name for path in first["paths"].values()} == {"fleet.json", "fleet.md", "fleet.html"}
    assert first["kjoule_fleet_answer"][1] == "1 hosts have no report: web3."
    assert first["kjoule_fleet_answer"][-1].endswith("fleet.html, .md and .json")
    assert not act(**arguments)["changed"]
    assert not act(check_mode=True, **arguments)["changed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hosts": ["web1"]}, "run of the fleet: expected its run_id"),
        ({"run_id": "r1"}, "hosts of the fleet: expected a list of names"),
        ({"run_id": "r1", "hosts": "web1"}, "a list of names, saw 'web1'"),
        ({"run_id": "../r1", "hosts": ["web1"]}, "run_id"),
    ],
)
def test_arguments_that_make_no_sense_are_told(run, arguments, words):
    with pytest.raises(AnsibleActionFail, match=words):
        act(reports_dir=str(run), **arguments)


def test_a_damaged_report_is_named(run):
    path = Path(runs.run_files(run, "r1", "web2")["json"])
    path.write_text('{"schema": "kjoule.report/0"}')
    with pytest.raises(AnsibleActionFail, match="schema kjoule"):
        act(reports_dir=str(run), run_id="r1", hosts=["web1", "web2"])
    path.write_text("{")
    with pytest.raises(AnsibleActionFail, match="make report computes it again"):
        act(reports_dir=str(run), run_id="r1", hosts=["web1", "web2"])


def test_two_runs_are_compared_and_a_missing_one_is_named(run):
    compared = act(compare_action.ActionModule, reports_dir=str(run), runs="r1 r2")
    assert not compared["changed"]
    assert "in run r2, less that in run r1" in compared["kjoule_answer"][0]
    with pytest.raises(AnsibleActionFail, match="run r3 has no report of web1"):
        act(compare_action.ActionModule, reports_dir=str(run), runs=["r1", "r3"])
    with pytest.raises(AnsibleActionFail, match="the names of two"):
        act(compare_action.ActionModule, reports_dir=str(run), runs="r1")
