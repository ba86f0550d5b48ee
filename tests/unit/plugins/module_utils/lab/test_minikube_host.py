# SPDX-License-Identifier: GPL-3.0-or-later
"""What minikube with the driver none changes on a host, here a folder. minikube is a double (tests/harness/minikube_double.py)."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube import Minikube
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_host import HostFiles
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_profile import Wanted
from harness.minikube_double import Double

NONE = Wanted("none", "v1.35.1")
UNIT = "lib/systemd/system/kubelet.service"
BRIDGE = "etc/cni/net.d/10-bridge.conflist"
CONTAINERD = "etc/containerd/config.toml"


@pytest.fixture
def double(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    double = Double(tmp_path)
    for path, text in ((BRIDGE, "of the administrator\n"), (CONTAINERD, "version = 3\n")):
        (tmp_path / "host" / path).parent.mkdir(parents=True)
        (tmp_path / "host" / path).write_text(text)
    (tmp_path / "host" / CONTAINERD).chmod(0o640)
    return double


@pytest.fixture
def minikube(double, monkeypatch):
    one = Minikube(str(double.folder / "minikube"), str(double.folder / "kubectl"), str(double.home), "minikube", 60.0)
    monkeypatch.setattr(one, "_refuse_taken_name", lambda wanted: None)  # it looks at this very machine
    one._host = HostFiles(one._host.record, str(double.folder / "host"))
    return one


def host(double: Double) -> dict[str, tuple[int, str]]:
    return tree(double.folder / "host")


def tree(top: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder below ``top``: mode, and content or where a link leads."""
    found = {}
    for path in sorted(top.rglob("*")):
        text = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found[str(path.relative_to(top))] = (stat.S_IMODE(path.lstat().st_mode), text)
    return found


def test_a_host_is_what_it_was_when_the_cluster_is_gone(double, minikube):
    before = host(double)
    minikube.ensure("started", NONE)
    assert UNIT in host(double)
    assert BRIDGE not in host(double)
    minikube.ensure("stopped", NONE)
    minikube.ensure("started", NONE)
    outcome = minikube.ensure("absent", NONE)
    assert host(double) == before
    assert outcome.kept == []
    assert [path.name for path in double.home.iterdir() if path.name.startswith("kjoule")] == ["kjoule.lock"]


def test_what_is_remembered_is_for_root_alone(minikube):
    minikube.ensure("started", NONE)
    assert stat.S_IMODE(os.stat(minikube._host.record).st_mode) == 0o600


def test_a_start_that_fails_leaves_a_host_that_can_be_put_back(double, minikube):
    before = host(double)
    double.fail(80, "no route")
    with pytest.raises(KjouleError, match="no route"):
        minikube.ensure("started", NONE)
    minikube.ensure("started", NONE)
    minikube.ensure("absent", NONE)
    assert host(double) == before


def test_one_that_is_made_anew_is_put_back_to_the_first_state(double, minikube):
    before = host(double)
    minikube.ensure("started", NONE)
    minikube.ensure("started", Wanted("none", "v1.36.1"), recreate=True)
    assert host(double)[UNIT][1] == "of v1.36.1\n"
    minikube.ensure("absent", NONE)
    assert host(double) == before


@pytest.mark.parametrize("again", [False, True])
def test_what_somebody_changed_meanwhile_stays_and_is_told(double, minikube, again):
    minikube.ensure("started", NONE)
    edited, added = double.folder / "host" / CONTAINERD, double.folder / "host/etc/cni/net.d/20-own.conf"
    edited.write_text("version = 3 # edited\n")
    added.write_text("own\n")
    if again:
        minikube.ensure("stopped", NONE)
        minikube.ensure("started", NONE)
        edited.write_text("version = 3 # edited\n")  # the double's start writes it again
    outcome = minikube.ensure("absent", NONE)
    assert outcome.kept == sorted([str(edited), str(added)])
    assert (edited.read_text(), added.read_text()) == ("version = 3 # edited\n", "own\n")
    assert UNIT not in host(double)


def test_what_somebody_took_away_meanwhile_does_not_come_back(double, minikube):
    minikube.ensure("started", NONE)
    (double.folder / "host" / CONTAINERD).unlink()
    assert minikube.ensure("absent", NONE).kept == [str(double.folder / "host" / CONTAINERD)]
    assert CONTAINERD not in host(double)


def test_what_stands_in_the_way_holds_up_nothing_else_and_is_known_the_next_time(double, minikube):
    before = host(double)
    minikube.ensure("started", NONE)
    (double.folder / "host" / BRIDGE).mkdir()
    (double.folder / "host" / f"{BRIDGE}.kjoule").symlink_to("nowhere")
    with pytest.raises(KjouleError, match=rf"not all .* put back: expected .*, saw /{BRIDGE}: .*Next: mend what stands in the way"):
        minikube.ensure("absent", NONE)
    assert UNIT not in host(double)
    (double.folder / "host" / BRIDGE).rmdir()
    outcome = minikube.ensure("absent", NONE)
    assert (outcome.changed, outcome.kept) == (True, [])
    assert host(double) == before
    assert minikube.ensure("absent", NONE).changed is False


def test_a_cluster_that_is_made_again_after_that_is_put_back_as_well(double, minikube):
    before = host(double)
    minikube.ensure("started", NONE)
    (double.folder / "host" / BRIDGE).mkdir()
    with pytest.raises(KjouleError, match="not all"):
        minikube.ensure("absent", NONE)
    (double.folder / "host" / BRIDGE).rmdir()
    minikube.ensure("started", NONE)
    assert minikube.ensure("absent", NONE).kept == []
    assert host(double) == before


def test_who_may_not_read_the_hosts_files_is_told_and_nothing_is_made(double, minikube, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied", "/etc/cni/net.d/own")

    monkeypatch.setattr(HostFiles, "_seen", refused)
    with pytest.raises(KjouleError, match=r"changes files of the host: expected root, saw /etc/cni/net\.d/own: Permission denied.*become"):
        minikube.ensure("started", NONE)
    assert not any(call.startswith("start") for call in double.calls)
    assert [path.name for path in double.home.iterdir() if path.name.startswith("kjoule")] == ["kjoule.lock"]


def test_of_the_table_of_names_the_lines_of_minikube_go_and_what_others_wrote_stays(tmp_path):
    table = tmp_path / "etc/hosts"
    fill(tmp_path, "etc/hosts")
    table.write_text("127.0.0.1 localhost\n10.9.9.9 old.minikube.internal\n")
    files = HostFiles(str(tmp_path / "record"), str(tmp_path))
    files.before_start(first=True)
    number = table.stat().st_ino
    with open(table, "a", encoding="utf-8") as stream:
        stream.write("127.0.0.1\thost.minikube.internal\n10.0.2.15\tcontrol-plane.minikube.internal\n")
    files.settle()
    with open(table, "a", encoding="utf-8") as stream:
        stream.write("10.1.1.1 own\n")
    assert files.put_back() == ([], [])
    assert table.read_text() == "127.0.0.1 localhost\n10.9.9.9 old.minikube.internal\n10.1.1.1 own\n"
    assert table.stat().st_ino == number


def test_what_delete_takes_along_comes_back(tmp_path):
    """As minikube takes the folder of networks away; also if its delete had to be called twice."""
    (tmp_path / "etc/cni/net.d").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/multi-user.target.wants/kubelet.service").symlink_to("/lib/systemd/system/kubelet.service")
    own = tmp_path / "etc/cni/net.d/99-loopback.conf"
    own.write_text("{}")
    files = HostFiles(str(tmp_path / "record"), str(tmp_path))
    files.before_start(first=True)
    (tmp_path / "etc/cni/net.d/1-k8s.conflist").write_text("{}")
    files.settle()
    for _each in range(2):
        files.before_delete()
        for path in (tmp_path / "etc/cni/net.d").glob("*"):
            path.unlink()
        if (tmp_path / "etc/cni/net.d").exists():
            (tmp_path / "etc/cni/net.d").rmdir()
        (tmp_path / "etc/systemd/system/multi-user.target.wants/kubelet.service").unlink(missing_ok=True)
    changed, kept = files.put_back()
    assert [Path(path).name for path in changed] == ["99-loopback.conf", "kubelet.service"]
    assert kept == []
    assert own.read_text() == "{}"
    assert os.readlink(tmp_path / "etc/systemd/system/multi-user.target.wants/kubelet.service") == "/lib/systemd/system/kubelet.service"
    assert not (tmp_path / "etc/cni/net.d/1-k8s.conflist").exists()
    files.forget()
    assert files.put_back() == ([], [])


def fill(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(f"{path}\n")


HOME = os.path.relpath(os.path.expanduser("~root"), "/")


def test_the_authority_names_and_folders_of_minikube_go_as_well(tmp_path):
    fill(tmp_path, "etc/hosts", "etc/ssl/certs/own.pem", "usr/share/ca-certificates/own.crt", "var/lib/own/file")
    fill(tmp_path, f"{HOME}/own", "usr/libexec/own", "var/tmp/own")
    (tmp_path / "etc/ssl/certs/01234567.0").symlink_to("own.pem")
    before = tree(tmp_path)
    files = HostFiles(str(tmp_path.parent / f"{tmp_path.name}-record"), str(tmp_path))
    files.before_start(first=True)
    fill(tmp_path, "usr/share/ca-certificates/minikubeCA.pem", f"{HOME}/.kube/cache/discovery/x", "var/lib/cni/results/bridge-1")
    fill(tmp_path, "var/lib/cni/networks/bridge/10.244.0.2", "var/tmp/minikube/kubeadm.yaml")
    with open(tmp_path / "etc/hosts", "a", encoding="utf-8") as stream:
        stream.write("10.0.2.15 control-plane.minikube.internal\n")
    for folder in (f"{HOME}/.minikube/cache", "usr/libexec/kubernetes/kubelet-plugins/volume/exec", "etc/kubernetes/addons"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/ssl/certs/minikubeCA.pem").symlink_to("/usr/share/ca-certificates/minikubeCA.pem")
    (tmp_path / "etc/ssl/certs/b5213941.0").symlink_to("/etc/ssl/certs/minikubeCA.pem")
    files.settle()
    fill(tmp_path, "etc/ssl/certs/another.pem")
    (tmp_path / "etc/ssl/certs/89abcdef.0").symlink_to("another.pem")  # an administrator's, and nothing to be told
    files.before_delete()
    assert files.put_back()[1] == []
    assert {path: what for path, what in tree(tmp_path).items() if "another" not in path and "89abcdef" not in path} == before
    assert (tmp_path / "etc/ssl/certs/89abcdef.0").is_symlink()


def test_folders_that_were_there_or_hold_something_of_others_stay(tmp_path):
    fill(tmp_path, f"{HOME}/.kube/cache/discovery/own")
    files = HostFiles(str(tmp_path.parent / f"{tmp_path.name}-record"), str(tmp_path))
    files.before_start(first=True)
    fill(tmp_path, "usr/libexec/kubernetes/own", "var/lib/cni/results/bridge-1", "var/lib/cni/networks/own/10.1.0.2")
    files.settle()
    files.before_delete()
    files.put_back()
    assert sorted(path for path, (_mode, text) in tree(tmp_path).items() if text) == sorted(
        [f"{HOME}/.kube/cache/discovery/own", "usr/libexec/kubernetes/own", "var/lib/cni/networks/own/10.1.0.2"]
    )
    assert not (tmp_path / "var/lib/cni/results").exists()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], (False, [])),
        (["/etc/crictl.yaml"], (False, [])),
        (["/lib/systemd/system/kubelet.service"], (True, [])),
        (["/etc/cni/net.d/1-k8s.conflist"], (False, ["containerd", "crio"])),
        (["/etc/docker/daemon.json"], (False, ["docker"])),
    ],
)
def test_what_has_read_a_file_is_to_read_it_again(monkeypatch, changed, expected):
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system")
    assert HostFiles.readers(changed) == expected
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    assert HostFiles.readers(changed) == (False, [])


@pytest.mark.parametrize(("active", "expected"), [(0, ["daemon-reload", "restart containerd"]), (3, ["daemon-reload"])])
def test_systemd_and_a_runtime_that_runs_are_told(double, minikube, monkeypatch, active, expected):
    asked = f'[ "$1" = is-active ] && {{ [ "$2" = containerd ] && exit {active}; exit 4; }}'
    (double.folder / "systemctl").write_text(f'#!/bin/sh\n{asked}\necho "$@" >> {double.folder}/systemctl-calls\n')
    (double.folder / "systemctl").chmod(0o755)
    monkeypatch.setattr(HostFiles, "readers", staticmethod(lambda changed: (bool(changed), ["containerd", "crio"])))
    minikube.ensure("started", NONE)
    outcome = minikube.ensure("absent", NONE)
    assert (double.folder / "systemctl-calls").read_text().splitlines() == expected
    assert outcome.commands == ["minikube delete", *(f"systemctl {each}" for each in expected)]


def test_who_could_not_be_told_is_told_the_next_time(double, minikube, monkeypatch):
    script = double.folder / "systemctl"
    script.write_text("#!/bin/sh\n[ $1 != restart ]\n")
    script.chmod(0o755)
    monkeypatch.setattr(os.path, "isdir", lambda path, real=os.path.isdir: path == "/run/systemd/system" or real(path))
    minikube.ensure("started", NONE)
    with pytest.raises(KjouleError, match="systemctl restart failed"):
        minikube.ensure("absent", NONE)
    script.write_text("#!/bin/sh\nexit 0\n")
    assert "systemctl restart containerd" in minikube.ensure("absent", NONE).commands
    assert minikube.ensure("absent", NONE).commands == []


def test_the_record_can_be_read_by_json(minikube):
    minikube.ensure("started", NONE)
    record = json.loads(Path(minikube._host.record).read_text())
    assert BRIDGE in record["before"]
    assert f"{BRIDGE}.mk_disabled" in record["after"]
