#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compare
short_description: Compare two runs of one host
version_added: 0.1.0
description:
  - Reads the reports of two runs of a host and gives the difference of their effects, with intervals. Writes nothing.
  - Fails where the two cannot be compared, with every reason. These are another host, kernel or processor, another plan, another scope
    of energy, other versions of what both arms rest on, or a control that moved between the runs.
  - Other versions of what the arms run (Flux, kubectl) may be the question, and are named.
extends_documentation_fragment:
  - kjoule.bench.controller
  - kjoule.bench.controller.attributes
options:
  runs:
    description: Names of the two runs, the earlier first.
    type: list
    elements: str
    required: true
  host:
    description: Host to compare. Default is the host of the task.
    type: str
seealso:
  - module: kjoule.bench.report
"""

EXAMPLES = r"""
- name: Has Flux become cheaper with the new version?
  kjoule.bench.compare:
    runs: [flux-2.8, flux-2.9]
  register: compared

- name: Show the differences
  ansible.builtin.debug:
    var: compared.kjoule_answer
"""

RETURN = r"""
kjoule_answer:
  description: The comparison for a terminal.
  returned: success
  type: list
  elements: str
differences:
  description: Second run minus first, of every effect, with C(metric), C(unit), C(n), C(mean), C(low), C(high), C(confidence).
  returned: success
  type: list
  elements: dict
"""
