#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: Refuse settings that nothing reads, before anything is built or measured
version_added: 0.1.0
description:
  - Fails for every variable of the host that begins with C(kjoule_) and is no setting of kjoule, and names the setting that was
    probably meant.
  - Checks the assumptions of the report as well, so that a wrong one does not wait for the end of a run.
  - Nothing is changed, and nothing runs on the host.
extends_documentation_fragment:
  - kjoule.bench.controller.attributes
options:
  assumptions:
    description: What the report is going to be given, as O(kjoule.bench.report#module:assumptions) says. Empty counts as not given.
    type: dict
    default: {}
seealso:
  - module: kjoule.bench.plan
  - module: kjoule.bench.report
"""

EXAMPLES = r"""
- name: Find slips of the pen first
  kjoule.bench.settings:
    assumptions:
      grid: FRA
"""

RETURN = r""" # """
