# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in a cluster of minikube that runs on this host: namespaces of its own in it, as in any existing cluster (see ExistingLab).

The cluster itself is made and kept by the role minikube_lab; making one for every period would take minutes of each. What is measured of
it depends on the driver: with ``none`` its processes are this host's; with ``docker`` they are processes of this host inside the node's
container; with ``kvm2`` the host sees the virtual machine, which is one component; what its pods used is asked of the kubelet in it.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from ..energy.cgroups import PodGroups
from ..energy.guest import GuestPods
from ..errors import KjouleError
from .existing import ExistingLab, command_line
from .identity import identify, pids
from .minikube import Minikube

MACHINE = "virtual-machine"


class MinikubeLab(ExistingLab):
    """``options``: profile, home, driver. Of ``binaries`` kubectl and minikube are used; the other arguments are those of ``KwokLab``."""

    provider = "minikube"

    def __init__(self, binaries: dict[str, str], state_dir: str, *, options: dict[str, str], **kwargs: Any) -> None:
        driver = options.get("driver") or "kvm2"
        profile = options.get("profile") or ("minikube" if driver == "none" else "kjoule")
        home = options.get("home") or "~/.local/state/kjoule/minikube"
        self._minikube = Minikube(binaries.get("minikube") or "minikube", binaries["kubectl"], home, profile)
        self._driver = driver
        self.needs_root = driver != "kvm2"  # the machine is found by its command line, and that anyone may read
        cluster = {"kubeconfig": self._minikube.kubeconfig, "context": profile, "confirm": profile}
        super().__init__(binaries, state_dir, options=cluster, **kwargs)

    def _read_kubeconfig(self) -> dict[str, Any]:
        """After a look at the profile: a stopped cluster has a kubeconfig that leads nowhere."""
        profile = self._minikube.profile
        config = self._minikube.config()
        seen = self._minikube.state() if config is not None else "absent"
        if config is None or seen != "running":
            raise KjouleError(
                f"the minikube cluster {profile} does not run",
                expected=f"a running profile in {self._minikube.home}",
                seen=seen,
                next_step="run playbooks/lab.yml, which makes and starts it",
            )
        self._minikube.refuse_foreign(config)
        if config.get("Driver") != self._driver:
            raise KjouleError(
                f"the minikube cluster {profile} was made by another driver",
                expected=self._driver,
                seen=str(config.get("Driver")),
                next_step="set kjoule_minikube_driver, or make it anew",
            )
        return super()._read_kubeconfig()

    def pods(self) -> PodGroups | GuestPods | None:
        return GuestPods(self.api, MACHINE) if self._driver == "kvm2" else super().pods()

    def _find_processes(self, server: str) -> None:
        if self._driver == "kvm2":
            self._find_machine()
        elif self._driver == "docker":
            container = self._container()
            self._take(self._candidates(lambda pid: container in _cgroup(pid)))
        else:
            super()._find_processes(server)

    def _find_machine(self) -> None:
        wanted = f"guest={self._minikube.profile}"
        for pid in pids():
            line = command_line(pid)
            if "qemu" in line.split(" ", 1)[0] and any(part.split(",")[0] == wanted for part in line.split()):
                process = identify(pid)
                if process is not None:
                    self._components[MACHINE] = process
                    self._roles[MACHINE] = "cluster"
                    return
        raise KjouleError(
            f"the virtual machine of the minikube cluster {self._minikube.profile} is no process of this host",
            expected=f"a qemu with -name {wanted}",
            next_step="measure on the machine that the virtual machine runs on",
        )

    def _container(self) -> str:
        argv = ["docker", "inspect", "--format", "{{.Id}}", self._minikube.profile]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        except OSError as error:
            raise KjouleError("docker cannot be asked for the node's container", seen=str(error), next_step="put docker in PATH") from error
        found = done.stdout.strip()
        if done.returncode != 0 or not found:
            raise KjouleError(
                f"there is no container {self._minikube.profile}", seen=done.stderr.strip()[-300:], next_step="run playbooks/lab.yml"
            )
        return found


def _cgroup(pid: int) -> str:
    try:
        with open(os.path.join("/proc", str(pid), "cgroup"), encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""
