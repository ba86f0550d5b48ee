#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: minikube_cluster
short_description: Have a minikube cluster in a certain state
version_added: "0.1.0"
description:
  - Makes, starts, stops and removes a cluster of minikube with the drivers kvm2, docker and none. Ready means that every node and CoreDNS
    are ready.
  - minikube keeps its files, and the kubeconfig, in O(home) and nowhere else. Only profiles that this module made are touched.
  - A profile whose configuration is another than the one asked for is refused, because minikube only warns and keeps what it has; with
    O(recreate) it is made anew.
options:
  state:
    description:
      - V(present) makes and starts the cluster when there is none, and leaves one that is there running or stopped.
      - V(started) and V(stopped) start or stop it. V(absent) removes it with everything in it.
      - With the driver V(none) V(absent) also puts the host's files back that minikube changes and leaves changed (the unit of kubelet,
        networks of pods in C(/etc/cni/net.d), settings of the container runtime, C(/etc/hosts), its authority among those that the host
        trusts), unless somebody has changed them since.
    type: str
    choices: [present, started, stopped, absent]
    default: present
  profile:
    description: Its name. With the driver V(none) minikube knows one name only, V(minikube).
    type: str
    default: minikube
  home:
    description: Where minikube keeps what it makes, on the host.
    type: path
    required: true
  minikube:
    description: Path of the command.
    type: path
    required: true
  kubectl:
    description: Path of kubectl.
    type: path
    required: true
  driver:
    description:
      - V(kvm2) makes a virtual machine, V(docker) a container, V(none) uses the host itself, as root.
      - Required for V(present) and V(started).
    type: str
    choices: [kvm2, docker, none]
  kubernetes_version:
    description: The version of Kubernetes, with a leading C(v). Required for V(present) and V(started).
    type: str
  container_runtime:
    description: The container runtime of the node.
    type: str
    choices: [containerd, docker, cri-o]
    default: containerd
  cpus:
    description: Processors of each node. Not compared when it is not given.
    type: int
  memory_mb:
    description: Memory of each node in MiB. Not compared when it is not given.
    type: int
  disk_mb:
    description: Disk of each node in MiB. Not compared when it is not given.
    type: int
  nodes:
    description: How many nodes.
    type: int
    default: 1
  image_repository:
    description: Another registry for Kubernetes' own images.
    type: str
    default: ""
  extra_config:
    description: Settings of components, each C(component.key=value).
    type: list
    elements: str
    default: []
  files:
    description: Files on the host that go into minikube's cache before it starts, so that it does not download them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file on the host.
        type: path
        required: true
      sha256:
        description: Its checksum.
        type: str
        required: true
      cache:
        description: Where it goes below C(.minikube/cache), such as C(linux/amd64/v1.36.1/kubelet).
        type: str
        required: true
  images:
    description: Docker archives on the host whose images the node is to have without pulling them.
    type: list
    elements: dict
    default: []
    suboptions:
      archive:
        description: The archive.
        type: path
        required: true
      sha256:
        description: Its checksum.
        type: str
        required: true
      names:
        description: The names of the image in it, with tags.
        type: list
        elements: str
        required: true
  offline:
    description: Tell minikube not to look for preloaded images.
    type: bool
    default: false
  force:
    description:
      - Tell minikube to go on where it would refuse, such as a version of Kubernetes newer than it knows, or the driver docker as root.
    type: bool
    default: false
  recreate:
    description: Make a profile of another configuration anew. What is in the cluster is lost.
    type: bool
    default: false
  timeout:
    description: Seconds within which starting, and becoming ready, have to end.
    type: float
    default: 900
attributes:
  check_mode:
    description: What would be done is told; nothing is.
    support: full
  diff_mode:
    description: The state before and after, and settings that differ.
    support: full
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: A cluster on this very machine
  kjoule.bench.minikube_cluster:
    state: started
    driver: none
    kubernetes_version: v1.36.1
    home: /var/lib/kjoule/minikube
    minikube: /usr/local/bin/minikube
    kubectl: /usr/local/bin/kubectl
  become: true

- name: Take it away
  kjoule.bench.minikube_cluster:
    state: absent
    home: /var/lib/kjoule/minikube
    minikube: /usr/local/bin/minikube
    kubectl: /usr/local/bin/kubectl
  become: true
"""

RETURN = r"""
cluster_state:
  description:
    - What it is afterwards - running, stopped or absent. With O(state=present) also V(incomplete), of one that was there and of which a
      part is down or paused; V(started) and V(stopped) mend that.
  returned: success
  type: str
kubeconfig:
  description: The path of its kubeconfig; the name of the context is that of the profile.
  returned: success
  type: str
recreated_for:
  description: Settings for which it was, or would be, made anew.
  returned: success
  type: list
  elements: dict
commands:
  description: What was run, or would be.
  returned: success
  type: list
  elements: str
kept_files:
  description: Files of the host that somebody changed after minikube had written them, so that they were not put back.
  returned: success
  type: list
  elements: str
ready_seconds:
  description: From the call of C(minikube start) until it was ready; V(null) when it was not started.
  returned: success
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube import Minikube
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_profile import DRIVERS, RUNTIMES, Wanted
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_supplies import Image

ARGUMENT_SPEC = {
    "state": {"type": "str", "choices": ["present", "started", "stopped", "absent"], "default": "present"},
    "profile": {"type": "str", "default": "minikube"},
    "home": {"type": "path", "required": True},
    "minikube": {"type": "path", "required": True},
    "kubectl": {"type": "path", "required": True},
    "driver": {"type": "str", "choices": list(DRIVERS)},
    "kubernetes_version": {"type": "str"},
    "container_runtime": {"type": "str", "choices": list(RUNTIMES), "default": "containerd"},
    "cpus": {"type": "int"},
    "memory_mb": {"type": "int"},
    "disk_mb": {"type": "int"},
    "nodes": {"type": "int", "default": 1},
    "image_repository": {"type": "str", "default": ""},
    "extra_config": {"type": "list", "elements": "str", "default": []},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True},
            "cache": {"type": "str", "required": True},
        },
    },
    "images": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "archive": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
        },
    },
    "offline": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "recreate": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 900},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", state, ["driver", "kubernetes_version"]) for state in ("present", "started")],
        supports_check_mode=True,
    )
    options = module.params
    try:
        minikube = Minikube(options["minikube"], options["kubectl"], options["home"], options["profile"], options["timeout"])
        wanted = Wanted(
            **{name: options[name] for name in ("container_runtime", "cpus", "memory_mb", "disk_mb", "nodes", "image_repository")},
            driver=options["driver"] or "",
            kubernetes_version=options["kubernetes_version"] or "",
            extra_config=tuple(options["extra_config"]),
        )
        outcome = minikube.ensure(
            options["state"],
            wanted,
            files=options["files"],
            images=[Image(image["archive"], image["sha256"].lower(), tuple(image["names"])) for image in options["images"]],
            check_mode=module.check_mode,
            **{name: options[name] for name in ("recreate", "offline", "force")},
        )
    except KjouleError as error:
        module.fail_json(msg=str(error))
    for path in outcome.kept:
        module.warn(f"{path} was changed after minikube had written it, and was left as it is: settings of minikube may still be in it")
    module.exit_json(
        changed=outcome.changed,
        cluster_state=outcome.state,
        kubeconfig=minikube.kubeconfig,
        recreated_for=outcome.drift,
        commands=outcome.commands,
        kept_files=outcome.kept,
        ready_seconds=outcome.ready_seconds,
        diff={
            "before": "".join(f"{item['setting']}: {item['seen']}\n" for item in outcome.drift) + f"state: {outcome.before}\n",
            "after": "".join(f"{item['setting']}: {item['wanted']}\n" for item in outcome.drift) + f"state: {outcome.state}\n",
        },
    )


if __name__ == "__main__":
    main()
