#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tuning
short_description: Make a host measure more quietly, and put it back
version_added: "0.1.0"
description:
  - Turns knobs of a host for the time of a measurement, and says for each what it found, what it changed, and what it may not change and
    why.
  - What was found is kept in a file on the host before anything is changed, and until it is restored, so that a crash or a reboot loses
    nothing.
  - A knob that is not there (a virtual machine has no governor) or may not be turned is no failure. It is told in RV(knobs) and, where it
    was refused, in a warning.
options:
  state:
    description:
      - V(tuned) turns the knobs. Once more changes nothing, and the state of before the first time is kept.
      - V(restored) puts back what V(tuned) has changed, whichever knobs O(knobs) names. What somebody has changed since is left as it is.
      - V(shown) only tells.
    type: str
    choices: [tuned, restored, shown]
    default: tuned
  knobs:
    description:
      - V(governor) sets the scaling governor V(performance); V(turbo) turns turbo off, V(nmi_watchdog) the NMI watchdog.
      - V(timers) stops the systemd timers that are active. Transient ones, made by C(systemd-run), would be gone then. They go on,
        and the note in RV(knobs) names them.
      - V(swap) turns swap off, V(smt) the second threads of each core. Both change more than noise, so they are only done when named.
    type: list
    elements: str
    choices: [governor, turbo, nmi_watchdog, timers, swap, smt]
    default: [governor, turbo, nmi_watchdog, timers]
  keep_timers:
    description: Timers that are not to be stopped, by unit name.
    type: list
    elements: str
    default: []
  save_dir:
    description: Directory on the host for the state of before. It must survive a reboot.
    type: path
    default: /var/lib/kjoule
  root:
    description: Where the host's C(/proc), C(/sys) and C(/run) are found.
    type: path
    default: /
attributes:
  check_mode:
    description: Says what would be changed.
    support: full
  diff_mode:
    description: Shows every item that changes, before and after.
    support: full
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: See what could be tuned
  kjoule.bench.tuning:
    state: shown

- name: Make the host quiet, but let the certificates be renewed
  kjoule.bench.tuning:
    keep_timers: [certbot.timer]

- name: Put it back as it was
  kjoule.bench.tuning:
    state: restored
"""

RETURN = r"""
knobs:
  description: For each knob what was found by item, what changed, what was refused and why, a note, and what it gains.
  returned: success
  type: list
  elements: dict
  sample:
    - knob: turbo
      found: {/sys/devices/system/cpu/intel_pstate/no_turbo: "0"}
      changed: [{item: /sys/devices/system/cpu/intel_pstate/no_turbo, before: "0", after: "1"}]
      refused: []
      note: ""
      gain: one busy core is not faster and dearer than several
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.tuning.knobs import DEFAULT_NAMES, NAMES, make_knobs
from ansible_collections.kjoule.bench.plugins.module_utils.tuning.tune import restore, show, tune


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["tuned", "restored", "shown"], "default": "tuned"},
            "knobs": {"type": "list", "elements": "str", "choices": list(NAMES), "default": list(DEFAULT_NAMES)},
            "keep_timers": {"type": "list", "elements": "str", "default": []},
            "save_dir": {"type": "path", "default": "/var/lib/kjoule"},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    options = module.params
    where = {"root": options["root"], "keep_timers": options["keep_timers"]}
    try:
        if options["state"] == "restored":
            rows = restore(options["save_dir"], module.check_mode, **where)
        else:
            knobs = make_knobs(options["knobs"], **where)
            rows = show(knobs) if options["state"] == "shown" else tune(knobs, options["save_dir"], module.check_mode)
    except KjouleError as error:
        module.fail_json(msg=str(error))
    for row in rows:
        for why in row["refused"]:
            module.warn(f"{row['knob']}: {why}")
    changes = [change for row in rows for change in row["changed"]]
    diff = {side: "".join(f"{change['item']}: {change[side]}\n" for change in changes) for side in ("before", "after")}
    module.exit_json(changed=bool(changes), knobs=rows, diff=diff)


if __name__ == "__main__":
    main()
