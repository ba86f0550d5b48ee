#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: energy_calibrate
short_description: Find out what a CPU-second costs on this host
version_added: "0.1.0"
description:
  - Reads the energy of the host at rest, then under loads from 10 to 100 percent of all processors in random order, each in a window of its
    own, and draws a line through them - idle watts and joules per CPU-second, with intervals.
  - The load is made by processes of its own, which end with the module, however it ends. It takes about six minutes as set by default; the
    host should do nothing else meanwhile, and cannot be measured at the same time.
  - The points are kept on the host, in C(calibration.json) below O(state_dir). Runs use them for the estimate and the attribution as long
    as the processor and its settings (governor, turbo, SMT) are the same. The line is computed on the controller.
options:
  state:
    description:
      - V(present) calibrates unless there is a calibration that holds on this host as it is now.
      - V(measured) calibrates anew.
      - V(read) only reads the calibration, if there is one.
    type: str
    choices: [present, measured, read]
    default: present
  source:
    description:
      - Where energy is read, as in C(kjoule_source) - V(auto), the name of a source, or a dictionary of the name to its options.
      - The estimate is none; without a source that can be read the module fails and says what would make one readable.
    type: raw
    default: auto
  step_seconds:
    description: Length of each window.
    type: float
    default: 10
  settle_seconds:
    description: Wait after each change of the load.
    type: float
    default: 2
  idle_seconds:
    description: How long the host is watched at rest, in windows of O(step_seconds).
    type: float
    default: 30
  cooldown_seconds:
    description: How long the host is watched after full load.
    type: float
    default: 30
  sample_seconds:
    description: Time between readings within a window.
    type: float
    default: 1
  repeats:
    description: How often each of the ten loads is measured.
    type: int
    default: 2
  seed:
    description: Seed of the order of the loads. It is recorded.
    type: int
    default: 1
  state_dir:
    description:
      - Where journals, locks and labs live on the host.
      - If not given, C(kjoule) below E(XDG_STATE_HOME), or below C(~/.local/state) when that variable is not set.
    type: path
attributes:
  check_mode:
    description: Says whether it would calibrate.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: Calibrate once
  kjoule.bench.energy_calibrate:

- name: Calibrate with the board's own meter, again
  kjoule.bench.energy_calibrate:
    state: measured
    source: hwmon
    step_seconds: 30
"""

RETURN = r"""
calibration:
  description:
    - What it comes to - C(idle_watts), C(joules_per_cpu_second) and C(drift_watts_per_hour), each with V(value), V(low) and V(high); fit
      quality, residuals, noise floor, lag-1 autocorrelation, the meter's own cost, cool-down time. V(null) where there is none.
  returned: when not in check mode
  type: dict
why_not:
  description: Why there is no calibration that holds here.
  returned: when there is none
  type: str
msg:
  description: The result in one line.
  returned: when there is one
  type: str
  sample: "rapl:package+dram: 11.42 W idle (11.38 to 11.46), 4.871 J per CPU-second (4.842 to 4.900), R² 0.9991, 24 windows"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.energy.calibrate import Times, calibrate, read_points
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.directory import default_state_dir


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "measured", "read"], "default": "present"},
            "source": {"type": "raw", "default": "auto"},
            "step_seconds": {"type": "float", "default": 10},
            "settle_seconds": {"type": "float", "default": 2},
            "idle_seconds": {"type": "float", "default": 30},
            "cooldown_seconds": {"type": "float", "default": 30},
            "sample_seconds": {"type": "float", "default": 1},
            "repeats": {"type": "int", "default": 2},
            "seed": {"type": "int", "default": 1},
            "state_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    options = module.params
    state_dir = options["state_dir"] or default_state_dir()
    try:
        times = Times(
            **{name: options[f"{name}_seconds"] for name in ("step", "settle", "idle", "cooldown", "sample")}, repeats=options["repeats"]
        )
        points, why_not = (None, None) if options["state"] == "measured" else read_points(state_dir)
        if options["state"] == "read" or points is not None:
            module.exit_json(changed=False, points=points, why_not=why_not)
        if module.check_mode:
            module.exit_json(changed=True)
        module.exit_json(changed=True, points=calibrate(state_dir, options["source"], times, options["seed"]), why_not=None)
    except KjouleError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
