# SPDX-License-Identifier: GPL-3.0-or-later
"""Joules of a window from readings every 5 s. Prometheus is a double here; a real one is asked in tests/integration/test_monitoring.py."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring import kepler_windows
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler_windows import Counted, counted, wait_for_reading

#: Every reading is at one of these seconds.
READINGS = tuple(range(0, 301, 5))
NODE = {"job": "kepler", "host": "alpha", "instance": "127.0.0.1:28282", "node_name": "alpha"}
ACTIVE, IDLE = "kepler_node_cpu_active_joules_total", "kepler_node_cpu_idle_joules_total"


def ramp(t):
    """100 W until second 100, then 10 W."""
    return 100.0 * min(t, 100) + 10.0 * max(0, t - 100)


def line(name, joules, times=READINGS, **labels):
    return {"metric": {"__name__": name, **labels}, "values": [[t, repr(float(joules(t)))] for t in times]}


def node(joules=ramp, times=READINGS, zone="package", **more):
    labels = {**NODE, "zone": zone, **more}
    return [line(ACTIVE, lambda t: joules(t) * 0.5, times, **labels), line(IDLE, lambda t: 7.0 + joules(t) * 0.5, times, **labels)]


def started(at=lambda _t: 1.0, times=READINGS):
    return line("process_start_time_seconds", at, times, job="kepler", host="alpha", instance="127.0.0.1:28282")


def process(joules, times=READINGS, comm="etcd", **more):
    labels = {**NODE, "zone": "package", "comm": comm, "pid": "7", "state": "running", **more}
    return line("kepler_process_cpu_joules_total", joules, times, **labels)


@pytest.fixture
def prometheus(monkeypatch):
    """Sets what it has; answers with the samples of the time that is asked for."""

    def set_up(*series, zones=("package",)):
        def result(_url, expression, at=None):
            if "kjoule:zones" in expression:
                return [{"metric": {"host": "alpha", "zone": zone}, "value": [at, "1"]} for zone in zones]
            begin = at - float(expression.rpartition("[")[2].removesuffix("ms]")) / 1000
            cut = [{**one, "values": [pair for pair in one["values"] if begin < pair[0] <= at]} for one in series]
            return [one for one in cut if one["values"]]

        monkeypatch.setattr(kepler_windows, "result", result)

    return set_up


def of(begin, end):
    return counted("http://127.0.0.1:9", "alpha", begin, end)


def test_a_window_has_its_own_joules_and_none_of_the_minute_before(prometheus):
    prometheus(*node(), started())
    assert of(100, 160) == Counted(pytest.approx(600.0), pytest.approx(10.0))
    assert of(40, 100) == Counted(pytest.approx(6000.0), pytest.approx(100.0))


def test_power_is_that_between_the_readings_inside_so_that_an_edge_between_two_smears_nothing(prometheus):
    prometheus(*node(lambda t: ramp(t + 2)), started())
    found = of(98, 158)
    assert found.watts == pytest.approx(10.0)
    assert 600.0 < found.joules < 600.0 + 5 * 90.0


def test_windows_that_touch_count_every_joule_once(prometheus):
    prometheus(*node(lambda t: ramp(t + 2)), process(lambda t: 0.2 * ramp(t + 2)), started())
    edges = [61, 70, 76, 98.3, 104.9, 171]
    parts = [of(begin, end) for begin, end in zip(edges, edges[1:])]
    whole = of(edges[0], edges[-1])
    assert sum(part.joules for part in parts) == pytest.approx(whole.joules)
    assert sum(part.components["etcd"] for part in parts) == pytest.approx(whole.components["etcd"])
    assert whole.components["etcd"] == pytest.approx(0.2 * whole.joules)


def test_zones_are_those_that_the_rules_add(prometheus):
    held = [*node(), *node(lambda t: 3.0 * t, zone="dram"), *node(lambda t: 77.0 * t, zone="core"), started()]
    prometheus(*held, zones=("package", "dram"))
    assert of(100, 160).joules == pytest.approx(600.0 + 180.0)
    prometheus(*held)
    assert of(100, 160).joules == pytest.approx(600.0)


@pytest.mark.parametrize(
    ("begin", "end", "joules", "watts"),
    [(102, 105, None, None), (102, 108, 60.0, None), (104, 110, 60.0, 10.0), (105, 110, 50.0, 10.0), (111, 114.9, None, None)],
)
def test_a_window_that_is_too_short_for_the_readings_has_no_figure(prometheus, begin, end, joules, watts):
    prometheus(*node(), started())
    found = of(begin, end)
    assert (found.joules, found.watts) == (joules and pytest.approx(joules), watts and pytest.approx(watts))
    assert (found.no_energy, found.no_power) == ("" if joules else "too short", "" if watts else "too short")


def without(times):
    return [t for t in READINGS if t not in times]


@pytest.mark.parametrize(
    ("series", "zones", "reason"),
    [
        ([], ("package",), "no Kepler"),
        ([*node(), started()], (), "no Kepler"),
        ([*node(zone="dram"), started()], ("dram",), "no Kepler"),
        ([*node(), *node(zone="psys"), started()], ("package", "psys"), "no Kepler"),
        ([*node(), *node(instance="another:28282"), started()], ("package",), "no Kepler"),
        ([*node(), started(lambda t: 1.0 if t < 130 else 2.0)], ("package",), "restart of Kepler"),
        (node(lambda t: ramp(t) if t < 130 else ramp(t) - ramp(130)), ("package",), "restart of Kepler"),
        ([*node(times=READINGS[:30]), started()], ("package",), "not read by Prometheus"),
        ([*node(times=READINGS[25:]), started()], ("package",), "not read by Prometheus"),
        ([*node(times=without(range(120, 135))), started()], ("package",), "not read by Prometheus"),
    ],
)
def test_a_window_without_a_figure_says_why(prometheus, series, zones, reason):
    prometheus(*series, zones=zones)
    assert of(100, 160) == Counted(None, None, no_energy=reason, no_power=reason)


def test_what_lies_outside_of_the_window_does_not_spoil_it(prometheus):
    prometheus(*node(times=without([60, 130, 170])), started(lambda t: 1.0 if t < 95 else 2.0 if t < 165 else 3.0))
    assert of(100, 160).joules == pytest.approx(600.0)


def test_processes_that_come_and_go_are_counted_from_nought_and_beyond_physics_not(prometheus):
    born = process(lambda t: 2.0 * (t - 105), [t for t in READINGS if t >= 110], comm="flux", pid="8")
    ended = [
        process(lambda t: 1000 + 3.0 * t, [t for t in READINGS if t <= 120], comm="kubectl", pid="9"),
        process(lambda t: 1000 + 3.0 * 125, [t for t in READINGS if t > 120], comm="kubectl", pid="9", state="terminated"),
    ]
    taken = process(lambda t: 5.0 if t < 130 else 1.8e13, comm="git", pid="10")
    fell = process(lambda t: 1.0 * t if t < 130 else 1.0 * (t - 130), comm="dockerd", pid="11")
    prometheus(*node(), started(), born, *ended, taken, fell)
    assert of(100, 160).components == pytest.approx({"flux": 2.0 * 55, "kubectl": 3.0 * 25, "dockerd": 25.0 + 30.0})


def renamed(every=20):
    """A kworker at 0.1 W that had 5000 J before: Kepler counts by pid, and each new comm is a new series of the whole counter."""
    names = {t: f"kworker/0:1-{t // every}" for t in READINGS}
    return [
        process(
            lambda t: 5000 + 0.1 * t, [t for t in READINGS if names[t] == name], comm=name, pid="12", exe=f"/{name}", container_id=name[-1:]
        )
        for name in sorted(set(names.values()))
    ]


def test_a_process_that_is_renamed_takes_none_of_its_past_along(prometheus):
    prometheus(*node(), started(), *renamed())
    found = of(100, 160).components
    assert sum(found.values()) == pytest.approx(6.0)
    # The name is that of the later reading: what was used between 115 and 120 goes to the one of 120.
    assert found == pytest.approx({"kworker/0:1-5": 1.5, "kworker/0:1-6": 2.0, "kworker/0:1-7": 2.0, "kworker/0:1-8": 0.5})


def test_of_a_process_that_is_renamed_windows_that_touch_count_every_joule_once(prometheus):
    prometheus(*node(), started(), *renamed(5))
    parts = [sum(of(begin, end).components.values()) for begin, end in ((61, 72.5), (72.5, 118), (118, 161))]
    assert parts == pytest.approx([1.15, 4.55, 4.3])


def test_the_generation_before_0_10_renames_processes_too(prometheus):
    labels = {"job": "kepler", "host": "alpha", "instance": "127.0.0.1:9102", "source": "rapl-sysfs"}
    modes = [line("kepler_node_package_joules_total", ramp, mode="dynamic", exported_instance="alpha", **labels)]
    parts = [
        line("kepler_process_package_joules_total", lambda t: 5000 + 0.1 * t, [t for t in READINGS if t % 10 == odd], command=name, **more)
        for odd, name in ((0, "a"), (5, "b"))
        for more in ({**labels, "pid": "7", "mode": "dynamic"},)
    ]
    prometheus(*modes, *parts)
    assert of(100, 160).components == pytest.approx({"a": 3.0, "b": 3.0})


def test_who_has_the_number_of_another_counts_from_nought(prometheus):
    first = process(lambda _t: 20.0, [t for t in READINGS if t <= 110], comm="sh")
    later = process(lambda t: 21.0 + 0.1 * (t - 120), [t for t in READINGS if t >= 120], comm="git")
    prometheus(*node(), started(), first, later)
    assert of(100, 160).components == pytest.approx({"git": 25.0})
    at_once = [
        process(lambda _t: 20.0, [t for t in READINGS if t <= 110], comm="sh"),
        process(lambda _t: 22.0, [115, 120], comm="sh", state="terminated"),
        process(lambda t: 0.1 * (t - 115), [t for t in READINGS if t >= 115], comm="git"),
    ]
    prometheus(*node(), started(), *at_once)
    assert of(100, 160).components == pytest.approx({"sh": 2.0, "git": 4.5})


def test_components_that_are_more_than_the_host_have_no_figure(prometheus):
    """Half of the host's joules are active."""
    prometheus(*node(), started(), process(lambda t: 2.5 * t), process(lambda t: 2.6 * t, comm="flux", pid="8"))
    assert set(of(100, 160).components) == {"etcd", "flux"}
    prometheus(*node(), started(), process(lambda t: 2.5 * t), process(lambda t: 3.0 * t, comm="flux", pid="8"))
    reason = "components are more than the host"
    assert of(100, 160) == Counted(pytest.approx(600.0), pytest.approx(10.0), no_energy=reason)


def test_the_generation_before_0_10_is_counted_too(prometheus):
    labels = {"job": "kepler", "host": "alpha", "instance": "127.0.0.1:9102", "source": "rapl-sysfs"}
    of_node = {**labels, "package": "0", "exported_instance": "alpha"}
    modes = [
        line("kepler_node_package_joules_total", lambda t, share=share: share * ramp(t), mode=mode, **of_node)
        for mode, share in (("dynamic", 0.7), ("idle", 0.3))
    ]
    parts = [
        line("kepler_process_package_joules_total", lambda t: 0.1 * ramp(t), mode=mode, command="etcd", pid="7", **labels)
        for mode in ("dynamic", "idle")
    ]
    prometheus(*modes, *parts)
    assert of(100, 160) == Counted(pytest.approx(600.0), pytest.approx(10.0), {"etcd": pytest.approx(60.0)})


@pytest.mark.parametrize(
    ("now", "tries", "waited"),
    [(1000.0, [90.0], 0), (101.0, [99.0, 99.0, 104.0], 2), (101.0, [None], 0), (155.0, [99.0] * 9, 5)],
)
def test_the_reading_after_a_run_that_has_just_ended_is_waited_for(monkeypatch, now, tries, waited):
    """The run ended at 100. What is tried: when Prometheus last read Kepler, or that it reads none."""
    answers = iter(tries)
    clock = [now]
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        clock[0] += seconds

    def result(_url, _expression):
        tried = next(answers)
        return [] if tried is None else [{"metric": {}, "value": [0, repr(tried)]}]

    monkeypatch.setattr(kepler_windows, "result", result)
    wait_for_reading("http://127.0.0.1:9", "alpha", 100.0, lambda: clock[0], sleep)
    assert len(naps) == waited
