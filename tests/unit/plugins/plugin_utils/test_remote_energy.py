# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows by time of day out of samples that somebody else took: the injected truth lies within the bound, and what spoils a window is
said."""

from __future__ import annotations

import math
import random

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.exposition import parse
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import remote_energy
from ansible_collections.kjoule.bench.plugins.plugin_utils.prometheus import PrometheusServer
from ansible_collections.kjoule.bench.plugins.plugin_utils.remote_energy import Collector, energy_record, make_readers, window
from harness.meters import kepler_text, scaphandre_text
from harness.query_api import QueryApi
from harness.shapes import SHAPES

BEGIN = 1_795_574_000.0


@pytest.fixture
def api():
    with QueryApi(lambda: BEGIN + 300) as double:
        yield double


@pytest.fixture(autouse=True)
def clock_of_the_controller(monkeypatch, api):
    monkeypatch.setattr("ansible_collections.kjoule.bench.plugins.plugin_utils.prometheus.time.time", lambda: api.clock())


def scrape(api, text_at, times):
    """What a Prometheus holds after it has scraped an exporter at these times."""
    held = {}
    for t in times:
        for sample in parse(text_at(t - BEGIN), "it"):
            held.setdefault((sample.name, tuple(sample.labels.items())), []).append((t, sample.value))
    api.series = [(name, {**dict(labels), "instance": "nuc1:28282"}, points) for (name, labels), points in held.items()]


def every(seconds, count=61, jitter=0.0, seed=1):
    generator = random.Random(seed)
    return [BEGIN + number * seconds + generator.uniform(-jitter, jitter) for number in range(count)]


def kepler_of(shape, **more):
    """Kepler on a node whose package uses ``shape`` and whose memory uses 3 W."""

    def text(t):
        package, dram = 1000.0 + shape.joules(t + 10), 50.0 + 3.0 * (t + 10)
        active = {"package": 0.3 * package, "dram": 0.3 * dram, "core": 5.0}
        idle = {"package": 0.7 * package, "dram": 0.7 * dram, "core": 6.0}
        return kepler_text(active, idle, **more)

    return text


def reader_of(api, **source):
    ((name, options),) = source.items()
    server = PrometheusServer({"url": api.url, "timeout_seconds": 2})
    (reader,) = make_readers({"sources": {name: options}}, server)
    return server, reader


def looked(api, **source):
    return reader_of(api, **source)[1].look(BEGIN - 60, BEGIN + 400)


class TestCounters:
    @pytest.mark.parametrize("name", sorted(SHAPES))
    def test_the_truth_lies_within_the_bound_of_a_hundred_windows_of_every_shape(self, api, name):
        shape = SHAPES[name](7)
        scrape(api, kepler_of(shape), every(5.0, jitter=0.4))
        look = looked(api, kepler={})
        generator = random.Random(3)
        for _ in range(100):
            start, length = generator.uniform(5, 150), generator.uniform(1, 120)
            record = window(look, BEGIN + start, BEGIN + start + length)
            truth = shape.joules(start + length + 10) - shape.joules(start + 10) + 3.0 * length
            assert record["valid"], record["reasons"]
            assert abs(record["joules"] - truth) <= record["uncertainty_joules"]
            assert record["seconds"] == pytest.approx(length)
            assert record["covered_seconds"] <= length

    def test_constant_power_comes_back_exactly_and_nothing_is_extrapolated(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        record = window(looked(api, kepler={}), BEGIN + 12, BEGIN + 72)
        assert record["joules"] == pytest.approx((42 + 3) * 60, rel=1e-9)
        assert record["scope"] == "prometheus:kepler:package+dram"
        assert record["covered_seconds"] == 55.0  # from the sample at 15 to that at 70
        assert record["parts"]["interpolation_joules"] == pytest.approx(45 * 5 * (3 / 5 + 3 / 5))

    def test_a_window_that_the_samples_do_not_reach_beyond_is_invalid(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0, 13))
        look = looked(api, kepler={})
        assert window(look, BEGIN - 5, BEGIN + 30)["reasons"] == ["not covered: there is no sample before its begin"]
        assert window(look, BEGIN + 5, BEGIN + 61)["reasons"] == ["not covered: there is no sample after its end"]
        assert not window(look, BEGIN + 5, BEGIN + 61)["valid"]

    def test_a_restart_inside_or_around_the_window_makes_it_invalid(self, api):
        before, after = kepler_of(SHAPES["constant"](22)), kepler_of(SHAPES["constant"](22), started=5000.0)
        scrape(api, lambda t: before(t) if t < 61 else after(t), every(5.0))
        look = looked(api, kepler={})
        assert window(look, BEGIN + 5, BEGIN + 55)["valid"]
        for begin, end in ((50, 70), (10, 62), (61, 70)):
            record = window(look, BEGIN + begin, BEGIN + end)
            assert any(reason.startswith("restart") for reason in record["reasons"]), (begin, end)

    def test_an_exporter_that_hangs_is_a_frozen_counter(self, api):
        text = kepler_of(SHAPES["constant"](22))
        scrape(api, lambda t: text(min(t, 60)), every(5.0))
        assert any("frozen" in reason for reason in window(looked(api, kepler={}), BEGIN + 70, BEGIN + 100)["reasons"])

    @pytest.mark.parametrize("value", ["NaN", "-5"])
    def test_samples_that_are_no_figures_are_left_out_and_said(self, api, value):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        for number, (name, labels, points) in enumerate(api.series):
            if name.endswith("idle_joules_total") and labels["zone"] == "package":
                api.series[number] = (name, labels, [(t, float(value) if t == BEGIN + 30 else joules) for t, joules in points])
        record = window(looked(api, kepler={}), BEGIN + 12, BEGIN + 72)
        assert record["valid"]
        assert record["joules"] == pytest.approx(45 * 60)
        assert record["warnings"][0].startswith("1 of")

    def test_a_counter_beyond_physics_is_no_consumption(self, api):
        """Published: totals of up to 4.6e15 J."""
        text = kepler_of(SHAPES["constant"](22))
        scrape(api, text, every(5.0))
        for _name, _labels, points in api.series:
            points[8:] = [(t, joules + 4.6e15) for t, joules in points[8:]]
        assert any("beyond physics" in reason for reason in window(looked(api, kepler={}), BEGIN + 12, BEGIN + 72)["reasons"])

    @pytest.mark.parametrize(("first", "last"), [(40, 55), (15, 130), (90, 140), (0, 25)])
    def test_while_prometheus_was_down_counted_energy_goes_on_and_the_bound_says_what_is_not_known(self, api, first, last):
        """Down between two of its seconds; the window is 20 to 120, and counters go on counting meanwhile."""
        shape = SHAPES["square"](3)
        scrape(api, kepler_of(shape), [t for t in every(5.0) if not first < t - BEGIN < last])
        record = window(looked(api, kepler={}), BEGIN + 20, BEGIN + 120)
        assert record["valid"], record["reasons"]
        true = shape.joules(130) - shape.joules(30) + 300.0
        assert abs(record["joules"] - true) <= record["uncertainty_joules"]
        scrape(api, kepler_of(shape), every(5.0))
        whole = window(looked(api, kepler={}), BEGIN + 20, BEGIN + 120)
        edges_known = first > 20 and last < 120
        assert (record["uncertainty_joules"] > 1.5 * whole["uncertainty_joules"]) != edges_known, (record, whole)

    def test_a_prometheus_that_does_not_come_back_makes_the_window_invalid(self, api):
        scrape(api, kepler_of(SHAPES["square"](3)), [t for t in every(5.0) if t - BEGIN < 90])
        record = window(looked(api, kepler={}), BEGIN + 20, BEGIN + 120)
        assert not record["valid"]
        assert record["reasons"] == ["not covered: there is no sample after its end"]


class TestGauges:
    def test_power_is_integrated_and_the_truth_lies_within_the_bound(self, api):
        shape = SHAPES["ramp"](3)
        times = every(1.0, 301)
        api.series = [("pdu_watts", {"outlet": "7"}, [(t, shape.power_watts(t - BEGIN)) for t in times])]
        look = looked(api, pdu={"query": 'pdu_watts{outlet="7"}', "unit": "W", "resolution": 0.1})
        for start, length in ((10.2, 30.0), (20.7, 60.5), (33.3, 120.1)):
            record = window(look, BEGIN + start, BEGIN + start + length)
            assert record["valid"], record["reasons"]
            assert abs(record["joules"] - (shape.joules(start + length) - shape.joules(start))) <= record["uncertainty_joules"]

    def test_a_target_that_was_down_leaves_a_gap(self, api):
        api.series = [("pdu_watts", {}, [(t, 40.0) for t in every(5.0) if not 40 < t - BEGIN < 80])]
        look = looked(api, pdu={"query": "pdu_watts", "unit": "W"})
        assert any("gap" in reason for reason in window(look, BEGIN + 20, BEGIN + 100)["reasons"])
        assert window(look, BEGIN + 90, BEGIN + 150)["valid"]

    def test_load_in_the_rhythm_of_the_scrapes_does_not_show_and_the_record_says_so(self, api):
        api.series = [("pdu_watts", {}, [(t, 30.0) for t in every(5.0)])]  # what is left of bursts that lie between the scrapes
        record = window(looked(api, pdu={"query": "pdu_watts", "unit": "W"}), BEGIN + 20, BEGIN + 100)
        assert record["warnings"] == ["power was read every 5 s: load that comes and goes in this rhythm does not show"]

    def test_units_are_those_that_were_stated(self, api):
        api.series = [("pdu_power", {}, [(t, 40_000.0) for t in every(5.0)])]
        record = window(looked(api, pdu={"query": "pdu_power", "unit": "mW"}), BEGIN + 20, BEGIN + 30)
        assert record["joules"] == pytest.approx(400.0)

    def test_a_kilowatt_hour_counter_is_differenced(self, api):
        api.types["pdu_energy"] = "counter"
        api.series = [("pdu_energy", {}, [(t, 7.0 + (t - BEGIN) * 36.0 / 3.6e6) for t in every(5.0)])]
        record = window(looked(api, pdu={"query": "pdu_energy", "unit": "kWh"}), BEGIN + 20, BEGIN + 120)
        assert record["valid"], record["reasons"]
        assert record["joules"] == pytest.approx(3600.0)

    def test_a_sum_over_series_is_evaluated_between_their_samples(self, api):
        for outlet in ("1", "2"):
            api.series.append(("pdu_watts", {"outlet": outlet}, [(t, 20.0) for t in every(5.0)]))
        api.expressions["sum(pdu_watts) / 2"] = lambda t: 20.0
        record = window(looked(api, pdu={"query": "sum(pdu_watts) / 2", "unit": "W"}), BEGIN + 20, BEGIN + 120)
        assert record["valid"], record["reasons"]
        assert record["joules"] == pytest.approx(2000.0)

    def test_several_series_are_not_added_up_in_silence(self, api):
        for outlet in ("1", "2"):
            api.series.append(("pdu_watts", {"outlet": outlet}, [(t, 20.0) for t in every(5.0)]))
        with pytest.raises(KjouleError, match="gives 2 series"):
            looked(api, pdu={"query": "pdu_watts", "unit": "W"})

    def test_a_gauge_that_is_said_to_count_is_refused_before_anything_is_read(self, api):
        api.types["pdu_watts"] = "gauge"
        with pytest.raises(KjouleError, match="which is a gauge"):
            reader_of(api, pdu={"query": "rate(pdu_watts[24h])", "unit": "W"})


def test_scaphandre_gives_energy_and_processes(api):
    def text(t):
        process = f'scaph_process_power_consumption_microwatts{{cmdline="x",exe="etcd",pid="7"}} {round(4e6)}'
        return scaphandre_text(100 + 20.0 * t, 20.0, processes=process)

    scrape(api, text, every(5.0))
    server, reader = reader_of(api, scaphandre={})
    record = energy_record(reader, server, period())
    energy = record["phases"][0]["energy"][0]
    assert (energy["scope"], energy["joules"]) == ("prometheus:scaphandre:package+dram", pytest.approx(1200.0))
    assert record["phases"][0]["attribution"]["processes"]["listed"][0]["exe"] == "etcd"


def test_labels_choose_the_host_and_cannot_be_used_to_write_another_query(api):
    scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
    assert looked(api, kepler={"labels": {"instance": "nuc1:28282"}}).readings
    with pytest.raises(KjouleError, match="no samples of source kepler"):
        looked(api, kepler={"labels": {"instance": 'x"} or {__name__=~".+'}})


class TestTargets:
    """What one Prometheus holds beside the Kepler that is meant."""

    def two(self, api, ends=300.0, begins=0.0, **more):
        """nuc1, and the same counters a second later on nuc2, which goes from ``begins`` on; nuc1 stops at ``ends``."""
        text = kepler_of(SHAPES["constant"](22))
        scrape(api, text, [t for t in every(5.0) if t - BEGIN <= ends])
        first = api.series
        scrape(api, kepler_of(SHAPES["constant"](99), started=5000.0, **more), [t + 1 for t in every(5.0) if t - BEGIN >= begins])
        api.series = first + [(name, {**labels, "instance": "nuc2:28282"}, points) for name, labels, points in api.series]

    def test_two_keplers_without_a_choice_are_refused_when_read_and_before_measuring(self, api):
        self.two(api)
        with pytest.raises(
            KjouleError, match=r"shows 2 Keplers: expected one, saw instance nuc1:28282; instance nuc2:28282\. Next: .*labels"
        ):
            looked(api, kepler={})
        collector = Collector({"url": api.url, "timeout_seconds": 2, "sources": {"kepler": {}}}, list, list, lambda: BEGIN + 100)
        with pytest.raises(KjouleError, match="shows 2 Keplers"):
            collector.check()
        collector.close()

    @pytest.mark.parametrize("choice", [{"labels": {"instance": "nuc1:28282"}}, {"node": "nuc1"}])
    def test_a_choice_by_labels_or_node_reads_that_one_alone(self, api, choice):
        self.two(api, node="nuc2")
        record = window(looked(api, kepler=choice), BEGIN + 12, BEGIN + 72)
        assert (record["valid"], record["warnings"]) == (True, [])
        assert record["joules"] == pytest.approx((42 + 3) * 60)

    def test_a_kepler_that_follows_another_one_is_a_restart(self, api):
        self.two(api, ends=100.0, begins=105.0)
        look = looked(api, kepler={})
        assert window(look, BEGIN + 20, BEGIN + 80)["valid"]
        assert any(reason.startswith("restart") for reason in window(look, BEGIN + 20, BEGIN + 130)["reasons"])

    def test_the_start_time_of_other_programs_is_not_that_of_kepler(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        of_prometheus = [(t + 2.5, 7.0) for t in every(5.0)]
        api.series.append(("process_start_time_seconds", {"instance": "nuc1:9090", "job": "prometheus"}, of_prometheus))
        record = window(looked(api, kepler={}), BEGIN + 12, BEGIN + 72)
        assert (record["valid"], record["warnings"]) == (True, [])
        assert record["joules"] == pytest.approx((42 + 3) * 60)


def period(period_id="b01-p1-a1", begin=20.0, end=80.0, **more):
    phase = {"index": 0, "name": "idle", "start_unix": BEGIN + begin, "end_unix": BEGIN + end}
    return {"period_id": period_id, "phases": [phase], **more}


class TestRecords:
    @pytest.fixture
    def kepler(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        return reader_of(api, kepler={})

    def test_a_record_holds_the_windows_of_a_period_its_source_and_its_clocks(self, kepler, api):
        server, reader = kepler
        record = energy_record(reader, server, period())
        assert (record["kind"], record["period_id"]) == ("energy", "b01-p1-a1")
        assert record["source"]["server"] == api.url
        assert record["phases"][0]["energy"][0]["joules"] == pytest.approx(2700.0)
        assert record["phases"][0]["attribution"]["node"]["active_joules"] == pytest.approx(0.3 * 2700.0)
        assert set(record["clocks"]) == {"server_ahead_seconds", "doubt_seconds", "host_ahead_seconds"}

    @pytest.mark.parametrize(
        ("ahead", "received", "valid"), [(0.0, 100.0, True), (0.5, 100.0, True), (3.0, 100.0, False), (0.0, 80.0, False)]
    )
    def test_clocks_that_differ_widen_the_bound_and_then_make_the_window_invalid(self, kepler, api, ahead, received, valid):
        server, reader = kepler
        api.ahead = 0.0
        monkey_ahead = ahead
        server.ahead_seconds = lambda: (monkey_ahead, 0.001)
        record = energy_record(reader, server, period(finished_unix=BEGIN + 90), BEGIN + received)
        energy = record["phases"][0]["energy"][0]
        assert energy["valid"] is valid
        assert valid or any("clock skew" in reason for reason in energy["reasons"])
        assert energy["parts"]["clock_joules"] >= 45 * ahead

    def test_a_period_without_edges_in_time_of_day_cannot_be_read(self, kepler):
        server, reader = kepler
        with pytest.raises(KjouleError, match="no phase with edges"):
            energy_record(reader, server, {"period_id": "x", "phases": [{"index": 0, "name": "idle"}]})


class TestCollector:
    def collector(self, api, **more):
        kept, said = [], []
        now = [BEGIN + 100.0]
        waits = []

        def sleep(seconds):
            waits.append(seconds)
            now[0] += seconds

        setting = {"url": api.url, "timeout_seconds": 2, "sources": {"kepler": {}}, **more}
        collector = Collector(setting, kept.append, said.append, lambda: now[0], sleep)
        return collector, kept, said, waits, now

    def test_every_period_is_read_once(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        collector, kept, said, _waits, _now = self.collector(api)
        collector.check()
        periods = [period("one", 10, 40), period("two", 50, 90)]
        collector.collect(periods[:1], kept)
        collector.collect(periods, kept)
        collector.collect(periods, kept)
        assert [record["period_id"] for record in kept] == ["one", "two"]
        assert said == []
        collector.close()

    def test_it_waits_until_the_sample_after_the_last_edge_is_scraped(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        collector, _kept, _said, waits, _now = self.collector(api)
        collector.check()
        collector.collect([period("one", 50, 99)], [])
        assert waits == [pytest.approx(99 + 2 * 5 + 1 - 100)]

    def test_what_cannot_be_read_is_said_and_asked_for_again(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        collector, kept, said, _waits, _now = self.collector(api)
        api.fault = "500"
        assert collector.collect([period()], kept) == []
        assert "not read yet" in said[0]
        api.fault = None
        assert len(collector.collect([period()], kept)) == 1

    def test_before_measuring_a_source_that_shows_nothing_or_old_things_is_an_error(self, api):
        collector, *_rest, now = self.collector(api)
        with pytest.raises(KjouleError, match="no samples of source kepler"):
            collector.check()
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        now[0] = BEGIN + 390
        with pytest.raises(KjouleError, match="stale"):
            collector.check()

    def test_before_measuring_a_clock_that_differs_is_an_error(self, api):
        scrape(api, kepler_of(SHAPES["constant"](22)), every(5.0))
        api.ahead = 7.0
        with pytest.raises(KjouleError, match=r"the clock of .* differs"):
            self.collector(api)[0].check()

    def test_without_a_setting_nothing_is_asked(self, api):
        collector = Collector({}, lambda record: None, lambda text: None)
        collector.check()
        assert collector.collect([period()], []) == []
        assert api.requests == []
        collector.close()


def test_the_time_that_a_record_takes_to_the_controller_is_no_skew():
    assert remote_energy.host_ahead_seconds({"finished_unix": 100.0}, 103.0) == 0.0
    assert remote_energy.host_ahead_seconds({"finished_unix": 100.0}, 98.0) == 2.0
    assert remote_energy.host_ahead_seconds({"finished_unix": 100.0}, 140.0) == -25.0
    assert remote_energy.host_ahead_seconds({}, 140.0) == 0.0
    assert math.isfinite(remote_energy.host_ahead_seconds({"finished_unix": 100.0}, None))
