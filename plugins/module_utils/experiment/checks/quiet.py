# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of one period: a look before it, a look after it, and what the two tell."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ..journal import journal_path, read_header
from .host_state import Host, HostState
from .judge import AFTER, BEFORE, Circumstances, judge

#: How long the look at the load takes, in seconds: the host's own clock counts in ticks of 10 ms.
LOOK_SECONDS = 0.5


class QuietHost:
    """Looks at the host around a period. Without thresholds in the settings it looks at nothing."""

    def __init__(self, settings: dict[str, Any], state_dir: str, run_id: str, host: Host | None = None) -> None:
        self._settings = settings
        self._thresholds: dict[str, dict[str, Any]] = settings.get("checks") or {}
        self._host = host or Host(space_dir=state_dir)
        self._journal = journal_path(state_dir, run_id)
        self._before: HostState | None = None

    def before(self) -> list[dict[str, Any]]:
        """Results of the checks that tell whether the period may begin."""
        if not self._thresholds:
            return []
        earlier = self._host.cpu()
        if "load" in self._thresholds:
            time.sleep(LOOK_SECONDS)
        self._before = self._host.look()
        about = Circumstances(planned_seconds=planned_seconds(self._settings), base_celsius=self._base_celsius())
        return judge(BEFORE, self._thresholds, dataclasses.replace(self._before, cpu=earlier), self._before, about)

    def after(self, phases: list[dict[str, Any]], sample_times_ns: list[int]) -> list[dict[str, Any]]:
        """Results of the checks that tell what happened in the period, whose phase records these are."""
        if self._before is None:
            return []
        about = Circumstances(
            others_share=others_share(phases),
            sample_times_ns=sample_times_ns,
            sample_seconds=float(self._settings["sample_seconds"]),
            lab_has_guests=self._settings["lab"] != "kwok",
        )
        return judge(AFTER, self._thresholds, self._before, self._host.look(), about)

    def _base_celsius(self) -> float | None:
        """The temperature that is normal for this host: as set, else that at the start of the run; None in its first period."""
        base = self._thresholds.get("temperature", {}).get("base")
        header = read_header(self._journal) if base is None else None
        return base if header is None else header["host"].get("celsius")


def planned_seconds(settings: dict[str, Any]) -> float:
    """The least that a period takes: its windows and the pauses between them."""
    holds = [float(phase.get("hold_seconds") or 0.0) for phase in settings["scenario"]]
    return float(settings["baseline_seconds"]) + sum(holds) + (len(holds) + 1) * float(settings["settle_seconds"])


def others_share(phases: list[dict[str, Any]]) -> float | None:
    """Share of all processors that within the windows did what is neither a component nor the actor; None without a window."""
    capacity = sum(phase["seconds"] * phase["machine"]["cpus"] for phase in phases)
    if capacity <= 0:
        return None
    spent = sum(phase["machine"]["busy_seconds"] - sum(phase["cpu_seconds"].values()) - phase["actor"]["cpu_seconds"] for phase in phases)
    return max(0.0, float(spent / capacity))


def failures(results: list[dict[str, Any]]) -> list[str]:
    """The failed checks in words, each a reason why the period does not count."""
    return [f"the host was not quiet ({result['name']}): {result['text']}" for result in results if result["level"] == "fail"]
