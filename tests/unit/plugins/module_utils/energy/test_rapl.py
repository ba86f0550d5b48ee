# SPDX-License-Identifier: GPL-3.0-or-later
"""RAPL on a powercap tree of files: what is injected there comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import sysfs
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource, make
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Vanished
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

    def source(self) -> RaplSource:
        return RaplSource(str(self.root))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def labels(source: RaplSource) -> list[str]:
    return [channel.name for channel in source.channels]


def test_memory_is_added_and_what_is_contained_or_contains_is_not(tree):
    tree.zone("intel-rapl:0", "package-0", 1)
    tree.zone("intel-rapl:0:0", "core", 2)
    tree.zone("intel-rapl:0:1", "uncore", 4)
    tree.zone("intel-rapl:0:2", "dram", 8)
    tree.zone("intel-rapl:1", "psys", 16)
    tree.zone("intel-rapl-mmio:0", "package-0", 32)
    (tree.powercap / "intel-rapl").mkdir()
    source = tree.source()
    assert labels(source) == ["package-0", "package-0/dram"]
    assert source.read().values == pytest.approx((1e-6, 8e-6))
    assert source.scope == "rapl:package+dram"
    assert source.not_added == ["psys", "package-0/core", "package-0/uncore", "package-0 (intel-rapl-mmio:0)"]


def test_psys_is_the_total_where_it_is_chosen_and_stands_alone(tree):
    tree.zone("intel-rapl:0", "package-0", 5)
    with pytest.raises(KjouleError, match=r"no psys zone here.*saw package-0.*leave the option psys out"):
        RaplSource(str(tree.root), psys=True)
    tree.zone("intel-rapl:1", "psys", 16)
    source = RaplSource(str(tree.root), psys=True)
    assert (labels(source), source.scope, source.not_added) == (["psys"], "rapl:psys", ["package-0"])


def test_two_sockets_and_two_dies_are_two_and_each_has_its_own_memory(tree):
    tree.zone("intel-rapl:0", "package-0-die-0", 11_000_000)
    tree.zone("intel-rapl:1", "package-0-die-1", 22_000_000)
    tree.zone("intel-rapl:2", "package-1-die-0", 33_000_000)
    tree.zone("intel-rapl:2:0", "dram", 44_000_000)
    source = tree.source()
    assert labels(source) == ["package-0-die-0", "package-0-die-1", "package-1-die-0", "package-1-die-0/dram"]
    assert source.warnings == []


def test_dies_that_show_one_counter_are_counted_once_and_that_is_said(tree):
    tree.zone("intel-rapl:0", "package-0-die-0", 68_000_000)
    tree.zone("intel-rapl:1", "package-0-die-1", 68_000_000)
    source = tree.source()
    assert source.read().values == pytest.approx((68.0,))
    assert source.describe()["warnings"] == ["package-0-die-1 repeats the counter of package-0-die-0: counted once"]
    assert source.not_added == ["package-0-die-1"]


def test_dies_that_both_begin_at_nought_are_not_taken_for_one(tree):
    tree.zone("intel-rapl:0", "package-0-die-0", 0)
    tree.zone("intel-rapl:1", "package-0-die-1", 0)
    assert len(tree.source().channels) == 2


def test_where_only_the_memory_mapped_zone_exists_it_is_the_source(tree):
    tree.zone("intel-rapl-mmio:0", "package-0", 7)
    assert labels(tree.source()) == ["package-0"]


def test_a_second_zone_of_one_name_is_not_added(tree):
    tree.zone("intel-rapl:0", "package-0", 1)
    tree.zone("intel-rapl:2", "package-0", 2)
    assert tree.source().not_added == ["package-0 (intel-rapl:2)"]


def test_what_a_range_does_not_say_is_not_made_up(tree):
    (tree.zone("intel-rapl:0", "package-0") / "max_energy_range_uj").write_text("unknown\n")
    assert tree.source().channels[0].range_joules is None


def test_a_reading_is_timed_on_both_sides(tree):
    tree.zone("intel-rapl:0", "package-0", 3_000_000)
    ticks = iter(range(0, 1000, 100))
    source = RaplSource(str(tree.root), clock=lambda: next(ticks))
    reading = source.read()
    assert (reading.t_before_ns, reading.values, reading.t_after_ns, reading.t_ns) == (200, (3.0,), 300, 250)


def test_a_zone_that_vanishes_is_told_from_one_that_cannot_be_read(tree):
    folder = tree.zone("intel-rapl:0", "package-0")
    source = tree.source()
    (folder / "energy_uj").unlink()
    with pytest.raises(Vanished, match=r"RAPL counter .* vanished"):
        source.read()


def test_where_there_is_no_powercap_the_next_step_is_named(tmp_path, tree):
    with pytest.raises(KjouleError, match=r"no such directory.*intel_rapl_msr"):
        tree.source()
    tree.zone("dtpm", "dtpm")
    with pytest.raises(KjouleError, match=r"expected a package zone.*saw dtpm"):
        tree.source()


def test_a_host_with_psys_alone_is_told_to_choose_it(tree):
    tree.zone("intel-rapl:0", "psys")
    with pytest.raises(KjouleError, match=r"no package zone here.*saw psys.*set the option psys"):
        tree.source()


def test_a_counter_that_this_user_may_not_read_is_named_with_the_reason(tree, monkeypatch):
    tree.zone("intel-rapl:0", "package-0")

    def refused(path, *args, **kwargs):
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", path)
        return open(path, *args, **kwargs)

    monkeypatch.setattr(sysfs, "open", refused, raising=False)  # modes bind nobody when the tests run as root
    with pytest.raises(
        KjouleError,
        match=r"energy_uj may not be read.*user .* to have.*owner .*CVE-2020-8694.*become: true.*udev rule SUBSYSTEM.*CAP_DAC_READ_SEARCH",
    ):
        tree.source()


def test_a_counter_that_holds_no_number_is_named(tree):
    (tree.zone("intel-rapl:0", "package-0") / "energy_uj").write_text("none\n")
    with pytest.raises(KjouleError, match="cannot be read: expected a number of microjoules"):
        tree.source()


def test_options_are_checked(tree):
    tree.zone("intel-rapl:0", "psys")
    assert make({"sysfs_root": str(tree.root), "psys": True}).scope == "rapl:psys"
    with pytest.raises(KjouleError, match="option psys of rapl: expected true or false, saw 'yes'"):
        make({"sysfs_root": str(tree.root), "psys": "yes"})
