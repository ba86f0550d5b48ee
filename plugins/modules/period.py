#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: period
short_description: Measure one period of a plan on this host
version_added: "0.1.0"
description:
  - Makes a fresh lab, installs one arm, goes through the phases of the scenario with each in a window of its own, discards the lab and
    writes one record to the journal on the host.
  - It is called by M(kjoule.bench.measure), which knows the plan. A period that something spoilt (a component that ended, say) is
    recorded as invalid with the reason; one that cannot be measured at all fails the module and leaves nothing behind.
options:
  state:
    description:
      - V(measured) measures the period O(item).
      - V(started) begins to measure O(item) in a process of its own, which goes on when the connection is lost, and returns at once. A
        period of this run that is being measured already is left alone.
      - V(waited) waits for that process and returns what became of it.
      - V(read) returns the journal of the run on this host.
      - V(released) gives the host free for other runs.
    type: str
    choices: [measured, started, waited, read, released]
    default: measured
  plan:
    description: The plan of this host, as M(kjoule.bench.plan) returns it.
    type: dict
    required: true
  item:
    description: Which period, as the plan lists it - period_id, block, position, attempt, arm and label.
    type: dict
  patience_seconds:
    description: How long V(waited) waits at most.
    type: float
    default: 600
  binaries:
    description: Name of each binary to its path, version, sha256 and origin.
    type: dict
    default: {}
  state_dir:
    description:
      - Where journals, locks and labs live on the host.
      - If not given, C(kjoule) below E(XDG_STATE_HOME), or below C(~/.local/state) when that variable is not set.
    type: path
  controller:
    description: The process that drives the run - boot_id, pid, start_ticks and hostname.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Nothing is measured in check mode; the journal is read all the same.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: Read the journal of a run
  kjoule.bench.period:
    state: read
    plan: "{{ plan }}"
"""

RETURN = r"""
header:
  description: The header of the journal.
  returned: when O(state=measured), or O(state=waited) and the period has ended with a record
  type: dict
record:
  description: The record of the period, see docs/architecture.md.
  returned: when O(state=measured), or O(state=waited) and the period has ended with a record
  type: dict
period_id:
  description: The period that is being measured, or was last; V(null) when there was none.
  returned: when O(state=started) or O(state=waited)
  type: str
running:
  description: Whether it is still being measured.
  returned: when O(state=started) or O(state=waited)
  type: bool
journal:
  description: The text of the journal on the host.
  returned: when O(state=read)
  type: str
"""

import platform
import sys
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import detached
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.runner import read_journal, release, run_period
from ansible_collections.kjoule.bench.plugins.module_utils.lab.directory import default_state_dir


def waited(state_dir: str, plan: dict[str, Any], patience_seconds: float) -> dict[str, Any]:
    state = detached.wait(state_dir, plan, patience_seconds)
    if state["running"] or state["period_id"] is None:
        return state
    found = detached.find_record(state_dir, plan["run_id"], state["period_id"])
    return {**state, "header": found[0], "record": found[1], "error": None} if found else state


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["measured", "started", "waited", "read", "released"], "default": "measured"},
            "plan": {"type": "dict", "required": True},
            "item": {"type": "dict"},
            "patience_seconds": {"type": "float", "default": 600},
            "binaries": {"type": "dict", "default": {}},
            "state_dir": {"type": "path"},
            "controller": {"type": "dict", "default": {}},
        },
        required_if=[("state", "measured", ["item"]), ("state", "started", ["item"])],
        supports_check_mode=True,
    )
    options = module.params
    state_dir, plan = options["state_dir"] or default_state_dir(), options["plan"]
    try:
        if sys.platform != "linux":
            raise KjouleError("this host cannot be measured", expected="Linux", seen=platform.system())
        if options["state"] == "read":
            module.exit_json(changed=False, journal=read_journal(state_dir, options["plan"]))
        elif module.check_mode:
            module.exit_json(changed=True)
        elif options["state"] == "released":
            module.exit_json(changed=release(state_dir, options["plan"], options["controller"]))
        elif options["state"] == "waited":
            module.exit_json(changed=False, **waited(state_dir, plan, options["patience_seconds"]))
        elif options["state"] == "started":
            period_id = detached.start(state_dir, plan, options["item"], options["binaries"], options["controller"], plan["host"])
            module.exit_json(changed=True, period_id=period_id, running=True)
        else:
            header, record = run_period(state_dir, plan, options["item"], options["binaries"], options["controller"], plan["host"])
            module.exit_json(changed=True, header=header, record=record)
    except KjouleError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
