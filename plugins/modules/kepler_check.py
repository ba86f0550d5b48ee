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
      - V(pods) does the same with every pod of a cluster that O(selector) selects, through the proxy of its API server.
    type: str
    choices: [config, preflight, health, pods]
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
    description: How long V(health) and V(pods) wait for Kepler, in seconds.
    type: float
    default: 30.0
  kubeconfig:
    description: Kubeconfig of the cluster, for V(pods).
    type: path
  context:
    description: Name of the context in it. Default is the one that it calls current.
    type: str
  namespace:
    description: The namespace of the pods.
    type: str
    default: kjoule-kepler
  selector:
    description: The labels of the pods.
    type: str
    default: app.kubernetes.io/name=kepler
requirements:
  - for O(check=pods) the Python package kubernetes
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
nodes:
  description: The same by node.
  returned: when O(check=pods)
  type: dict
"""

import sys
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.kepler import check_config, health, pods_health, preflight

#: The port of the pods.
PORT = 28282
PATH = f"/api/v1/namespaces/{{}}/pods/{{}}:{PORT}/proxy/metrics"


def short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:600]


def package() -> Any:
    """Loaded by no other check: it takes half a second of CPU, and may be missing or broken where no cluster is asked."""
    try:
        import kubernetes
    except Exception as error:
        raise KjouleError(
            "the Python package kubernetes cannot be loaded, through which the pods of a cluster are read",
            expected=f"one that {sys.executable} can import",
            seen=short(error),
            next_step=f"{sys.executable} -m pip install --upgrade kubernetes, or set ansible_python_interpreter to a Python that has it",
        ) from error
    return kubernetes


def pods(given: dict[str, Any]) -> dict[str, Any]:
    """Joules by node of the Keplers in a cluster."""
    kubernetes = package()
    namespace = given["namespace"]
    try:
        # A token that is renewed on the way is not written into somebody's kubeconfig.
        client = kubernetes.config.new_client_from_config(given["kubeconfig"], context=given["context"], persist_config=False)
        api = kubernetes.client.CoreV1Api(client)
        found = api.list_namespaced_pod(namespace, label_selector=given["selector"], _request_timeout=30).items
    except Exception as error:
        raise KjouleError(
            f"the pods of Kepler in the namespace {namespace} cannot be listed",
            expected=f"those with the label {given['selector']}",
            seen=short(error),
            next_step=f"look at the cluster and its kubeconfig, {given['kubeconfig']}",
        ) from error

    def read(pod: str) -> str:
        proxy = api.connect_get_namespaced_pod_proxy_with_path
        try:
            return proxy(f"{pod}:{PORT}", namespace, "metrics", _preload_content=False, _request_timeout=30).data.decode(errors="replace")
        except Exception as error:
            raise KjouleError(
                f"Kepler on the node {nodes[pod]} ({pod}) does not answer through the API server",
                expected="its metrics",
                seen=short(error),
                next_step=f"kubectl logs -n {namespace} {pod}, and kubectl get --raw {PATH.format(namespace, pod)}",
            ) from error

    # One that is going is of the settings before.
    nodes = {pod.metadata.name: pod.spec.node_name for pod in found if pod.metadata.deletion_timestamp is None}
    return {"nodes": pods_health(read, nodes, namespace, given["zones"], given["seconds"], given["timeout"])}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "check": {"type": "str", "choices": ["config", "preflight", "health", "pods"], "required": True},
            "config": {"type": "dict", "default": {}},
            "version": {"type": "str"},
            "sysfs": {"type": "path", "default": "/sys"},
            "zones": {"type": "list", "elements": "str", "default": []},
            "url": {"type": "str", "default": "http://127.0.0.1:28282"},
            "seconds": {"type": "float", "default": 1.0},
            "timeout": {"type": "float", "default": 30.0},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
            "namespace": {"type": "str", "default": "kjoule-kepler"},
            "selector": {"type": "str", "default": "app.kubernetes.io/name=kepler"},
        },
        required_if=[("check", "config", ["version"]), ("check", "pods", ["kubeconfig"])],
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["check"] == "pods":
            module.exit_json(changed=False, **pods(given))
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
