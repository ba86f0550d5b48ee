# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a user gave to settings: profile, defaults, the one row of the estimate, factors and their cells."""

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.run_settings import build_settings


def settings_of(**options):
    return build_settings(options)[0]


def test_quick_is_the_default_and_every_key_can_be_overridden():
    settings = settings_of()
    assert (settings["blocks"], settings["apps"], settings["interval_seconds"], settings["baseline_seconds"]) == (6, 5, 3, 2)
    settings = settings_of(profile="full")
    assert (settings["blocks"], settings["apps"], settings["interval_seconds"], settings["baseline_seconds"]) == (12, 20, 60, 30)
    assert settings_of(profile="full", apps="7")["apps"] == 7
    assert settings_of(profile="full", apps="")["apps"] == 20


def test_the_day_is_resolved_into_seconds():
    phases = settings_of()["scenario"]
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "quik"}, "write 'quick'"),
        ({"repositories": 6, "apps": 5}, "at most 5, one for each app"),
        ({"blocks": 5}, "kjoule_blocks: 6, or kjoule_inference: false"),
        ({"blocks": 6, "alpha": 0.01}, "kjoule_blocks: 8"),
        ({"scenario": "dya"}, "day, idle"),
        ({"scenario": "none.yml"}, "none.yml"),
        ({"scenario": 3}, "a path or a list"),
        ({"blokcs": 6}, "write 'blocks'"),
        ({"workload": "/does/not/exist"}, "directory of manifests"),
        ({"estimate": "unknown"}, "generic-x86-server"),
        ({"joules_per_cpu_second": {"value": 3}}, "no low, high, source"),
        ({"joules_per_cpu_second": {"value": 3, "low": 4, "high": 5, "source": "x"}}, "low <= value <= high"),
        ({"interval_seconds": 120}, "more than the interval of 120 s, for Flux looks for a change only that often, saw 120"),
        ({"factors": {"interval": [10, 300]}}, "kjoule_timeout: 600, or kjoule_flux_trigger: annotate"),
    ],
)
def test_what_is_wrong_is_named(options, words):
    with pytest.raises(KjouleError) as error:
        build_settings(options)
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
    assert settings_of(interval_seconds=300, **options)["interval_seconds"] == 300


def test_what_only_one_arm_takes_is_in_every_plan():
    assert settings_of()["extra"] == {"flux_trigger": "poll", "snowflake_prune": "none"}
    written, left_out = settings_of(extra={"flux_trigger": "poll"}), settings_of()
    assert written == left_out
    assert settings_of(extra={"flux_trigger": "annotate"})["extra"] == {"flux_trigger": "annotate", "snowflake_prune": "none"}


def test_a_users_coefficient_wins_over_the_table():
    row = settings_of(joules_per_cpu_second={"value": 5, "low": 4, "high": 6.5, "source": "wall meter"})["estimate"]
    assert (row["id"], row["joules_per_cpu_second"], row["low"], row["high"], row["source"]) == ("user", 5, 4, 6.5, "wall meter")
    assert settings_of()["estimate"]["joules_per_cpu_second"] == pytest.approx(3.5 - 0.74)


def test_a_cell_with_more_repositories_than_apps_is_refused():
    with pytest.raises(KjouleError, match="one for each app"):
        settings_of(factors={"repositories": [1, 5], "apps": [4, 10]})


def test_a_setting_that_is_a_factor_as_well_must_be_one_of_its_levels_and_comes_first():
    with pytest.raises(KjouleError, match="leave kjoule_apps out"):
        settings_of(apps=7, factors={"apps": [1, 10]})
    assert settings_of(apps=10, factors={"apps": [2, 10]})["cells"][0]["levels"] == {"apps": 10}


def test_a_calibration_measures_one_arm_twice_in_enough_blocks():
    settings = settings_of(mode="calibrate")
    assert (settings["arms"], settings["blocks"]) == (["snowflake", "snowflake"], 10)
    assert settings_of(mode="calibrate", arms=["flux", "flux"], blocks=7)["blocks"] == 7
    with pytest.raises(KjouleError, match="the same arm twice"):
        settings_of(mode="calibrate", arms=["snowflake", "flux"])
