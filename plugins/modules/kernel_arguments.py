#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kernel_arguments
short_description: Put arguments on the kernel's command line, and take them off again
version_added: "0.1.0"
description:
  - Changes what the boot loader hands to the kernel. Arguments are compared as whole words, in every entry that can be booted. GRUB is
    given a drop-in and C(update-grub), or C(grubby) where there are boot loader entries; files of systemd-boot and extlinux are edited.
  - The files are kept as they were below C(/var/lib/kjoule/kernel_arguments) until O(state=absent) puts them back, byte for byte.
  - It does not reboot. RV(reboot_required) tells whether one is needed.
  - What somebody else has put there as well stays when the module's own is taken out, and is told in RV(kept).
  - It does not overrule anybody. An argument with another value, or one that forces cgroup v1, is an error that names the file it is in.
  - When a command of the boot loader fails, or the arguments are not in its entries then, everything is put back and the module fails.
options:
  arguments:
    description:
      - The arguments that are wanted. What an earlier call added and is not among them is taken out.
      - Required with O(state=present).
    type: list
    elements: str
  state:
    description:
      - V(present) adds what is missing.
      - V(absent) takes out what this module has added, and nothing that was there before.
    type: str
    choices: [present, absent]
    default: present
  bootloader:
    description: Whose files are changed. V(auto) finds out, and fails when there is none.
    type: str
    choices: [auto, grub, grubby, systemd-boot, extlinux]
    default: auto
  root:
    description: The directory that holds the system, for one that is not running.
    type: path
    default: /
attributes:
  check_mode:
    description: Says what would change, and fails where it would fail. The menu that C(update-grub) would write is not predicted.
    support: full
  diff_mode:
    description: Shows the files that are edited, and for boot loader entries what C(grubby) makes of them.
    support: full
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: Say whether cgroup v2 would need a change
  kjoule.bench.kernel_arguments:
    arguments:
      - systemd.unified_cgroup_hierarchy=1
      - cgroup_no_v1=all
  check_mode: true
  register: cgroup_v2
  become: true

- name: Take out what was added
  kjoule.bench.kernel_arguments:
    state: absent
  become: true
"""

RETURN = r"""
bootloader:
  description: Whose files these are. V(null) when there was nothing to take out.
  returned: success
  type: str
  sample: grub
configured:
  description: The command line of the first entry, as words, as it is after the change or would be.
  returned: success
  type: list
  elements: str
running:
  description: The command line that the running kernel was booted with, as words.
  returned: success
  type: list
  elements: str
reboot_required:
  description:
    - Whether the running kernel lacks a wanted argument, or still has one that was taken out.
    - It stays V(true) until the host was booted, however often the module is called. What was taken out since the last boot is kept in
      C(/run/kjoule/kernel_arguments.json).
  returned: success
  type: bool
kept:
  description:
    - Arguments that were taken out and stay all the same, since somebody else has them in that file. Mostly there are none.
  returned: success
  type: list
  elements: dict
  sample:
    - path: /etc/default/grub
      arguments: [psi=1]
files:
  description: The files that were edited, or would be.
  returned: success
  type: list
  elements: str
commands:
  description: The commands that were run, or would be.
  returned: success
  type: list
  elements: list
backup:
  description: The directory with the files as they were.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.arguments import absent, present
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.files import RECORD_DIRECTORY

ARGUMENT_SPEC = {
    "arguments": {"type": "list", "elements": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "bootloader": {"type": "str", "choices": ["auto", "grub", "grubby", "systemd-boot", "extlinux"], "default": "auto"},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, required_if=[("state", "present", ["arguments"])], supports_check_mode=True)
    options = module.params
    try:
        if options["state"] == "present":
            result = present(options["root"], options["arguments"], options["bootloader"], module.check_mode)
        else:
            result = absent(options["root"], options["bootloader"], module.check_mode)
    except KjouleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=result.changed,
        bootloader=result.bootloader,
        configured=result.configured,
        running=result.running,
        reboot_required=result.reboot_required,
        kept=[{"path": line.path, "arguments": line.words} for line in result.kept],
        files=[change.path for change in result.changes],
        commands=result.commands,
        backup=RECORD_DIRECTORY,
        diff=[
            {
                "before_header": change.path,
                "after_header": change.path,
                "before": (change.before or b"").decode("utf-8", errors="replace"),
                "after": (change.after or b"").decode("utf-8", errors="replace"),
            }
            for change in result.changes
        ],
    )


if __name__ == "__main__":
    main()
