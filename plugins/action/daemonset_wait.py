# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.daemonset_wait``: looks by the host's own client of the cluster (``kubernetes.core.k8s_info``)."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.daemonset import Json, Seen, wait_for_daemonset


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _checked, given = self.validate_argument_spec(
            {
                "name": {"type": "str", "required": True},
                "namespace": {"type": "str", "required": True},
                "kubeconfig": {"type": "str"},  # a ~ in it is the host's, and is looked up there
                "context": {"type": "str"},
                "timeout": {"type": "float", "default": 180.0},
                "image_advice": {"type": "str", "required": True},
            }
        )
        where = {"kubeconfig": given["kubeconfig"], "context": given["context"], "namespace": given["namespace"]}

        def ask(**what: Any) -> list[Json]:
            arguments = {key: value for key, value in {**where, **what}.items() if value}
            done = self._execute_module("kubernetes.core.k8s_info", arguments, task_vars=task_vars)
            if done.get("failed"):
                raise AnsibleActionFail(str(done.get("msg")), result=done)
            found: list[Json] = done["resources"]
            return found

        def look() -> Seen:
            found = ask(api_version="apps/v1", kind="DaemonSet", name=given["name"])
            if not found:
                return None, []
            labels = [f"{key}={value}" for key, value in found[0]["spec"]["selector"]["matchLabels"].items()]
            return found[0], ask(api_version="v1", kind="Pod", label_selectors=labels)

        try:
            nodes = wait_for_daemonset(
                look, given["name"], seconds=given["timeout"], image_advice=given["image_advice"], namespace=given["namespace"]
            )
        except KjouleError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(changed=False, nodes=nodes)
        return result
