# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role packages makes of what dnf says. dnf is a double: a module of the test in the place of ansible.builtin.dnf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_hosts import ROOT, play, values

ROLE = "roles/packages/vars/main.yml"
DOUBLE = """#!/usr/bin/python
# Which of the packages go along is in a file; what is really removed is written into another.
import json, pathlib
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"name": {"type": "list"}, "state": {}, "autoremove": {"type": "bool"}}, supports_check_mode=True)
needs = json.loads(pathlib.Path("TOP/needs.json").read_text())
going = set(module.params["name"])
while True:
    more = {name for name, alternatives in needs.items() if alternatives and going.issuperset(alternatives)} - going
    if not more:
        break
    going |= more
if not module.check_mode:
    pathlib.Path("TOP/removed.json").write_text(json.dumps(sorted(going)))
module.exit_json(changed=True, results=[f"Removed: {name}-1:2.0-3.el9.noarch" for name in sorted(going)])
"""


def listed(*lines: str) -> dict[str, Any]:
    return {
        "__packages_dnf": {"results": list(lines)},
        "__packages_host": {"packages": ["glibc", "glibc-2-1.x86_64", "kernel-devel", "kernel-devel-5-1.x86_64"]},
    }


def test_what_dnf_brings_is_new_and_not_upgraded(tmp_path: Path) -> None:
    """A kernel's headers beside those of another kernel go by their whole name; a library that is upgraded has been there before."""
    said = [
        listed("Installed: tree-1.8.0-10.el9.x86_64", "Installed: perl-Git-1:2.43-1.el9.noarch"),
        listed("Installed: glibc-2-2.x86_64", "Removed: glibc-2-1.x86_64"),
        listed("Installed: kernel-devel-5-2.x86_64"),
        listed("Nothing to do"),
    ]
    assert values(tmp_path, [("__packages_dnf_brings", given) for given in said], [ROLE]) == [
        ["perl-Git", "tree"],
        [],
        ["kernel-devel-5-2.x86_64"],
        [],
    ]


@pytest.mark.parametrize(
    ("needs", "removed", "stay", "by"),
    [
        ({"tool": ["part"]}, ["part", "tool"], [], []),
        ({"tool": ["part"], "guest": ["part"]}, ["tool"], ["part"], ["guest"]),
        ({"guest": ["part"], "far": ["guest"]}, ["tool"], ["part"], ["far", "guest"]),
        ({"either": ["part", "tool"]}, None, ["part", "tool"], ["either"]),
    ],
    ids=["nobody needs it", "one needs a part", "one behind another", "one of two is needed"],
)
def test_what_others_need_stays(
    tmp_path: Path, needs: dict[str, list[str]], removed: list[str] | None, stay: list[str], by: list[str]
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library/dnf_double.py").write_text(DOUBLE.replace("TOP", str(tmp_path)))
    (tmp_path / "needs.json").write_text(json.dumps(needs))
    tasks = (ROOT / "roles/packages/tasks/remove_dnf.yml").read_text().replace("ansible.builtin.dnf:", "dnf_double:")
    (tmp_path / "remove_dnf.yml").write_text(tasks)
    steps = [
        {"ansible.builtin.set_fact": {"__packages_came": ["part", "tool"], "__packages_stay": [], "__packages_needed_by": []}},
        {"ansible.builtin.include_tasks": str(tmp_path / "remove_dnf.yml")},
        {
            "ansible.builtin.copy": {
                "content": "{{ [__packages_stay, __packages_needed_by] | to_json }}",
                "dest": str(tmp_path / "said.json"),
            }
        },
    ]
    play(tmp_path, steps, [ROLE])
    done = tmp_path / "removed.json"
    assert (json.loads(done.read_text()) if done.exists() else None) == removed
    said = json.loads((tmp_path / "said.json").read_text())
    assert [sorted(words) for words in said] == [stay, by]
