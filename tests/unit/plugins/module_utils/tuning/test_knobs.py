# SPDX-License-Identifier: GPL-3.0-or-later
"""One knob at a time: what there is, what is wanted, what is set."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.tuning.knobs import NAMES, Refused, make_knobs


def knob(tunable, name, **more):
    return make_knobs([name], **tunable.where, **more)[0]


def wants(one):
    return {item.rsplit("/", 2)[-2]: one.wanted(item, value) for item, value in one.items().items()}


def test_every_name_is_a_knob_and_others_are_refused(tunable):
    assert [one.name for one in make_knobs(list(NAMES), **tunable.where)] == list(NAMES)
    with pytest.raises(KjouleError, match="'governer' is not known"):
        make_knobs(["governer"], **tunable.where)


def test_a_host_without_knobs_says_what_is_missing(tmp_path):
    for one in make_knobs(list(NAMES), root=str(tmp_path)):
        assert one.items() == {}, one.name
        assert one.absent


def test_the_governor_is_performance_where_it_is_offered(tunable):
    tunable.write("sys/devices/system/cpu/cpufreq/policy1/scaling_available_governors", "schedutil userspace\n")
    assert wants(knob(tunable, "governor")) == {"policy0": "performance", "policy1": "schedutil"}


def test_turbo_is_turned_off_in_the_words_of_either_driver(tunable):
    assert wants(knob(tunable, "turbo")) == {"intel_pstate": "1"}
    (tunable.root / "sys/devices/system/cpu/intel_pstate/no_turbo").unlink()
    tunable.write("sys/devices/system/cpu/cpufreq/boost", "1\n")
    assert wants(knob(tunable, "turbo")) == {"cpufreq": "0"}


def test_smt_that_the_firmware_has_turned_off_stays_as_it_is(tunable):
    assert wants(knob(tunable, "smt")) == {"smt": "off"}
    tunable.write("sys/devices/system/cpu/smt/control", "notsupported\n")
    assert wants(knob(tunable, "smt")) == {"smt": "notsupported"}


def test_timers_are_stopped_and_started_by_systemd(tunable):
    timers = knob(tunable, "timers", keep_timers=["certbot.timer"])
    assert timers.items() == {"apt.timer": "active", "certbot.timer": "active"}
    assert [timers.wanted(item, "active") for item in timers.items()] == ["inactive", "active"]
    timers.set("apt.timer", "inactive")
    assert tunable.running_timers() == ["certbot.timer"]
    assert timers.read("apt.timer") == "inactive"
    timers.set("apt.timer", "active")
    assert timers.read("apt.timer") == "active"
    assert "stop -- apt.timer" in tunable.read("calls")


def test_a_transient_timer_would_vanish_and_is_left_out(tunable):
    tunable.timer("run-r0815.timer", "/run/systemd/transient")
    tunable.timer("of-a-generator.timer", "/run/systemd/generator")
    timers = knob(tunable, "timers")
    found = timers.items()
    assert found["run-r0815.timer"] == "transient"
    assert [item for item, value in found.items() if timers.wanted(item, value) != value] == [
        "apt.timer",
        "certbot.timer",
        "of-a-generator.timer",
    ]
    assert timers.note(found) == "left out, as they would be gone when they are stopped: run-r0815.timer"
    assert timers.note({"apt.timer": "active"}) == ""


def test_a_timer_that_is_not_there_any_more_is_none(tunable):
    timers = knob(tunable, "timers")
    (tunable.units / "apt.timer").unlink()
    assert timers.read("apt.timer") is None
    assert timers.read("none.timer") is None
    assert "apt.timer" not in timers.items(), "it ended between two questions"


def test_swap_comes_back_with_its_priority(tunable):
    swap = knob(tunable, "swap")
    assert swap.items() == {"/swap file": "priority 5", "/dev/sda2": "priority -2"}
    assert swap.read("/elsewhere") == "off"
    for item, value in (("/swap file", "off"), ("/swap file", "priority 5"), ("/dev/sda2", "priority -2")):
        swap.set(item, value)
    assert tunable.read("calls").splitlines() == ["swapoff /swap file", "swapon -p 5 /swap file", "swapon /dev/sda2"]


def test_what_may_not_be_set_says_why(tunable):
    with pytest.raises(Refused, match="Access denied"):
        knob(tunable, "timers").set("none.timer", "inactive")
    with pytest.raises(Refused, match="cannot be written: Is a directory"):
        knob(tunable, "governor").set(str(tunable.root), "performance")
    with pytest.raises(Refused, match="No such file"):
        make_knobs(["timers"], root=str(tunable.root), systemctl=str(tunable.root / "none"))[0].set("a.timer", "active")
