# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.energy.meter import Meter
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.errors import PeriodInvalid
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify

# Burns the CPU time that it reads from its input and says when it has.
BURNER = """
import sys, time
print(flush=True)
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end:
        pass
    print(flush=True)
"""


class Burner:
    def __init__(self) -> None:
        self.popen = subprocess.Popen([sys.executable, "-c", BURNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.popen.stdout.readline()

    def burn(self, seconds: float) -> None:
        self.popen.stdin.write(f"{seconds}\n")
        self.popen.stdin.flush()
        self.popen.stdout.readline()

    def clock(self, name: str) -> ProcessClock:
        return ProcessClock(name, identify(self.popen.pid))

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def burners():
    both = [Burner(), Burner()]
    yield both
    for one in both:
        one.close()


@pytest.fixture
def meters():
    made = []

    def make(clocks, source=None, sample_seconds=0.01, watch=lambda: None):
        made.append(Meter(clocks, source, sample_seconds, watch))
        return made[-1]

    yield make
    for meter in made:
        meter.stop()


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_a_window_holds_what_each_component_burned_between_its_edges(burners, meters):
    meter = meters([burners[0].clock("etcd"), burners[1].clock("scheduler")])
    burners[1].burn(0.1)  # before the window: does not count
    start = meter.edge()
    burners[0].burn(0.15)
    end = meter.edge()
    burners[0].burn(0.1)
    window = meter.window(start, end)
    assert window["cpu_seconds"]["etcd"] == pytest.approx(0.15, abs=0.02)
    assert window["cpu_seconds"]["scheduler"] == pytest.approx(0.0, abs=0.005)
    assert window["seconds"] == (window["end_ns"] - window["start_ns"]) / 1e9
    assert window["seconds"] >= 0.15
    assert window["energy"] == []


def test_only_components_of_both_edges_are_in_a_window(burners, meters):
    meter = meters([burners[0].clock("etcd")])
    first = meter.edge()
    meter.add([burners[1].clock("flux")])
    second = meter.edge()
    meter.remove({"etcd"})
    third = meter.edge()
    assert list(meter.window(first, second)["cpu_seconds"]) == ["etcd"]
    assert list(meter.window(second, third)["cpu_seconds"]) == ["flux"]


def test_a_component_that_dies_is_named_and_wakes_the_waiting_at_once(burners, meters):
    meter = meters([burners[0].clock("etcd"), burners[1].clock("kube-apiserver")])
    meter.start()
    wait_until(lambda: len(meter.samples()["t_ns"]) >= 2)
    burners[1].popen.kill()
    os.waitid(os.P_PID, burners[1].popen.pid, os.WEXITED | os.WNOWAIT)  # nobody reaps it, as nobody reaps an arm's process
    begin = time.monotonic()
    with pytest.raises(PeriodInvalid, match="kube-apiserver ended during the period"):
        meter.hold(60.0)
    assert time.monotonic() - begin < 10
    with pytest.raises(PeriodInvalid, match="kube-apiserver"):
        meter.check()
    with pytest.raises(PeriodInvalid, match="kube-apiserver"):
        meter.edge()
    meter.stop()
    samples = meter.samples()
    assert {len(values) for values in samples["cpu_ns"].values()} == {len(samples["t_ns"])}


def test_what_the_watch_says_spoils_the_period(burners, meters):
    said = [None]
    meter = meters([burners[0].clock("etcd")], watch=lambda: said[0])
    meter.start()
    wait_until(lambda: meter.samples()["t_ns"])
    meter.hold(0.0)
    said[0] = "the controller ended"
    with pytest.raises(PeriodInvalid, match="the controller ended"):
        meter.hold(60.0)


def test_a_hold_without_a_fault_takes_its_time(meters):
    begin = time.monotonic()
    meters([]).hold(0.05)
    assert time.monotonic() - begin >= 0.05
    meters([]).hold(-1.0)


def test_samples_are_cumulative_and_a_component_that_came_later_has_nought_before(burners, meters):
    meter = meters([burners[0].clock("etcd")])
    meter.start()
    wait_until(lambda: len(meter.samples()["t_ns"]) >= 2)
    burners[0].burn(0.05)
    burners[1].burn(0.02)
    meter.add([burners[1].clock("flux")])
    wait_until(lambda: meter.samples()["cpu_ns"].get("flux", [0])[-1])
    meter.remove({"etcd"})
    reached = len(meter.samples()["t_ns"])
    wait_until(lambda: len(meter.samples()["t_ns"]) > reached + 1)
    meter.stop()
    samples = meter.samples()
    etcd, flux = samples["cpu_ns"]["etcd"], samples["cpu_ns"]["flux"]
    assert len(samples["t_ns"]) == len(etcd) == len(flux)
    assert samples["t_ns"] == sorted(samples["t_ns"])
    there = etcd[: etcd.index(0)]
    assert there == sorted(there)
    assert there[-1] - there[0] >= 50_000_000
    assert flux[:2] == [0, 0]
    assert flux[-1] >= 20_000_000
    meter.stop()  # again


def test_samples_are_whole_while_the_sampler_adds_a_component(burners, meters):
    meter = meters([burners[0].clock("etcd")], sample_seconds=60.0)
    meter._sample()
    sampler = threading.Thread(target=meter._sample)

    class Grows(dict):
        """The sampler wants to go on while somebody looks at this."""

        def items(self):
            for item in super().items():
                if sampler.ident is None:
                    sampler.start()
                    sampler.join(0.1)
                yield item

    meter._sample_cpu = Grows(meter._sample_cpu)
    meter.add([burners[1].clock("flux")])
    samples = meter.samples()
    assert (len(samples["t_ns"]), {name: len(values) for name, values in samples["cpu_ns"].items()}) == (1, {"etcd": 1})
    sampler.join(10)
    assert [len(values) for values in meter.samples()["cpu_ns"].values()] == [2, 2]


@pytest.fixture
def counter(tmp_path):
    folder = tmp_path / "class" / "powercap" / "intel-rapl:0"
    folder.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "65532610"), ("energy_uj", "65532000")):
        (folder / name).write_text(text)
    return folder / "energy_uj"


def test_the_sampler_sees_the_wraps_between_the_edges(tmp_path, counter, meters):
    """Two wraps within one window: the edges alone could not tell."""
    meter = meters([], RaplSource(str(tmp_path)), watch=lambda: None)
    start = meter.edge()
    meter.start()
    injected, value = 0, 65_532_000
    for _step in range(12):
        step = 8_000_000
        injected, value = injected + step, (value + step) % 65_532_610
        temporary = counter.with_suffix(".new")  # whole or not at all, as the kernel's file is
        temporary.write_text(str(value))
        temporary.rename(counter)
        wait_until(lambda value=value: meter.samples()["energy"]["values"][-1] == [pytest.approx(value / 1e6)])
    meter.stop()
    window = meter.window(start, meter.edge())
    assert window["energy"][0]["joules"] == pytest.approx(injected / 1e6)
    assert window["energy"][0]["readings"] >= 7


def test_energy_outside_of_the_window_does_not_count(tmp_path, counter, meters):
    counter.write_text("1000000")
    meter = meters([], RaplSource(str(tmp_path)))
    meter.edge()
    counter.write_text("9000000")
    start = meter.edge()
    counter.write_text("11000000")
    end = meter.edge()
    counter.write_text("99000000")
    meter.edge()
    assert meter.window(start, end)["energy"][0]["joules"] == pytest.approx(2.0)


def test_an_energy_source_that_vanishes_spoils_the_period(tmp_path, counter, meters):
    meter = meters([], RaplSource(str(tmp_path)))
    meter.start()
    counter.unlink()
    with pytest.raises(PeriodInvalid, match="the energy source vanished"):
        meter.hold(60.0)
