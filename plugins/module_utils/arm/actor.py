# SPDX-License-Identifier: GPL-3.0-or-later
"""Who delivers: commands that an operator or a CI job runs, with the CPU time that each of them took."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..child import run_child
from ..errors import KjouleError
from ..lab.process import cannot_start


@dataclass(frozen=True)
class Use:
    """CPU-seconds (descendants that were waited for included), number of commands, seconds by the clock."""

    cpu_seconds: float = 0.0
    calls: int = 0
    seconds: float = 0.0


class Actor:
    """Runs commands one after the other and adds up their use (wait4(2): microseconds, no polling)."""

    def __init__(self, environment: Mapping[str, str], timeout_seconds: float) -> None:
        self.environment = dict(environment)
        self.timeout_seconds = timeout_seconds
        self._use = Use()

    def take_use(self) -> Use:
        """What was used since the last call."""
        use, self._use = self._use, Use()
        return use

    def run(self, argv: Sequence[str], cwd: str | None = None, check: bool = True) -> str:
        """Run one command and return its standard output.

        Raises KjouleError with the end of its error output when it fails, cannot be started or takes longer than the timeout.
        """
        name = os.path.basename(argv[0])
        try:
            child = run_child(argv, environment=self.environment, cwd=cwd, timeout_seconds=self.timeout_seconds)
        except OSError as error:
            raise cannot_start(name, argv[0], error) from error
        self._use = Use(self._use.cpu_seconds + child.cpu_seconds, self._use.calls + 1, self._use.seconds + child.seconds)
        text = child.stdout.decode("utf-8", "replace")
        said = child.stderr.decode("utf-8", "replace").strip()
        command = " ".join([name, *argv[1:3]])
        if not child.in_time:
            raise KjouleError(
                f"{command} did not end", expected=f"an end within {self.timeout_seconds:g} s", seen=said[-500:] or "no output"
            )
        if check and child.returncode != 0:
            raise KjouleError(
                f"{command} failed with exit status {child.returncode}",
                seen=said[-1500:] or text[-500:] or "no output",
                next_step="correct what it names; if it is a manifest, try it with kubectl apply --dry-run=server",
            )
        return text
