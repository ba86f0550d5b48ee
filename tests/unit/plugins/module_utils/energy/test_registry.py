# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import registry
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.energy.registry import choose_source, parse_setting
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


@pytest.fixture
def sysfs(tmp_path):
    folder = tmp_path / "class" / "powercap" / "intel-rapl:0"
    folder.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "65532610987"), ("energy_uj", "1000000")):
        (folder / name).write_text(text)
    return str(tmp_path)


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """A machine on which no source of ``auto`` works."""
    for name in registry.AUTO:
        entry = registry.SOURCES[name]
        nowhere = dataclasses.replace(entry, make=lambda _options, make=entry.make: make({"sysfs_root": str(tmp_path)}))
        monkeypatch.setitem(registry.SOURCES, name, nowhere)


def test_a_setting_is_a_name_or_a_name_with_options():
    assert parse_setting(None) == parse_setting("") == parse_setting("auto") == ("auto", {})
    assert parse_setting("rapl") == ("rapl", {})
    assert parse_setting({"rapl": {"psys": True}}) == ("rapl", {"psys": True})
    assert parse_setting({"rapl": None}) == ("rapl", {})


@pytest.mark.parametrize("setting", ["raple", 7, {"rapl": {}, "hwmon": {}}, {"rapl": 5}, {"": {}}, ["rapl"]])
def test_what_is_no_setting_is_refused_with_the_names_there_are(setting):
    with pytest.raises(KjouleError, match=r"the energy source is not known: expected auto, estimate, rapl.*Next: kjoule_source: "):
        parse_setting(setting)


def test_an_option_that_a_source_does_not_have_is_refused_with_the_one_meant():
    with pytest.raises(KjouleError, match=r"rapl has no option 'sysfsroot': expected sysfs_root, .*Next: write 'sysfs_root'"):
        parse_setting({"rapl": {"sysfsroot": "/x"}})
    with pytest.raises(KjouleError, match=r"estimate has no option 'accuracy': expected no options"):
        parse_setting({"estimate": {"accuracy": 1}})


def test_the_source_is_chosen_as_asked(sysfs):
    source, description = choose_source({"rapl": {"sysfs_root": sysfs}})
    assert isinstance(source, RaplSource)
    assert (description["name"], description["kind"], description["unavailable"]) == ("rapl", "counter", [])
    source, description = choose_source("estimate")
    assert source is None
    assert (description["kind"], description["scope"], description["unavailable"]) == ("estimate", "estimate:cpu-time", [])


def test_auto_falls_back_and_says_why_and_a_named_source_does_not(nothing):
    source, description = choose_source("auto")
    assert source is None
    assert len(description["unavailable"]) == len(registry.AUTO)
    assert "no such directory" in description["unavailable"][0]
    assert choose_source(None)[1] == description
    with pytest.raises(KjouleError, match="RAPL cannot be read"):
        choose_source("rapl")


def test_what_the_user_knows_about_the_meter_wins(sysfs):
    source, description = choose_source({"rapl": {"sysfs_root": sysfs, "update_seconds": 5, "accuracy": "0.02"}})
    assert source is not None
    assert (description["update_seconds"], description["accuracy"]) == (5.0, {"relative": 0.02, "origin": "given by the user"})
    for option in ("update_seconds", "accuracy"):
        for value in (0, -1, "much", True, float("nan")):
            with pytest.raises(KjouleError, match=f"{option} of the energy source: expected a number above 0"):
                choose_source({"rapl": {"sysfs_root": sysfs, option: value}})


def test_a_counter_that_moves_more_slowly_than_it_should_is_believed_to_be_slow(sysfs):
    source, _description = choose_source({"rapl": {"sysfs_root": sysfs}})
    assert source is not None
    assert source.update_seconds == pytest.approx(0.1)
