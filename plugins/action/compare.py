# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.compare``: two runs of one host, from their reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.compare import compare, lines
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain
from ansible_collections.kjoule.bench.plugins.plugin_utils.report import read_report
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import check_run_id, run_files


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"reports_dir", "runs", "host"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            args = to_plain(self._task.args, "arguments")
            host = args.get("host") or to_plain((task_vars or {})["inventory_hostname"])
            reports_dir = str(Path(args.get("reports_dir") or "reports").expanduser().absolute())
            runs = args.get("runs") or []
            runs = runs.replace(",", " ").split() if isinstance(runs, str) else runs
            if len(runs) != 2:
                raise KjouleError(
                    "runs to compare", expected="the names of two", seen=repr(runs), next_step="make compare RUNS='first second'"
                )
            reports = []
            for run_id in runs:
                path = run_files(reports_dir, check_run_id(run_id), host)["json"]
                report = read_report(path)
                if report is None:
                    raise KjouleError(f"run {run_id} has no report of {host}", expected=path, next_step=f"make report RUN={run_id}")
                reports.append(report)
            rows = compare(*reports)
        except (KjouleError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(changed=False, differences=rows, kjoule_answer=lines(*reports, rows))
        return result
