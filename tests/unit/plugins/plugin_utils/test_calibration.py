"""Calibrations of an injected noise, and what a later comparison makes of them."""

import json
import random

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import calibration, runs
from ansible_collections.kjoule.bench.plugins.plugin_utils.journal import Journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from ansible_collections.kjoule.bench.plugins.plugin_utils.report import build_report
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, records

NOISE = 0.002


def plan(**options):
    return build_plan(options, "h", run_id="aa", created_at="2024-01-01T00:00:00Z", drawn_seed=4)


def calibrated(blocks=40, **options):
    made = plan(mode="calibrate", blocks=blocks, **options)
    return calibration.calibrate(made, records(made, Recipe(dict.fromkeys(made["settings"]["labels"], SNOWFLAKE), noise_cpu=NOISE)))


def choose(folder, **options):
    return runs.choose_run(folder, {"h": options}, run_id="ab", now="2024-01-02T00:00:00Z", stamp="s", drawn_seed=1).plans["h"]


def test_the_noise_that_was_injected_comes_out():
    found = calibrated()

    def drawn(block, label):
        return random.Random(f"{Recipe({}).seed}/{block}/{label}/1").gauss(0, NOISE)

    squares = [(drawn(block, "snowflake-2") - drawn(block, "snowflake-1")) ** 2 for block in range(1, 41)]
    assert found["noise"]["sd"] == pytest.approx((sum(squares) / 40) ** 0.5)
    assert abs(found["noise"]["lag_1"]) < 0.5
    assert found["effect"]["low"] < 0 < found["effect"]["high"]


def test_more_blocks_show_smaller_effects_and_smaller_effects_need_more_blocks():
    found = calibrated()
    effects = [item["effect"] for item in found["detectable"]]
    assert effects == sorted(effects, reverse=True)
    needed = [item["blocks"] for item in found["blocks_for"]]
    assert needed == sorted(needed, reverse=True)
    assert min(needed) >= 6


def test_two_different_arms_are_no_calibration():
    made = plan()
    truths = dict(zip(made["settings"]["labels"], (SNOWFLAKE, FLUX)))
    assert calibration.calibrate(made, records(made, Recipe(truths))) is None
    assert calibrated(blocks=6) is not None
    made = plan(mode="calibrate")
    assert calibration.calibrate(made, []) is None


def test_a_comparison_of_the_same_kind_uses_it_and_says_what_it_can_show(tmp_path):
    path = tmp_path / "aa" / "h.calibration.json"
    path.parent.mkdir()
    path.write_text(json.dumps(calibrated()))
    made = choose(tmp_path)
    assert made["calibration"]["run_id"] == "aa"
    truths = dict(zip(made["settings"]["labels"], (SNOWFLAKE, FLUX)))
    planned = build_report(made, Journal(header(made), records(made, Recipe(truths, noise_cpu=NOISE))))["power"]["planned"]
    assert planned["blocks"] == 6
    assert planned["detectable"] == pytest.approx(1.83 * calibrated()["noise"]["sd"], rel=0.02)
    assert 0 < planned["power_at_margin"] <= 1


@pytest.mark.parametrize("options", [{"apps": 9}, {"interval_seconds": 9}, {"layout": "one"}, {"mode": "calibrate"}])
def test_a_run_of_another_kind_does_not_use_it(tmp_path, options):
    path = tmp_path / "aa" / "h.calibration.json"
    path.parent.mkdir()
    path.write_text(json.dumps(calibrated()))
    assert "calibration" not in choose(tmp_path, **options)


def test_a_damaged_calibration_is_not_used(tmp_path):
    path = tmp_path / "aa" / "h.calibration.json"
    path.parent.mkdir()
    path.write_text("{")
    assert "calibration" not in choose(tmp_path)
