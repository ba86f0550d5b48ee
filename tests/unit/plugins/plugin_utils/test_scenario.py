import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import scenario as scenarios

START = "- name: idle\n  hold: 4\n- name: deploy\n"


def resolve_text(text, arms=("snowflake", "flux"), apps=5, interval=4):
    return scenarios.resolve(scenarios.items_from_text(text, "my.yml"), apps=apps, interval_seconds=interval, arms=list(arms))


@pytest.mark.parametrize(
    ("hold", "seconds"), [(5, 5), ("5", 5), ("2 intervals", 8), ("1 interval", 4), ("1.5 intervals", 6), (".5 intervals", 2), (0.25, 0.25)]
)
def test_a_hold_is_seconds_or_intervals(hold, seconds):
    assert scenarios.hold_seconds(hold, 4, "x") == seconds


@pytest.mark.parametrize("hold", ["soon", -1, "-1", "-2 intervals", True, None, [], float("inf"), "nan", "2 interval s"])
def test_another_hold_is_refused(hold):
    with pytest.raises(KjouleError, match="hold"):
        scenarios.hold_seconds(hold, 4, "x")


def test_shipped_scenarios_work_with_either_arm_and_any_profile():
    assert scenarios.shipped_names() == ["day", "idle", "interval", "scale"]
    for name in scenarios.shipped_names():
        for interval, apps in ((4, 5), (60, 20), (1, 2)):
            _name, items = scenarios.read_scenario(name)
            phases = scenarios.resolve(items, apps=apps, interval_seconds=interval, arms=["snowflake", "flux"])
            assert {"kind", "name", "hold_seconds"} <= set(phases[0])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- name: idle\n  hold: 4\n- name: dpeloy\n", 3, "write 'deploy'"),
        ("- name: night\n  hold: 4\n", 1, "needs kind:"),
        ("- name: baseline\n  hold: 4\n", 1, "anyway"),
        ("- name: idle\n  hold: 4\n  hodl: 5\n", 3, "write 'hold'"),
        ("- name: idle\n  hold: -4\n", 2, "hold"),
        ("- name: idle\n  hold: soon\n", 2, "soon"),
        ("- name: idle\n", 1, "'hold'"),
        ("- name: idle\n  hold: 4\n- name: steady\n  hold: 8\n", 3, "deploy"),
        ("- name: update\n  change: image\n  apps: 1\n  times: 1\n", 1, "deploy"),
        (START + "- name: update\n  change: colour\n  apps: 1\n  times: 1\n", 5, "image, config, replicas"),
        (START + "- name: update\n  change: image\n  apps: 6\n  times: 1\n", 6, "at most 5"),
        (START + "- name: update\n  change: image\n  apps: one\n  times: 1\n", 6, "whole number"),
        (START + "- name: update\n  change: image\n  apps: 1\n  times: 0\n", 7, "at least 1"),
        (START + "- name: prune\n  remove: 6\n  hold: 4\n", 5, "at most 5"),
        (START + "- name: prune\n  remove: 3\n  hold: 4\n- kind: prune\n  name: more\n  remove: 3\n  hold: 4\n", 9, "at most 2"),
        (START + "- kind: deploy\n  name: again\n", 4, "deployed twice"),
        (START + "- name: steady\n  hold: 8\n- name: steady\n  hold: 8\n", 6, "steady-2"),
        (START + "- name: steady\n  hold: 3\n", 5, "shorter than the reconcile interval"),
        (START + "- name: teardown\n- kind: steady\n  name: late\n  hold: 8\n", 5, "torn down"),
        (START + "- kind: idle\n  name: later\n  hold: 8\n", 4, "steady"),
        ("- name: idle\n  hold: 4\n  hold: 5\n", 3, "once"),
        ("- idle\n", 1, "single value"),
        ("name: idle\n", 1, "a dictionary"),
        ("- name: [idle\n  hold: 4\n", 2, "YAML"),
    ],
)
def test_the_line_that_is_wrong_is_named(text, line, words):
    with pytest.raises(KjouleError) as error:
        resolve_text(text)
    assert f"my.yml, line {line}" in str(error.value)
    assert words in str(error.value)


def test_an_empty_file_is_no_scenario():
    with pytest.raises(KjouleError, match="empty"):
        resolve_text("")


def test_an_inline_list_names_the_item():
    items = scenarios.items_from_list([{"name": "idle", "hold": 4}, {"name": "stedy", "hold": 4}])
    with pytest.raises(KjouleError, match="item 2 of the scenario"):
        scenarios.resolve(items, apps=5, interval_seconds=4, arms=["flux", "flux"])
    with pytest.raises(KjouleError, match="item 1"):
        scenarios.items_from_list(["idle"])


def test_a_short_hold_is_fine_where_nothing_reconciles():
    assert resolve_text(START + "- name: steady\n  hold: 1\n", arms=("snowflake", "snowflake"))[2]["hold_seconds"] == 1


def test_phases_of_one_kind_have_names_of_their_own():
    phases = resolve_text(START + "- {kind: steady, name: night, hold: 8}\n- {kind: steady, name: day-2, hold: 1 interval}\n")
    assert [(phase["kind"], phase["name"], phase["hold_seconds"]) for phase in phases[2:]] == [
        ("steady", "night", 8),
        ("steady", "day-2", 4),
    ]


def test_a_file_is_found_beside_the_playbook(tmp_path):
    (tmp_path / "mine.yml").write_text(START)
    name, items = scenarios.read_scenario("mine.yml", tmp_path)
    assert (name, len(items)) == ("mine", 2)
