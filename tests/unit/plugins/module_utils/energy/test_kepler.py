# SPDX-License-Identifier: GPL-3.0-or-later
"""Kepler's counters mean what its source code makes of them, in both generations: restarts, resets, births, overlaps and all."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import kepler
from ansible_collections.kjoule.bench.plugins.module_utils.energy.exposition import parse
from ansible_collections.kjoule.bench.plugins.module_utils.energy.kepler import Point, attribution, choose_zones, increase, node_counters
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Reading
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Moment, Recorder, energy_window
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.meters import Exporter, kepler_text, legacy_kepler_text, series_of_scrapes

RANGE = 262_143.3


class Node:
    """A node under a rewrite of Kepler, as internal/monitor/node.go counts: the truth is what ``use`` adds."""

    def __init__(self) -> None:
        self.raw = {"package": 262_000.0, "dram": 5_000.0}
        self.active = dict.fromkeys(self.raw, 0.0)
        self.idle = dict(self.raw)  # starts at the raw counter
        self.started = 1000.0

    def use(self, package: float, dram: float, ratio: float = 0.3) -> None:
        for zone, joules in (("package", package), ("dram", dram)):
            self.raw[zone] = (self.raw[zone] + joules) % RANGE
            self.active[zone] += joules * ratio
            self.idle[zone] += joules * (1 - ratio)

    def restart(self) -> None:
        self.active = dict.fromkeys(self.raw, 0.0)
        self.idle = dict(self.raw)
        self.started += 50.0

    def text(self, **more) -> str:
        return kepler_text(self.active, self.idle, raw=self.raw, **{"started": self.started, **more})


def window(source, readings):
    clocks = [Moment(r.t_ns, r.t_ns, r.t_ns, 0.0, 4) for r in (readings[0], readings[-1])]
    return energy_window(source, readings, *clocks)


def at_seconds(reading, second):
    """The same reading at another moment: a second between two looks takes none in a test."""
    return type(reading)(second * 10**9, reading.values, second * 10**9 + 10**6, reading.epoch, reading.meter_ns)


def read_along(node, source, uses):
    readings = [at_seconds(source.read(), 0)]
    for second, (package, dram) in enumerate(uses, start=1):
        node.use(package, dram)
        readings.append(at_seconds(source.read(), second))
    return readings


class TestNode:
    def test_energy_is_active_and_idle_of_packages_and_dram_and_a_wrap_loses_nothing(self):
        node = Node()
        with Exporter(node.text) as double:
            source = kepler.make({"url": double.url})
            record = window(source, read_along(node, source, [(60.0, 5.0)] * 10))
        assert node.raw["package"] < 1000  # the raw counter did wrap: kepler_node_cpu_joules_total fell
        assert record["valid"], record["reasons"]
        assert record["joules"] == pytest.approx(650.0, abs=1e-6)
        assert (record["scope"], record["channels"].keys()) == ("kepler:package+dram", {"package", "dram"})

    @pytest.mark.parametrize("started", [True, False])
    def test_a_restart_is_seen_with_and_without_its_start_time_and_makes_the_window_invalid(self, started):
        node = Node()
        with Exporter(lambda: node.text(**({} if started else {"started": None}))) as double:
            source = kepler.make({"url": double.url})
            readings = read_along(node, source, [(60.0, 5.0)] * 5)
            node.restart()
            readings.append(at_seconds(source.read(), 6))
            record = window(source, readings)
        assert not record["valid"]
        assert any(reason.startswith("restart") for reason in record["reasons"])

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            ("timeout", "does not answer"),
            ("401", "does not let us in"),
            ("html", "did not answer with metrics"),
            ("empty", "shows no energy of a node"),
            ("nan", "is no reading"),
            ("negative", "is no reading"),
        ],
    )
    def test_a_bad_answer_is_a_failed_reading_with_its_reason(self, fault, said):
        node = Node()
        with Exporter(node.text) as double:
            source = kepler.make({"url": double.url, "timeout_seconds": 1.0 if fault == "timeout" else 10.0})
            double.fault = fault
            with pytest.raises(KjouleError, match=said):
                source.read()
            double.fault = None
            source.read()
            source.close()

    def test_a_stale_exporter_is_a_frozen_counter(self):
        node = Node()
        with Exporter(node.text) as double:
            source = kepler.make({"url": double.url})
            record = window(source, [at_seconds(source.read(), second) for second in range(10)])
        assert any("frozen: package" in reason for reason in record["reasons"])

    def test_a_zone_that_vanishes_is_said(self):
        node = Node()
        with Exporter(node.text) as double:
            source = kepler.make({"url": double.url})
            del node.active["dram"], node.idle["dram"]
            with pytest.raises(KjouleError, match="zone dram no longer"):
                source.read()

    def test_several_nodes_under_one_address_are_not_added_up(self):
        text = kepler_text({"package": 1.0}, {"package": 2.0}) + kepler_text({"package": 4.0}, {"package": 8.0}, node="nuc2", started=None)
        with pytest.raises(KjouleError, match=r"several nodes.*nuc1, nuc2"):
            node_counters(parse(text, "it"), "it")
        assert node_counters(parse(text, "it"), "it", "nuc2").zones == {"package": 12.0}

    def test_the_fake_meter_is_no_measurement(self):
        text = kepler_text({"package": 1.0}, {"package": 2.0}, path="/sys/class/powercap/intel-rapl/energy_package-fake")
        with pytest.raises(KjouleError, match="fake meter"):
            node_counters(parse(text, "it"), "it")

    def test_active_without_idle_is_half_a_figure(self):
        with pytest.raises(KjouleError, match="without idle energy"):
            node_counters(parse(kepler_text({"package": 1.0}, {}), "it"), "it")


class TestLegacy:
    def test_energy_is_dynamic_and_idle(self):
        counters = node_counters(parse(legacy_kepler_text({"package": 10.0, "dram": 1.0}, {"package": 5.0, "dram": 2.0}), "it"), "it")
        assert (counters.generation, counters.zones) == ("legacy", {"package": 15.0, "dram": 3.0})

    def test_with_idle_turned_off_dynamic_is_everything(self):
        counters = node_counters(parse(legacy_kepler_text({"package": 10.0}, {}), "it"), "it")
        assert counters.zones == {"package": 10.0}

    @pytest.mark.parametrize("source", ["estimator", "trained_power_model"])
    def test_a_model_is_no_measurement(self, source):
        with pytest.raises(KjouleError, match="guesses: its energy comes from a model"):
            node_counters(parse(legacy_kepler_text({"package": 10.0}, {}, source=source), "it"), "it")

    def test_it_is_read_over_http_like_the_rewrite(self):
        joules = {"package": 10.0}
        with Exporter(lambda: legacy_kepler_text(joules, {"package": 5.0})) as double:
            source = kepler.make({"url": double.url})
            assert source.read().values == (15.0,)
            assert source.describe()["generation"] == "legacy"
            source.close()


class TestZones:
    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [
            ({"package", "core", "uncore", "dram"}, ("package", "dram")),
            ({"psys", "package", "core"}, ("psys",)),
            ({"package-0-die-0", "package-0-die-1", "core"}, ("package-0-die-0", "package-0-die-1")),
        ],
    )
    def test_what_overlaps_is_taken_once(self, offered, chosen):
        assert choose_zones(offered, (), "it") == chosen

    @pytest.mark.parametrize("wanted", [("package", "core"), ("psys", "dram"), ("uncore", "package")])
    def test_overlapping_zones_are_refused_when_asked_for(self, wanted):
        with pytest.raises(KjouleError, match="overlap"):
            choose_zones({"psys", "package", "core", "uncore", "dram"}, wanted, "it")

    def test_a_zone_that_is_not_there_is_named(self):
        with pytest.raises(KjouleError, match="no zone gpu"):
            choose_zones({"package"}, ("gpu",), "it")
        with pytest.raises(KjouleError, match="shows no package"):
            choose_zones({"hwmon0"}, (), "it")
        assert choose_zones({"hwmon0"}, ("hwmon0",), "it") == ("hwmon0",)

    def test_the_scope_names_the_kinds_of_zones_once(self):
        assert kepler.scope_of(("package-0-die-0", "package-0-die-1", "dram")) == "kepler:package+dram"

    @pytest.mark.parametrize("value", [5, [1], {"a": 1}])
    def test_zones_are_a_list_of_names(self, value):
        with pytest.raises(KjouleError, match="option zones"):
            kepler.zones_option(value)


def points(*pairs):
    return [Point(float(t), float(value)) for t, value in pairs]


class TestIncrease:
    def test_it_is_last_minus_first_without_extrapolation(self):
        series = points((0, 100), (5, 110), (10, 130), (15, 200))
        assert increase(series, 5, 10) == 20.0
        assert increase(series, 5, 14) == 20.0  # what lies between the samples at 5 and at 10, not 8/5 of it

    def test_a_reset_is_a_new_beginning_at_nought(self):
        assert increase(points((0, 100), (5, 110), (10, 4), (15, 9)), 0, 15) == 19.0

    def test_a_birth_inside_the_window_counts_its_first_value(self):
        assert increase(points((10, 7), (15, 9)), 0, 15) == 9.0

    def test_a_series_that_was_there_before_the_window_does_not_count_what_it_had(self):
        assert increase(points((0, 1e6), (5, 1e6 + 1)), 0, 5) == 1.0

    def test_a_series_that_comes_after_the_window_counts_nothing(self):
        assert increase(points((20, 7)), 0, 15) == 0.0


def sample(metric, value, **labels):
    inside = ",".join(f'{name}="{text}"' for name, text in labels.items())
    return f"{metric}{{{inside}}} {value!r}"


def process(pid, comm, joules, state="running", zone="package"):
    who = {"comm": comm, "container_id": "", "exe": f"/{comm}", "pid": pid, "type": "regular", "vm_id": ""}
    return sample("kepler_process_cpu_joules_total", joules, **who, node_name="nuc1", state=state, zone=zone)


def vm(vm_id, name, joules):
    who = {"hypervisor": "kvm", "vm_id": vm_id, "vm_name": name}
    return sample("kepler_vm_cpu_joules_total", joules, **who, node_name="nuc1", state="running", zone="package")


def looks(*workloads):
    """A look every 5 s; the node's active energy grows by 10 J between two."""
    scrapes = []
    for index, lines in enumerate(workloads):
        text = kepler_text({"package": 1000.0 + 10.0 * index}, {"package": 5000.0}, workloads="\n".join(lines))
        scrapes.append((5.0 * index, parse(text, "it", kepler.PREFIXES)))
    return series_of_scrapes(scrapes)


class TestAttribution:
    def test_processes_get_what_kepler_gave_them_and_idle_goes_to_nobody(self):
        series = looks([process(1, "etcd", 50.0)], [process(1, "etcd", 56.0)], [process(1, "etcd", 61.0)])
        result = attribution(series, ("package",), 0, 10)
        assert result["node"] == {"active_joules": 20.0}
        assert result["covered_seconds"] == 10.0
        assert result["processes"]["listed"] == [{"pid": "1", "comm": "etcd", "exe": "/etcd", "type": "regular", "joules": 11.0}]
        assert result["processes"]["share_of_active"] == pytest.approx(0.55)
        assert result["reasons"] == []

    def test_a_process_that_ended_is_one_process_and_counts_once(self):
        series = looks([process(1, "kubectl", 5.0)], [process(1, "kubectl", 9.0)], [process(1, "kubectl", 9.0, "terminated")], [])
        assert attribution(series, ("package",), 0, 15)["processes"]["joules"] == 4.0

    def test_a_process_that_was_born_and_died_between_two_looks_counts_in_whole(self):
        series = looks([], [], [process(7, "kubectl", 3.0, "terminated")])
        assert attribution(series, ("package",), 0, 10)["processes"]["joules"] == 3.0

    def test_a_process_that_is_renamed_takes_none_of_its_past_along(self):
        """Kepler counts by pid and reads comm and exe anew: each new name is a new series of the whole counter."""
        names = ["kworker/0:1", "kworker/0:1-events", "kworker/0:1-mm_percpu_wq", "kworker/0:1-events"]
        series = looks(*[[process(12, name, 5000.0 + n)] for n, name in enumerate(names)])
        result = attribution(series, ("package",), 0, 15)
        assert result["reasons"] == []
        assert {entry["comm"]: entry["joules"] for entry in result["processes"]["listed"]} == {names[1]: 2.0, names[2]: 1.0}

    def test_a_number_that_was_away_for_a_look_is_another_process(self):
        series = looks([process(7, "sh", 2.0)], [], [process(7, "git", 3.0)], [process(7, "git", 4.0)])
        assert attribution(series, ("package",), 0, 15)["processes"]["joules"] == 4.0

    def test_a_number_that_was_taken_over_at_once_counts_neither_twice(self):
        both = [process(7, "sh", 9.0, "terminated"), process(7, "git", 1.0)]
        series = looks([process(7, "sh", 8.0)], both, both, [process(7, "git", 3.0)])
        listed = attribution(series, ("package",), 0, 15)["processes"]["listed"]
        assert {entry["comm"]: entry["joules"] for entry in listed} == {"sh": 1.0, "git": 3.0}

    def test_a_container_whose_pod_is_known_later_takes_none_of_its_past_along(self):
        def of(joules, **pod):
            who = {"container_id": "c1", "container_name": "app", "runtime": "crio", "pod_id": "", **pod}
            return [sample("kepler_container_cpu_joules_total", joules, **who, state="running", zone="package")]

        series = looks(of(500.0), of(501.0), of(503.0, pod_id="p1"))
        assert [(entry.get("pod_id"), entry["joules"]) for entry in attribution(series, ("package",), 0, 10)["containers"]["listed"]] == [
            ("p1", 2.0),
            (None, 1.0),
        ]

    def test_the_legacy_generation_renames_processes_too(self):
        def text(joules, command):
            work = sample("kepler_process_package_joules_total", joules, pid=7, command=command, container_id="", vm_id="", mode="dynamic")
            return legacy_kepler_text({"package": joules}, {"package": 1.0}, workloads=work)

        series = series_of_scrapes([(5.0 * n, parse(text(500.0 + n, f"kworker/{n}"), "it")) for n in range(3)])
        assert attribution(series, ("package",), 0, 10)["processes"]["joules"] == 2.0

    def test_the_counters_of_workloads_that_are_reset_lose_nothing_after_the_reset(self):
        series = looks([process(1, "etcd", 50.0)], [process(1, "etcd", 0.0)], [process(1, "etcd", 6.0)])
        assert attribution(series, ("package",), 0, 10)["processes"]["joules"] == 6.0

    def test_only_the_zones_of_the_scope_count(self):
        series = looks(
            [process(1, "etcd", 1.0), process(1, "etcd", 1.0, zone="core")], [process(1, "etcd", 5.0), process(1, "etcd", 4.0, zone="core")]
        )
        assert attribution(series, ("package",), 0, 5)["processes"]["joules"] == 4.0

    def test_a_part_that_is_more_than_the_whole_is_not_believed(self):
        """A pid that was used again makes Kepler add 2**64 microjoules; a published run had 4.6e15 J."""
        series = looks([process(1, "etcd", 50.0)], [process(1, "etcd", 1.8e13)])
        result = attribution(series, ("package",), 0, 5)
        assert "processes" not in result
        assert "more than the 10 J of the whole node" in result["reasons"][0]

    def test_a_node_beyond_physics_is_not_believed(self):
        scrapes = [(t, parse(kepler_text({"package": joules}, {"package": 1.0}), "it")) for t, joules in ((0.0, 1.0), (5.0, 4.6e15))]
        result = attribution(series_of_scrapes(scrapes), ("package",), 0, 5)
        assert "beyond physics" in result["reasons"][0]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ([vm("2f7573722f62696e", "", 1.0)], [vm("2f7573722f62696e", "", 2.0)]),
            ([vm("42", "a", 1.0), vm("42", "b", 1.0)], [vm("42", "a", 2.0), vm("42", "b", 2.0)]),
        ],
    )
    def test_machines_that_cannot_be_told_apart_get_no_figures(self, first, second):
        result = attribution(looks(first, second), ("package",), 0, 5)
        assert "vms" not in result
        assert result["reasons"]

    def test_machines_with_ids_of_their_own_get_theirs(self):
        series = looks([vm("6a1d", "minikube", 1.0)], [vm("6a1d", "minikube", 4.0)])
        assert attribution(series, ("package",), 0, 5)["vms"]["listed"] == [
            {"vm_id": "6a1d", "vm_name": "minikube", "hypervisor": "kvm", "joules": 3.0}
        ]

    def test_pods_and_containers_are_levels_of_their_own(self):
        def lines(joules):
            container = {"container_id": "c1", "container_name": "app", "runtime": "crio", "pod_id": "p1"}
            pod = {"pod_id": "p1", "pod_name": "app-0", "pod_namespace": "demo"}
            common = {"state": "running", "zone": "package"}
            return [
                sample("kepler_container_cpu_joules_total", joules, **container, **common),
                sample("kepler_pod_cpu_joules_total", joules, **pod, **common),
            ]

        result = attribution(looks(lines(1.0), lines(3.0)), ("package",), 0, 5)
        assert result["containers"]["listed"][0]["container_name"] == "app"
        assert result["pods"]["listed"] == [{"pod_id": "p1", "pod_name": "app-0", "pod_namespace": "demo", "joules": 2.0}]

    def test_parts_and_sum_are_read_at_the_same_moments(self):
        """A published run gives 367 mJ for the parts and 387 mJ for their sum: they were queried one after the other."""
        series = looks(*[[process(1, "etcd", 4.0 * n), process(2, "sh", 6.0 * n)] for n in range(4)])
        result = attribution(series, ("package",), 0, 15)
        assert (
            sum(entry["joules"] for entry in result["processes"]["listed"])
            == result["processes"]["joules"]
            == result["node"]["active_joules"]
        )

    def test_a_window_that_the_looks_do_not_span_has_no_figures(self):
        assert attribution(looks([], []), ("package",), -10, -5)["reasons"]
        assert attribution(looks([], []), ("package",), 1, 3)["reasons"]

    def test_a_window_that_is_short_against_the_looks_is_not_attributed(self):
        series = looks(*[[process(1, "etcd", 4.0 * n)] for n in range(4)])
        result = attribution(series, ("package",), 4, 6)
        assert "too short to attribute" in result["reasons"][0]
        assert "processes" not in result

    def test_the_legacy_generation_has_the_same_answer_without_pods(self):
        def text(joules):
            who = {"container_id": "c1", "container_name": "app", "container_namespace": "demo", "pod_name": "app-0"}
            work = sample("kepler_container_package_joules_total", joules, **who, mode="dynamic")
            return legacy_kepler_text({"package": 10.0 * joules}, {"package": 1.0}, workloads=work)

        series = series_of_scrapes([(0.0, parse(text(1.0), "it")), (5.0, parse(text(3.0), "it"))])
        result = attribution(series, ("package",), 0, 5)
        assert result["node"]["active_joules"] == 20.0
        assert result["containers"]["listed"][0]["joules"] == 2.0
        assert "pods" not in result

    def test_many_processes_are_listed_up_to_a_number_and_the_rest_is_added_up(self):
        many = [[process(pid, "p", 0.1 * n) for pid in range(60)] for n in range(2)]
        level = attribution(looks(*many), ("package",), 0, 5)["processes"]
        assert len(level["listed"]) == kepler.LISTED
        assert level["joules"] == pytest.approx(sum(entry["joules"] for entry in level["listed"]) + level["others_joules"])


def edge_at(second):
    return Reading(second * 10**9, (), second * 10**9)


class TestLedger:
    """Attribution without a Prometheus: the same figures as from series of the same scrapes, from the edges alone."""

    def between(self, workloads, first, last, zones=("package",)):
        """One look every 5 s; only those at ``first`` and ``last`` are edges of the window."""
        ledger = kepler.KeplerLedger(zones)
        for index, lines in enumerate(workloads):
            text = kepler_text({"package": 1000.0 + 10.0 * index}, {"package": 5000.0}, workloads="\n".join(lines))
            ledger.look(parse(text, "it", kepler.PREFIXES))
            if 5 * index in (first, last):
                ledger.mark(edge_at(5 * index))
        return ledger.between(edge_at(first), edge_at(last))

    @pytest.mark.parametrize(
        "workloads",
        [
            [[process(1, "etcd", 50.0)], [process(1, "etcd", 56.0)], [process(1, "etcd", 61.0)], [process(1, "etcd", 61.5)]],
            [[process(1, "etcd", 50.0)], [process(1, "etcd", 0.0)], [process(1, "etcd", 6.0)], [process(1, "etcd", 2.0)]],
            [[process(1, "sh", 5.0)], [process(1, "sh", 9.0)], [process(1, "sh", 9.0, "terminated")], []],
            [[], [], [process(7, "kubectl", 3.0, "terminated")], []],
            [[], [process(7, "kubectl", 3.0)], [process(7, "kubectl", 4.0)], [process(7, "kubectl", 4.0)]],
            [[process(1, "e", 1.0), process(1, "e", 1.0, zone="core")], [], [], [process(1, "e", 5.0), process(1, "e", 4.0, zone="core")]],
            [[vm("42", "a", 1.0), vm("42", "b", 1.0)], [], [], [vm("42", "a", 2.0), vm("42", "b", 2.0)]],
            [[process(1, "etcd", 50.0)], [], [], [process(1, "etcd", 1.8e13)]],
            [[process(1, name, 5000.0 + n)] for n, name in enumerate("abca")],
            [[process(1, "sh", 2.0)], [process(1, "sh", 2.5)], [], [process(1, "git", 3.0)]],
            [[process(1, "a", 8.0)], *[[process(1, "a", 9.0, "terminated"), process(1, "b", 1.0)]] * 2, [process(1, "b", 3.0)]],
        ],
        ids=["runs", "is reset twice", "ends", "is born and ends", "is born", "other zones", "one id", "beyond the node", "is renamed",
             "is away", "is taken over"],
    )  # fmt: skip
    def test_it_says_what_the_series_say(self, workloads):
        for first, last in ((0, 15), (5, 15), (5, 10)):
            assert self.between(workloads, first, last) == attribution(looks(*workloads), ("package",), first, last)

    def test_a_process_that_is_renamed_takes_none_of_its_past_along(self):
        """A single kworker had more than the whole node, and with that the level had no figures at all."""
        result = self.between([[process(12, f"kworker/0:1-{n}", 5000.0 + n)] for n in range(6)], 10, 25)
        assert result["reasons"] == []
        assert [(entry["comm"][-1], entry["joules"]) for entry in result["processes"]["listed"]] == [("5", 1.0), ("4", 1.0), ("3", 1.0)]

    def test_what_was_used_outside_of_the_window_does_not_count(self):
        workloads = [[process(1, "etcd", 10.0 * n)] for n in range(6)]
        result = self.between(workloads, 10, 20)
        assert (result["node"], result["processes"]["joules"]) == ({"active_joules": 20.0}, 20.0)

    def test_a_window_of_the_source_holds_who_used_it(self):
        """The whole way: HTTP, edges of a recorder, the record. Joules are those that were put in between the edges."""
        node, used = Node(), {"etcd": 5.0}

        def text():
            lines = [process(7, "etcd", used["etcd"]), process(8, "sh", 1.0)]
            return node.text(workloads="\n".join(lines))

        with Exporter(text) as double:
            recorder = Recorder(kepler.make({"url": double.url, "zones": ["package"]}), 60.0)
            begin = recorder.edge()
            node.use(0.6, 5.0, ratio=0.5)
            used["etcd"] += 0.12
            record = recorder.window(begin, recorder.edge())
            recorder.stop()
        assert record["attribution"]["node"]["active_joules"] == pytest.approx(0.3)
        (etcd,) = record["attribution"]["processes"]["listed"]
        assert (etcd["comm"], etcd["joules"]) == ("etcd", pytest.approx(0.12))

    def test_many_looks_take_no_more_memory_than_the_edges(self):
        ledger = kepler.KeplerLedger(("package",))
        for index in range(200):
            ledger.look(parse(kepler_text({"package": 10.0 * index}, {"package": 1.0}, workloads=process(1, "etcd", 4.0 * index)), "it"))
            if index % 100 == 0:
                ledger.mark(edge_at(index))
        assert [len(series.points) for series in ledger._series.values()] == [2, 2]
