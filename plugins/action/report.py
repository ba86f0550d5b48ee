# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.report``: reads plan and journal, writes the reports of one host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import collector
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from ansible_collections.kjoule.bench.plugins.plugin_utils.answer import terminal
from ansible_collections.kjoule.bench.plugins.plugin_utils.assumptions import read_assumptions
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain, write_if_different
from ansible_collections.kjoule.bench.plugins.plugin_utils.report import build_report, to_html, to_json, to_markdown
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import check_run_id, newest_run, read_plan, run_files, short_path


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"reports_dir", "run_id", "host", "assumptions"})

    @collector.paused()
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            args = to_plain(self._task.args, "arguments")
            host = args.get("host") or to_plain((task_vars or {})["inventory_hostname"])
            assumed = args.get("assumptions") or {}
            read_assumptions(assumed)
            reports_dir = str(Path(args.get("reports_dir") or "reports").expanduser().absolute())
            run_id = args.get("run_id") or newest_run(reports_dir, host)
            if run_id is None and not self._task.check_mode:
                raise KjouleError(f"no run of {host} in {reports_dir}", next_step="run playbooks/measure.yml, or give reports_dir")
            paths = run_files(reports_dir, check_run_id(run_id or "none"), host)
            plan = read_plan(paths["plan"])
            if plan is None and self._task.check_mode:
                result.update(changed=False, run_id=run_id or "", paths=paths, kjoule_answer=[f"{host}: nothing to report yet."])
                return result
            if plan is None:
                raise KjouleError(f"run {run_id} has no plan of {host}", expected=paths["plan"], next_step="run playbooks/measure.yml")
            journal = journals.read(paths["journal"], plan)
            report = build_report(plan, journal, assumed)
            contents = {"json": to_json(report), "md": to_markdown(report), "html": to_html(report)}
            if report["calibration"] is not None:
                contents["calibration"] = to_json(report["calibration"])
            changed = False
            for kind, content in contents.items():
                if self._task.check_mode:
                    path = Path(paths[kind])
                    changed |= not path.exists() or path.read_bytes() != content
                else:
                    changed |= write_if_different(paths[kind], content)
        except (KjouleError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(
            changed=changed,
            run_id=run_id,
            paths=paths,
            kjoule_answer=terminal(report, [short_path(paths["html"]) + ", .md and .json"]),
            blocks=report["blocks"],
            caveats=report["warnings"],
        )
        return result
