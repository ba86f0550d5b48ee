#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Compute the answer of a run on one host and write its reports
version_added: 0.1.0
description:
  - Reads the plan and the controller's copy of the journal, and writes C(HOST.json), C(HOST.md) and C(HOST.html) beside them.
  - Nothing is measured, and nothing runs on the host.
  - The same plan and journal give the same bytes. A run that is not finished can be reported at any time.
extends_documentation_fragment:
  - kjoule.bench.controller
  - kjoule.bench.controller.attributes
options:
  run_id:
    description: Name of the run. Default is the newest one of this host.
    type: str
  assumptions:
    description:
      - What you know better than the shipped assumptions about what is not measured. Each is a number, or a dictionary of C(value),
        C(low), C(high) and C(source). The report names every one with its bounds and its origin.
      - The same plan, journal and assumptions give the same bytes.
    type: dict
    suboptions:
      watts_per_pod:
        description: What a pod of your workload keeps a machine from saving, in watts.
        type: raw
      grid:
        description: >-
          A country's ISO 3166-1 alpha-3 code, V(WOR) for the world, or g CO2e per kWh; a dictionary may hold C(marginal) as well.
        type: raw
      pue:
        description: Power usage effectiveness of the building, 1 or more.
        type: raw
      embodied_kg:
        description: Greenhouse gases of making the machine, in kg CO2e.
        type: raw
      lifetime_years:
        description: How long the machine is used, in years.
        type: raw
  host:
    description: Host to report on. Default is the host of the task.
    type: str
seealso:
  - module: kjoule.bench.plan
"""

EXAMPLES = r"""
- name: Report on the run that was planned before
  kjoule.bench.report:
    reports_dir: reports
    run_id: "{{ planned.run_id }}"
    assumptions:
      grid: FRA
      pue: {value: 1.2, low: 1.1, high: 1.4, source: energy bill of 2024}
  register: reported

- name: Show the answer
  ansible.builtin.debug:
    var: reported.kjoule_answer
"""

RETURN = r"""
kjoule_answer:
  description: The answer for a terminal, at most 15 lines of at most 110 characters.
  returned: success
  type: list
  elements: str
run_id:
  description: Name of the run that was reported on.
  returned: success
  type: str
paths:
  description: Paths of C(plan), C(journal), C(json), C(md) and C(html).
  returned: success
  type: dict
blocks:
  description:
    - Blocks C(planned), the numbers of those that are C(valid), how many were C(given_up), C(periods) recorded.
    - C(finished) says whether anything is left to measure.
  returned: success
  type: dict
caveats:
  description: What a reader has to know before trusting the figures. Empty for a clean run.
  returned: success
  type: list
  elements: str
"""
