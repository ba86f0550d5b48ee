#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: measure
short_description: Go through the periods of a plan that are still to be measured
version_added: "0.1.0"
description:
  - Runs M(kjoule.bench.period) on the host for each period that the plan still needs, in the plan's order, and copies each record to the
    controller when it is there. What the host has recorded already is not measured again.
  - Prints a line before and after each period, with the time left.
options:
  plan:
    description: The plan of this host, as M(kjoule.bench.plan) returns it.
    type: dict
    required: true
  binaries:
    description: Name of each binary to its path, version, sha256 and origin.
    type: dict
    required: true
  state_dir:
    description:
      - Where journals, locks and labs live on the host.
      - If not given, C(kjoule) below E(XDG_STATE_HOME), or below C(~/.local/state) when that variable is not set.
    type: path
  reports_dir:
    description: Where the runs are kept on the controller.
    type: path
    default: reports
attributes:
  action:
    description: It runs on the controller and calls a module on the host.
    support: full
  check_mode:
    description: Says whether anything is left to measure.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: Go through the periods
  kjoule.bench.measure:
    plan: "{{ plan.plans[inventory_hostname] }}"
    binaries: "{{ kwok_lab_binaries | combine(flux_binaries) }}"
"""

RETURN = r"""
measured:
  description: How many periods were measured by this call.
  returned: success
  type: int
progress:
  description: How far the run is - blocks planned, valid, given up; periods recorded and left.
  returned: success
  type: dict
"""
