# SPDX-License-Identifier: GPL-3.0-or-later
"""What an arm is: a way of delivering revisions to a lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from ..energy.meter import Clock
from ..experiment.workload import Revision
from ..lab.provider import Lab
from .actor import Actor


@dataclass
class Surroundings:
    """What an arm works with. ``check`` raises PeriodInvalid when the period is spoilt and is called in every wait.

    ``versions`` are those of the ``binaries``, as far as they are known.
    """

    lab: Lab
    actor: Actor
    binaries: dict[str, str]
    settings: dict[str, Any]
    check: Callable[[], None]
    extra: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def timeout_seconds(self) -> float:
        return float(self.settings["timeout_seconds"])


class Arm(Protocol):
    """The contract of an arm. All methods raise KjouleError; PeriodInvalid when a part of lab or arm ended."""

    name: str

    def install(self) -> None:
        """Put into the lab what the arm needs; returns when it is ready to deliver."""

    def clocks(self) -> Sequence[Clock]:
        """The processes and pods of the arm itself, after ``install``."""

    def deliver(self, revision: Revision) -> Any:
        """Do what the operator does to bring this revision out. Returns a handle for ``wait_converged``."""

    def wait_converged(self, handle: Any) -> None:
        """Return when the arm itself considers the revision applied."""

    def counters(self) -> dict[str, Any]:
        """Cumulative counters, read outside of windows."""

    def uninstall(self) -> None:
        """End the arm's processes."""
