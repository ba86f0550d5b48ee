# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.settings``: looks at the variables of a host, asks the host nothing."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.assumptions import read_assumptions
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain
from ansible_collections.kjoule.bench.plugins.plugin_utils.settings import check_names


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"assumptions"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            check_names(task_vars or {})
            read_assumptions(to_plain(self._task.args, "arguments").get("assumptions"))
        except KjouleError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(changed=False)
        return result
