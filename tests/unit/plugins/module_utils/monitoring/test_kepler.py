# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold before Kepler starts and once it runs. Counters are the harness's; Kepler is a double here, the real one is in
tests/integration/test_kepler.py."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler import check_config, health, preflight
from harness.meters import Exporter, kepler_text
from harness.powercap import Tree, Zone
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


def tree(folder, *entries, watts=40.0):
    return Tree(folder, [Zone(entry, name, Constant(watts), start_uj=10**6) for entry, name in entries])


def test_counters_that_move_are_usable_and_say_what_they_cover(tmp_path):
    zones = tree(tmp_path, ("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "dram"))
    found = preflight(str(tmp_path), ["package", "dram"], 1.0, zones.show)
    assert found == {"zones": ["dram", "package"], "scope": "rapl:package+dram"}


def test_a_wanted_zone_that_the_host_lacks_is_told_with_those_it_has(tmp_path):
    zones = tree(tmp_path, ("intel-rapl:0", "package-0"))
    with pytest.raises(KjouleError, match=r"no zone dram: expected package, dram, saw package\. Next: set kepler_zones"):
        preflight(str(tmp_path), ["package", "dram"], 1.0, zones.show)


def test_counters_that_stand_still_are_told_with_their_files(tmp_path):
    tree(tmp_path, ("intel-rapl:0", "package-0"))
    with pytest.raises(KjouleError, match=r"stand still: expected growth within 1 s, saw package-0 at .*energy_uj.*intel_rapl_msr"):
        preflight(str(tmp_path), ["package"], 1.0, lambda _seconds: None)


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
    assert "its joules do not grow: expected more after 1 s, saw package: 107 J" in str(told.value)
    assert "journalctl -u kjoule-kepler" in str(told.value)


def test_a_kepler_that_comes_late_is_waited_for():
    answers = iter(["", "", kepler_text({"package": 1.0}, {"package": 1.0}), kepler_text({"package": 2.0}, {"package": 1.0})])
    with Exporter(lambda: next(answers)) as kepler:
        assert health(kepler.url, 0.0, 60.0, lambda _seconds: None)["joules"] == {"package": 1.0}
