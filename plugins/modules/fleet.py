#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet
short_description: Put the hosts of a run on one page
version_added: 0.1.0
description:
  - Reads the reports of the hosts of a run and writes C(fleet.json), C(fleet.md) and C(fleet.html) beside them.
  - Pools the effects of the hosts, each against its own control, by a random-effects model; never their joules. Hosts that measured
    something else, and energy of another scope, stand apart.
extends_documentation_fragment:
  - kjoule.bench.controller
  - kjoule.bench.controller.attributes
options:
  run_id:
    description: Name of the run.
    type: str
    required: true
  hosts:
    description: The hosts of the run. Those without a report are named on the page.
    type: list
    elements: str
    required: true
seealso:
  - module: kjoule.bench.report
"""

EXAMPLES = r"""
- name: Put all hosts on one page
  kjoule.bench.fleet:
    run_id: 20240501-100000-full
    hosts: "{{ ansible_play_hosts }}"
  run_once: true
"""

RETURN = r"""
kjoule_fleet_answer:
  description: The answer over all hosts for a terminal.
  returned: success
  type: list
  elements: str
headline:
  description: The answer over all hosts in one sentence.
  returned: success
  type: str
hosts:
  description: How many hosts have a report.
  returned: success
  type: int
missing:
  description: Hosts without a report.
  returned: success
  type: list
  elements: str
paths:
  description: Paths of C(json), C(md) and C(html).
  returned: success
  type: dict
"""
