#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_context
short_description: Say which cluster a kubeconfig leads to, and refuse one that nobody named
version_added: 0.2.0
description:
  - Reads a kubeconfig on the host and returns the context that is meant, so that all that follows goes to that one, whatever is made the
    current one meanwhile. Asks no cluster, and changes nothing.
  - Fails where no kubeconfig is given, where the context is not in it, where it is another than O(confirm), and where there are several
    contexts and neither O(context) nor O(confirm) is given.
  - What the kubeconfig has of secrets is in no message and no result.
options:
  kubeconfig:
    description:
      - Kubeconfig of the cluster, on the host, by its whole path. There is no default, for the usual one may lead anywhere.
      - A C(~) is the home of who becomes what the task becomes.
    type: path
  context:
    description: Name of the context. Default is the one that the file calls current, or the only one.
    type: str
    default: ''
  confirm:
    description: Name of the context or of its cluster, once more.
    type: str
    default: ''
  variables:
    description: What the names of the settings begin with that a person would change, for messages.
    type: str
    default: ''
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
- name: Make sure of the cluster
  kjoule.bench.cluster_context:
    kubeconfig: /etc/kubernetes/admin.conf
    confirm: kubernetes
  register: meant
"""

RETURN = r"""
kubeconfig:
  description: The path of the file on the host, without a C(~).
  returned: success
  type: str
  sample: /etc/kubernetes/admin.conf
context:
  description: Name of the context.
  returned: success
  type: str
  sample: kubernetes-admin@kubernetes
cluster:
  description: Name of its cluster.
  returned: success
  type: str
  sample: kubernetes
server:
  description: Address of the API server; empty where the file has none.
  returned: success
  type: str
  sample: https://127.0.0.1:6443
"""
