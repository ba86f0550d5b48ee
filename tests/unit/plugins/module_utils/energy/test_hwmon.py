# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.hwmon import HwmonSource, make
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Vanished
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


@pytest.fixture
def chip(tmp_path):
    """Adds a chip to a sysfs below ``tmp_path``."""

    def add(number, name, **files):
        folder = tmp_path / "class" / "hwmon" / f"hwmon{number}"
        folder.mkdir(parents=True)
        for file, text in {"name": name, **files}.items():
            (folder / file).write_text(f"{text}\n")
        return folder

    return add


def labels(source):
    return [channel.name for channel in source.channels]


def test_the_sockets_of_amd_energy_are_counted_and_the_cores_inside_them_are_not(tmp_path, chip):
    cores = {f"energy{n}_label": f"Ecore{n - 1:03d}" for n in (1, 2)} | {f"energy{n}_input": n for n in (1, 2)}
    chip(3, "amd_energy", **cores, energy3_label="Esocket0", energy3_input=7_000_000, energy4_label="Esocket1", energy4_input=8_000_000)
    source = HwmonSource(str(tmp_path))
    assert (source.kind, source.scope, labels(source)) == ("counter", "hwmon:amd_energy", ["Esocket0", "Esocket1"])
    assert source.read().values == pytest.approx((7.0, 8.0))
    assert source.describe()["not_added"] == ["Ecore000", "Ecore001"]
    assert source.channels[0].range_joules is None


def test_an_acpi_power_meter_is_a_gauge_that_says_its_interval_and_accuracy(tmp_path, chip):
    chip(0, "power_meter", power1_average=212_000_000, power1_average_interval=2000, power1_accuracy="99.5%")
    source = HwmonSource(str(tmp_path))
    assert (source.kind, source.update_seconds, source.read().values) == ("gauge", 2.0, (212.0,))
    assert (source.accuracy.relative, source.accuracy.origin) == (0.005, "power1_accuracy of the meter")


def test_an_average_is_preferred_to_a_momentary_value(tmp_path, chip):
    chip(0, "power_meter", power1_average=10_000_000, power1_input=99_000_000)
    assert HwmonSource(str(tmp_path)).read().values == (10.0,)


def test_a_chip_that_is_not_known_is_used_when_it_is_named(tmp_path, chip):
    chip(0, "coretemp", temp1_input=40000)
    chip(1, "ina226", power1_input=5_000_000, update_interval=140)
    with pytest.raises(KjouleError, match=r"expected a chip named amd_energy or power_meter .*saw ina226: power1.*\{chip: NAME\}"):
        HwmonSource(str(tmp_path))
    source = make({"sysfs_root": str(tmp_path), "chip": "ina226"})
    assert (source.scope, source.read().values, source.update_seconds) == ("hwmon:ina226", (5.0,), 0.14)


def test_sensors_that_may_contain_one_another_are_never_added_unasked(tmp_path, chip):
    chip(0, "scmi_sensors", energy1_label="BIG", energy1_input=1_000_000, energy2_label="SYS", energy2_input=4_000_000, power1_input=9)
    with pytest.raises(KjouleError, match=r"3 sensors, and some may contain others.*saw BIG, SYS, power1.*sensors: \[BIG\]"):
        HwmonSource(str(tmp_path), "scmi_sensors")
    source = HwmonSource(str(tmp_path), "scmi_sensors", ["SYS"])
    assert (source.scope, source.kind, source.read().values) == ("hwmon:scmi_sensors:SYS", "counter", (4.0,))
    assert source.not_added == ["BIG", "power1"]
    for wrong in (["SYS", "power1"], ["GPU"], ["SYS", "GPU"]):
        with pytest.raises(KjouleError, match=r"does not have the sensors to add up.*BIG \(J\), SYS \(J\), power1 \(W\)"):
            HwmonSource(str(tmp_path), "scmi_sensors", wrong)


def test_a_host_without_sensors_says_so(tmp_path, chip):
    with pytest.raises(KjouleError, match=r"saw no sensor of power or energy\. Next: load the driver"):
        HwmonSource(str(tmp_path))
    chip(0, "coretemp", temp1_input=40000)
    with pytest.raises(KjouleError, match="saw no sensor of power or energy"):
        HwmonSource(str(tmp_path))


def test_two_chips_of_one_name_are_not_mixed_up(tmp_path, chip):
    chip(0, "ina226", power1_input=1)
    chip(1, "ina226", power1_input=2)
    with pytest.raises(KjouleError, match="2 chips named ina226"):
        HwmonSource(str(tmp_path), "ina226")


def test_a_sensor_that_vanishes_and_one_that_holds_no_number(tmp_path, chip):
    file = chip(0, "power_meter", power1_average=1) / "power1_average"
    source = HwmonSource(str(tmp_path))
    file.write_text("n/a")
    with pytest.raises(KjouleError, match="expected a number of microwatts"):
        source.read()
    file.unlink()
    with pytest.raises(Vanished):
        source.read()
    source.close()


def test_options_are_checked(tmp_path):
    for wrong in ("SYS", [], [1]):
        with pytest.raises(KjouleError, match="option sensors of hwmon: expected a list of labels"):
            make({"sysfs_root": str(tmp_path), "sensors": wrong})
