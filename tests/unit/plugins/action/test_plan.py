from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.kjoule.bench.plugins.action.plan import ActionModule, options_by_host


def act(check_mode=False, host="web1", **args):
    task = SimpleNamespace(args=args, check_mode=check_mode, async_val=0, action="kjoule.bench.plan", diff=False, environment=None)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = ActionModule(task, connection, SimpleNamespace(), DataLoader(), None, None)
    return action.run(task_vars={"inventory_hostname": host})


def test_plans_of_all_hosts_are_written_under_one_name(tmp_path):
    result = act(hosts=["a", "b"], reports_dir=str(tmp_path))
    assert result["changed"]
    assert not result["continued"]
    assert sorted(result["plans"]) == ["a", "b"]
    assert Path(result["paths"]["b"]["plan"]) == tmp_path / result["run_id"] / "b.plan.json"
    assert Path(result["paths"]["b"]["plan"]).is_file()
    assert result["estimate_seconds"] > 60
    again = act(hosts=["a", "b"], reports_dir=str(tmp_path))
    assert not again["changed"]
    assert again["continued"]
    assert again["plans"] == result["plans"]


def test_check_mode_writes_nothing(tmp_path):
    result = act(check_mode=True, reports_dir=str(tmp_path / "reports"), run_id="mine")
    assert result["changed"]
    assert result["plans"]["web1"]["run_id"] == "mine"
    assert not (tmp_path / "reports").exists()


def test_what_is_wrong_fails_the_task_in_words(tmp_path):
    with pytest.raises(AnsibleActionFail, match="kjoule_blocks: 6"):
        act(blocks=3, reports_dir=str(tmp_path))
    with pytest.raises(AnsibleActionFail, match=r"host b: .*write 'apps'"):
        act(hosts={"a": {}, "b": {"aps": 3}}, reports_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_settings_of_a_host_win_over_those_of_the_task(tmp_path):
    result = act(hosts={"a": None, "b": {"apps": 9, "blocks": ""}}, apps=3, blocks=7, reports_dir=str(tmp_path))
    settings = {host: plan["settings"] for host, plan in result["plans"].items()}
    assert (settings["a"]["apps"], settings["b"]["apps"], settings["b"]["blocks"]) == (3, 9, 7)
    assert options_by_host({"hosts": "a, b"}, "x") == {"a": {}, "b": {}}
    assert options_by_host({}, "x") == {"x": {}}
