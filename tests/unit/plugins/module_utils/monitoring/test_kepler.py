# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold before Kepler starts and once it runs. Counters are the harness's; Kepler is a double here, the real one is in
tests/integration/test_kepler.py."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler import check_config, health, preflight
from harness.meters import Exporter, kepler_text, legacy_kepler_text
from harness.powercap import RANGE_UJ, Tree, Zone
from harness.shapes import Constant


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("v0.10.0", {"monitor": {"interval": "5s"}, "dev": {"fake-cpu-meter": {"enabled": False}}}),
        ("0.11.0", {"experimental": {"platform": {"redfish": {"enabled": True, "configFile": "/etc/kepler/redfish.yaml"}}}}),
        ("v0.11.4", {"kube": {"enabled": True, "nodeName": "n", "podInformer": {"mode": "apiserver"}}}),
    ],
)
def test_what_a_version_knows_is_accepted(version, config):
    check_config(config, version)


@pytest.mark.parametrize(
    ("version", "config", "says"),
    [
        ("v0.11.3", {"kube": {"podInformer": {"mode": "apiserver"}}}, r"does not know kube\.podInformer\.mode.*a word.*came later"),
        ("v0.11.4", {"monitor": {"intervall": "5s"}}, r"does not know monitor\.intervall.*expected keys of that version\. Next"),
        ("v0.11.4", {"cpu": {"preferredMeters": ["rapl"]}}, r"cpu\.preferredMeters"),
        ("v0.9.0", {}, r"older ones have no such file.*legacy"),
        ("latest", {}, r"v0\.10\.0 or newer"),
        ("v0.11.4", {"kube": {"enabled": True}}, r"kepler_node_name"),
        ("v0.11.4", {"monitor": {"staleness": "0s"}}, r"leave it at 500ms"),
        ("v0.11.4", {"dev": {"fake-cpu-meter": {"enabled": True}}}, r"measures nothing"),
    ],
)
def test_what_a_version_would_ignore_or_what_makes_figures_worthless_is_refused(version, config, says):
    with pytest.raises(KjouleError, match=says):
        check_config(config, version)


def tree(folder, *entries, watts=40.0, still=()):
    return Tree(folder, [Zone(entry, name, Constant(0.0 if name in still else watts), start_uj=10**6) for entry, name in entries])


def test_counters_that_move_are_usable_and_say_what_they_cover(tmp_path):
    zones = tree(tmp_path, ("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "dram"))
    found = preflight(str(tmp_path), ["package", "dram"], 1.0, zones.show)
    assert found == {"zones": ["dram", "package"], "scope": "rapl:package+dram"}


def test_a_wanted_zone_that_the_host_lacks_is_told_with_those_it_has(tmp_path):
    zones = tree(tmp_path, ("intel-rapl:0", "package-0"))
    with pytest.raises(KjouleError, match=r"no zone dram: expected package, dram, saw package\. Next: set kepler_zones"):
        preflight(str(tmp_path), ["package", "dram"], 1.0, zones.show)
    with pytest.raises(KjouleError, match=r"no zone psys: expected psys, saw package\. Next: set kepler_zones"):
        preflight(str(tmp_path), ["psys"], 1.0, zones.show)


def test_of_a_host_without_a_wanted_zone_all_that_it_has_are_told(tmp_path):
    zones = tree(tmp_path, *SERVER)
    with pytest.raises(KjouleError, match=r"no zone psys: expected psys, core, saw core, dram, package, uncore\."):
        preflight(str(tmp_path), ["psys", "core"], 1.0, zones.show)


def test_counters_that_stand_still_are_told_with_their_files(tmp_path):
    tree(tmp_path, ("intel-rapl:0", "package-0"))
    with pytest.raises(
        KjouleError, match=r"stand still: expected growth within 1 s, saw package-0 stays at 1000000 uJ \(.*energy_uj\)\. Next"
    ):
        preflight(str(tmp_path), ["package"], 1.0, lambda _seconds: None)


DRAM = (
    r"zone package-0/dram stands still: expected growth within 1 s of package, dram, saw package-0 gained 40 J, "
    r"package-1 gained 40 J, package-0/dram stays at 1000000 uJ \(.*intel-rapl:0:2/energy_uj\)\. Next: .*kepler_zones"
)
SERVER = (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "uncore"), ("intel-rapl:0:2", "dram"))


@pytest.mark.parametrize(
    ("zones", "still", "says"),
    [
        (["package", "dram"], "dram", DRAM),
        (["package"], "package-1", r"zone package-1 stands still.*saw package-0 gained 40 J, package-1 stays at"),
        ([], "psys", r"zone psys stands still.*psys stays at"),
        (["package", "psys"], "psys", r"zone psys stands still.*package-0 gained 40 J, .*psys stays at"),
        (["core"], "core", r"RAPL counters stand still: .*package-0/core stays at"),
    ],
)  # fmt: skip
def test_a_zone_that_stands_still_beside_others_that_move_is_named(tmp_path, zones, still, says):
    zones_of_host = tree(tmp_path, *SERVER, ("intel-rapl:1", "package-1"), ("intel-rapl:2", "psys"), still=[still])
    with pytest.raises(KjouleError, match=says):
        preflight(str(tmp_path), zones, 1.0, zones_of_host.show)


@pytest.mark.parametrize("zones", [[], ["package", "dram", "core", "uncore"]])
def test_core_and_uncore_may_stand_still_beside_a_package_that_moves(tmp_path, zones):
    """Xeons show core as nought, and uncore counts a graphics unit that may sleep."""
    found = preflight(str(tmp_path), zones, 1.0, tree(tmp_path, *SERVER, still=["core", "uncore"]).show)
    assert found == {"zones": ["core", "dram", "package", "uncore"], "scope": "rapl:package+dram"}


def test_what_kepler_is_not_told_to_read_may_stand_still(tmp_path):
    zones = tree(tmp_path, *SERVER, still=["dram"])
    assert preflight(str(tmp_path), ["package"], 1.0, zones.show)["scope"] == "rapl:package"


def test_a_counter_that_wraps_moves(tmp_path):
    zones = Tree(tmp_path, [Zone("intel-rapl:0", "package-0", Constant(40.0), start_uj=RANGE_UJ - 10**6)])
    assert preflight(str(tmp_path), ["package"], 1.0, zones.show)["zones"] == ["package"]


def test_memory_mapped_twins_are_no_zones_of_their_own(tmp_path):
    zones = tree(tmp_path, *SERVER, ("intel-rapl-mmio:0", "package-0"))
    assert preflight(str(tmp_path), ["package"], 1.0, zones.show)["zones"] == ["core", "dram", "package", "uncore"]


DIES = ("package-0-die-0", "package-0-die-1")


def dies(folder, first_uj=(10**6, 7 * 10**6)):
    zones = [Zone(f"intel-rapl:{n}", name, Constant(40.0), start_uj=uj) for n, (name, uj) in enumerate(zip(DIES, first_uj))]
    return Tree(folder, [*zones, Zone("intel-rapl:0:0", "dram", Constant(3.0), start_uj=10**6)])


@pytest.mark.parametrize("wanted", [[*DIES, "dram"], []])
def test_the_dies_of_a_package_are_zones_by_their_own_names_as_they_are_with_kepler(tmp_path, wanted):
    found = preflight(str(tmp_path), wanted, 1.0, dies(tmp_path).show)
    assert found == {"zones": ["dram", *DIES], "scope": "rapl:package+dram"}


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        (["package", "dram"], r"no zone package: .*saw dram, package-0-die-0, package-0-die-1\. Next: set kepler_zones"),
        (["package-0-die", "dram"], r"no zone package-0-die: "),
        (["package-0-die-1", "dram"], r"zone package-0-die-0 of this host's packages would go missing .*Next: add it to kepler_zones"),
    ],
)
def test_other_names_and_part_of_the_dies_are_refused(tmp_path, zones, says):
    with pytest.raises(KjouleError, match=says):
        preflight(str(tmp_path), zones, 1.0, dies(tmp_path).show)


@pytest.mark.parametrize("wanted", [[*DIES, "dram"], []])
@pytest.mark.parametrize("moves", ["dram", "nothing"])
def test_dies_that_stand_still_are_not_taken_for_one_counter(tmp_path, wanted, moves):
    zones = [Zone(f"intel-rapl:{n}", name, Constant(0.0), start_uj=10**6) for n, name in enumerate(DIES)]
    dram = Zone("intel-rapl:0:0", "dram", Constant(3.0 if moves == "dram" else 0.0), start_uj=10**6)
    says = r"zone package-0-die-0, package-0-die-1 stands still" if moves == "dram" else r"RAPL counters stand still"
    with pytest.raises(KjouleError, match=says + r": .*package-0-die-0 stays at 1000000 uJ .*package-0-die-1 stays at 1000000 uJ"):
        preflight(str(tmp_path), wanted, 1.0, Tree(tmp_path, [*zones, dram]).show)


def test_dies_that_repeat_one_another_are_wanted_once(tmp_path):
    same = dies(tmp_path, (10**6, 10**6))
    with pytest.raises(KjouleError, match=r"die-0 and package-0-die-1 show the same counter.*Next: leave package-0-die-1 out"):
        preflight(str(tmp_path), [*DIES, "dram"], 1.0, same.show)
    found = preflight(str(tmp_path), ["package-0-die-0", "dram"], 1.0, lambda seconds: same.show(1.0 + seconds))
    assert found["scope"] == "rapl:package+dram"


def test_a_host_without_rapl_is_told(tmp_path):
    with pytest.raises(KjouleError, match=r"inside a virtual machine there is none"):
        preflight(str(tmp_path), [], 1.0, lambda _seconds: None)


def test_a_kepler_whose_joules_grow_is_healthy():
    joules = iter([100.0, 130.0])
    with Exporter(lambda: kepler_text({"package": next(joules)}, {"package": 7.0})) as kepler:
        found = health(kepler.url, 0.0, 5.0, lambda _seconds: None)
    assert found == {"generation": "rewrite", "zones": ["package"], "joules": {"package": 30.0}}


def test_a_kepler_whose_joules_stand_still_is_not():
    with Exporter(lambda: kepler_text({"package": 100.0}, {"package": 7.0})) as kepler, pytest.raises(KjouleError) as told:
        health(kepler.url, 1.0, -1.0, lambda _seconds: None)
    assert "its joules do not grow: expected more after 1 s, saw package stays at 107 J" in str(told.value)
    assert "journalctl -u kjoule-kepler" in str(told.value)


def test_a_kepler_of_which_one_zone_stands_still_is_not_and_the_zone_is_named():
    joules = iter([100.0, 130.0])
    with (
        Exporter(lambda: kepler_text({"package": next(joules), "dram": 5.0}, {"package": 7.0, "dram": 2.0})) as kepler,
        pytest.raises(KjouleError) as told,
    ):
        health(kepler.url, 1.0, -1.0, lambda _seconds: None)
    assert "its zone dram does not grow: expected more after 1 s, saw dram stays at 7 J, package gained 30 J" in str(told.value)
    assert "energy_uj below /sys/class/powercap" in str(told.value)


def test_core_and_uncore_of_a_kepler_may_stand_still_beside_a_package_that_grows():
    joules = iter([100.0, 130.0])
    with Exporter(
        lambda: kepler_text({"package": next(joules), "core": 5.0, "uncore": 0.0}, dict.fromkeys(("package", "core", "uncore"), 7.0))
    ) as kepler:
        assert health(kepler.url, 0.0, 5.0, lambda _seconds: None)["joules"] == {"package": 30.0, "core": 0.0, "uncore": 0.0}


def test_a_kepler_that_lacks_a_wanted_zone_is_told_with_those_it_has():
    joules = iter([100.0, 130.0])
    with (
        Exporter(lambda: kepler_text({"package": next(joules)}, {"package": 7.0})) as kepler,
        pytest.raises(KjouleError, match=r"shows no zone dram: expected package, dram, saw package\. Next: .*rapl\.zones"),
    ):
        health(kepler.url, 0.0, -1.0, lambda _seconds: None, ["package", "dram"])


def test_both_modes_and_all_zones_of_the_generation_before_0_10_are_looked_at():
    joules = iter([100.0, 130.0])
    with (
        Exporter(lambda: legacy_kepler_text({"package": next(joules), "dram": 3.0}, {"package": 7.0})) as kepler,
        pytest.raises(KjouleError, match=r"its zone dram does not grow: .*dram stays at 3 J, package gained 30 J"),
    ):
        health(kepler.url, 0.0, -1.0, lambda _seconds: None)


def test_a_kepler_that_comes_late_is_waited_for():
    answers = iter(["", "", kepler_text({"package": 1.0}, {"package": 1.0}), kepler_text({"package": 2.0}, {"package": 1.0})])
    with Exporter(lambda: next(answers)) as kepler:
        assert health(kepler.url, 0.0, 60.0, lambda _seconds: None)["joules"] == {"package": 1.0}
