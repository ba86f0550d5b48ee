# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = """
name: progress
type: aggregate
short_description: Prints the answer as the last lines of a run
version_added: 0.1.0
author:
  - The kjoule authors
description:
  - Keeps the lines that a result carries as C(kjoule_answer), host by host, and prints them below the play recap. Those that one carries as
    C(kjoule_fleet_answer) come last.
  - Prints nothing else, and nothing at all in a run that computed no answer.
requirements:
  - Enabled in the configuration, C(callbacks_enabled = kjoule.bench.progress).
"""

from typing import Any

from ansible.plugins.callback import CallbackBase


def answer_lines(result: Any, key: str = "kjoule_answer") -> list[str]:
    """The lines of the answer in a task's result, or none: a result may be trimmed, censored, or from any other task."""
    answer = result.get(key) if isinstance(result, dict) else None
    if isinstance(answer, str):
        return answer.splitlines()
    if isinstance(answer, (list, tuple)):
        return [str(line) for line in answer]
    return []


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kjoule.bench.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answers: dict[str, list[str]] = {}
        self._fleet: list[str] = []

    def v2_runner_on_ok(self, result: Any) -> None:
        lines = answer_lines(result.result)
        if lines:
            self._answers[result.host.get_name()] = lines
        self._fleet = answer_lines(result.result, "kjoule_fleet_answer") or self._fleet

    def v2_playbook_on_stats(self, stats: Any) -> None:
        several = len(self._answers) > 1
        for name, lines in sorted(self._answers.items()):
            self._display.display("")
            if several:
                self._display.display(f"{name}:")
            for line in lines:
                self._display.display(line)
        for line in ["", *self._fleet] if self._fleet else []:
            self._display.display(line)
