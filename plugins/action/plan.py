# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.plan``: input and output around plugin_utils.runs."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import choose_run, run_files, write_plans


def tool_version() -> str:
    """The version of this collection: from galaxy.yml in a clone, from MANIFEST.json when installed; empty if there is neither."""
    top = Path(__file__).parents[2]
    for name, read in (("MANIFEST.json", lambda data: data["collection_info"]["version"]), ("galaxy.yml", lambda data: data["version"])):
        try:
            return str(read(yaml.safe_load((top / name).read_text(encoding="utf-8"))))
        except (OSError, KeyError, TypeError, yaml.YAMLError):
            continue
    return ""


def options_by_host(args: dict[str, Any], inventory_hostname: str) -> dict[str, dict[str, Any]]:
    """Settings of every host: those of the task, overridden by the host's own when ``hosts`` is a dictionary."""
    common = {key: value for key, value in args.items() if key not in ("hosts", "reports_dir", "run_id")}
    hosts = args.get("hosts") or [inventory_hostname]
    if isinstance(hosts, str):
        hosts = [part.strip() for part in hosts.split(",") if part.strip()]
    if isinstance(hosts, list):
        hosts = {host: {} for host in hosts}
    result = {}
    for host, own in hosts.items():
        own = {} if own is None else own
        if not isinstance(own, dict):
            raise KjouleError(f"hosts: settings of {host}", expected="a dictionary", seen=repr(own))
        result[host] = {**common, **{key: value for key, value in own.items() if value is not None and value != ""}}
    return result


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        now = datetime.now(timezone.utc)
        try:
            args = to_plain(self._task.args, "arguments")
            reports_dir = str(Path(args.get("reports_dir") or "reports").expanduser().absolute())
            choice = choose_run(
                reports_dir,
                options_by_host(args, to_plain(task_vars.get("inventory_hostname", "localhost"))),
                run_id=args.get("run_id"),
                now=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                stamp=now.strftime("%Y%m%d-%H%M%S"),
                drawn_seed=secrets.randbelow(2**32),
                tool_version=tool_version(),
                base_dir=self._loader.get_basedir(),
            )
            changed = bool(choice.new_hosts) if self._task.check_mode else write_plans(reports_dir, choice)
        except (KjouleError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(
            changed=changed,
            run_id=choice.run_id,
            plans=choice.plans,
            continued=choice.continued,
            estimate_seconds=round(choice.estimate_seconds, 1),
            progress=choice.progress,
            paths={host: run_files(reports_dir, choice.run_id, host) for host in choice.plans},
        )
        return result
