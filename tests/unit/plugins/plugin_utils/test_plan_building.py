# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks are drawn by seed and host, hashes tell plans apart, cells have their own part of a plan."""

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import plan as plans
from ansible_collections.kjoule.bench.plugins.plugin_utils import schedule


def build(host="web1", seed=7, run_id="r1", **options):
    return plans.build_plan(options, host, run_id=run_id, created_at="2024-05-01T09:00:00Z", drawn_seed=seed, tool_version="0.1.0")


class Tagged(str):
    __slots__ = ("tag",)


def test_every_block_holds_every_side_once_and_orders_vary():
    plan = build(blocks=40)
    assert [block["block"] for block in plan["blocks"]] == list(range(1, 41))
    assert {tuple(sorted(block["order"])) for block in plan["blocks"]} == {("flux", "snowflake")}
    firsts = [block["order"][0] for block in plan["blocks"]]
    assert 10 < firsts.count("flux") < 30


def test_the_order_depends_on_seed_and_host_and_on_nothing_else():
    first = build(blocks=20)
    assert first == build(blocks=20)
    assert first["blocks"] != build(blocks=20, seed=8)["blocks"]
    assert first["blocks"] != build(blocks=20, host="web2")["blocks"]
    assert first["blocks"] == build(blocks=20, run_id="other")["blocks"]


def test_a_drawn_seed_does_not_change_what_is_measured_a_given_one_does():
    assert build(seed=1)["settings_hash"] == build(seed=2)["settings_hash"]
    given = plans.build_plan({"seed": 3}, "web1", run_id="r1", created_at="", drawn_seed=9)
    assert given["seed"] == 3
    assert given["settings_hash"] != build()["settings_hash"]
    assert given["settings_hash"] != plans.build_plan({"seed": 4}, "web1", run_id="r1", created_at="", drawn_seed=9)["settings_hash"]


def test_hashes_do_not_care_how_a_value_was_written():
    plain = build(apps=5, interval_seconds=4, arms=["snowflake", "flux"])
    tagged = build(apps="5", interval_seconds=4.0, arms=[Tagged("snowflake"), Tagged("flux")])
    assert plain == tagged
    assert all(type(arm) is str for arm in tagged["settings"]["arms"])
    assert build(apps=6)["settings_hash"] != plain["settings_hash"]
    assert plans.plan_hash(plain) == plain["plan_hash"]


def test_an_arm_twice_is_a_against_a():
    plan = build(arms=["flux", "flux"])
    assert plan["settings"]["labels"] == ["flux-1", "flux-2"]
    assert plans.arm_of(plan, "flux-2") == "flux"


def test_few_blocks_are_fine_without_inference():
    assert len(build(blocks=2, inference="false")["blocks"]) == 2


def test_factors_are_crossed_and_every_replicate_holds_every_cell_once():
    made = build(factors={"apps": [1, 10, 100], "interval": [10, 60]}, scenario="scale")
    cells = made["settings"]["cells"]
    assert [cell["levels"] for cell in cells] == [{"apps": a, "interval": i} for a in (1, 10, 100) for i in (10, 60)]
    assert len(made["blocks"]) == 6 * 6
    for replicate in range(1, 7):
        group = [block for block in made["blocks"] if block["replicate"] == replicate]
        assert [block["block"] for block in group] == list(range(6 * replicate - 5, 6 * replicate + 1)), "next to each other"
        assert sorted(block["cell"] for block in group) == [1, 2, 3, 4, 5, 6]
        assert all(sorted(block["order"]) == ["flux", "snowflake"] for block in group)
    assert len({tuple(block["cell"] for block in made["blocks"][start : start + 6]) for start in range(0, 36, 6)}) > 1, "in random order"


def test_a_cell_has_its_own_sizes_and_a_scenario_to_fit():
    made = build(factors={"apps": [1, 10], "interval": [10, 60]}, scenario="scale")
    last = plans.plan_of_cell(made, 4)["settings"]
    assert (last["apps"], last["interval_seconds"], last["workload"]["apps"]) == (10, 60, 10)
    assert {phase["hold_seconds"] for phase in last["scenario"] if phase["kind"] == "steady"} == {60}
    assert {block["cell"] for block in plans.plan_of_cell(made, 4)["blocks"]} == {4}
    assert {item["cell"] for item in schedule.remaining(made, [])} == {1, 2, 3, 4}
    assert schedule.estimate_seconds(made) > 4 * schedule.estimate_seconds(build(apps=1, interval_seconds=10, scenario="scale"))


def test_one_repository_or_several_and_sampling_on_or_off_are_crossed_with_the_others():
    made = build(factors={"repositories": [1, 5], "sampling": [True, False], "apps": [5, 10]}, sampling="off")
    levels = [cell["levels"] for cell in made["settings"]["cells"]]
    assert len({tuple(sorted(cell.items())) for cell in levels}) == 8
    assert levels[0]["sampling"] == "off", "the cell that the plain settings describe comes first"
    for cell in made["settings"]["cells"]:
        own = plans.plan_of_cell(made, cell["cell"])["settings"]
        assert {key: own[key] for key in cell["levels"]} == cell["levels"]


def test_a_plan_without_factors_has_no_cells():
    made = build()
    assert made["settings"]["cells"] == []
    assert "cell" not in made["blocks"][0]
    assert plans.plan_of_cell(made, 0) is made


@pytest.mark.parametrize("minikube", [{}, {"driver": "kvm2"}, {"driver": "docker"}])
def test_flux_as_pods_is_refused_where_the_node_is_not_the_host(minikube):
    with pytest.raises(
        KjouleError, match=r"setting flux\.place: expected host, .*Next: kjoule_flux_place: host, or kjoule_minikube_driver: none"
    ):
        build(lab="minikube", minikube=minikube, flux={"place": "cluster"})


@pytest.mark.parametrize(
    "options",
    [
        {"lab": "minikube", "minikube": {"driver": "none"}},
        {"lab": "existing", "minikube": {"driver": "docker"}},
        {"lab": "minikube", "minikube": {"driver": "docker"}, "arms": ["snowflake", "snowflake"]},
    ],
)
def test_flux_as_pods_is_planned_where_the_node_can_be_the_host_or_no_flux_is_measured(options):
    assert build(flux={"place": "cluster"}, **options)["settings"]["flux"] == {"place": "cluster"}
