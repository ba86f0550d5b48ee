# SPDX-License-Identifier: GPL-3.0-or-later
"""The line through made-up points, against figures worked out by hand; measured points are in module_utils/energy/test_calibrate.py."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.energy_calibration import cooldown_seconds, estimate_row, fit, lag1, sentence
from ansible_collections.kjoule.bench.plugins.plugin_utils.run_settings import build_settings

WIGGLE = (0.1, -0.1, 0.05, -0.05, 0.08, -0.08, 0.02, -0.02, 0.06, -0.06, 0.03, -0.03)


def window(busy, watts, at, **more):
    return {
        "seconds": 10.0,
        "joules": watts * 10,
        "uncertainty_joules": 0.1,
        "valid": True,
        "reasons": [],
        "busy_seconds": busy * 10,
        "steal_seconds": 0.0,
        "cpus": 4,
        "own_cpu_seconds": 0.01,
        "at_seconds": at,
        "powers_watts": [watts - 0.1, watts + 0.1],
        **more,
    }


def points(k=3.0, idle=10.0, levels=(0.4, 2.0, 1.2, 4.0, 2.8, 0.8, 3.6, 1.6, 3.2, 2.4), accuracy=None):
    rows = [window(0.0, idle + WIGGLE[number], 10.0 * number) for number in range(2)]
    steps = [window(busy, idle + k * busy + WIGGLE[number + 2], 20.0 + 10.0 * number, level=busy / 4) for number, busy in enumerate(levels)]
    return {
        "measured_at": "2026-11-25T00:00:00Z",
        "host": {"cpu_model": "X", "cpus": 4},
        "source": {"name": "rapl", "scope": "rapl:package", "accuracy": {"relative": accuracy, "origin": ""}},
        "seed": 1,
        "idle": rows,
        "steps": steps,
        "cooldown": [[1.0, 30.0, None], [2.0, 10.2, None], [3.0, 10.0, None], [4.0, 10.0, None], [5.0, 10.0, None]],
    }


def test_a_line_without_noise_is_found_exactly():
    rows = points()
    for row in [*rows["idle"], *rows["steps"]]:
        row["joules"] = 10 * (10.0 + 3.0 * row["busy_seconds"] / 10)
    found = fit(rows)
    assert found["joules_per_cpu_second"]["value"] == pytest.approx(3.0)
    assert found["idle_watts"]["value"] == pytest.approx(10.0)
    assert found["r_squared"] == pytest.approx(1.0)
    assert max(abs(row["residual_watts"]) for row in found["residuals"]) < 1e-9


def test_a_curve_shows_in_the_residuals_and_in_the_bounds():
    bent = points()
    for row in bent["steps"]:
        busy = row["busy_seconds"] / 10
        row["joules"] = 10 * (10.0 + 5.0 * busy - 0.5 * busy**2)
    found = fit(bent)
    assert found["r_squared"] < 0.99
    assert found["low_load"] is None, "two points at rest and three of little load are too few"
    for busy in (0.2, 0.6):
        bent["steps"].append(window(busy, 10.0 + 5.0 * busy - 0.5 * busy**2, 200.0, level=busy / 4))
    found = fit(bent)
    assert found["low_load"]["value"] > found["joules_per_cpu_second"]["high"]
    row = estimate_row(found)
    assert row["high"] == pytest.approx(found["low_load"]["high"])
    assert row["low"] == pytest.approx(found["joules_per_cpu_second"]["low"])


def test_the_accuracy_of_the_meter_widens_the_bounds_of_the_estimate():
    exact, off = (estimate_row(fit(points(accuracy=accuracy))) for accuracy in (None, 0.05))
    assert off["low"] == pytest.approx(0.95 * exact["low"])
    assert off["high"] == pytest.approx(1.05 * exact["high"])
    assert exact["id"] == "calibrated"
    assert "rapl:package" in exact["what"]


def test_power_that_does_not_follow_the_load_is_refused():
    with pytest.raises(KjouleError, match="does not follow its load"):
        fit(points(k=0.0))
    with pytest.raises(KjouleError, match="does not follow its load"):
        fit(points(k=-1.0))


def test_invalid_windows_are_left_out_and_too_few_are_refused():
    rows = points()
    for row in rows["steps"][:2]:
        row.update(valid=False, reasons=["reset: package-0 fell"], joules=9e9)
    found = fit(rows)
    assert found["points"] == 10
    assert found["left_out"] == ["0.1: reset: package-0 fell", "0.5: reset: package-0 fell"]
    assert found["joules_per_cpu_second"]["value"] == pytest.approx(3.0, abs=0.1)
    for row in rows["steps"]:
        row.update(valid=False, reasons=["frozen"])
    with pytest.raises(KjouleError, match=r"expected at least 6, saw 2; .*frozen"):
        fit(rows)


def test_autocorrelation_of_neighbours():
    assert lag1([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]) < -0.8
    assert lag1([1.0, 1.0, 1.0, 5.0, 5.0, 5.0]) == pytest.approx(0.5)
    assert lag1([1.0, 1.0, 1.0]) is None
    assert lag1([1.0, 2.0]) is None


def test_cool_is_when_the_power_of_idle_is_reached_and_kept():
    idle = [10.0, 10.1, 9.9, 10.0]
    rows = [[float(second), watts, None] for second, watts in enumerate([50, 30, 10, 20, 10.1, 10, 9.9, 10.05, 30], start=1)]
    assert cooldown_seconds(rows, idle) == 5.0
    assert cooldown_seconds(rows[:7], idle) is None
    assert cooldown_seconds(rows, []) is None


def test_the_result_in_one_line():
    assert sentence(fit(points())).startswith("rapl:package: 10.")
    assert "J per CPU-second" in sentence(fit(points()))


def test_a_run_estimates_with_the_calibration_where_there_is_one():
    calibration = fit(points())
    settings, _seed = build_settings({"energy_calibration": calibration})
    assert settings["estimate"]["id"] == "calibrated"
    assert settings["energy_calibration"]["idle_watts"] == calibration["idle_watts"]
    assert build_settings({})[0]["estimate"]["id"] == "generic-x86-server"
    assert (
        build_settings({"energy_calibration": calibration, "estimate": "generic-x86-server"})[0]["estimate"]["id"] == "generic-x86-server"
    )
    own = {"value": 4, "low": 3, "high": 5, "source": "my own"}
    assert build_settings({"energy_calibration": calibration, "joules_per_cpu_second": own})[0]["estimate"]["id"] == "user"
    with pytest.raises(KjouleError, match="expected a calibration that holds on this host"):
        build_settings({"estimate": "calibrated"})
