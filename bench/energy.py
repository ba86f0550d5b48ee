# SPDX-License-Identifier: GPL-3.0-or-later
"""How far off three readers are on one injected truth, and what sampling costs. Prints Markdown tables; run by ``make bench``.

python bench/energy.py --seconds 190

The truth is a powercap tree that tests/harness/powercap.py drives. Kepler, Prometheus and Scaphandre are not part of this project: the
path of a binary of yours stands in KJOULE_BENCH_KEPLER, KJOULE_BENCH_PROMETHEUS (default: the one on PATH) and KJOULE_BENCH_SCAPHANDRE.
What cannot be had has a row that says so. Nothing needs more than the standard library, so that bench/energy_vm can run this where
Scaphandre runs. What was started ends with this program, however that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import energy_sampler
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.energy.registry import make_source
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Reading
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Moment, Recorder
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify
from harness import powercap

UPDATE_SECONDS = 0.01
#: Shell: as many processes as its first argument says, their pids on standard output. They sleep until standard input ends, and that does
#: when this program does.
CROWD = 'exec 3<&0; n=$1; shift; while [ "$n" -gt 0 ]; do cat <&3 >/dev/null & echo $!; n=$((n - 1)); done;'
#: In front of a command: the kernel ends it with the thread that started it (PR_SET_PDEATHSIG).
WITH_US = ("setpriv", "--pdeathsig", "KILL")
COMPONENTS, OTHERS = 10, 300
KEPLER_JOULES = 'sum(increase(kepler_node_cpu_{part}_joules_total{{zone="package"}}[{seconds}s]))'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def answers(url: str, popen: subprocess.Popen[bytes], word: str = "", seconds: float = 60) -> bool:
    """Whether an answer holds the word before the program ends or the time is up."""
    deadline = time.monotonic() + seconds
    while popen.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if word in get(url).decode():
                return True
        time.sleep(0.2)
    return False


def wait_for(url: str, popen: subprocess.Popen[bytes], word: str = "") -> None:
    if not answers(url, popen, word):
        raise SystemExit(f"bench: {' '.join(map(str, popen.args))} does not answer at {url} with {word or 'anything'}")  # type: ignore[arg-type]


@contextlib.contextmanager
def running(command: list[str], **more: object) -> Iterator[subprocess.Popen[bytes]]:
    popen = subprocess.Popen([*WITH_US, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)  # type: ignore[call-overload]
    try:
        yield popen
    finally:
        popen.kill()  # unshare waits through a SIGTERM
        popen.communicate()


@contextlib.contextmanager
def crowd(number: int) -> Iterator[list[int]]:
    """The pids of so many processes that sleep."""
    command = ["sh", "-c", f"{CROWD} echo; wait", "sh", str(number)]
    popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert popen.stdout is not None
        yield [int(pid) for pid in iter(popen.stdout.readline, "\n")]
    finally:
        popen.communicate()


@contextlib.contextmanager
def injected(folder: Path, shape: str) -> Iterator[Path]:
    """A tree that the harness drives; the path of its root."""
    root = folder / "sys"
    command = [sys.executable, powercap.__file__, "--root", str(root), "--shape", shape, "--update-seconds", str(UPDATE_SECONDS)]
    popen = subprocess.Popen([*WITH_US, *command], stdout=subprocess.PIPE)
    try:
        assert popen.stdout is not None
        popen.stdout.readline()
        yield root
    finally:
        popen.terminate()
        popen.communicate()


@contextlib.contextmanager
def kepler(folder: Path, root: Path, interval: str, others: int = 0) -> Iterator[tuple[str, int] | None]:
    """``(address, pid)`` of a Kepler that reads the tree; None when there is none on this machine.

    It has a pid namespace of its own, because it gives up where it may not look into every process; ``others`` processes sleep in there.
    """
    binary = os.environ.get("KJOULE_BENCH_KEPLER")
    if not binary:
        yield None
        return
    address = f"127.0.0.1:{free_port()}"
    config = {
        "log": {"level": "warn"},
        "host": {"sysfs": str(root), "procfs": "/proc"},
        "monitor": {"interval": interval, "staleness": "100ms"},
        "rapl": {"zones": ["package"]},
        "exporter": {"prometheus": {"debugCollectors": ["go", "process"], "metricsLevel": ["node", "process", "container"]}},
        "web": {"listenAddresses": [address]},
        "kube": {"enabled": False, "nodeName": "bench"},
    }
    (folder / "kepler.yaml").write_text(json.dumps(config))
    inside = ["sh", "-c", f'{CROWD} exec "$@"', "sh", str(others), binary, f"--config.file={folder / 'kepler.yaml'}"]
    with running(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inside]) as popen:
        wait_for(f"http://{address}/metrics", popen, "kepler_node_cpu_active_joules_total")
        yield address, int(Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()[0])


@contextlib.contextmanager
def scaphandre(root: Path) -> Iterator[tuple[str, int] | None]:
    """The same of a Scaphandre; None also where it ends instead of answering."""
    binary = os.environ.get("KJOULE_BENCH_SCAPHANDRE")
    if not binary:
        yield None
        return
    port = free_port()
    environment = {**os.environ, "SCAPHANDRE_POWERCAP_PATH": str(root / "class" / "powercap")}
    command = [binary, "--vm", "prometheus", "--address", "127.0.0.1", "--port", str(port)]
    with running(command, env=environment) as popen:
        there = answers(f"http://127.0.0.1:{port}/metrics", popen, "scaph_host_energy_microjoules")
        yield (f"127.0.0.1:{port}", popen.pid) if there else None


def why_no_scaphandre() -> str:
    if not os.environ.get("KJOULE_BENCH_SCAPHANDRE"):
        return "not on this machine: KJOULE_BENCH_SCAPHANDRE names none"
    return "cannot run here: it ended. Scaphandre 1.0.0 panics on a kernel without /proc/modules; bench/energy_vm has one"


@contextlib.contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[str | None]:
    """URL of a Prometheus that scrapes the targets every 5 s; None when there is none on this machine."""
    binary = os.environ.get("KJOULE_BENCH_PROMETHEUS") or shutil.which("prometheus")
    if not binary or not targets:
        yield None
        return
    job = {"job_name": "bench", "scrape_interval": "5s", "scrape_timeout": "4s", "static_configs": [{"targets": targets}]}
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    url = f"http://127.0.0.1:{free_port()}"
    command = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with running([*command, f"--web.listen-address={url[7:]}"]) as popen:
        wait_for(f"{url}/-/ready", popen)
        yield url


def query(url: str, expression: str, at: float) -> float | None:
    """The one figure of an instant query."""
    asked = urllib.parse.urlencode({"query": expression, "time": f"{at:.3f}"})
    found = json.loads(get(f"{url}/api/v1/query?{asked}"))["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def errors_of(pairs: list[tuple[float | None, float]]) -> str:
    """``median | most`` of the relative errors, in per cent, and how many windows had no figure."""
    errors = [abs(joules - truth) / truth * 100 for joules, truth in pairs if joules is not None]
    if not errors:
        return "no figure | no figure"
    missing = f" ({len(pairs) - len(errors)} of {len(pairs)} without a figure)" if len(errors) < len(pairs) else ""
    return f"{statistics.median(errors):.3f} % | {max(errors):.2f} %{missing}"


def accuracy(shape: str, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kjoule-bench-")))
        root = stack.enter_context(injected(folder, shape))
        kepler_at = stack.enter_context(kepler(folder, root, "5s"))
        # Two, because who asks one of them in between delays the other's next look (module_utils/energy/scaphandre.py).
        scaphandre_at, another_at = (stack.enter_context(scaphandre(root)) for _ in range(2))
        url = stack.enter_context(prometheus(folder, [found[0] for found in (kepler_at, scaphandre_at) if found]))
        sources = {"this collection, RAPL": make_source("rapl", {"sysfs_root": str(root), "update_seconds": 2 * UPDATE_SECONDS})}
        if kepler_at:
            sources["this collection, Kepler's /metrics"] = make_source("kepler", {"url": f"http://{kepler_at[0]}"})
        if another_at:
            sources["this collection, Scaphandre's /metrics"] = make_source("scaphandre", {"url": f"http://{another_at[0]}"})
        recorders = {name: stack.enter_context(recording(source)) for name, source in sources.items()}
        time.sleep(15)  # the scrapes before the first window
        edges = []
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            edges.append((time.time(), time.monotonic_ns(), {name: edge_of(recorder) for name, recorder in recorders.items()}))
            time.sleep(max(0.0, begin + 10 * len(edges) - time.monotonic()))
        time.sleep(6)  # the scrape after the last one
        print(f"\n| reader, {shape} power | windows | 10 s: median error | most | 60 s: median error | most |\n|---|---|---|---|---|---|")
        for name, recorder in recorders.items():
            cells, counts = [], []
            for step in (1, 6):
                pairs = [figure_and_truth(recorder, root, a[2][name], b[2][name]) for a, b in zip(edges, edges[step:])]
                cells.append(errors_of(pairs))
                counts.append(str(len(pairs)))
            print(f"| {name} | {' and '.join(counts)} | {' | '.join(cells)} |")
        by_prometheus = [
            ("Kepler, through Prometheus at 5 s", kepler_at, "not on this machine: KJOULE_BENCH_KEPLER names none", kepler_query),
            ("Scaphandre, through Prometheus at 5 s", scaphandre_at, why_no_scaphandre(), scaphandre_query),
        ]
        for name, there, why_not, expression in by_prometheus:
            if not there or url is None:
                print(f"| {name} | | {why_not if not there else 'no Prometheus on this machine'} | | | |")
                continue
            cells = []
            for step in (1, 6):
                pairs = [
                    (query(url, expression(10 * step), b[0]), powercap.truth_joules(root, a[1], b[1])) for a, b in zip(edges, edges[step:])
                ]
                cells.append(errors_of(pairs))
            print(f"| {name} | {len(edges) - 1} and {len(edges) - 6} | {' | '.join(cells)} |")


Edge = tuple[Reading, Moment]


def edge_of(recorder: Recorder) -> Edge | None:
    """None where the reader did not answer, which on a crowded machine some do not."""
    try:
        return recorder.edge()
    except KjouleError as error:
        print(f"bench: {error}", file=sys.stderr)
        return None


def figure_and_truth(recorder: Recorder, root: Path, begin: Edge | None, end: Edge | None) -> tuple[float | None, float]:
    """Joules of the window, None where it is invalid or has no edges, and what was put in meanwhile."""
    if begin is None or end is None:
        return None, 0.0
    record = recorder.window(begin, end)
    return record["joules"] if record["valid"] else None, powercap.truth_joules(root, begin[0].t_ns, end[0].t_ns)


def kepler_query(seconds: int) -> str:
    return " + ".join(KEPLER_JOULES.format(part=part, seconds=seconds) for part in ("active", "idle"))


def scaphandre_query(seconds: int) -> str:
    return f"sum(increase(scaph_host_energy_microjoules[{seconds}s])) / 1e6"


@contextlib.contextmanager
def recording(source: object) -> Iterator[Recorder]:
    recorder = Recorder(source, 1.0)  # type: ignore[arg-type]
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()


def cost(seconds: float) -> None:
    print(f"\n| sampling once a second, {COMPONENTS} components, {OTHERS} other processes | mCPU | MB resident |\n|---|---|---|")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kjoule-bench-")))
        root = stack.enter_context(injected(folder, "square"))
        pids = [str(pid) for pid in stack.enter_context(crowd(OTHERS + COMPONENTS))[:COMPONENTS]]
        command = [sys.executable, energy_sampler.__file__, str(root), str(seconds), *pids]
        ours = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        print(f"| this collection | {ours['mcpu']:.2f} | {ours['megabytes']:.1f} |")
        kepler_at = stack.enter_context(kepler(folder, root, "1s", OTHERS + COMPONENTS))
        scaphandre_at = stack.enter_context(scaphandre(root))
        for name, found, why_not, interval in (
            ("Kepler, scraped once a second", kepler_at, "not on this machine: KJOULE_BENCH_KEPLER names none", 1.0),
            ("Scaphandre, scraped every 2.1 s", scaphandre_at, why_no_scaphandre(), 2.1),
            ("Scaphandre, scraped once a second: it shows its first look again and again", scaphandre_at, why_no_scaphandre(), 1.0),
        ):
            if not found:
                print(f"| {name} | {why_not} | |")
                continue
            address, pid = found
            identity = identify(pid)
            assert identity is not None
            clock = ProcessClock(name, identity)
            before, begin = clock.read_ns(), time.monotonic()
            while time.monotonic() - begin < seconds:
                get(f"http://{address}/metrics")
                time.sleep(interval)
            used = (clock.read_ns() - before) / 1e6 / (time.monotonic() - begin)
            print(f"| {name} | {used:.2f} | {energy_sampler.resident_megabytes(pid):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="bursty", choices=sorted(powercap.SHAPES))
    parser.add_argument("--seconds", type=float, default=190.0, help="how long the readers are compared")
    parser.add_argument("--cost-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # ends what was started, as ^C does
    accuracy(arguments.shape, arguments.seconds)
    sys.stdout.flush()
    cost(arguments.cost_seconds)


if __name__ == "__main__":
    main()
