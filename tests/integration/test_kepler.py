# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kepler, run with the role's settings and unit on counters of known energy, and read by a real Prometheus with the role's settings.

The counters are injected: a powercap tree of the harness in the place of sysfs. Kepler is not part of this project and is not built by it:
KJOULE_TEST_KEPLER names its binary (version 0.11.4), else it is looked for in PATH. The unit's limits are tried as far as they can be
without systemd: another user with the unit's capabilities and no other, in a PID namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import prometheus as world
import pytest
import units
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler import health
from harness.powercap import RANGE_UJ, Tree, Zone, drive
from test_monitoring import changed, run_tasks

pytestmark = pytest.mark.integration

WATTS = {"package": 40.0, "dram": 5.0, "core": 25.0}
SECONDS = 4.0


class Pulse:
    """No power but for ``SECONDS``, beginning when ``begin`` is set: what came in is known to the microjoule, whenever somebody looks."""

    def __init__(self, watts: float) -> None:
        self.watts = watts
        self.begin = float("inf")

    def power_watts(self, t: float) -> float:
        return self.watts if self.begin <= t < self.begin + SECONDS else 0.0

    def joules(self, t: float) -> float:
        return self.watts * min(max(t - self.begin, 0.0), SECONDS)


class Counters:
    """The tree, moved by a thread."""

    def __init__(self, root: Path) -> None:
        self.pulses = {name: Pulse(watts) for name, watts in WATTS.items()}
        # The counter of the package wraps in the middle of the pulse.
        starts = {"package": RANGE_UJ - int(WATTS["package"] * SECONDS / 2 * 1e6), "dram": 7_000_000, "core": 9_000_000}
        entries = {"package": ("intel-rapl:0", "package-0"), "core": ("intel-rapl:0:0", "core"), "dram": ("intel-rapl:0:1", "dram")}
        zones = [
            Zone(entry, shown, self.pulses[name], start_uj=starts[name], update_seconds=1e-6) for name, (entry, shown) in entries.items()
        ]
        self.tree = Tree(root, zones)
        root.chmod(0o700)  # of root alone, as the counters of a host are
        self.start_ns = time.monotonic_ns()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=drive, args=(self.tree, self.start_ns, 0.02, self.stop))
        self.thread.start()

    def pulse(self) -> None:
        begin = (time.monotonic_ns() - self.start_ns) / 1e9 + 0.2
        for pulse in self.pulses.values():
            pulse.begin = begin

    def end(self) -> None:
        self.stop.set()
        self.thread.join()


def kepler_binary() -> str:
    found = os.environ.get("KJOULE_TEST_KEPLER") or shutil.which("kepler")
    if not found:
        pytest.skip("not run: no Kepler here (KJOULE_TEST_KEPLER names the binary of version 0.11.4)")
    if os.geteuid() != 0:
        pytest.skip("not run: another user and a PID namespace need root")
    world.need("prometheus", "promtool", "unshare", "setpriv")
    return found


@contextlib.contextmanager
def kepler(unit: Path, log: Path):
    """The unit's command line, as nobody with the unit's capabilities, alone with itself in a PID namespace."""
    setting = units.settings(unit)
    names = [name.removeprefix("CAP_").lower() for name in setting["AmbientCapabilities"][0].split()]
    capabilities = ",".join(f"+{name}" for name in names)
    limits = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", f"--bounding-set=-all,{capabilities}"]
    command = [
        *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "setpriv", *limits),
        *(f"--inh-caps=-all,{capabilities}", f"--ambient-caps=-all,{capabilities}"),
        *units.command(unit, Path("/nonexistent")),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={"PATH": os.defpath})
    try:
        yield process
    finally:
        # unshare itself waits through a SIGTERM; Kepler is its only child.
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        process.wait(30)


def wait(condition, seconds: float = 60.0):
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:g} s: {condition}")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host with counters, and both roles' settings for it, written in one play."""
    binary = kepler_binary()
    top = tmp_path_factory.mktemp("kepler")
    for name in ("install", "config", "units", "state", "none/class"):
        (top / name).mkdir(parents=True)
    (top / "install" / "kepler").symlink_to(binary)
    for name in ("prometheus", "promtool"):
        (top / "install" / name).symlink_to(str(shutil.which(name)))
    ports = {name: world.free_port() for name in ("kepler", "prometheus")}
    variables = {
        "artifacts_result": {"kepler": {"version": "v0.11.4"}},
        "kepler_sysfs": str(top / "sys"),
        "kepler_port": ports["kepler"],
        "kepler_node_name": "known",
        "kepler_interval_seconds": 1,
        "kepler_config": {"monitor": {"staleness": "100ms"}},
        "kepler_metrics": ["node", "process"],
        "monitoring_grafana": False,
        "__kepler_runs_services": False,
        "__monitoring_runs_services": False,
        "monitoring_scrape_seconds": 1,
        "monitoring_prometheus_port": ports["prometheus"],
        "monitoring_targets": [{"host": "known", "address": f"127.0.0.1:{ports['kepler']}"}],
        **{f"{role}_{name}_dir": str(top / folder) for role in ("kepler", "monitoring") for name, folder in
           (("install", "install"), ("config", "config"), ("unit", "units"))},
    }  # fmt: skip

    def include(role: str, tasks_from: str, **more: object) -> dict[str, object]:
        return {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": tasks_from}, "vars": more}

    # Extra variables win over all others, so that of the host without counters is set in a play of tasks only.
    without = {key: value for key, value in variables.items() if key != "kepler_sysfs"}
    tasks = [
        include("kepler", "preflight", kepler_sysfs=str(top / "none")),
        include("kepler", "configure", kepler_sysfs=variables["kepler_sysfs"]),
        include("monitoring", "configure"),
    ]
    done = run_tasks(top, tasks, without)
    assert changed(done) > 0
    counters = Counters(top / "sys")
    try:
        yield {"top": top, "ports": ports, "counters": counters, "output": done.stdout}
    finally:
        counters.end()


def test_a_host_without_counters_goes_without_kepler_and_is_told_why(host):
    assert "No Kepler on this host: RAPL cannot be read" in host["output"]
    assert "Runs go on; their joules are estimated" in host["output"]


def test_kepler_without_counters_ends_by_itself_which_is_why_it_is_not_started(host, tmp_path):
    config = (host["top"] / "config" / "kepler.yaml").read_text().replace(str(host["top"] / "sys"), str(host["top"] / "none"))
    (tmp_path / "kepler.yaml").write_text(config)
    command = [str(host["top"] / "install" / "kepler"), f"--config.file={tmp_path / 'kepler.yaml'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "rapl" in (done.stdout + done.stderr).lower()


def test_the_joules_that_prometheus_has_are_those_that_were_put_in(host):
    """Active plus idle, to the microjoule, across a wrap; after a restart Kepler begins anew, and the role's rule sees it."""
    top, counters = host["top"], host["counters"]
    unit = top / "units" / "kjoule-kepler.service"
    kepler_url, url = (f"http://127.0.0.1:{host['ports'][name]}" for name in ("kepler", "prometheus"))
    command = units.command(top / "units" / "kjoule-prometheus.service", top / "state")
    names = ("active", "idle", "")

    def counted(prometheus: world.Prometheus) -> dict[tuple[str, str], float]:
        found = {}
        for name in names:
            for line in prometheus.instant(f"kepler_node_cpu_{name + '_' if name else ''}joules_total"):
                found[name, line["metric"]["zone"]] = float(line["value"][1])
        return found

    with world.running(command, url, top / "prometheus.log") as prometheus:
        with kepler(unit, top / "kepler.log") as process:
            wait(lambda: process.poll() is None and len(counted(prometheus)) == 6)
            before = counted(prometheus)
            with pytest.raises(KjouleError, match="do not grow"):
                health(kepler_url, 0.3, 0.0)  # nothing is drawn before the pulse
            counters.pulse()
            healthy = health(kepler_url, 0.5, 10.0)
            assert healthy["generation"] == "rewrite"
            assert healthy["zones"] == ["dram", "package"]  # not core, which lies inside package
            time.sleep(SECONDS)
            wait(
                lambda: (
                    abs(sum(counted(prometheus)[name, "dram"] - before[name, "dram"] for name in names[:2]) - WATTS["dram"] * SECONDS)
                    < 1e-3
                )
            )
            after = counted(prometheus)
            (line,) = prometheus.instant('sum(kepler_process_cpu_joules_total{zone="package"})')
            print(f"injected {WATTS['package'] * SECONDS} J; counters before {before}, after {after}; processes {line['value'][1]} J")
            for zone in ("package", "dram"):
                added = sum(after[name, zone] - before[name, zone] for name in names[:2])
                assert added == pytest.approx(WATTS[zone] * SECONDS, abs=2e-5), zone
            assert after["", "package"] < before["", "package"]  # the counter of the total fell with the wrap
        wait(lambda: prometheus.instant('up{job="kepler"}')[0]["value"][1] == "0")
        with kepler(unit, top / "kepler.log"):
            wait(lambda: prometheus.instant('up{job="kepler"}')[0]["value"][1] == "1")
            wait(lambda: prometheus.instant('changes(process_start_time_seconds{job="kepler"}[1m]) > 0'))
            fresh = counted(prometheus)
            assert fresh["active", "package"] == 0.0
            raw = int(counters.tree.file(counters.tree.zones[0]).read_text()) / 1e6
            assert fresh["idle", "package"] == pytest.approx(raw, abs=1e-5)
