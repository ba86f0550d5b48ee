# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts over ssh: real sshd processes on loopback, real labs, and a connection that is cut while a period is measured."""

from __future__ import annotations

import base64
import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import binaries

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(SSHD is None or os.geteuid() != 0, reason="needs sshd (apt install openssh-server) and root, for pid namespaces"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it has ended
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):  # that thread has
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


class Sshd:
    """An instance of our own, on a free port of 127.0.0.1, with keys of its own. ``cut`` ends its connections, not itself.

    It lives in a pid namespace of its own, as every host does: two runs on one machine would take each other's labs for their own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd refuses to start as root without it
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", str(SSHD), "-D", "-e", "-f", folder / "config"],
            stderr=(folder / "log").open("w"),
        )

    def connections(self) -> list[int]:
        """Process ids of what serves a connection: the children of the listening sshd, which is the child of unshare."""
        return [connection for listener in children(self.process.pid) for connection in children(listener)]

    def cut(self) -> int:
        """End every connection, as a broken network does: nobody says goodbye. Returns how many."""
        pids = self.connections()
        for pid in pids:
            for child in [*children(pid), pid]:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    # Newer ones call their parts sshd-session and sshd-auth.
                    if Path(f"/proc/{child}/comm").read_text().startswith("sshd"):
                        os.kill(child, signal.SIGKILL)
        return len(pids)

    def end(self) -> None:
        self.process.kill()  # unshare ignores what is polite, and takes everything in its namespace along
        self.process.wait(timeout=20)


@pytest.fixture
def sshds(tmp_path: Path) -> Iterator[dict[str, Sshd]]:
    servers = {}
    for name in ("near", "far"):
        folder = tmp_path / f"sshd-{name}"
        folder.mkdir(mode=0o700)
        servers[name] = Sshd(folder)
    yield servers
    for server in servers.values():
        server.end()


@pytest.fixture
def inventory(tmp_path: Path, sshds: dict[str, Sshd]) -> Path:
    """Two hosts on this machine, each with processes and a state directory of its own, and one that does not answer."""
    common = {
        "ansible_host": "127.0.0.1",
        "ansible_user": getpass.getuser(),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=30",
        "ansible_python_interpreter": sys.executable,
        "ansible_control_path_dir": str(tmp_path / "c"),
    }
    hosts = {
        name: {
            **common,
            "ansible_port": sshd.port,
            "ansible_ssh_private_key_file": str(sshd.folder / "user_key"),
            "kjoule_state_dir": str(tmp_path / f"state-{name}"),
        }
        for name, sshd in sshds.items()
    }
    hosts["silent"] = {**hosts["near"], "ansible_port": free_port(), "ansible_timeout": 5}
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return path


def site(tmp_path: Path, inventory: Path, *more: str) -> subprocess.Popen[str]:
    settings = {
        "kjoule_blocks": 1,
        "kjoule_inference": False,
        "kjoule_apps": 1,
        "kjoule_interval": 1,
        "kjoule_baseline_seconds": 0.5,
        "kjoule_timeout": 400,  # two labs start at once here, on what may be a busy machine
        "kjoule_scenario": [{"name": "idle", "hold": 3}],
        "kjoule_reports_dir": str(tmp_path / "reports"),
        "kjoule_run_id": "remote",
        "kjoule_artifact_origin": "path",
        "kjoule_artifact_paths": binaries(),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_NOCOLOR="1", PATH=f"{BIN}{os.pathsep}{environment['PATH']}")
    return subprocess.Popen(
        ["ansible-playbook", "site.yml", "-i", str(inventory), "-e", json.dumps(settings), *more],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def labels(path: Path) -> list[str]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(line["label"] for line in lines[1:])


def test_several_hosts_at_once_each_with_its_own_journal_and_the_silent_one_holds_nobody_up(tmp_path: Path, inventory: Path) -> None:
    run = site(tmp_path, inventory)
    output, _ = run.communicate(timeout=600)
    for host in ("near", "far"):
        assert labels(tmp_path / f"reports/remote/{host}.journal.jsonl") == ["flux", "snowflake"], output
        kept = (tmp_path / f"state-{host}/runs/remote/journal.jsonl").read_text().splitlines()
        copied = (tmp_path / f"reports/remote/{host}.journal.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in copied] == [json.loads(line) for line in kept]
        assert (tmp_path / f"reports/remote/{host}.json").is_file()
    assert re.search(r"silent +: .*unreachable=1", output)
    assert run.returncode == 4  # as Ansible says it: a host was unreachable


def test_a_connection_that_is_cut_costs_no_period(tmp_path: Path, inventory: Path, sshds: dict[str, Sshd]) -> None:
    run = site(tmp_path, inventory, "--limit", "near")
    assert run.stdout is not None
    output, cut = "", 0
    for line in run.stdout:
        output += line
        if "period 1 of 2" in line and "running" in line and not cut:
            state = tmp_path / "state-near/runs/remote/detached.json"
            deadline = time.monotonic() + 120
            while not state.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            cut = sshds["near"].cut()
    assert run.wait(timeout=600) == 0, output
    assert cut
    assert "the connection is lost; the period goes on there" in output
    assert "the connection is back" in output
    records = [json.loads(line) for line in (tmp_path / "reports/remote/near.journal.jsonl").read_text().splitlines()][1:]
    assert [(record["attempt"], record["valid"]) for record in records] == [(1, True), (1, True)]


def test_nothing_of_a_kubeconfig_is_shown_however_much_is_asked_for(tmp_path: Path, inventory: Path) -> None:
    """With -vvv the connection shows what modules answer."""
    token = "a-token-of-the-test"
    kubeconfig = {
        "contexts": [{"name": "admin@lab", "context": {"cluster": "lab", "user": "admin"}}],
        "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "admin", "user": {"token": token}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    words = ["ansible", "near", "-i", str(inventory), "-m", "kjoule.bench.cluster_context", "-a", f"kubeconfig={path}", "-vvvv"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert '"context": "admin@lab"' in output
    assert "ESTABLISH SSH CONNECTION" in output  # so that much is shown
    shown = base64.b64encode(path.read_bytes()).decode()
    assert not [word for word in (token, shown, shown[:24]) if word in output]
