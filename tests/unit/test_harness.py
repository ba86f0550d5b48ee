# SPDX-License-Identifier: GPL-3.0-or-later
"""What the harness injects is what it says: its truth is checked against numerical integration and by hand."""

from __future__ import annotations

import pytest
from harness.hwmon import PowerMeter
from harness.powercap import OLD_RANGE_UJ, Simulation, Tree, Zone
from harness.shapes import SHAPES, Bursty, Constant, Square


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", [1, 2, 40])
def test_the_energy_of_a_shape_is_the_integral_of_its_power(name, seed):
    shape = SHAPES[name](seed)
    steps = 100_000
    for end in (0.3, 7.0, 63.21):
        sum_of_slices = sum(shape.power_watts((number + 0.5) * end / steps) for number in range(steps)) * end / steps
        assert shape.joules(end) == pytest.approx(sum_of_slices, rel=2e-4)
    assert shape.joules(0.0) == 0.0


def test_power_has_the_shape_of_its_name():
    assert [Square(10, 50, period_seconds=4, duty=0.25).power_watts(t) for t in (0, 0.9, 1.1, 3.9, 4.1)] == [50, 50, 10, 10, 50]
    assert Square(10, 50, period_seconds=4, duty=0.25).joules(8) == 2 * (50 + 30)
    assert Bursty(7).joules(100.0) == Bursty(7).joules(100.0) != Bursty(8).joules(100.0)
    assert min(Bursty(7).power_watts(t / 10) for t in range(1000)) == 20.0


def show(zone: Zone, *times: float) -> list[int]:
    return [zone.shows_uj(t) for t in times]


def test_a_counter_wraps_and_shows_its_last_update():
    zone = Zone("intel-rapl:0", "package-0", Constant(10.0), range_uj=25_000_000, update_seconds=0.5)
    assert show(zone, 0.4, 0.6, 1.0, 2.4, 2.6) == [0, 5_000_000, 10_000_000, 20_000_000, 0]


def test_late_updates_are_late_by_no_more_than_they_may():
    zone = Zone("intel-rapl:0", "package-0", Constant(1.0), update_seconds=0.1, jitter=0.8)
    ages = [t / 1000 - zone.shows_uj(t / 1000) / 1e6 for t in range(200, 20_000)]
    assert min(ages) >= -1e-6
    assert 0.13 < max(ages) <= zone.slowest_update_seconds == pytest.approx(0.18)


def test_faults_happen_when_they_are_told_to():
    assert show(Zone("z", "p", Constant(10.0), start_uj=5, reset_at=2.0), 1.5, 2.5) == [15_000_005, 5_000_000]
    assert show(Zone("z", "p", Constant(10.0), frozen=(1.0, 3.0)), 1.0, 2.0, 3.0, 4.0) == [10_000_000, 10_000_000, 10_000_000, 20_000_000]


def test_a_zone_that_is_gone_leaves_no_counter_and_comes_back(tmp_path):
    tree = Tree(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(10.0), gone=(1.0, 2.0))])
    file = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    for t, there in ((0.5, True), (1.5, False), (2.5, True)):
        tree.show(t)
        assert file.exists() == there
    assert (file.parent / "name").read_text() == "package-0\n"


def test_the_clock_of_a_simulation_is_its_own(tmp_path):
    simulation = Simulation(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(10.0), OLD_RANGE_UJ), Zone("x:1", "p", Constant(1.0))])
    clock = simulation
    begin = clock.now_ns
    clock.advance(3600)
    first, second = clock(), clock()
    assert 3600 <= (first - begin) / 1e9 < (second - begin) / 1e9 < 3600.001
    assert int((tmp_path / "class/powercap/intel-rapl:0/energy_uj").read_text()) == pytest.approx(36_000e6, rel=1e-6)
    assert simulation.truth_joules(begin, begin + 10**10) == pytest.approx(110.0)
    simulation.close()


def test_a_power_meter_shows_moments_or_averages(tmp_path):
    for average, expected in ((False, 95_000_000), (True, 43_000_000)):
        meter = PowerMeter(tmp_path / str(average), Square(), 5.0, average)
        meter.show(9.0)
        (file,) = (tmp_path / str(average)).rglob("power1_*")
        assert int(file.read_text()) == expected
