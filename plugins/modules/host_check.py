#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_check
short_description: Look whether a host can be prepared, and say what it is
version_added: "0.1.0"
description:
  - Fails, with the next step, for the first thing that would make preparing this host fail half-way. Changes nothing.
  - Returns what measuring and a cluster need to know of it - kernel, cgroups, eBPF, RAPL, virtualisation.
options:
  distributions:
    description: Ids of C(/etc/os-release) that are supported, with those that take after them (C(ID_LIKE)). Empty means all.
    type: list
    elements: str
    default: []
  root:
    description: Whether this user must be root.
    type: bool
    default: false
  free_mb:
    description: Megabytes (10^6 bytes) that must be free, by directory.
    type: dict
    default: {}
  packages:
    description: Packages on which nobody may have put a hold.
    type: list
    elements: str
    default: []
  list_packages:
    description: Whether to return the names of all packages that are installed.
    type: bool
    default: false
  virtualization:
    description: Whether the host must be able to run virtual machines.
    type: bool
    default: false
  modules:
    description: Kernel modules to tell the state of.
    type: list
    elements: str
    default: []
  tree:
    description: The directory that holds the system, for one that is not running.
    type: path
    default: /
attributes:
  check_mode:
    description: It only looks.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: See what this host is
  kjoule.bench.host_check:
    modules: [intel_rapl_msr]
  register: host

- name: Show whether RAPL can be read here
  ansible.builtin.debug:
    msg: "{{ host.kernel.modules.intel_rapl_msr }}, cgroup {{ host.kernel.cgroup }}"
"""

RETURN = r"""
packages:
  description: Names of what is installed. With rpm also as name-version-release.arch.
  returned: when O(list_packages) is true
  type: list
  elements: str
distribution:
  description: Id, ids that it takes after, version and name.
  returned: success
  type: dict
  sample: {id: debian, like: [debian], version: "12", name: Debian GNU/Linux 12 (bookworm)}
kernel:
  description:
    - Release, C(architecture), C(cgroup) (V(v1), V(hybrid) or V(v2)), C(btf), C(bpf), C(psi), C(headers), C(rapl) and C(config).
    - C(modules) by name, V(loaded), V(builtin), V(available) or V(missing).
  returned: success
  type: dict
virtualization:
  description:
    - C(role) (V(host) or V(guest)), C(hypervisor) (V(qemu) is emulation), C(extension) (V(vmx), V(svm), V(el2) or V(null)),
      C(arm), C(kvm), C(nested).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.host import facts, preflight

ARGUMENT_SPEC = {
    "distributions": {"type": "list", "elements": "str", "default": []},
    "root": {"type": "bool", "default": False},
    "free_mb": {"type": "dict", "default": {}},
    "packages": {"type": "list", "elements": "str", "default": []},
    "list_packages": {"type": "bool", "default": False},
    "virtualization": {"type": "bool", "default": False},
    "modules": {"type": "list", "elements": "str", "default": []},
    "tree": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    tree = options["tree"]
    try:
        if options["distributions"]:
            preflight.check_distribution(tree, options["distributions"])
        if options["root"]:
            preflight.check_root()
        preflight.check_space(tree, {path: float(number) for path, number in options["free_mb"].items()})
        if options["packages"]:
            preflight.check_held(options["packages"])
        if options["virtualization"]:
            preflight.check_virtualization(tree)
        module.exit_json(
            changed=False,
            distribution=facts.distribution(tree),
            kernel=facts.kernel_facts(tree, options["modules"]),
            virtualization=facts.virtualization(tree),
            **({"packages": preflight.installed_packages()} if options["list_packages"] else {}),
        )
    except KjouleError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
