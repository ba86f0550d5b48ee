# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring: what it writes, on a real promtool and a real Prometheus.

Kepler is a double here, a world of known watts (tests/integration/prometheus.py). Grafana is not started.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import prometheus as world
import pytest
import units
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.marks import kepler_marks, read_marks, shown_periods, write_marks
from draw import draw
from harness.remote_write import breaking_off

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: The window of the world in which everything is known, whole minutes in the past, as a person would look back on a run.
SECONDS = 1200
#: The world goes on before and after it: a minute at the edge is as whole as the others.
MARGIN = 120
RUN = "run-1"


def run_tasks(tmp: Path, tasks: list[dict[str, object]], variables: dict[str, object], *more: str) -> subprocess.CompletedProcess[str]:
    playbook = tmp / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]))
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"}
    extra = {"ansible_python_interpreter": sys.executable, **variables}
    return subprocess.run(
        ["ansible-playbook", str(playbook), "-i", "localhost,", "-e", json.dumps(extra), *more],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def play(tmp: Path, role: str, tasks_from: str, variables: dict[str, object], *more: str) -> subprocess.CompletedProcess[str]:
    include = {"ansible.builtin.include_role": {"name": f"kjoule.bench.{role}", "tasks_from": tasks_from}}
    return run_tasks(tmp, [include], variables, *more)


def changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.findall(r"changed=(\d+)", done.stdout)[-1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a host, with Prometheus and promtool where the role would have installed them."""
    top = tmp_path_factory.mktemp("monitoring")
    for name in ("install", "config", "units", "state"):
        (top / name).mkdir()
    for name, path in world.need("prometheus", "promtool").items():
        (top / "install" / name).symlink_to(path)
    return top


@pytest.fixture(scope="module")
def variables(folders):
    return {
        "monitoring_install_dir": str(folders / "install"),
        "monitoring_config_dir": str(folders / "config"),
        "monitoring_unit_dir": str(folders / "units"),
        "monitoring_prometheus_port": world.free_port(),
        "monitoring_targets": [{"host": "alpha", "address": f"127.0.0.1:{world.free_port()}"}],
        "monitoring_grafana_admin_password": "a secret of the test",
        "__monitoring_runs_services": False,
    }


@pytest.fixture(scope="module")
def rendered(folders, variables):
    assert changed(play(folders, "monitoring", "configure", variables)) > 0
    return folders


def test_a_second_run_would_change_nothing_and_the_password_is_nowhere_but_in_its_file(rendered, variables):
    done = play(rendered, "monitoring", "configure", variables, "--check", "--diff", "-v")
    assert changed(done) == 0
    assert "a secret of the test" not in done.stdout
    holding = [path for path in rendered.rglob("*") if path.is_file() and not path.is_symlink() and b"a secret of" in path.read_bytes()]
    assert [path.name for path in holding] == ["grafana-admin-password"]
    assert holding[0].stat().st_mode & 0o777 == 0o600


def test_what_is_wrong_is_told_and_the_old_files_stay(rendered, variables):
    """One play for all of them, each in a block of its own: the messages are collected and looked at here."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listener = {"service": "kjoule-prometheus", "address": "127.0.0.1", "port": port, "variable": "monitoring_prometheus_port"}
        cases = {
            "duration": ("configure", {"monitoring_retention": "a month"}),
            "zones": ("configure", {"monitoring_zones": ["package", "psys"]}),
            "open": ("configure", {"monitoring_grafana_address": "0.0.0.0", "monitoring_grafana_admin_password": ""}),
            "port": ("port", {"__monitoring_listener": listener}),
            "bare": ("configure", {"monitoring_targets": [{"host": "alpha", "address": "fd00::7:28282"}]}),
            "portless": ("configure", {"monitoring_targets": [{"host": "alpha", "address": "10.0.0.7"}]}),
            "bracketed": ("configure", {"monitoring_prometheus_address": "[::1]"}),
            "nameless": ("configure", {"monitoring_targets": [{"address": "10.0.0.7:28282"}]}),
            "homeless": ("configure", {"monitoring_targets": [{"host": "alpha"}]}),
            "twice": ("configure", {"monitoring_targets": [{"host": "a", "address": f"10.0.0.{n}:28282"} for n in (1, 2)]}),
            # As from the command line.
            "words": (
                "configure",
                {"monitoring_grafana": "true", "monitoring_grafana_address": "10.0.0.7", "monitoring_grafana_admin_password": ""},
            ),
        }
        tasks = []
        for name, (tasks_from, wrong) in cases.items():
            include = {
                "ansible.builtin.include_role": {"name": "kjoule.bench.monitoring", "tasks_from": tasks_from},
                "vars": {**variables, **wrong},
            }
            told = {
                "ansible.builtin.debug": {
                    "msg": name + ": {{ ansible_failed_result.msg }} {{ ansible_failed_result.stderr | default('') }}"
                }
            }
            tasks.append({"block": [include], "rescue": [told]})
        before = {path: path.read_bytes() for path in (rendered / "config").rglob("*") if path.is_file()}
        done = run_tasks(rendered, tasks, {})
    assert {path: path.read_bytes() for path in (rendered / "config").rglob("*") if path.is_file()} == before
    assert re.search("rescued=11 ", done.stdout), done.stdout
    assert re.search(r'"duration: .*a month', done.stdout), done.stdout
    assert re.search(r'"zones: .*psys holds the package', done.stdout), done.stdout
    assert re.search(r'"open: .*beyond this host, without a password', done.stdout), done.stdout
    assert re.search(r'"bare: .*of alpha in monitoring_targets: expected .*saw fd00::7:28282.*in brackets', done.stdout), done.stdout
    assert re.search(r'"portless: .*of alpha in monitoring_targets: expected .*saw 10\.0\.0\.7\.', done.stdout), done.stdout
    assert re.search(r'"nameless: .*missing required arguments: host found in monitoring_targets', done.stdout), done.stdout
    assert re.search(r'"homeless: .*missing required arguments: address found in monitoring_targets', done.stdout), done.stdout
    assert re.search(r'"twice: a is in monitoring_targets more than once: expected one Kepler for a host', done.stdout), done.stdout
    assert re.search(r'"words: Grafana would listen on 10\.0\.0\.7, beyond this host, without a password', done.stdout), done.stdout
    assert re.search(r'"bracketed: .*monitoring_prometheus_address: .*without brackets, saw \[::1\]\. Next', done.stdout), done.stdout
    assert re.search(rf'"port: Port {port} on 127.0.0.1 is taken.*set monitoring_prometheus_port to a free port', done.stdout), done.stdout


@pytest.mark.parametrize(("statements", "zones"), [("monitoring_rules.yml", ["package", "dram"]), ("monitoring_rules_psys.yml", ["psys"])])
def test_the_rules_say_what_is_stated_about_them(rendered, variables, tmp_path, statements, zones):
    config = rendered / "config"
    if zones != ["package", "dram"]:
        config = tmp_path / "config"
        other = {**variables, "monitoring_zones": zones, "monitoring_config_dir": str(config), "monitoring_unit_dir": str(tmp_path)}
        config.mkdir()
        changed(play(tmp_path, "monitoring", "configure", {**other, "monitoring_grafana": False}))
    (tmp_path / "statements.yml").write_text((ROOT / "tests/integration" / statements).read_text())
    (tmp_path / "rules.yml").symlink_to(config / "rules.yml")
    done = subprocess.run(
        [str(rendered / "install/promtool"), "test", "rules", str(tmp_path / "statements.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", ["kjoule-prometheus", "kjoule-grafana"])
def test_a_service_can_reach_little(rendered, service):
    setting = units.settings(rendered / "units" / f"{service}.service")
    assert setting["DynamicUser"] == ["yes"]
    assert setting["CapabilityBoundingSet"] == [""]
    assert setting["ProtectSystem"] == ["strict"]
    assert "a secret" not in setting["ExecStart"][0]
    world.need("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(rendered / "units" / f"{service}.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr  # an exposure level of 3.0 or less, of 10


# The loopback of IPv6


class Healthy(http.server.BaseHTTPRequestHandler):
    """Grafana's /api/health, and what was asked of it."""

    hosts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.hosts.append(f"{self.headers['Host']}{self.path}")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


class OfIPv6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def test_what_listens_on_the_loopback_of_ipv6_is_found_there(folders, variables, tmp_path, monkeypatch):
    """A real Prometheus by its unit's command line, read by itself, and a double of Grafana; systemctl is one that says that both run."""
    try:
        grafana = OfIPv6(("::1", 0), Healthy)
    except OSError as error:
        pytest.skip(f"not run: nothing can listen on ::1 here ({error})")
    for name in ("bin", "config", "units", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\necho LoadState=loaded\necho ActiveState=active\necho UnitFileState=enabled\n")
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    prometheus_port, grafana_port = world.free_port(), grafana.server_port
    given = {
        **variables,
        "monitoring_config_dir": str(tmp_path / "config"),
        "monitoring_unit_dir": str(tmp_path / "units"),
        "monitoring_prometheus_address": "::1",
        "monitoring_prometheus_port": prometheus_port,
        "monitoring_grafana_address": "::1",
        "monitoring_grafana_port": grafana_port,
        "monitoring_grafana_admin_password": "",
        "monitoring_targets": [{"host": "alpha", "address": "[::1]:9"}],
    }
    assert changed(play(tmp_path, "monitoring", "configure", given)) > 0
    config = tmp_path / "config"
    assert f'url: "http://[::1]:{prometheus_port}"' in (config / "provisioning/datasources/kjoule.yml").read_text()
    assert f"http_addr = ::1\nhttp_port = {grafana_port}\n" in (config / "grafana.ini").read_text()  # Grafana puts the brackets itself
    command = units.command(tmp_path / "units" / "kjoule-prometheus.service", tmp_path / "state")
    with grafana, world.running(command, f"http://[::1]:{prometheus_port}", tmp_path / "prometheus.log") as running:
        thread = threading.Thread(target=grafana.serve_forever)
        thread.start()
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        done = play(tmp_path, "monitoring", "run", given)
        grafana.shutdown()
        thread.join()
        assert changed(done) == 0
        assert Healthy.hosts == [f"[::1]:{grafana_port}/api/health"]
        deadline = time.monotonic() + 60
        while not (active := running.get("targets")["activeTargets"]):
            assert time.monotonic() < deadline, "Prometheus has no targets within 60 s"
            time.sleep(0.1)
    targets = {one["labels"]["job"]: one["scrapeUrl"] for one in active}
    assert targets == {"kepler": "http://[::1]:9/metrics", "prometheus": f"http://[::1]:{prometheus_port}/metrics"}


# Known joules, through a real Prometheus


@pytest.fixture(scope="module")
def start() -> int:
    return (int(time.time()) // 60 - 30) * 60


def recorded(start: int, number: int, arm: str, phases: list[tuple[str, int, int]], valid: bool = True, **figures: float) -> dict:
    """A period as in a journal; its seconds count from ``start``, when the monotonic clock of this host was at 1000 s."""
    figures = {"etcd": 1.0, "busy": 10.0, "joules_a_second": 1.0, **figures}
    return {
        "kind": "period",
        "period_id": f"b01-p{number}-a1",
        "arm": arm,
        "label": arm,
        "valid": valid,
        "clock": {"realtime_ns": start * 10**9, "monotonic_ns": 1000 * 10**9},
        "phases": [
            {
                "name": name,
                "kind": name,
                "index": index,
                "start_ns": (1000 + first) * 10**9,
                "end_ns": (1000 + last) * 10**9,
                "valid": True,
                "cpu_seconds": {"etcd": figures["etcd"], "kube-apiserver": 6.0},
                "components": {"etcd": "cluster", "kube-apiserver": "cluster"},
                "actor": {"cpu_seconds": 1.0},
                "machine": {"busy_seconds": figures["busy"]},
                "energy": [
                    {"source": "rapl", "scope": "rapl:package+dram", "valid": True, "joules": figures["joules_a_second"] * (last - first)}
                ],
            }
            for index, (name, first, last) in enumerate(phases)
        ],
    }


def text(run: str, host: str, periods: list[dict]) -> str:
    return "".join(json.dumps(line) + "\n" for line in [{"kind": "header", "run_id": run, "host": {"name": host}}, *periods])


def journal(start: int, run: str = RUN, host: str = "alpha") -> str:
    """Three periods in the known world, one minute of idle and four at rest each. The second is not valid, and the third is its repeat."""
    figures = {"etcd": 20.0, "busy": 50.0, "joules_a_second": 37.5}
    given = [
        ("snowflake", True, {"etcd": 12.0, "busy": 30.0, "joules_a_second": 35.0}),
        ("flux", False, {"etcd": 500.0, "busy": 900.0, "joules_a_second": 99.0}),
        ("flux", True, figures),
    ]
    periods = []
    for number, (arm, valid, more) in enumerate(given, 1):
        begin = 60 + (number - 1) * 360
        periods.append(recorded(start, number, arm, [("idle", begin, begin + 60), ("steady", begin + 60, begin + 300)], valid, **more))
    return text(run, host, periods)


@pytest.fixture(scope="module")
def prometheus(rendered, variables, start):
    """The unit's own command line on the known world: 20 minutes of counters, what the rules make of them, and the marks of a run."""
    promtool = str(rendered / "install" / "promtool")
    data = rendered / "state" / "kjoule-prometheus"
    (rendered / "history.om").write_text(world.open_metrics(start - MARGIN, SECONDS + 2 * MARGIN, 5))
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", str(rendered / "history.om"), str(data)], check=True, capture_output=True
    )
    command = units.command(rendered / "units" / "kjoule-prometheus.service", rendered / "state")
    url = f"http://127.0.0.1:{variables['monitoring_prometheus_port']}"
    rules = str(rendered / "config" / "rules.yml")
    with world.running(command, url, rendered / "prometheus.log"):
        # Twice, because a rule of the first pass reads what another has recorded.
        past = [
            promtool,
            "tsdb",
            "create-blocks-from",
            "rules",
            f"--start={start - MARGIN}",
            f"--end={start + SECONDS}",
            f"--url={url}",
            "--output-dir",
        ]
        subprocess.run([*past, str(data), rules], check=True, capture_output=True)
    with world.running(command, url, rendered / "prometheus.log"):
        subprocess.run([*past, str(data), rules], check=True, capture_output=True)
    with world.running(command, url, rendered / "prometheus.log") as running:
        state = rendered / "host"
        (state / "runs" / RUN).mkdir(parents=True)
        (state / "runs" / RUN / "journal.jsonl").write_text(journal(start))
        given = {**variables, "monitoring_run_id": RUN, "kjoule_state_dir": str(state)}
        assert changed(play(rendered, "monitoring", "marks", given)) == 1
        yield running


#: What each panel has to answer: dashboard and title -> legend -> value, with the labels that name a line in it.
LABELS = ("label", "component", "zone", "phase", "figure", "reason")
SPLIT = {"snowflake": 300.0, "flux": 300.0}
EXPECTED = {
    ("energy", "Energy of the host"): [{"": 20 * 60 * world.HOST_WATTS}],
    ("energy", "Restarts of Kepler"): [{"": 0.0}],
    ("energy", "Zones that are added"): [{"package": 1.0, "dram": 1.0}],
    ("energy", "Power of the host"): [{"": world.HOST_WATTS - world.IDLE_WATTS}, {"": world.IDLE_WATTS}],
    ("energy", "Power by component"): [world.COMPONENT_WATTS],
    ("energy", "Residual"): [{"": world.RESIDUAL_WATTS}, {"": world.RESIDUAL_WATTS - world.IDLE_WATTS}],
    ("energy", "Energy by component"): [{name: watts * 20 * 60 for name, watts in world.COMPONENT_WATTS.items()}],
    ("arms", "Power of the host by arm"): [dict.fromkeys(SPLIT, world.HOST_WATTS)],
    ("arms", "Mean power at rest by arm"): [dict.fromkeys(SPLIT, world.HOST_WATTS)],
    ("arms", "Energy per period by arm and component"): [
        {f"{arm} {name}": watts * seconds for arm, seconds in SPLIT.items() for name, watts in world.COMPONENT_WATTS.items()}
    ],
    ("arms", "Measured energy by arm and phase"): [
        {"snowflake idle": 2100.0, "snowflake steady": 8400.0, "flux idle": 2250.0, "flux steady": 9000.0}
    ],
    ("arms", "CPU time per period by arm and component"): [
        {"snowflake etcd": 24.0, "snowflake kube-apiserver": 12.0, "flux etcd": 40.0, "flux kube-apiserver": 12.0}
    ],
    ("arms", "Residual CPU time per period by arm"): [{"snowflake": 60.0 - 36.0 - 2.0, "flux": 100.0 - 52.0 - 2.0}],
    ("arms", "Kepler's energy of the host by arm and phase"): [
        {f"{arm} {phase}": world.HOST_WATTS * seconds for arm in SPLIT for phase, seconds in {"idle": 60, "steady": 240}.items()}
    ],
    ("arms", "Windows without a figure of Kepler"): [{}],
}
#: The same of a host with a Kepler 0.9, which has no idle: where it differs.
EXPECTED_OF_LEGACY = {
    ("energy", "Power of the host"): [{"": world.HOST_WATTS}, {}],
    ("energy", "Residual"): [{"": world.RESIDUAL_WATTS}, {"": world.RESIDUAL_WATTS}],
}


def panels() -> list:
    found = []
    for path in sorted((ROOT / "roles/monitoring/files/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            found.append(pytest.param(path.stem, panel, id=f"{path.stem}: {panel['title']}"))
    return found


def ask(prometheus: world.Prometheus, target: dict, start: int, host: str = "alpha", run: str = RUN) -> dict[str, list[float]]:
    """What Grafana would ask for a panel, over the known 20 minutes: the values of every line."""
    query = (
        target["expr"].replace("$host", host).replace("$run", run).replace("$__range_s", str(SECONDS)).replace("$__range", f"{SECONDS}s")
    )
    if target.get("instant"):
        found = [(line["metric"], [line["value"][1]]) for line in prometheus.instant(query, at=start + SECONDS)]
    else:
        lines = prometheus.range(query, start, start + SECONDS, 15)
        found = [(line["metric"], [value for _moment, value in line["values"]]) for line in lines]
    return {" ".join(metric[name] for name in LABELS if name in metric): [float(value) for value in values] for metric, values in found}


@pytest.mark.parametrize(("dashboard", "panel"), panels())
def test_every_panel_answers_with_the_joules_that_were_put_in(prometheus, start, dashboard, panel):
    answers_are(prometheus, start, dashboard, panel, EXPECTED[dashboard, panel["title"]], "alpha")


@pytest.mark.parametrize(("dashboard", "panel"), [entry for entry in panels() if entry.values[0] == "energy"])
def test_every_panel_of_a_host_answers_with_the_generation_before_0_10_too(prometheus, start, dashboard, panel):
    known = {**EXPECTED, **EXPECTED_OF_LEGACY}[dashboard, panel["title"]]
    answers_are(prometheus, start, dashboard, panel, known, "beta")


def answers_are(prometheus, start, dashboard, panel, expected, host):
    assert len(panel["targets"]) == len(expected)
    for target, known in zip(panel["targets"], expected):
        answer = ask(prometheus, target, start, host)
        assert set(answer) == {name[:15] if dashboard == "energy" else name for name in known}
        for name, values in answer.items():
            assert values == pytest.approx([known[name]] * len(values), rel=0.01), name


def test_the_windows_of_the_run_begin_and_end_where_the_journal_says(prometheus, start):
    """Also those of a period that is not valid."""
    for path in sorted((ROOT / "roles/monitoring/files/dashboards").glob("*.json")):
        (annotation,) = json.loads(path.read_text(encoding="utf-8"))["annotations"]["list"]
        query = annotation["expr"].replace("$host", "alpha")
        seen = {}
        for line in prometheus.range(query, start, start + SECONDS, 5):
            moments = [moment - start for moment, _value in line["values"]]
            seen[line["metric"]["label"], line["metric"]["phase"], line["metric"]["valid"]] = (moments[0], moments[-1])
        assert seen == {
            ("snowflake", "idle", "true"): (60, 115),
            ("snowflake", "steady", "true"): (120, 355),
            ("flux", "idle", "false"): (420, 475),
            ("flux", "steady", "false"): (480, 715),
            ("flux", "idle", "true"): (780, 835),
            ("flux", "steady", "true"): (840, 1075),
        }


def test_a_period_whose_marks_broke_off_is_on_no_panel_until_they_are_written_again(prometheus, start):
    _host, series = read_marks(journal(start, "run-2", "gamma"))
    series += kepler_marks(prometheus.url, series)
    panel = {entry.values[1]["title"]: entry.values[1] for entry in panels()}
    titles = ("Measured energy by arm and phase", "CPU time per period by arm and component", "Residual CPU time per period by arm")

    def answers() -> dict[str, dict[str, list[float]]]:
        return {title: ask(prometheus, panel[title]["targets"][0], start, "gamma", "run-2") for title in titles}

    # The sixth request is the one with the markers of the third period.
    with breaking_off(at=6, real=True), pytest.raises(KjouleError, match="run the same again"):
        write_marks(prometheus.url, series)
    assert shown_periods(prometheus.url, "run-2", "gamma") == {"b01-p1-a1", "b01-p2-a1"}
    assert {name.split()[0] for answer in answers().values() for name in answer} == {"snowflake"}
    write_marks(prometheus.url, [one for one in series if one.labels["period"] == "b01-p3-a1"])
    assert shown_periods(prometheus.url, "run-2", "gamma") == {"b01-p1-a1", "b01-p2-a1", "b01-p3-a1"}
    assert answers() == {title: {name: [value] for name, value in EXPECTED["arms", title][0].items()} for title in titles}
    without = ask(prometheus, panel["Windows without a figure of Kepler"]["targets"][0], start, "gamma", "run-2")
    assert without == {
        f"{arm} {phase} {figure} no Kepler": [1.0] for arm in SPLIT for phase in ("idle", "steady") for figure in ("energy", "power")
    }
    for title in ("Power of the host by arm", "Mean power at rest by arm", "Energy per period by arm and component"):
        assert ask(prometheus, panel[title]["targets"][0], start, "gamma", "run-2") == {}


def test_power_that_changes_at_the_edges_of_windows_is_in_none_but_its_own(prometheus, start):
    """Host delta: 100 W outside of the windows, 10 W in them, and 50 W in one of 10 s. Others last 6 s, and 3 s, which is too short for
    readings every 5 s. In the third period Kepler restarts."""
    short = [("idle", 400, 460), ("deploy", 460, 466), ("steady", 466, 530), ("settle", 532, 535)]
    periods = [
        recorded(start, 1, "snowflake", [("idle", 100, 160), ("deploy", 160, 170), ("steady", 170, 230), ("settle", 232, 235)]),
        recorded(start, 2, "flux", short),
        recorded(start, 3, "flux", [("idle", 740, 780), ("deploy", 780, 786), ("steady", 786, 840)]),
        recorded(start, 4, "flux", [("idle", 900, 960), ("deploy", 960, 966), ("steady", 966, 1026)], valid=False),
    ]
    _host, series = read_marks(text("run-3", "delta", periods))
    write_marks(prometheus.url, series)  # as a version did that said nothing of Kepler
    assert shown_periods(prometheus.url, "run-3", "delta") == set()
    write_marks(prometheus.url, [*series, *kepler_marks(prometheus.url, series)])
    assert len(shown_periods(prometheus.url, "run-3", "delta")) == 4
    part = world.ACTIVE * world.OF_ETCD
    expected = {
        "Power of the host by arm": {"snowflake": {10.0, 50.0}, "flux": {10.0}},
        "Mean power at rest by arm": {"snowflake": {10.0}, "flux": {10.0}},
        # Without the phase settle, and without the third period.
        "Energy per period by arm and component": {"snowflake etcd": {part * 1700.0}, "flux etcd": {part * 1300.0}},
        "Kepler's energy of the host by arm and phase": {
            **{"snowflake idle": {600.0}, "snowflake deploy": {500.0}, "snowflake steady": {600.0}},
            **{"flux idle": {(600.0 + 400.0) / 2}, "flux deploy": {60.0}, "flux steady": {640.0}},
        },
        "Windows without a figure of Kepler": {
            **{f"{arm} settle {figure} too short": {1.0} for arm in SPLIT for figure in ("energy", "power")},
            **{f"flux steady {figure} restart of Kepler": {1.0} for figure in ("energy", "power")},
        },
    }
    panel = {entry.values[1]["title"]: entry.values[1] for entry in panels()}
    for title, lines in expected.items():
        answer = ask(prometheus, panel[title]["targets"][0], start, "delta", "run-3")
        assert {name: {round(value, 6) for value in values} for name, values in answer.items()} == lines, title


def test_a_picture_can_be_drawn_from_the_same_queries(prometheus, start, tmp_path):
    """The one in docs/ is drawn with KJOULE_DRAW=docs/monitoring.png."""
    dashboards = {entry.values[1]["title"]: entry.values[1] for entry in panels()}

    def answers(query: str) -> list[tuple[str, list[float], list[float]]]:
        query = query.replace("$host", "alpha").replace("$run", RUN)
        return [
            (
                " ".join(line["metric"][name] for name in LABELS if name in line["metric"]),
                [(moment - start) / 60 for moment, _value in line["values"]],
                [float(value) for _moment, value in line["values"]],
            )
            for line in prometheus.range(query, start, start + SECONDS, 15)
        ]

    marks = prometheus.range('kjoule_phase{host="alpha"}', start, start + SECONDS, 5)
    windows = [
        (
            f"{line['metric']['label']}: {line['metric']['phase']}" + (" (not valid)" if line["metric"]["valid"] == "false" else ""),
            *((line["values"][index][0] - start) / 60 for index in (0, -1)),
        )
        for line in marks
    ]
    path = Path(os.environ.get("KJOULE_DRAW") or tmp_path / "monitoring.png")
    chosen = [dashboards[name] for name in ("Power of the host", "Power by component", "Residual", "Power of the host by arm")]
    draw(chosen, answers, windows, "Known watts, put in by a double of Kepler: not a measurement.", path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_every_panel_is_expected_to_say_something():
    assert {(entry.values[0], entry.values[1]["title"]) for entry in panels()} == set(EXPECTED)
