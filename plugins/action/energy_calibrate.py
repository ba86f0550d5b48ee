# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.energy_calibrate``: the host measures the points, the line is drawn here."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.energy_calibration import fit, sentence
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        answer: dict[str, Any] = self._execute_module(
            module_name="kjoule.bench.energy_calibrate", module_args=self._task.args, task_vars=task_vars or {}
        )
        points = answer.pop("points", None)
        result.update(answer)
        if answer.get("failed") or answer.get("unreachable") or "why_not" not in answer:
            return result
        result["calibration"] = None
        if points is not None:
            try:
                result["calibration"] = to_plain(fit(to_plain(points, "points")), "calibration")
            except KjouleError as error:
                if self._task.args.get("state") != "read":
                    raise AnsibleActionFail(str(error)) from error
                result["why_not"] = str(error)
            else:
                result["msg"] = sentence(result["calibration"])
        return result
