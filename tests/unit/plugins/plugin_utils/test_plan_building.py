import itertools

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import plan as plans
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import canonical_json, to_plain
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, records


def build(host="web1", seed=7, run_id="r1", **options):
    return plans.build_plan(options, host, run_id=run_id, created_at="2024-05-01T09:00:00Z", drawn_seed=seed, tool_version="0.1.0")


class Tagged(str):
    __slots__ = ("tag",)


def test_quick_is_the_default_and_every_key_can_be_overridden():
    settings = build()["settings"]
    assert (settings["blocks"], settings["apps"], settings["interval_seconds"], settings["baseline_seconds"]) == (6, 5, 3, 2)
    settings = build(profile="full")["settings"]
    assert (settings["blocks"], settings["apps"], settings["interval_seconds"], settings["baseline_seconds"]) == (12, 20, 60, 30)
    assert build(profile="full", apps="7")["settings"]["apps"] == 7
    assert build(profile="full", apps="")["settings"]["apps"] == 20


def test_the_day_is_resolved_into_seconds():
    phases = build()["settings"]["scenario"]
    assert [(phase["name"], phase["hold_seconds"]) for phase in phases] == [
        ("idle", 3),
        ("deploy", 6),
        ("steady", 6),
        ("update", 9),
        ("drift", 4.5),
        ("prune", 3),
        ("teardown", 0),
    ]
    assert phases[3] == {"kind": "update", "name": "update", "hold_seconds": 9, "change": "image", "apps": 1, "times": 3}


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


def test_nan_has_no_json_form():
    with pytest.raises(KjouleError, match="finite"):
        to_plain({"a": [float("nan")]})
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'


def test_an_arm_twice_is_a_against_a():
    plan = build(arms=["flux", "flux"])
    assert plan["settings"]["labels"] == ["flux-1", "flux-2"]
    assert plans.arm_of(plan, "flux-2") == "flux"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arms": ["flux"]}, "exactly two arms"),
        ({"arms": ["flux", "argo"]}, "argo"),
        ({"profile": "quik"}, "write 'quick'"),
        ({"layout": "per-ap"}, "per-app"),
        ({"repositories": 0}, "at least 1"),
        ({"repositories": 6, "apps": 5}, "at most 5, one for each app"),
        ({"sampling": "of"}, "write 'off'"),
        ({"minikube": {"driver": "kvm"}}, "write 'kvm2'"),
        ({"flux": {"place": "pod"}}, "one of host, cluster"),
        ({"workload_images": ["a:1"]}, "at least two images"),
        ({"existing": {"kubeconfg": "/etc/kubernetes/admin.conf"}}, "write 'kubeconfig'"),
        ({"lab": "kind"}, "expected one of kwok"),
        ({"blocks": 5}, "kjoule_blocks: 6, or kjoule_inference: false"),
        ({"blocks": 6, "alpha": 0.01}, "kjoule_blocks: 8"),
        ({"blocks": 0}, "at least 1"),
        ({"blocks": 2.5}, "whole number"),
        ({"blocks": True}, "whole number"),
        ({"apps": -1}, "at least 1"),
        ({"interval_seconds": 0}, "above 0"),
        ({"interval_seconds": "soon"}, "number above 0"),
        ({"baseline_seconds": -1}, "at least 0"),
        ({"alpha": 1}, "below 1"),
        ({"margin_cpu": 0}, "margin_cpu"),
        ({"block_retries": -1}, "block_retries"),
        ({"inference": "maybe"}, "true or false"),
        ({"scenario": "dya"}, "day, idle"),
        ({"scenario": "none.yml"}, "none.yml"),
        ({"scenario": 3}, "a path or a list"),
        ({"blokcs": 6}, "write 'blocks'"),
        ({"workload": "/does/not/exist"}, "directory of manifests"),
        ({"estimate": "unknown"}, "generic-x86-server"),
        ({"joules_per_cpu_second": {"value": 3}}, "no low, high, source"),
        ({"joules_per_cpu_second": {"value": 3, "low": 4, "high": 5, "source": "x"}}, "low <= value <= high"),
        ({"ports": [1]}, "dictionary"),
        ({"extra": "annotate"}, "dictionary"),
        ({"extra": {"flux_triger": "poll"}}, "write 'flux_trigger'"),
        ({"extra": {"flux_trigger": "interval"}}, "flux_trigger: expected one of poll, annotate, saw 'interval'"),
        ({"interval_seconds": 120}, "more than the interval of 120 s, for Flux looks for a change only that often, saw 120"),
        ({"factors": {"interval": [10, 300]}}, "kjoule_timeout: 600, or kjoule_flux_trigger: annotate"),
        ({"extra": {"snowflake_prune": "remove"}}, "snowflake_prune: expected one of none, delete"),
    ],
)
def test_what_is_wrong_is_named(options, words):
    with pytest.raises(KjouleError) as error:
        build(**options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_seconds": 301},
        {"extra": {"flux_trigger": "annotate"}},
        {"arms": ["snowflake", "snowflake"]},
        {"scenario": [{"name": "idle", "hold": 8}]},
    ],
)
def test_a_long_interval_is_fine_where_nobody_waits_for_it_in_vain(options):
    assert build(interval_seconds=300, **options)["settings"]["interval_seconds"] == 300


def test_what_only_one_arm_takes_is_in_every_plan():
    assert build().get("settings")["extra"] == {"flux_trigger": "poll", "snowflake_prune": "none"}
    written, left_out = build(extra={"flux_trigger": "poll"}), build()
    assert written["settings_hash"] == left_out["settings_hash"]
    assert build(extra={"flux_trigger": "annotate"})["settings"]["extra"] == {"flux_trigger": "annotate", "snowflake_prune": "none"}


def test_few_blocks_are_fine_without_inference():
    assert len(build(blocks=2, inference="false")["blocks"]) == 2


def test_a_users_coefficient_wins_over_the_table():
    row = build(joules_per_cpu_second={"value": 5, "low": 4, "high": 6.5, "source": "wall meter"})["settings"]["estimate"]
    assert (row["id"], row["joules_per_cpu_second"], row["low"], row["high"], row["source"]) == ("user", 5, 4, 6.5, "wall meter")
    assert build()["settings"]["estimate"]["joules_per_cpu_second"] == pytest.approx(3.5 - 0.74)


def test_the_run_time_grows_with_blocks_and_holds():
    base = plans.estimate_seconds(build())
    assert plans.estimate_seconds(build(blocks=12)) == pytest.approx(2 * base)
    assert plans.estimate_seconds(build(interval_seconds=60)) > 5 * base


# --- what is left --------------------------------------------------------------------------------------------------------------------


def record(plan, block, label, attempt=1, valid=True, error=None):
    position = plan["blocks"][block - 1]["order"].index(label) + 1
    return {"kind": "period", "block": block, "label": label, "attempt": attempt, "position": position, "valid": valid, "error": error}


def both(plan, block, attempt=1, valid=True):
    return [record(plan, block, label, attempt, valid) for label in plan["blocks"][block - 1]["order"]]


def places(items):
    return [(item["block"], item["position"], item["attempt"]) for item in items]


def test_nothing_measured_leaves_everything_in_the_planned_order():
    plan = build()
    left = plans.remaining(plan, [])
    assert places(left) == [(block, position, 1) for block, position in itertools.product(range(1, 7), (1, 2))]
    assert [item["label"] for item in left] == [label for block in plan["blocks"] for label in block["order"]]
    assert left[0]["period_id"] == "b01-p1-a1"
    assert left[0]["arm"] == left[0]["label"]


def test_a_half_done_block_is_run_again_whole():
    plan = build()
    records = [*both(plan, 1), record(plan, 2, plan["blocks"][1]["order"][0])]
    assert places(plans.remaining(plan, records))[:3] == [(2, 1, 2), (2, 2, 2), (3, 1, 1)]


def test_an_invalid_block_is_run_again_after_all_others_and_only_so_often():
    plan = build()
    records = both(plan, 1, valid=False) + both(plan, 2)
    assert places(plans.remaining(plan, records)) == [(b, p, 1) for b in (3, 4, 5, 6) for p in (1, 2)] + [(1, 1, 2), (1, 2, 2)]
    records += [item for block in range(3, 7) for item in both(plan, block)] + both(plan, 1, attempt=2, valid=False)
    assert plans.remaining(plan, records) == []
    state = plans.progress(plan, records)
    assert (state["blocks_valid"], state["blocks_given_up"], state["finished"]) == (5, 1, True)
    assert places(plans.remaining(build(block_retries=2), records)) == [(1, 1, 3), (1, 2, 3)]
    assert places(plans.remaining(build(block_retries=0), both(plan, 1, valid=False)))[0] == (2, 1, 1)


def test_a_period_with_an_error_does_not_count():
    plan = build()
    records = [record(plan, 1, "flux"), record(plan, 1, "snowflake", error="etcd did not start")]
    assert plans.selected_attempts(plan, records) == {}


def test_the_last_whole_and_valid_attempt_counts():
    plan = build()
    records = both(plan, 1) + both(plan, 1, attempt=2) + [record(plan, 1, "flux", 3)]
    assert plans.selected_attempts(plan, records) == {1: 2}


def test_asking_again_and_again_comes_to_an_end_even_when_nothing_is_ever_valid():
    plan, records, rounds = build(), [], 0
    while work := plans.remaining(plan, records):
        records += [record(plan, item["block"], item["label"], item["attempt"], valid=False) for item in work]
        rounds += 1
    assert rounds == 2


# --- factors, calibration, stopping -------------------------------------------------------------------------------------------------


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
    assert {item["cell"] for item in plans.remaining(made, [])} == {1, 2, 3, 4}
    assert plans.estimate_seconds(made) > 4 * plans.estimate_seconds(build(apps=1, interval_seconds=10, scenario="scale"))


def test_one_repository_or_several_and_sampling_on_or_off_are_crossed_with_the_others():
    made = build(factors={"repositories": [1, 5], "sampling": [True, False], "apps": [5, 10]}, sampling="off")
    levels = [cell["levels"] for cell in made["settings"]["cells"]]
    assert len({tuple(sorted(cell.items())) for cell in levels}) == 8
    assert levels[0]["sampling"] == "off", "the cell that the plain settings describe comes first"
    for cell in made["settings"]["cells"]:
        own = plans.plan_of_cell(made, cell["cell"])["settings"]
        assert {key: own[key] for key in cell["levels"]} == cell["levels"]
    with pytest.raises(KjouleError, match="one for each app"):
        build(factors={"repositories": [1, 5], "apps": [4, 10]})


def test_a_plan_without_factors_has_no_cells():
    made = build()
    assert made["settings"]["cells"] == []
    assert "cell" not in made["blocks"][0]
    assert plans.plan_of_cell(made, 0) is made


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"apps": [1]}, "at least two levels"),
        ({"apps": 10}, "a list of at least two levels"),
        ({"apps": [1, 1]}, "every level once"),
        ({"apps": [1, "many"]}, "factors.apps"),
        ({"app": [1, 2]}, "write 'apps'"),
        ({"layout": ["one", "two"]}, "factors.layout"),
        ([1, 2], "a dictionary"),
    ],
)
def test_a_factor_that_makes_no_sense_is_refused(factors, words):
    with pytest.raises(KjouleError, match=words):
        build(factors=factors)


def test_a_setting_that_is_a_factor_as_well_must_be_one_of_its_levels_and_comes_first():
    with pytest.raises(KjouleError, match="leave kjoule_apps out"):
        build(apps=7, factors={"apps": [1, 10]})
    assert build(apps=10, factors={"apps": [2, 10]})["settings"]["cells"][0]["levels"] == {"apps": 10}


def test_a_calibration_measures_one_arm_twice_in_enough_blocks():
    settings = build(mode="calibrate")["settings"]
    assert (settings["arms"], settings["blocks"]) == (["snowflake", "snowflake"], 10)
    assert build(mode="calibrate", arms=["flux", "flux"], blocks=7)["settings"]["blocks"] == 7
    with pytest.raises(KjouleError, match="the same arm twice"):
        build(mode="calibrate", arms=["snowflake", "flux"])


def synthetic(made, blocks):
    return records(made, Recipe(dict(zip(made["settings"]["labels"], (SNOWFLAKE, FLUX)))), blocks)


def test_a_run_stops_at_the_border_of_a_block_when_its_time_is_up():
    made = build(stopping={"max_hours": 0.05})
    measured = [{**record, "seconds": 60.0} for record in synthetic(made, 2)]
    assert plans.stopped_by(made, measured[:2]) is None
    assert plans.remaining(made, measured[:2])
    assert "max_hours 0.05" in plans.stopped_by(made, measured)
    assert plans.remaining(made, measured) == []
    done = plans.progress(made, measured)
    assert (done["finished"], done["blocks_valid"], done["blocks_given_up"]) == (True, 2, 0)
    assert plans.estimate_seconds(made) <= 180


@pytest.mark.parametrize("stopping", [{"max_hours": 0}, {"p_below": 0.05}, "3 hours"])
def test_a_rule_that_would_peek_or_makes_no_sense_is_refused(stopping):
    with pytest.raises(KjouleError, match="stopping"):
        build(stopping=stopping)
