# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs by name, and what all of them can do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Callable, Protocol

from ..energy.cgroups import PodGroups
from ..energy.guest import GuestPods
from ..energy.meter import Clock
from ..errors import KjouleError
from .api import KubeApi
from .base import LabInfo
from .existing import ExistingLab
from .identity import ProcessIdentity
from .kwok import KwokLab
from .minikube_lab import MinikubeLab


class Lab(Protocol):
    """The contract of a lab. ``directory`` is its own on this host, gone after ``discard``; ``kubectl`` is the path of the command."""

    provider: str
    lab_id: str
    directory: str
    kubectl: str

    def fresh(self) -> LabInfo:
        """A ready cluster with nothing of an arm or a workload in it."""

    def discard(self) -> float:
        """Leave nothing of the lab behind; returns the seconds that took. Idempotent."""

    @property
    def api(self) -> KubeApi:
        """The client of the API server."""

    def pods(self) -> PodGroups | GuestPods | None:
        """Where the CPU time of pods is read; None where no containers run."""

    def clocks(self) -> Sequence[Clock]:
        """The clocks of the components."""

    def components(self) -> dict[str, ProcessIdentity]:
        """The processes of the cluster by name."""

    def component_roles(self) -> dict[str, str]:
        """What each of them is: cluster or simulator."""

    def command_environment(self) -> dict[str, str]:
        """The environment for kubectl and git."""

    @property
    def labels(self) -> dict[str, str]:
        """What the workload's objects outside of namespaces have to carry, so that ``discard`` knows them."""

    def adopt(self, path: str) -> None:
        """Take over what was just made at this path of the API, so that ``discard`` removes it."""

    def refuse_taken(self, paths: Sequence[str]) -> None:
        """Raise KjouleError for what is at one of these paths already, where ``discard`` may remove only what the lab made."""

    def delivering(self, paths: Sequence[str]) -> AbstractContextManager[None]:
        """Around a delivery: what it makes at these paths is taken over, also where it breaks off."""


PROVIDERS: dict[str, Callable[..., Lab]] = {"kwok": KwokLab, "existing": ExistingLab, "minikube": MinikubeLab}


def make_lab(provider: str, *args: Any, options: dict[str, str] | None = None, **kwargs: Any) -> Lab:
    """The lab of that provider, not started yet. ``options`` goes to those that are told which cluster it is, the rest to all of them.

    Raises KjouleError for a provider that is not known.
    """
    if provider not in PROVIDERS:
        raise KjouleError(
            f"the lab provider {provider} is not known",
            expected=", ".join(PROVIDERS),
            seen=str(provider),
            next_step="set kjoule_lab to kwok",
        )
    if provider != "kwok":
        kwargs["options"] = options or {}
    return PROVIDERS[provider](*args, **kwargs)
