# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of minikube and kubectl for drivers that cannot run here (kvm2, docker).

It answers with what a real minikube v1.38.1 was recorded to answer with its driver none: the JSON of `profile list` and `status`, the
CloudEvents of `start -o json`, and the exit statuses (0 running, 7 stopped, 85 no such profile). It makes no machine and no cluster. What
the "cluster" says of its nodes, CoreDNS and pods stands in cluster.json, which a test writes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

SCRIPT = """#!{python} -IS
import sys
sys.path[:0] = {path!r}
from harness.minikube_double import main
sys.exit(main({name!r}, {folder!r}))
"""
READY = {
    "nodes": [{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}],
    "deployments": [{"metadata": {"name": "coredns"}, "spec": {"replicas": 1}, "status": {"readyReplicas": 1}}],
    "pods": [],
}


class Double:
    """Commands in ``folder``; ``calls`` is what was asked of minikube, ``fail`` makes its next start fail as recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        for name in ("minikube", "kubectl"):
            script = folder / name
            tests = str(Path(__file__).resolve().parents[1])
            script.write_text(SCRIPT.format(python=sys.executable, path=[tests], name=name, folder=str(folder)))
            script.chmod(0o755)
        self.cluster(**READY)

    def cluster(self, **what: object) -> None:
        (self.folder / "cluster.json").write_text(json.dumps(what))

    def fail(self, status: int, message: str, advice: str = "") -> None:
        (self.folder / "fail.json").write_text(json.dumps({"status": status, "message": message, "advice": advice}))

    def silence(self, times: int, *, refused: bool = False) -> None:
        """The next so many times that it is asked for its status the API server does not answer, or refuses to tell its health (403).

        Of the second, minikube makes null and the exit status 7.
        """
        (self.folder / "silent.json").write_text(json.dumps({"times": times, "refused": refused}))

    def parts(self, **states: str) -> None:
        """What it says of Host, Kubelet and APIServer, until it starts or stops the next time, as of a machine of which a part is down."""
        (self.folder / "parts.json").write_text(json.dumps(states))

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def config_file(self) -> Path:
        return next((self.home / ".minikube" / "profiles").glob("*/config.json"))


def main(name: str, folder: str) -> int:
    arguments = sys.argv[1:]
    if name == "kubectl":
        what = arguments[arguments.index("get") + 1]
        print(json.dumps({"items": json.loads(Path(folder, "cluster.json").read_text())[what]}))
        return 0
    return _minikube(arguments, Path(folder))


def _minikube(arguments: list[str], folder: Path) -> int:
    profile = arguments[arguments.index("-p") + 1]
    del arguments[arguments.index("-p") : arguments.index("-p") + 2]
    log = Path(tempfile.gettempdir(), f"minikube_{arguments[0]}_0123_0.log") if arguments[0] != "start" else None
    for option in [each for each in arguments if each.startswith("--log_file=")]:
        arguments.remove(option)
        log = Path(option.partition("=")[2])
    if log is not None:
        log.write_text("Log file created at\n", encoding="utf-8")
    with open(folder / "calls", "a", encoding="utf-8") as stream:
        stream.write(" ".join(arguments) + "\n")
    home = Path(os.environ["MINIKUBE_HOME"], ".minikube")
    own = home / "profiles" / profile
    config_file, stopped = own / "config.json", own / "stopped"
    command = arguments[0]
    if command == "profile":
        listing: dict[str, list[object]] = {"invalid": [], "valid": []}
        for each in sorted((home / "profiles").glob("*")) if home.exists() else []:
            try:
                listing["valid"].append({"Name": each.name, "Status": "Skipped", "Config": json.loads((each / "config.json").read_text())})
            except ValueError:
                listing["invalid"].append({"Name": each.name, "Status": "", "Config": None})
        print(json.dumps(listing))
        return 0
    if command == "status":
        if not config_file.exists():
            print('{"specversion":"1.0","type":"io.k8s.sigs.minikube.error","data":{"exitcode":"85"}}')
            return 85
        up = "Stopped" if stopped.exists() else "Running"
        silent = folder / "silent.json"
        told = json.loads(silent.read_text()) if silent.exists() else {"times": 0, "refused": False}
        left = told["times"]
        silent.write_text(json.dumps({**told, "times": max(left - 1, 0)}))
        if left and told["refused"]:
            print("null")
            return 7
        kubeconfig = "Stopped" if stopped.exists() else "Configured"
        server = "Stopped" if left else up
        parts = folder / "parts.json"
        of_parts = json.loads(parts.read_text()) if parts.exists() else {}
        told = {"Host": up, "Kubelet": up, "APIServer": server, **of_parts}
        print(json.dumps({"Name": profile, **told, "Kubeconfig": kubeconfig, "Worker": False}))
        return 0 if set(told.values()) == {"Running"} else 7
    if command in ("start", "stop"):
        (folder / "parts.json").unlink(missing_ok=True)
    if command == "start":
        return _start(arguments, folder, own)
    if command == "stop":
        stopped.touch()
    elif command == "delete" and own.exists():
        for path in own.glob("*"):
            path.unlink()
        own.rmdir()
    elif arguments[:2] == ["image", "ls"]:
        print("\n".join((own / "images").read_text().split()) if (own / "images").exists() else "")
    elif arguments[:2] == ["image", "load"]:
        with open(own / "images", "a", encoding="utf-8") as stream:
            stream.write(f"loaded-from:{os.path.basename(arguments[2])}\n")
    return 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _start(arguments: list[str], folder: Path, own: Path) -> int:
    fail = folder / "fail.json"
    print(json.dumps({"type": "io.k8s.sigs.minikube.step", "data": {"message": "minikube v1.38.1 on Debian 12.14"}}))
    if fail.exists():
        told = json.loads(fail.read_text())
        fail.unlink()
        event = {"advice": told["advice"], "exitcode": str(told["status"]), "message": told["message"], "name": "X"}
        print(json.dumps({"type": "io.k8s.sigs.minikube.error", "data": event}))
        return int(told["status"])
    given = dict(part[2:].split("=", 1) for part in arguments if part.startswith("--") and "=" in part)
    own.mkdir(parents=True, exist_ok=True)
    (own / "stopped").unlink(missing_ok=True)
    if given["driver"] == "none":  # what it was seen to write on its host, here in a folder; delete leaves it there
        for path in ("lib/systemd/system/kubelet.service", "etc/systemd/system/kubelet.service.d/10-kubeadm.conf"):
            _write(folder / "host" / path, f"of {given['kubernetes-version']}\n")
        for bridge in (folder / "host/etc/cni/net.d").glob("*bridge*"):
            bridge.rename(f"{bridge}.mk_disabled")
        _write(folder / "host/etc/cni/net.d/1-k8s.conflist", "{}\n")
        _write(folder / "host/etc/containerd/config.toml", "sandbox_image = 'registry.k8s.io/pause'\n")
    if not (own / "config.json").exists():  # an existing profile keeps its configuration, whatever is asked for
        options = [part[len("--extra-config=") :] for part in arguments if part.startswith("--extra-config=")]
        config = {
            "Name": own.name,
            "Driver": given["driver"],
            "CPUs": int(given.get("cpus", 2)),
            "Memory": int(given.get("memory", "3072mb")[:-2]),
            "DiskSize": int(given.get("disk-size", "20000mb")[:-2]),
            "KubernetesConfig": {
                "KubernetesVersion": given["kubernetes-version"],
                "ContainerRuntime": given["container-runtime"],
                "ImageRepository": given.get("image-repository", ""),
                "ExtraOptions": [
                    {"Component": option.split(".", 1)[0], "Key": option.split(".", 1)[1].split("=")[0], "Value": option.split("=", 1)[1]}
                    for option in options
                ],
            },
            "Nodes": [{"Name": "", "IP": "192.168.39.2", "Port": 8443, "ControlPlane": True, "Worker": True}] * int(given["nodes"]),
        }
        (own / "config.json").write_text(json.dumps(config))
    return 0
