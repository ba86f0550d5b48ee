# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.cluster_context``: reads the kubeconfig where it is, and says which cluster it leads to."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.kubeconfig import choose


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _checked, given = self.validate_argument_spec(
            {
                "kubeconfig": {"type": "str"},  # a ~ in it is the host's, and is looked up there
                "context": {"type": "str", "default": ""},
                "confirm": {"type": "str", "default": ""},
                "variables": {"type": "str", "default": ""},
            }
        )
        try:
            path, text = self._read(given["kubeconfig"] or "", given["variables"], task_vars)
            chosen = choose(
                text,
                path,
                context=given["context"],
                confirm=given["confirm"],
                variables=given["variables"],
            )
        except KjouleError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(changed=False, kubeconfig=path, **chosen._asdict())
        return result

    def _read(self, path: str, variables: str, task_vars: dict[str, Any] | None) -> tuple[str, str]:
        """Where the file is on the host, without a ~ that somebody else would take for another's, and what is in it.

        It has secrets in it, so nothing of it goes into the result.
        """
        if not path:
            raise KjouleError(
                "no cluster is named",
                expected="the path of a kubeconfig; the usual one of whoever runs this is never taken",
                next_step=f"set {variables}kubeconfig",
            )
        if not path.startswith(("/", "~")):
            raise KjouleError(
                f"the kubeconfig {path} may be in several places",
                expected="a path from the root of the host, or from a home (~)",
                next_step=f"set {variables}kubeconfig to the whole path",
            )
        with self._silent():
            done = self._execute_module("ansible.builtin.slurp", {"src": path}, task_vars=task_vars)
        if done.get("failed"):
            said = str(done.get("msg") or "no reason")
            raise KjouleError(
                f"the kubeconfig {path} cannot be read",
                expected="a file on the host",
                seen="no such file" if "file not found" in said.lower() else said,
                next_step=f"correct {variables}kubeconfig, or make the file readable",
            )
        return str(done["source"]), base64.b64decode(done["content"]).decode("utf-8", "replace")

    @contextlib.contextmanager
    def _silent(self) -> Iterator[None]:
        """What modules answer over ssh is shown with -vvv, unless the connection is told not to."""
        context = self._connection._play_context
        before, context.no_log = context.no_log, True
        try:
            yield
        finally:
            context.no_log = before
