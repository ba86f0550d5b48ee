#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""See that a service can listen where it is told to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: port_check
short_description: See that a service can listen where it is told to
version_added: 0.2.0
description:
  - Fails where somebody else listens on O(port) in such a way that the service could not. What the process O(pid) itself listens on
    does not count, for it gives that up when it is restarted.
  - Changes nothing. Whose socket it is can be seen by root only.
options:
  address:
    description: Where the service will listen. A host name or an address without brackets.
    type: str
    required: true
  port:
    description: The port.
    type: int
    required: true
  service:
    description: Name of the service, for the message.
    type: str
    required: true
  variable:
    description: What a person sets to choose another port, for the message.
    type: str
    required: true
  pid:
    description: Its process, if it runs; 0 is none.
    type: int
    default: 0
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
- name: See that nobody else listens on the port of Prometheus
  kjoule.bench.port_check:
    address: 127.0.0.1
    port: 9090
    service: kjoule-prometheus
    variable: monitoring_prometheus_port
"""

RETURN = r""" # """

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.listeners import check_port


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "service": {"type": "str", "required": True},
            "variable": {"type": "str", "required": True},
            "pid": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        check_port(**module.params)
    except KjouleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
