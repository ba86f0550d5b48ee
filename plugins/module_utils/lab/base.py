# SPDX-License-Identifier: GPL-3.0-or-later
"""What all labs have in common: where they live, how their API server is reached, and which clocks their parts have."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..energy.cgroups import PodGroups
from ..energy.clocks import ProcessClock
from ..energy.guest import GuestPods
from ..energy.meter import Clock
from ..errors import KjouleError
from .api import KubeApi
from .directory import labs_directory
from .identity import ProcessIdentity, check_lab_id, marker_environment

#: How long a lab may take to be ready, and to go, where nobody says otherwise.
READY_TIMEOUT_SECONDS = 90.0
DISCARD_GRACE_SECONDS = 0.1  # the data is thrown away, so there is nothing that a longer farewell could save


@dataclass(frozen=True)
class LabInfo:
    """How long the lab took to be ready (seconds, from the call of ``fresh``) and which versions it runs."""

    ready_seconds: float
    versions: dict[str, str]


class BaseLab:
    """What ``Lab`` asks for and every provider has alike."""

    def __init__(self, kubectl: str, state_dir: str, lab_id: str, settle: float, ready_timeout: float) -> None:
        self.lab_id = check_lab_id(lab_id)
        self.state_dir = os.path.abspath(os.path.expanduser(state_dir))
        self.directory = os.path.join(labs_directory(state_dir), lab_id)
        self.kubeconfig = os.path.join(self.directory, "kubeconfig")
        self.kubectl = os.path.abspath(os.path.expanduser(kubectl))
        self.settle = settle
        self.ready_timeout = ready_timeout
        self.versions: dict[str, str] = {}
        self._api: KubeApi | None = None
        self._components: dict[str, ProcessIdentity] = {}
        self._started = False

    @property
    def api(self) -> KubeApi:
        """The client of the cluster's API server. KjouleError before ``fresh`` and after ``discard``."""
        if self._api is None:
            raise KjouleError(f"the lab {self.lab_id} is not running", next_step="call fresh() first")
        return self._api

    @property
    def real_pods(self) -> bool:
        """Whether containers run, with control groups of their own on this host."""
        return False

    def pods(self) -> PodGroups | GuestPods | None:
        """Where the CPU time of pods is read; None where no containers run."""
        return PodGroups() if self.real_pods else None

    # --- what is made in it: all of this cluster goes with it, unless a provider says otherwise

    @property
    def labels(self) -> dict[str, str]:
        """What the workload's objects outside of namespaces are to carry from the moment they are made."""
        return {}

    def adopt(self, path: str) -> None:
        """Take over what was just made at this path of the API."""

    def refuse_taken(self, paths: Sequence[str]) -> None:
        """Refuse what the workload would make at these paths, where somebody has it already."""

    @contextlib.contextmanager
    def delivering(self, paths: Sequence[str]) -> Iterator[None]:
        """Around a delivery that makes objects at these paths: they are adopted after it."""
        yield

    # --- its parts

    def components(self) -> dict[str, ProcessIdentity]:
        """The processes of the cluster by name, as they were when it became ready."""
        return dict(self._components)

    def clocks(self) -> Sequence[Clock]:
        """The clocks of the components."""
        return [ProcessClock(name, identity) for name, identity in self._components.items()]

    def command_environment(self) -> dict[str, str]:
        """The environment for kubectl, git and the like: nothing of the user's, every file they write lands inside the lab."""
        return {
            "PATH": os.pathsep.join([os.path.join(self.directory, "bin"), os.environ.get("PATH") or os.defpath]),
            "HOME": os.path.join(self.directory, "home"),
            "TMPDIR": os.path.join(self.directory, "tmp"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "KUBECONFIG": self.kubeconfig,
            "KUBECACHEDIR": os.path.join(self.directory, "home", "kube-cache"),
            **marker_environment(self.lab_id),
        }
