#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which sources of energy a host has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: energy_facts
short_description: Which sources of energy a host has, and what would make the others work
version_added: 0.2.0
description:
  - Lists every source that C(kjoule_source) may name - what it covers, whether it works on this host, and if not exactly why and what
    would make it work.
  - Local sources are tried as they are, Kepler and Scaphandre at their usual address on loopback. Other sources that need an
    address are tried with the options in O(sources), and listed otherwise.
  - Reads only. A host on which nothing can be read is a result, not a failure.
options:
  sources:
    description:
      - Options of sources to try, by name, as in C(kjoule_source).
      - Passwords stay in files on the host, see docs/sources.md; nothing here is a secret.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Nothing is changed in any mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  facts:
    description: Returns the fact C(kjoule_energy).
    support: full
  platform:
    description: Needs the kernel's C(/sys) and C(/proc).
    support: full
    platforms: linux
seealso:
  - module: kjoule.bench.energy_window
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: See what this host can tell about its energy
  kjoule.bench.energy_facts:
  register: energy

- name: Show it, one line per source
  ansible.builtin.debug:
    var: energy.lines

- name: Try RAPL elsewhere, with the platform counter
  kjoule.bench.energy_facts:
    sources:
      rapl:
        psys: true
        sysfs_root: /host/sys
"""

RETURN = r"""
ansible_facts:
  description: The fact that is added to the host.
  returned: always
  type: dict
  contains:
    kjoule_energy:
      description: The sources of this host.
      type: dict
      contains:
        auto:
          description: The source that V(auto) takes here.
          type: str
          sample: rapl
        sources:
          description: Every source.
          type: list
          elements: dict
          contains:
            name:
              description: Its name in C(kjoule_source).
              type: str
              sample: rapl
            covers:
              description: What its joules are of.
              type: str
              sample: processor packages and memory, counted by the processor
            automatic:
              description: Whether V(auto) tries it.
              type: bool
            works:
              description: Whether it could be read just now; V(null) when it was not tried.
              type: bool
            scope:
              description: What it covers on this host. Joules of different scopes are never compared or added.
              type: str
              sample: rapl:package+dram
            source:
              description: Channels, resolution, update period, accuracy and what is not added, or V(null).
              type: dict
            why:
              description: Why it does not work, and what would make it.
              type: str
lines:
  description: The same for reading, one line per source.
  returned: always
  type: list
  elements: str
  sample:
    - "rapl: works, taken by auto; rapl:package+dram"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.energy.registry import parse_setting
from ansible_collections.kjoule.bench.plugins.module_utils.energy.single import chosen, lines, survey
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


def main() -> None:
    module = AnsibleModule(argument_spec={"sources": {"type": "dict", "default": {}}}, supports_check_mode=True)
    try:
        rows = survey(dict(parse_setting({name: options}) for name, options in module.params["sources"].items()))
    except KjouleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ansible_facts={"kjoule_energy": {"auto": chosen(rows), "sources": rows}}, lines=lines(rows))


if __name__ == "__main__":
    main()
