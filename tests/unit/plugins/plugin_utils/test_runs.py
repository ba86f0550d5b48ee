import json
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from ansible_collections.kjoule.bench.plugins.plugin_utils import runs
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, records


def choose(folder, hosts=("a",), run_id=None, minute=0, seed=7, write=True, version="0.1.0", **options):
    choice = runs.choose_run(
        folder,
        {host: dict(options) for host in hosts},
        run_id=run_id,
        now=f"2024-05-01T10:{minute:02d}:00Z",
        stamp=f"20240501-10{minute:02d}00",
        drawn_seed=seed,
        tool_version=version,
    )
    if write:
        runs.write_plans(folder, choice)
    return choice


def finish(folder, choice, blocks=None):
    for host, plan in choice.plans.items():
        path = runs.run_files(folder, choice.run_id, host)["journal"]
        journals.append_record(path, header(plan))
        for record in records(plan, Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}), blocks):
            journals.append_record(path, record)


def test_a_new_run_is_named_by_time_and_profile_and_shared_by_all_hosts(tmp_path):
    choice = choose(tmp_path, ("a", "b"))
    assert choice.run_id == "20240501-100000-quick"
    assert {plan["run_id"] for plan in choice.plans.values()} == {choice.run_id}
    assert not choice.continued
    assert sorted(path.name for path in (tmp_path / choice.run_id).iterdir()) == ["a.plan.json", "b.plan.json"]


def test_an_unfinished_run_is_continued_and_its_seed_kept(tmp_path):
    first = choose(tmp_path, seed=1)
    finish(tmp_path, first, blocks=3)
    again = choose(tmp_path, minute=5, seed=2)
    assert again.continued
    assert again.plans == first.plans
    assert again.estimate_seconds == pytest.approx(first.estimate_seconds / 2)
    assert again.progress["a"]["blocks_valid"] == 3


def test_the_newest_of_several_unfinished_runs_is_continued(tmp_path):
    choose(tmp_path, run_id="zzz", minute=1)
    choose(tmp_path, run_id="aaa", minute=2)
    assert choose(tmp_path, minute=9).run_id == "aaa"


def test_a_finished_run_or_other_settings_start_a_new_one(tmp_path):
    first = choose(tmp_path)
    assert choose(tmp_path, minute=1, blocks=7).run_id == "20240501-100100-quick"
    finish(tmp_path, first)
    assert choose(tmp_path, minute=2).run_id == "20240501-100200-quick"


def test_a_run_of_one_finished_and_one_unfinished_host_is_continued_for_both(tmp_path):
    first = choose(tmp_path, ("a", "b"))
    finish(tmp_path, runs.Choice(first.run_id, {"a": first.plans["a"]}, [], False, 0, {}))
    assert choose(tmp_path, ("a", "b"), minute=1).run_id == first.run_id
    assert choose(tmp_path, ("a",), minute=2).run_id != first.run_id


def test_a_named_run_with_other_settings_is_refused_with_both_values(tmp_path):
    choose(tmp_path, run_id="mine")
    with pytest.raises(KjouleError) as error:
        choose(tmp_path, run_id="mine", blocks=8, apps=4)
    assert "blocks: 6 -> 8" in str(error.value)
    assert "apps: 5 -> 4" in str(error.value)


def test_a_named_run_of_another_version_is_refused_with_both_versions(tmp_path):
    choose(tmp_path, run_id="mine")
    with pytest.raises(KjouleError, match=r"another version of kjoule: expected version 0\.1\.0, saw 0\.2\.0.*another kjoule_run_id"):
        choose(tmp_path, run_id="mine", version="0.2.0")


def test_an_unfinished_run_of_another_version_is_left_and_a_new_one_begun(tmp_path):
    choose(tmp_path)
    assert choose(tmp_path, minute=1, version="0.2.0").run_id == "20240501-100100-quick"
    assert choose(tmp_path, minute=2).run_id == "20240501-100000-quick"


def test_a_named_run_is_continued_even_when_finished(tmp_path):
    first = choose(tmp_path, run_id="mine")
    finish(tmp_path, first)
    again = choose(tmp_path, run_id="mine", seed=99)
    assert again.plans == first.plans
    assert again.estimate_seconds == 0


def test_a_host_that_comes_later_joins_with_the_same_seed(tmp_path):
    first = choose(tmp_path, ("a",), seed=1)
    both = choose(tmp_path, ("a", "b"), seed=2, minute=1)
    assert both.run_id == first.run_id
    assert both.new_hosts == ["b"]
    assert both.plans["b"]["seed"] == 1


def test_a_changed_plan_is_noticed(tmp_path):
    choose(tmp_path, run_id="mine")
    path = tmp_path / "mine" / "a.plan.json"
    plan = json.loads(path.read_text())
    plan["blocks"][0]["order"].reverse()
    path.write_text(json.dumps(plan))
    with pytest.raises(KjouleError, match="changed after it was written"):
        choose(tmp_path, run_id="mine")
    assert choose(tmp_path, minute=1).run_id == "20240501-100100-quick"


def test_a_journal_without_its_plan_is_not_planned_over(tmp_path):
    choice = choose(tmp_path, run_id="mine")
    finish(tmp_path, choice, 1)
    (tmp_path / "mine" / "a.plan.json").unlink()
    with pytest.raises(KjouleError, match="without its plan"):
        choose(tmp_path, run_id="mine")


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "", "a b", "x" * 200])
def test_a_run_id_is_a_plain_folder_name(name):
    with pytest.raises(KjouleError):
        runs.check_run_id(name)


@pytest.mark.parametrize("hosts", [("a/b", "a_b"), ("A", "a"), ("a", "a.plan"), ("fe80::1", "fe80__1")])
def test_hosts_that_would_share_files_are_refused(hosts):
    with pytest.raises(KjouleError, match="same file"):
        runs.check_hosts(list(hosts))


def test_a_host_name_cannot_leave_the_folder():
    for host in ("../../x", "/etc/passwd", "..", "a\nb", "-x"):
        for path in runs.run_files("/r", "run", host).values():
            assert Path(path).parent == Path("/r/run")
            assert not Path(path).name.startswith((".", "-"))
