# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus scrapes exporters that show injected power in real time; what comes back out of it is what was injected.

The exporters are doubles (harness/meters.py): their text is that of Kepler and of a PDU's exporter, their figures are the truth.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.prometheus import PrometheusServer
from ansible_collections.kjoule.bench.plugins.plugin_utils.remote_energy import make_readers, window
from harness.meters import Exporter, kepler_text
from harness.shapes import Square

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="not run: prometheus is not installed (Debian, Ubuntu: apt-get install prometheus)"
    ),
]

#: No multiple of the second between two scrapes: a load in the rhythm of its sampling cannot be seen.
SHAPE = Square(period_seconds=2.7)
BEGAN = time.time() - 1000
PROCESS = 'kepler_process_cpu_joules_total{{comm="etcd",node_name="nuc1",pid="7",state="running",type="regular",zone="package"}} {joules!r}'


def watts():
    return SHAPE.power_watts(time.time() - BEGAN)


def joules(t):
    return SHAPE.joules(t - BEGAN)


ONE = {"labels": {"job": "kepler"}}


class Lab:
    def __init__(self, folder):
        self.started = 1000.0
        self.kepler = Exporter(self._kepler)
        self.other = Exporter(lambda: kepler_text({"package": 3.0 * time.time()}, {"package": 9.0}, node="nuc2", started=2000.0))
        self.pdu = Exporter(self._pdu)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        jobs = [
            {"job_name": name, "static_configs": [{"targets": [double.url.removeprefix("http://")]}]}
            for name, double in (("kepler", self.kepler), ("other", self.other), ("pdu", self.pdu))
        ]
        # It scrapes itself, as Prometheus mostly does, and shows when it began.
        jobs.append({"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}]})
        self.config = folder / "prometheus.yml"
        self.config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
        self.data = folder / "data"

    def _kepler(self):
        total = joules(time.time())
        return kepler_text(
            {"package": 0.4 * total}, {"package": 0.6 * total}, started=self.started, workloads=PROCESS.format(joules=0.1 * total)
        )

    @staticmethod
    def _pdu():
        counted = joules(time.time()) / 3.6e6
        return f"# TYPE pdu_watts gauge\npdu_watts {watts()!r}\n# TYPE pdu_kwh_total counter\npdu_kwh_total {counted!r}\n"

    def up(self):
        """Whether all exporters have been scraped."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?query=sum(up)", timeout=1) as answer:
                result = json.load(answer)["data"]["result"]
                return bool(result) and result[0]["value"][1] == "4"
        except OSError:
            return False

    @contextlib.contextmanager
    def run(self):
        command = [
            "prometheus",
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with self.kepler, self.other, self.pdu, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                deadline = time.monotonic() + 60
                while not self.up():
                    assert server.poll() is None, "prometheus ended"
                    assert time.monotonic() < deadline, "prometheus has scraped nothing"
                    wait(0.2)
                yield self
            finally:
                server.terminate()


def wait(seconds):
    """Real time passes: Prometheus lives in it."""
    threading.Event().wait(seconds)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("prometheus")).run() as lab:
        wait(12)
        yield lab


def look(lab, begin, **sources):
    server = PrometheusServer({"url": lab.url})
    ahead, doubt = server.ahead_seconds()
    assert abs(ahead) < 0.5 + doubt
    (reader,) = make_readers({"sources": sources}, server)
    return reader, reader.look(begin - 30, time.time())


def test_the_energy_of_kepler_comes_back_with_its_attribution(lab):
    reader, seen = look(lab, time.time(), kepler=ONE)
    end = seen.readings[-1].t_ns / 1e9 - 0.3
    begin = end - 8.4
    record = window(seen, begin, end)
    assert (record["valid"], record["warnings"]) == (True, []), record["reasons"]
    assert abs(record["joules"] - (joules(end) - joules(begin))) <= record["uncertainty_joules"]
    assert 6 <= record["readings"] <= 10
    attributed = reader.attribute(seen, begin, end, record["joules"])
    assert attributed["processes"]["listed"][0]["comm"] == "etcd"
    assert attributed["processes"]["share_of_active"] == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize(
    "source", [{"query": "pdu_watts", "unit": "W"}, {"query": "sum(pdu_watts)", "unit": "W"}, {"query": "pdu_kwh_total", "unit": "kWh"}]
)
def test_the_energy_of_a_pdu_comes_back_from_power_from_a_sum_and_from_a_counter(lab, source):
    _reader, seen = look(lab, time.time(), pdu=source)
    end = seen.readings[-1].t_ns / 1e9 - 0.3
    begin = end - 7.7
    record = window(seen, begin, end)
    assert record["valid"], record["reasons"]
    assert abs(record["joules"] - (joules(end) - joules(begin))) <= record["uncertainty_joules"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"query": "rate(pdu_watts[10s])", "unit": "W"}, "which is a gauge"),
        ({"query": "pdu_kwh_total", "unit": "W"}, "is a counter"),
        ({"query": "pdu_watts", "unit": "J"}, "is a gauge"),
        ({"query": "nothing_at_all", "unit": "W"}, "no samples of source pdu"),
        ({"query": "topk(pdu_watts)", "unit": "W"}, r"refuses a query: saw status 400"),
    ],
)
def test_what_it_is_not_is_refused_with_what_this_prometheus_knows(lab, source, said):
    with pytest.raises(KjouleError, match=said):
        look(lab, time.time(), pdu=source)


def test_of_two_keplers_one_has_to_be_chosen(lab):
    with pytest.raises(KjouleError, match=r"shows 2 Keplers: .*saw (?=.*job kepler)(?=.*job other).*; .*Next: choose one with labels"):
        look(lab, time.time(), kepler={})
    _reader, seen = look(lab, time.time(), kepler={"node": "nuc1"})
    assert seen.misses == []


def test_a_restart_of_kepler_is_seen_and_a_scrape_that_fails_loses_no_counted_energy(lab):
    lab.kepler.fault = "500"
    wait(3)
    lab.kepler.fault = None
    wait(3)
    _reader, seen = look(lab, time.time(), kepler=ONE)
    end = seen.readings[-1].t_ns / 1e9
    record = window(seen, end - 8, end)
    assert record["valid"], record["reasons"]
    assert abs(record["joules"] - (joules(end) - joules(end - 8))) <= record["uncertainty_joules"]
    lab.started += 60.0
    wait(3)
    _reader, seen = look(lab, time.time(), kepler=ONE)
    end = seen.readings[-1].t_ns / 1e9
    assert any(reason.startswith("restart") for reason in window(seen, end - 5, end)["reasons"])
