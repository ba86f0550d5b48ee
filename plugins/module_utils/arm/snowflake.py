# SPDX-License-Identifier: GPL-3.0-or-later
"""The snowflake arm: an operator with kubectl, app by app, who applies what changed and nothing else."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ..energy.clocks import ProcessClock
from ..experiment.workload import Revision, write_app
from .base import Surroundings


class SnowflakeArm:
    """``kubectl apply`` for each app that changed. An app that is removed from the desired state is forgotten, as hand-kept clusters
    do, unless ``snowflake_prune`` is ``delete``; the end of the workload (teardown) is deleted in either case.
    """

    name = "snowflake"

    def __init__(self, surroundings: Surroundings) -> None:
        self._s = surroundings
        self._folder = os.path.join(surroundings.lab.directory, "operator")
        self._delivered: Revision | None = None

    def install(self) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)

    def clocks(self) -> list[ProcessClock]:
        return []

    def deliver(self, revision: Revision) -> None:
        before = self._delivered.apps if self._delivered else {}
        for app, objects in revision.apps.items():
            if before.get(app) != objects:
                folder = os.path.join(self._folder, app)
                write_app(folder, objects)
                self._s.actor.run([self._s.lab.kubectl, "apply", "-f", folder])
        gone = [app for app in before if app not in revision.apps]
        if not revision.apps or self._s.extra.get("snowflake_prune") == "delete":
            for app in gone:
                self._s.actor.run([self._s.lab.kubectl, "delete", "--ignore-not-found", "-f", os.path.join(self._folder, app)])
        for app in gone:
            shutil.rmtree(os.path.join(self._folder, app))
        self._delivered = revision

    def wait_converged(self, handle: Any) -> None:
        """kubectl has returned: the API server has taken everything."""

    def counters(self) -> dict[str, Any]:
        return {"reconciles": {}}

    def uninstall(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
