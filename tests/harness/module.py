# SPDX-License-Identifier: GPL-3.0-or-later
"""A module as Ansible runs it: a process that reads its arguments and answers with JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run_module(module: str, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """The answer of ``plugins/modules/<module>.py``; ``failed`` is in it when it failed."""
    given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp"}}
    # From ansible-core 2.19 on, the profile is chosen by what wraps the module; without it the name has to be given.
    code = (
        "import sys; from ansible.module_utils import basic; basic._ANSIBLE_ARGS = sys.argv[1].encode(); "
        "basic._ANSIBLE_PROFILE = 'legacy'; "
        f"from ansible_collections.kjoule.bench.plugins.modules.{module} import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
