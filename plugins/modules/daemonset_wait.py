#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: daemonset_wait
short_description: Wait until a DaemonSet runs, or say why it does not
version_added: 0.2.0
description:
  - Looks at a DaemonSet and its pods until every node that shall have one runs a ready pod of what is asked for now. Changes nothing.
  - Fails at once where waiting does not help, with the reason that Kubernetes gives. This is an image that is not to be had
    (C(ErrImagePull), C(ImagePullBackOff)), or a program that ends again and again (C(CrashLoopBackOff)), with the last words of its log
    where the container has C(terminationMessagePolicy=FallbackToLogsOnError).
  - Fails after O(timeout) for everything else, such as a pod that no node takes.
options:
  name:
    description: Name of the DaemonSet. Its selector has to be one of labels (C(matchLabels)).
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  kubeconfig:
    description: Kubeconfig of the cluster, on the host. Default is the usual one, which may lead anywhere.
    type: path
  context:
    description: Name of the context in it. Default is the one that it calls current.
    type: str
  timeout:
    description: How long to wait, in seconds.
    type: float
    default: 180.0
  image_advice:
    description: What a person can do about an image that is not to be had, for the message.
    type: str
    required: true
requirements:
  - the collection kubernetes.core, and on the host the Python package kubernetes
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
- name: Wait until Kepler runs on every node
  kjoule.bench.daemonset_wait:
    name: kepler
    namespace: kjoule-kepler
    image_advice: set kepler_cluster_image to one that the nodes can pull
"""

RETURN = r"""
nodes:
  description: How many nodes run it.
  returned: success
  type: int
"""
