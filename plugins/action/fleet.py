# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.fleet``: reads the reports of all hosts of a run, writes those of the fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import document as documents
from ansible_collections.kjoule.bench.plugins.plugin_utils import fleet
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain, write_if_different
from ansible_collections.kjoule.bench.plugins.plugin_utils.report import read_report
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import check_run_id, fleet_files, run_files, short_path


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"reports_dir", "run_id", "hosts"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            args = to_plain(self._task.args, "arguments")
            if not isinstance(args.get("hosts"), list) or not args["hosts"]:
                raise KjouleError("hosts of the fleet", expected="a list of names", seen=repr(args.get("hosts")))
            reports_dir = str(Path(args.get("reports_dir") or "reports").expanduser().absolute())
            if not args.get("run_id"):
                raise KjouleError("run of the fleet", expected="its run_id", seen="none")
            run_id = check_run_id(str(args["run_id"]))
            found, missing = [], []
            for host in args["hosts"]:
                report = read_report(run_files(reports_dir, run_id, host)["json"])
                if report is None:
                    missing.append(host)
                else:
                    found.append(report)
            data = json.loads(fleet.to_json(fleet.build_fleet(run_id, found, missing)))
            page = fleet.document(data)
            paths = fleet_files(reports_dir, run_id)
            contents = {"json": fleet.to_json(data), "md": documents.to_markdown(page), "html": documents.to_html(page)}
            changed = False
            for kind, content in contents.items():
                path = Path(paths[kind])
                if self._task.check_mode:
                    changed |= bool(found) and (not path.exists() or path.read_bytes() != content)
                else:
                    changed |= write_if_different(path, content)
        except (KjouleError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(
            changed=changed,
            paths=paths,
            hosts=len(found),
            missing=missing,
            headline=page.headline,
            kjoule_fleet_answer=fleet.lines(data, short_path(paths["html"])),
        )
        return result
