# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role packages makes of what dnf says. dnf is a double: a module of the test in the place of ansible.builtin.dnf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_hosts import ROOT, play, values

ROLE = "roles/packages/vars/main.yml"
DNF = """#!/usr/bin/python
# What is there, and what goes along with what, is in files. It cannot be asked without its library. What goes is written down.
import json, pathlib
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(
    {"name": {"type": "list"}, "state": {}, "autoremove": {"type": "bool"}, "install_weak_deps": {"type": "bool"}}, supports_check_mode=True
)
there, needs, brings = (json.loads(pathlib.Path(f"TOP/{name}.json").read_text()) for name in ("there", "needs", "brings"))
if "python3-libdnf5" not in there and module.check_mode:
    module.fail_json(msg="python3-libdnf5 must be installed to use check mode.")
if module.params["state"] != "absent":
    if not module.check_mode:
        pathlib.Path("TOP/installed.json").write_text(json.dumps(module.params["name"]))
    module.exit_json(changed=bool(brings), results=brings, rc=0)
going = set(module.params["name"]) & set(there)
if "stuck" in going:
    module.fail_json(msg="Failed to remove: stuck is protected")
while True:
    more = {name for name, alternatives in needs.items() if alternatives and going.issuperset(alternatives)} - going
    if not more:
        break
    going |= more
if not module.check_mode:
    pathlib.Path("TOP/removed.json").write_text(json.dumps(sorted(going)))
    pathlib.Path("TOP/there.json").write_text(json.dumps(sorted(set(there) - going)))
module.exit_json(changed=True, results=[f"Removed: {name}-1:2.0-3.el9.noarch" for name in sorted(going)], rc=0)
"""
HOST = """#!/usr/bin/python
import json, pathlib
from ansible.module_utils.basic import AnsibleModule

asked = {"list_packages": {}, "distributions": {"type": "list"}, "root": {}, "packages": {"type": "list"}, "free_mb": {"type": "dict"}}
AnsibleModule(asked, supports_check_mode=True).exit_json(packages=json.loads(pathlib.Path("TOP/there.json").read_text()))
"""
SETUP = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

AnsibleModule({"gather_subset": {"type": "list"}}, supports_check_mode=True).exit_json(ansible_facts={"ansible_pkg_mgr": "dnf5"})
"""
PROGRAM = """#!/usr/bin/env python3
import json, pathlib, sys

file = pathlib.Path("TOP/there.json")
file.write_text(json.dumps(sorted({*json.loads(file.read_text()), sys.argv[-1]})))
"""


class Host:
    """A host of files with dnf5, and the tasks of the role with doubles in the place of what would touch this machine."""

    def __init__(self, top: Path, there: list[str], record: list[str], needs: dict[str, list[str]], brings: tuple[str, ...] = ()) -> None:
        self.top = top
        for folder in ("library", "tasks", "records"):
            (top / folder).mkdir()
        for name, text in (
            ("library/dnf_double.py", DNF),
            ("library/host_double.py", HOST),
            ("library/setup_double.py", SETUP),
            ("dnf", PROGRAM),
        ):
            (top / name).write_text(text.replace("TOP", str(top)))
        (top / "dnf").chmod(0o755)
        for name, content in (("there", there), ("needs", needs), ("brings", brings), ("records/lab", record)):
            (top / f"{name}.json").write_text(json.dumps(content))
        for file in (ROOT / "roles/packages/tasks").glob("*.yml"):
            text = file.read_text().replace("ansible.builtin.dnf:", "dnf_double:").replace("kjoule.bench.host_check:", "host_double:")
            text = text.replace("ansible.builtin.setup:", "setup_double:").replace("argv: [dnf,", f"argv: [{top}/dnf,")
            (top / "tasks" / file.name).write_text(text)

    def run(self, entry: str, *words: str) -> str:
        """What it said, the facts of the removal, and where it failed why."""
        given = {
            "packages_owner": "lab",
            "packages_record_dir": str(self.top / "records"),
            "packages_names": ["tree"],
            "packages_free_mb": 1,
        }
        kept = (
            "{{ [__packages_stay | default([]), __packages_needed_by | default([]), ansible_failed_result.msg | default('')] | to_json }}"
        )
        said = self.top / "said.json"
        steps = [
            {
                "block": [{"ansible.builtin.include_tasks": str(self.top / "tasks" / f"{entry}.yml")}],
                "rescue": [{"ansible.builtin.debug": {"msg": "failed"}}],
                "always": [{"ansible.builtin.copy": {"content": kept, "dest": str(said)}, "check_mode": False}],
                "vars": given,
            }
        ]
        return play(self.top, steps, [ROLE], *words)

    def read(self, name: str) -> Any:
        file = self.top / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


def listed(*lines: str) -> dict[str, Any]:
    return {
        "__packages_dnf": {"results": list(lines)},
        "__packages_host": {
            "packages": [
                *("glibc", "glibc-2-1.i686", "glibc-2-1.x86_64", "kernel-devel", "kernel-devel-5-1.x86_64"),
                *("kernel-core", "kernel-core-5-1.x86_64", "kernel-core-5-2.x86_64", "gzip-old", "gzip-old-1-1.noarch"),
            ]
        },
    }


def test_what_dnf_brings_is_new_and_not_upgraded(tmp_path: Path) -> None:
    """A kernel's headers beside those of another kernel go by their whole name; a library that is upgraded has been there before."""
    said = [
        listed("Installed: tree-1.8.0-10.el9.x86_64", "Installed: perl-Git-1:2.43-1.el9.noarch"),
        listed("Installed: glibc-2-2.x86_64", "Removed: glibc-2-1.x86_64"),
        listed("Installed: kernel-devel-5-2.x86_64"),
        listed("Nothing to do"),
        listed("Installed: kernel-core-5-3.x86_64", "Removed: kernel-core-5-1.x86_64"),
    ]
    assert values(tmp_path, [("__packages_dnf_brings", given) for given in said], [ROLE]) == [
        ["perl-Git", "tree"],
        [],
        ["kernel-devel-5-2.x86_64"],
        [],
        ["kernel-core-5-3.x86_64"],
    ]


def test_what_dnf_would_take_away_is_what_does_not_come_again(tmp_path: Path) -> None:
    """What another obsoletes goes, and the oldest kernel where there may be no more of them. What is upgraded stays."""
    glibc = [f"{did}: glibc-2-{release}.{kind}" for did, release in (("Installed", 2), ("Removed", 1)) for kind in ("i686", "x86_64")]
    said = [
        listed("Installed: gzip-2-1.x86_64", "Removed: gzip-old-1-1.noarch"),
        listed("Installed: kernel-core-5-3.x86_64", "Removed: kernel-core-5-1.x86_64"),
        listed(*glibc),
        listed("Installed: kernel-devel-5-2.x86_64"),
    ]
    assert values(tmp_path, [("__packages_dnf_takes", given) for given in said], [ROLE]) == [
        ["gzip-old-1-1.noarch"],
        ["kernel-core-5-1.x86_64"],
        [],
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
    host = Host(tmp_path, ["part", "tool", "python3-libdnf5", *needs], ["part", "tool"], needs)
    host.run("remove")
    assert host.read("removed") == removed
    assert [sorted(words) for words in host.read("said")[:2]] == [stay, by]
    assert (host.read("records/lab") or []) == stay


def test_a_library_of_dnf5_that_went_with_another_record_comes_and_goes_again(tmp_path: Path) -> None:
    host = Host(tmp_path, ["tool", "other"], ["tool"], {})
    assert '"msg": "tool"' in host.run("remove", "--check")
    assert host.read("said")[2] == ""
    assert host.read("there") == ["tool", "other"]
    host.run("remove")
    assert host.read("removed") == ["python3-libdnf5", "tool"]
    assert host.read("there") == ["other"]
    assert host.read("records/lab") is None


def test_what_dnf_says_of_one_of_them_is_told(tmp_path: Path) -> None:
    host = Host(tmp_path, ["python3-libdnf5", "stuck", "tool"], ["stuck", "tool"], {})
    host.run("remove")
    assert (
        'stuck, tool could not be removed: expected that what came with lab goes, saw "Failed to remove: stuck is protected"'
        in host.read("said")[2]
    )
    failed = {
        "results": [{"item": "a"}, {"item": "b", "failed": True, "msg": "no mirror"}],
        "failed": True,
        "msg": "One or more items failed",
    }
    assert values(tmp_path, [("__packages_seen", {"ansible_failed_result": failed})], [ROLE]) == ["no mirror"]


def test_nothing_of_the_host_goes_for_it(tmp_path: Path) -> None:
    there = ["python3-libdnf5", "wood", "wood-1-1.noarch"]
    host = Host(tmp_path, there, [], {}, ("Installed: tree-2-1.x86_64", "Removed: wood-1-1.noarch"))
    host.run("main")
    assert (
        "tree may not be installed: expected nothing to be removed for it, saw that dnf would remove wood-1-1.noarch. Next: "
        in host.read("said")[2]
    )
    assert host.read("installed") is None
    assert host.read("records/lab") == []


def test_a_version_beside_the_others_is_on_record_by_its_whole_name(tmp_path: Path) -> None:
    there = ["python3-libdnf5", "tree", "tree-1-1.x86_64"]
    host = Host(tmp_path, [*there, "tree-2-1.x86_64"], [], {}, ("Installed: tree-2-1.x86_64",))
    (tmp_path / "tasks/settle.yml").write_text("[]")  # the double brings nothing, so what is about to come is looked at
    (tmp_path / "there.json").write_text(json.dumps(there))
    host.run("main", "-e", '{"packages_names": ["tree-2-1.x86_64"]}')
    assert host.read("installed") == ["tree-2-1.x86_64"]
    assert host.read("records/lab") == ["tree-2-1.x86_64"]
