#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check what Kepler needs, and what it does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kepler_check
short_description: Check what Kepler needs, and what it does
version_added: 0.2.0
description:
  - Before it starts, whether the host has RAPL counters that can be read and move, and whether a version of Kepler knows every key of its
    settings. Kepler itself ignores what it does not know.
  - Once it runs, whether it shows joules of the node and they grow.
  - Every zone has to move. The zones C(core) and C(uncore) may stand still beside another that moves.
  - Changes nothing.
options:
  check:
    description:
      - V(config) looks at O(config) for O(version).
      - V(preflight) reads the RAPL counters twice. Where there are none, or one of O(zones) is not there or stands still, the module does
        not fail. It says so in RV(usable) and RV(reason).
      - V(health) reads Kepler at O(url) twice, and waits for it.
    type: str
    choices: [config, preflight, health]
    required: true
  config:
    description: Settings of Kepler 0.10 or newer, as its file has them.
    type: dict
    default: {}
  version:
    description: The version of Kepler.
    type: str
  sysfs:
    description: Where sysfs is.
    type: path
    default: /sys
  zones:
    description: The zones that are wanted; none means all that are there.
    type: list
    elements: str
    default: []
  url:
    description: Where Kepler answers.
    type: str
    default: http://127.0.0.1:28282
  seconds:
    description: Time between the two looks.
    type: float
    default: 1.0
  timeout:
    description: How long V(health) waits for Kepler, in seconds.
    type: float
    default: 30.0
attributes:
  check_mode:
    description: Can run in check mode and changes nothing in either.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: See whether this host has energy counters
  kjoule.bench.kepler_check:
    check: preflight
    zones: [package]
  register: rapl

- name: Say so where it has none
  ansible.builtin.debug:
    msg: "{{ rapl.reason }}"
  when: not rapl.usable
"""

RETURN = r"""
usable:
  description: Whether Kepler can measure here.
  returned: when O(check=preflight)
  type: bool
reason:
  description: Why it cannot, or an empty string.
  returned: when O(check=preflight)
  type: str
scope:
  description: What the zones cover.
  returned: when O(check=preflight) and RV(usable)
  type: str
  sample: rapl:package+dram
generation:
  description: Either V(rewrite) or V(legacy).
  returned: when O(check=health)
  type: str
zones:
  description: The zones that are there.
  returned: when O(check=health), or O(check=preflight) and RV(usable)
  type: list
  elements: str
joules:
  description: Joules by zone between the two looks.
  returned: when O(check=health)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler import check_config, health, preflight


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "check": {"type": "str", "choices": ["config", "preflight", "health"], "required": True},
            "config": {"type": "dict", "default": {}},
            "version": {"type": "str"},
            "sysfs": {"type": "path", "default": "/sys"},
            "zones": {"type": "list", "elements": "str", "default": []},
            "url": {"type": "str", "default": "http://127.0.0.1:28282"},
            "seconds": {"type": "float", "default": 1.0},
            "timeout": {"type": "float", "default": 30.0},
        },
        required_if=[("check", "config", ["version"])],
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["check"] == "config":
            check_config(given["config"], given["version"])
            module.exit_json(changed=False)
        if given["check"] == "health":
            module.exit_json(changed=False, **health(given["url"], given["seconds"], given["timeout"], zones=given["zones"]))
    except KjouleError as error:
        module.fail_json(msg=str(error))
    try:
        found = preflight(given["sysfs"], given["zones"], given["seconds"])
    except KjouleError as error:
        module.exit_json(changed=False, usable=False, reason=str(error))
    module.exit_json(changed=False, usable=True, reason="", **found)


if __name__ == "__main__":
    main()
