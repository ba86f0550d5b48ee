# SPDX-License-Identifier: GPL-3.0-or-later
"""RAPL on a powercap tree of files: what is injected there comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import rapl
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource, Reading, choose_source, energy_window
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

RANGE = 262_143_328_850  # of a real package, in microjoules


class Tree:
    """A sysfs with powercap zones whose counters move as they are told, and wrap as the kernel's do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.powercap = root / "class" / "powercap"

    def zone(self, entry: str, name: str, value: int = 0, range_uj: int = RANGE) -> Path:
        folder = self.powercap / entry
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "energy_uj").write_text(f"{value}\n")
        return folder

    def burn(self, entry: str, joules: float) -> None:
        file = self.powercap / entry / "energy_uj"
        limit = int((self.powercap / entry / "max_energy_range_uj").read_text())
        file.write_text(f"{(int(file.read_text()) + round(joules * 1e6)) % limit}\n")

    def source(self) -> RaplSource:
        return RaplSource(str(self.root))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def at(seconds: float, *values: int) -> Reading:
    begin = round(seconds * 1e9)
    return Reading(begin, values, begin)


def read_at(source: RaplSource, seconds: float) -> Reading:
    return at(seconds, *source.read().values_uj)


def test_injected_joules_come_back_wraps_included(tree):
    tree.zone("intel-rapl:0", "package-0", value=RANGE - 3_000_000)
    source = tree.source()
    readings = [read_at(source, 0.0)]
    for second in range(1, 11):
        tree.burn("intel-rapl:0", 12.5)
        readings.append(read_at(source, second))
    window = energy_window(source, readings)
    assert window["valid"], window["reasons"]
    assert window["joules"] == pytest.approx(125.0)
    assert (window["seconds"], window["readings"], window["kind"], window["scope"]) == (10.0, 11, "measured", "rapl:package")
    assert window["uncertainty_joules"] == pytest.approx(2 * 12.5 * 0.001 + 2e-6)


def test_memory_is_added_and_what_is_contained_or_contains_is_not(tree):
    tree.zone("intel-rapl:0", "package-0")
    tree.zone("intel-rapl:0:0", "core")
    tree.zone("intel-rapl:0:1", "uncore")
    tree.zone("intel-rapl:0:2", "dram")
    tree.zone("intel-rapl:1", "psys")
    tree.zone("intel-rapl-mmio:0", "package-0")
    (tree.powercap / "intel-rapl").mkdir()
    source = tree.source()
    first = read_at(source, 0.0)
    for entry in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:0:2", "intel-rapl:1", "intel-rapl-mmio:0"):
        tree.burn(entry, 10.0)
    window = energy_window(source, [first, read_at(source, 2.0)])
    assert window["joules"] == pytest.approx(20.0)
    assert window["scope"] == "rapl:package+dram"
    assert source.describe()["zones"] == ["package-0", "package-0/dram"]


def test_two_sockets_are_two_and_a_mirror_of_one_is_one(tree):
    tree.zone("intel-rapl:0", "package-0")
    tree.zone("intel-rapl:1", "package-1")
    tree.zone("intel-rapl:2", "package-0")
    tree.zone("intel-rapl:2:0", "dram")
    tree.zone("intel-rapl:0:0", "dram")
    assert tree.source().describe()["zones"] == ["package-0", "package-0/dram", "package-1"]


def test_a_counter_that_was_reset_makes_the_window_invalid(tree):
    tree.zone("intel-rapl:0", "package-0")
    window = energy_window(tree.source(), [at(0, RANGE // 2), at(1, RANGE // 2 + 10_000_000), at(2, 0)])
    assert not window["valid"]
    assert "package-0: the counter fell further than a wrap explains" in window["reasons"][0]
    assert window["joules"] == pytest.approx(10.0)


def test_a_counter_that_falls_and_has_no_range_is_not_guessed(tree):
    tree.zone("intel-rapl:0", "package-0", range_uj=0)
    window = energy_window(tree.source(), [at(0, 5_000_000), at(1, 1_000_000)])
    assert "its range is not known" in window["reasons"][0]


def test_frozen_counters_are_called_frozen_but_a_short_window_may_be_empty(tree):
    tree.zone("intel-rapl:0", "package-0")
    source = tree.source()
    assert "frozen" in energy_window(source, [at(0, 7), at(2, 7)])["reasons"][0]
    assert energy_window(source, [at(0, 7), at(0.0005, 7)])["valid"]
    assert "no length" in energy_window(source, [at(0, 7)])["reasons"][0]


def test_readings_too_far_apart_for_the_wrap_time_are_refused(tree):
    tree.zone("intel-rapl:0", "package-0", range_uj=65_532_000_000)
    source = tree.source()
    watts_100 = 100_000_000
    close = energy_window(source, [at(0, 0), at(100, 100 * watts_100), at(200, 200 * watts_100)])
    assert close["valid"]
    apart = energy_window(source, [at(0, 0), at(200, 200 * watts_100)])
    assert "readings are 200 s apart, more than a quarter of the wrap time of 655 s" in apart["reasons"][0]


def test_a_slow_reading_widens_the_uncertainty(tree):
    tree.zone("intel-rapl:0", "package-0")
    window = energy_window(tree.source(), [Reading(0, (0,), 100_000_000), Reading(10_000_000_000, (500_000_000,), 10_100_000_000)])
    assert window["parts"]["edges_joules"] == pytest.approx(50 * 0.1)
    assert window["uncertainty_joules"] == pytest.approx(sum(window["parts"].values()))


def test_where_there_is_no_powercap_the_next_step_is_named(tmp_path, tree):
    with pytest.raises(KjouleError, match=r"no such directory.*intel_rapl_msr"):
        tree.source()
    tree.zone("dtpm", "dtpm")
    with pytest.raises(KjouleError, match=r"expected a package zone.*saw dtpm"):
        tree.source()


def test_a_counter_that_this_user_may_not_read_is_named_with_the_reason(tree, monkeypatch):
    tree.zone("intel-rapl:0", "package-0")

    def refused(path, *args, **kwargs):
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", path)
        return open(path, *args, **kwargs)

    monkeypatch.setattr(rapl, "open", refused, raising=False)  # modes bind nobody when the tests run as root
    with pytest.raises(KjouleError, match=r"energy_uj may not be read.*CVE-2020-8694.*udev"):
        tree.source()


def test_a_counter_that_holds_no_number_is_named(tree):
    (tree.zone("intel-rapl:0", "package-0") / "energy_uj").write_text("none\n")
    with pytest.raises(KjouleError, match="cannot be read: expected a number of microjoules"):
        tree.source()


def test_the_source_is_chosen_as_asked(tree):
    tree.zone("intel-rapl:0", "package-0")
    source, description = choose_source({"rapl": {"sysfs_root": str(tree.root)}})
    assert isinstance(source, RaplSource)
    assert (description["name"], description["kind"], description["unavailable"]) == ("rapl", "counter", [])
    source, description = choose_source("estimate")
    assert source is None
    assert (description["kind"], description["unavailable"]) == ("estimate", [])


def test_auto_falls_back_and_says_why_and_rapl_does_not(monkeypatch, tmp_path):
    class Nowhere(RaplSource):
        def __init__(self, _root: str) -> None:
            super().__init__(str(tmp_path))

    monkeypatch.setattr(rapl, "RaplSource", Nowhere)
    source, description = choose_source("auto")
    assert source is None
    assert "no such directory" in description["unavailable"][0]
    assert choose_source(None)[1] == description
    with pytest.raises(KjouleError, match="RAPL cannot be read"):
        choose_source("rapl")
    with pytest.raises(KjouleError, match="expected auto, rapl or estimate"):
        choose_source("kepler")
