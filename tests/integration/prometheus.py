# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus on loopback for tests, and a world of known watts in the place of Kepler.

``known_world`` is a double of Kepler's /metrics (generation 0.10 and newer) in which every counter follows from stated watts.
``stepped_world`` is one in which watts change at stated moments, and Kepler restarts.
``legacy_world`` is one of v0.9.0's (pkg/metrics: consts.NodeEnergyLabels, ProcessEnergyLabels): the same watts as dynamic, none as idle.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Watts of a host by zone: active and idle. core lies inside package, psys holds it: neither may be added.
ZONES = {"package": (20.0, 10.0), "dram": (3.0, 2.0), "core": (15.0, 5.0), "psys": (40.0, 30.0)}
#: Watts of its processes by zone, as Kepler splits the active ones.
PROCESSES = {
    "etcd": {"package": 6.0, "dram": 1.0},
    "kube-apiserver": {"package": 9.0, "dram": 1.0},
    "kepler": {"package": 2.0, "dram": 0.5},
}
HOST_WATTS = 20.0 + 10.0 + 3.0 + 2.0
IDLE_WATTS = 10.0 + 2.0
COMPONENT_WATTS = {name: sum(zones.values()) for name, zones in PROCESSES.items()}
RESIDUAL_WATTS = HOST_WATTS - sum(COMPONENT_WATTS.values())


def need(*commands: str) -> dict[str, str]:
    """Paths of commands; skips the test, by name, where one is missing."""
    found = {command: shutil.which(command) for command in commands}
    missing = [command for command, path in found.items() if not path]
    if missing:
        pytest.skip(f"not run: {', '.join(missing)} not found (Debian, Ubuntu: apt install prometheus)")
    return {command: str(path) for command, path in found.items()}


def known_world(seconds: float) -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every counter ``seconds`` after the start of this world."""
    node = {"node_name": "alpha"}
    found = []
    for zone, (active, idle) in ZONES.items():
        labels = {**node, "zone": zone, "path": f"/class/powercap/{zone}"}
        # An idle counter begins at the raw value of the RAPL counter, an active one at nothing.
        found.append(("kepler_node_cpu_active_joules_total", labels, active * seconds))
        found.append(("kepler_node_cpu_idle_joules_total", labels, 4000.0 + idle * seconds))
        found.append(("kepler_node_cpu_joules_total", labels, 4000.0 + (active + idle) * seconds))
    for pid, (name, watts) in enumerate(PROCESSES.items(), 100):
        for zone, power in watts.items():
            labels = {**node, "zone": zone, "pid": str(pid), "comm": name[:15], "type": "regular", "state": "running"}
            found.append(("kepler_process_cpu_joules_total", labels, power * seconds))
    return found


#: Watts of host delta from a second of its world on. At RESTART its Kepler begins anew.
STEPS = ((0, 100.0), (220, 10.0), (280, 50.0), (290, 10.0), (360, 100.0), (520, 10.0), (660, 100.0), (860, 10.0), (960, 100.0))
RESTART = 921
#: Kepler's part of the active power in all, and of etcd in the active one.
ACTIVE, OF_ETCD = 0.5, 0.8


def stepped_world(seconds: float) -> list[tuple[str, dict[str, str], float]]:
    """Its joules from the start of this world, of one zone."""
    begin = RESTART if seconds >= RESTART else 0.0
    ends = [*(since for since, _watts in STEPS[1:]), float("inf")]
    spans = [(max(since, begin), min(until, seconds), watts) for (since, watts), until in zip(STEPS, ends)]
    joules = sum(watts * (until - since) for since, until, watts in spans if until > since)
    node = {"node_name": "delta", "zone": "package", "path": "/class/powercap/package"}
    process = {"node_name": "delta", "zone": "package", "pid": "7", "comm": "etcd", "type": "regular", "state": "running"}
    return [
        ("kepler_node_cpu_active_joules_total", node, ACTIVE * joules),
        ("kepler_node_cpu_idle_joules_total", node, 4000.0 + 100.0 * begin + (1 - ACTIVE) * joules),
        ("kepler_process_cpu_joules_total", process, OF_ETCD * ACTIVE * joules),
        ("process_start_time_seconds", {}, 1000.0 + begin),
    ]


def legacy_world(seconds: float) -> list[tuple[str, dict[str, str], float]]:
    """The same for a Kepler 0.9, which does not say when it began."""
    known = {"source": "rapl-sysfs", "mode": "dynamic"}
    # psys is none of its domains. Its platform is what ACPI says of the whole machine.
    domains = {zone: active + idle for zone, (active, idle) in ZONES.items() if zone != "psys"}
    found = [
        (f"kepler_node_{domain}_joules_total", {**known, "package": "0", "exported_instance": "beta"}, watts * seconds)
        for domain, watts in {**domains, "uncore": 0.0}.items()
    ]
    found.append(("kepler_node_platform_joules_total", {**known, "source": "acpi", "package": "0"}, 90.0 * seconds))
    for pid, (name, watts) in enumerate(PROCESSES.items(), 100):
        for zone, power in watts.items():
            labels = {**known, "pid": str(pid), "command": name[:15], "container_id": "system_processes", "vm_id": ""}
            found.append((f"kepler_process_{zone}_joules_total", labels, power * seconds))
    return found


def open_metrics(start: int, seconds: int, step: int) -> str:
    """Host alpha in the known world, host beta in the older one and host delta in that of steps, as a history in OpenMetrics text, for
    ``promtool tsdb create-blocks-from openmetrics``."""
    lines: dict[str, list[str]] = {}
    for moment in range(0, seconds + 1, step):
        of_alpha = [*known_world(moment), ("process_start_time_seconds", {}, 1000.0)]
        for host, samples in {"alpha": of_alpha, "beta": legacy_world(moment), "delta": stepped_world(moment)}.items():
            for name, labels, value in samples:
                lines.setdefault(name, []).append(f"{name}{_labels({**labels, 'job': 'kepler', 'host': host})} {value!r} {start + moment}")
    text = []
    for name, samples in lines.items():
        family = name[: -len("_total")] if name.endswith("_total") else name
        text.append(f"# TYPE {family} {'counter' if name.endswith('_total') else 'gauge'}")
        text += samples
    return "\n".join([*text, "# EOF", ""])


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """Asks the one at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def instant(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        return list(self.get("query", query=query, **({} if at is None else {"time": at}))["result"])

    def range(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        return list(self.get("query_range", query=query, start=start, end=end, step=step)["result"])

    def wait_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            with (
                contextlib.suppress(OSError, http.client.HTTPException),
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"Prometheus is not ready: {log.read_text()}")


@contextlib.contextmanager
def running(command: list[str], url: str, log: Path) -> Iterator[Prometheus]:
    """A Prometheus with that command line, ended afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        prometheus = Prometheus(url)
        prometheus.wait_ready(process, log)
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)
