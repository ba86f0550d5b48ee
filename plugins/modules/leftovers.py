#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find and end what crashed runs left behind."""

from __future__ import annotations

DOCUMENTATION = r"""
module: leftovers
short_description: Find and end what crashed runs left behind
version_added: 0.1.0
description:
  - Finds processes and lab directories of measuring runs whose owner is gone, for example after a crash, a kill or a lost connection,
    and ends or removes them.
  - Processes are recognised by a variable in their environment that names the process that started them, together with its start time
    and the boot. They are ended only when that owner does not run any more. A recycled process id is not mistaken for the owner.
  - What belongs to a run that is still going is never touched, unless O(running=true).
  - Only processes that the connecting user may look into are found. Use privilege escalation if runs were started by other users.
options:
  state:
    description:
      - With V(absent) leftovers are ended and removed.
      - With V(listed) they are only returned.
    type: str
    choices: [absent, listed]
    default: absent
  state_dir:
    description:
      - Directory in which the host keeps its journals, lock and labs.
      - Leftover processes are found wherever their lab was. Leftover directories are looked for below this one.
      - If not given, C(kjoule) below E(XDG_STATE_HOME), or below C(~/.local/state) when that variable is not set.
    type: path
  running:
    description:
      - Also ends the periods that are being measured on the host, which over ssh go on without their controller. For a host that is
        given back.
      - A run that has lost a period so measures it again when it is continued.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return what it would do without doing it.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check mode, when in diff mode.
    support: full
  platform:
    description: Needs the C(/proc) file system of Linux.
    support: full
    platforms: linux
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: End what crashed runs left behind
  kjoule.bench.leftovers:

- name: See what is there, and end nothing
  kjoule.bench.leftovers:
    state: listed
  register: leftovers

- name: Refuse to measure beside something that is still running
  ansible.builtin.assert:
    that: leftovers.leftovers | length == 0
    fail_msg: "{{ leftovers.leftovers }}"
"""

RETURN = r"""
leftovers:
  description: What was found and what was done about it. Empty when nothing was left behind.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Either V(process), V(directory) or V(period).
      type: str
      sample: process
    name:
      description: Name of the program, of the lab directory, or of the period.
      type: str
      sample: kube-apiserver
    pid:
      description: Process id. For a directory, that of the owner that is gone, or V(null) when it is not known.
      type: int
      sample: 4711
    path:
      description: Path of the program, or of the lab directory.
      type: str
      sample: /var/cache/kjoule/bin/kube-apiserver
    lab_id:
      description: The lab that it belonged to; for a period, the run.
      type: str
      sample: b01-p1-a1
    action:
      description:
        - Either V(ended) or V(removed), in check mode and with O(state=listed) V(would end) or V(would remove).
        - When it could not be done, V(failed:) and why. The module fails in that case.
      type: str
      sample: ended
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.detached import end_all
from ansible_collections.kjoule.bench.plugins.module_utils.lab.directory import default_state_dir
from ansible_collections.kjoule.bench.plugins.module_utils.lab.process import sweep


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["absent", "listed"], "default": "absent"},
            "state_dir": {"type": "path"},
            "running": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    listed = module.params["state"] == "listed"
    try:
        state_dir, check = module.params["state_dir"] or default_state_dir(), listed or module.check_mode
        found = end_all(state_dir, check) if module.params["running"] else []
        found += sweep(state_dir, check=check)
    except KjouleError as error:
        module.fail_json(msg=str(error))
    done = [entry for entry in found if not entry["action"].startswith("failed")]
    result = {"changed": bool(done) and not listed, "leftovers": found}
    if not listed:
        result["diff"] = {"before": "".join(f"{entry['kind']} {entry['name']} {entry['path']}\n" for entry in done), "after": ""}
    failed = [entry for entry in found if entry not in done]
    if failed:
        entry = failed[0]
        module.fail_json(msg=f"{entry['kind']} {entry['name']} of lab {entry['lab_id']} stays: {entry['action']}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
