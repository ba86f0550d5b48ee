#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Joules of a stretch of time, or of a command."""

from __future__ import annotations

DOCUMENTATION = r"""
module: energy_window
short_description: Measure the energy of a host for a while, or during a command
version_added: 0.2.0
description:
  - Reads the energy source of the host at both edges of a window and in between, and returns joules with their scope, their uncertainty and
    whether they can be trusted. Needs nothing but this module; no plan, no lab.
  - Where no source can be read, it returns the CPU time of the machine and an estimate from it, labelled as one.
  - A window in which something broke the chain (a counter that was reset or froze, a suspend, a stepped clock) is returned with C(valid)
    false and the reasons. It is not repaired and the module does not fail for it.
  - The joules are those of the whole scope, idle power and everything else that ran included, not those of the command alone.
options:
  seconds:
    description: How long the window lasts.
    type: float
  cmd:
    description:
      - A command to run; the window lasts as long. It is split as a shell would, but no shell runs it.
      - Its exit status and output are returned. The module fails when the status is not 0, with the window in its result all the same.
    type: str
  argv:
    description: The command as a list, in place of O(cmd).
    type: list
    elements: str
  chdir:
    description: Directory to run the command in.
    type: path
  source:
    description:
      - The energy source, as C(kjoule_source) - V(auto), V(estimate), a name, or a dictionary of one name with its options.
      - M(kjoule.bench.energy_facts) tells which work on this host.
    type: raw
    default: auto
  sample_seconds:
    description: Time between readings within the window. It is less where a counter would wrap sooner.
    type: float
    default: 1.0
  joules_per_cpu_second:
    description:
      - Coefficient of the estimate on this host - C(value), C(low), C(high) and C(source). Without it the collection's row for servers
        is used.
    type: dict
attributes:
  check_mode:
    description: Nothing is measured and no command is run. The source that would be read is returned.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  platform:
    description: Needs the kernel's C(/proc).
    support: full
    platforms: linux
seealso:
  - module: kjoule.bench.energy_facts
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
# ansible all -m kjoule.bench.energy_window -a seconds=30
- name: Half a minute of this host
  kjoule.bench.energy_window:
    seconds: 30
  register: idle

- name: How many joules it used
  ansible.builtin.debug:
    var: idle.text

- name: What a command costs the machine
  kjoule.bench.energy_window:
    cmd: sha256sum /proc/cpuinfo
    source: auto
"""

RETURN = r"""
text:
  description: The result in one line.
  returned: when measured
  type: str
  sample: "30.0 s: 1234.5 J +- 0.25 J, 41.15 W (rapl:package+dram); 1.90 CPU-seconds on 4 CPUs"
energy:
  description: The window, V(null) where no source can be read.
  returned: when measured
  type: dict
  contains:
    joules:
      description: Energy within the scope. V(null) when the source was gone at the end.
      type: float
    seconds:
      description: Time between the two edges.
      type: float
    uncertainty_joules:
      description: How far off the joules are at most, the sum of C(parts).
      type: float
    parts:
      description: Where the uncertainty comes from - edges, late, update, resolution, sampling (gauges) and accuracy, each in joules.
      type: dict
    scope:
      description: What the joules are of.
      type: str
      sample: rapl:package+dram
    source:
      description: Name of the source.
      type: str
      sample: rapl
    kind:
      description: V(measured).
      type: str
    readings:
      description: How many readings the joules come from.
      type: int
    channels:
      description: Joules of each part. Their sum is C(joules).
      type: dict
    valid:
      description: Whether the joules can be trusted.
      type: bool
    reasons:
      description: Why not.
      type: list
      elements: str
    warnings:
      description: What does not make the window wrong but is good to know, such as steal time.
      type: list
      elements: str
    attribution:
      description:
        - What the meter gave to whom between the edges. C(node), C(processes), C(containers), C(pods) and C(vms), with joules each,
          and C(reasons) why something has no figures.
      returned: with the source kepler
      type: dict
estimate:
  description: Joules estimated from the busy CPU time of the machine, with bounds. Another scope than measured joules.
  returned: when measured
  type: dict
cpu:
  description: CPU time of the machine by kind, and C(command_seconds) of the command.
  returned: when measured
  type: dict
seconds:
  description: Length of the window by the monotonic clock.
  returned: when measured
  type: float
source:
  description: The source and why others could not be read.
  returned: always
  type: dict
rc:
  description: Exit status of the command.
  returned: when a command was given
  type: int
stdout:
  description: What the command wrote.
  returned: when a command was given
  type: str
stderr:
  description: What the command complained about.
  returned: when a command was given
  type: str
"""

import math
import shlex

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.energy.estimate import GENERIC_ROW, row_from_user
from ansible_collections.kjoule.bench.plugins.module_utils.energy.registry import choose_source
from ansible_collections.kjoule.bench.plugins.module_utils.energy.single import measure
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

ARGUMENT_SPEC = {
    "seconds": {"type": "float"},
    "cmd": {"type": "str"},
    "argv": {"type": "list", "elements": "str"},
    "chdir": {"type": "path"},
    "source": {"type": "raw", "default": "auto"},
    "sample_seconds": {"type": "float", "default": 1.0},
    "joules_per_cpu_second": {"type": "dict"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("seconds", "cmd", "argv")],
        required_one_of=[("seconds", "cmd", "argv")],
        supports_check_mode=True,
    )
    options = module.params
    try:
        for name in ("seconds", "sample_seconds"):
            if options[name] is not None and not (math.isfinite(options[name]) and options[name] > 0):
                raise KjouleError(f"option {name}", expected="a number above 0", seen=repr(options[name]))
        given = options["joules_per_cpu_second"]
        row = row_from_user(given) if given else GENERIC_ROW
        argv = options["argv"] if options["cmd"] is None else _split(options["cmd"])
        if argv is not None and not argv:
            raise KjouleError("the command is empty", expected="a program and its arguments")
        if module.check_mode:
            source, description = choose_source(options["source"])
            if source is not None:
                source.close()
            module.exit_json(changed=argv is not None, source=description, skipped=True)
        result = measure(options["source"], options["seconds"], argv, options["chdir"], options["sample_seconds"], row)
    except KjouleError as error:
        module.fail_json(msg=str(error))
    if result["energy"] is not None:
        for reason in result["energy"]["reasons"] + result["energy"]["warnings"]:
            module.warn(reason)
    if result["rc"]:
        module.fail_json(msg=f"the command ended with status {result['rc']}", changed=True, **result)
    module.exit_json(changed=argv is not None, **result)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise KjouleError("option cmd cannot be split into words", seen=str(error), next_step="use argv") from error


if __name__ == "__main__":
    main()
