# SPDX-License-Identifier: GPL-3.0-or-later
"""The role kvm with the real ansible-playbook. libvirt, users and groups are doubles: no account of this machine is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]

GETENT = """#!/bin/sh
# A double of getent, on passwd and group of the test.
[ -n "$2" ] || exec cat {top}/$1
grep "^$2:" {top}/$1 || exit 2
"""
GPASSWD = """#!{python}
# A double of gpasswd, on passwd and group of the test. As the real one, it adds nobody who is no user, and deletes nobody who is no member.
import pathlib, sys
action, user, group = sys.argv[1:]
file = pathlib.Path("{top}/group")
groups = dict(line.split(":x:") for line in file.read_text().split())
number, _, members = groups[group].partition(":")
members = [name for name in members.split(",") if name]
users = [line.split(":")[0] for line in pathlib.Path("{top}/passwd").read_text().split()]
if (user not in users) if action == "--add" else (user not in members):
    sys.exit(f"gpasswd: {{user}}: no")
members = members + [user] if action == "--add" else [name for name in members if name != user]
groups[group] = f"{{number}}:{{','.join(members)}}"
file.write_text("".join(f"{{name}}:x:{{rest}}\\n" for name, rest in groups.items()))
"""
SYSTEMCTL = """#!/bin/sh
# A double of systemctl, to which every unit runs.
[ "$1" != show ] || printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'
"""
LIBVIRT = '''"""A double of libvirt's Python library: networks and machines are in a file, and it is down when the file says so."""
import json, pathlib
FILE = pathlib.Path("{top}/libvirt.json")
VIR_ERR_NO_NETWORK = 43


def __getattr__(name):
    if name.startswith("VIR_"):
        return 0
    raise AttributeError(name)


class libvirtError(Exception):
    def get_error_code(self):
        return VIR_ERR_NO_NETWORK


class Network:
    def __init__(self, called):
        self.called = called

    def name(self):
        return self.called

    def isActive(self):
        return int(self._all()[self.called]["active"])

    def autostart(self):
        return int(self._all()[self.called]["autostart"])

    def _all(self):
        return json.loads(FILE.read_text())["networks"]

    def _set(self, change):
        state = json.loads(FILE.read_text())
        change(state["networks"])
        FILE.write_text(json.dumps(state))

    def create(self):
        self._set(lambda all: all[self.called].update(active=True))

    def destroy(self):
        self._set(lambda all: all[self.called].update(active=False))

    def setAutostart(self, value):
        self._set(lambda all: all[self.called].update(autostart=bool(value)))

    def undefine(self):
        self._set(lambda all: all.pop(self.called))

    def isPersistent(self):
        return 1

    def bridgeName(self):
        return "virbr0"

    def UUIDString(self):
        return "0"

    def XMLDesc(self, flags):
        return ""

    def DHCPLeases(self):
        return []


class Machine:
    def __init__(self, called):
        self.called = called

    def name(self):
        return self.called

    def info(self):
        return [1, 0, 0, 0, 0]


class Connection:
    def listNetworks(self):
        return list(json.loads(FILE.read_text())["networks"])

    def listDefinedNetworks(self):
        return []

    def networkLookupByName(self, name):
        if name not in self.listNetworks():
            raise libvirtError("no such network")
        return Network(name)

    def networkDefineXML(self, xml):
        Network(xml.strip())._set(lambda all: all.update({{xml.strip(): {{"active": False, "autostart": False}}}}))

    def listAllDomains(self):
        return [Machine(name) for name in json.loads(FILE.read_text())["machines"]]


def open(uri):
    if json.loads(FILE.read_text())["down"]:
        raise libvirtError("Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory")
    return Connection()
'''
LXML = '''"""A double of lxml, which reads nothing."""


class Nothing:
    def xpath(self, path):
        return []


def fromstring(text):
    return Nothing()
'''


class Host:
    """Users, groups and a libvirt of files, and the role on them."""

    def __init__(self, top: Path) -> None:
        self.top, self.record = top, top / "records" / "kvm.json"
        for folder in ("bin", "library/lxml", "units"):
            (top / folder).mkdir(parents=True)
        for name, text in (("getent", GETENT), ("gpasswd", GPASSWD), ("systemctl", SYSTEMCTL)):
            (top / "bin" / name).write_text(text.format(top=top, python=sys.executable))
            (top / "bin" / name).chmod(0o755)
        (top / "library/libvirt.py").write_text(LIBVIRT.format(top=top))
        (top / "library/lxml/__init__.py").write_text("")
        (top / "library/lxml/etree.py").write_text(LXML)
        (top / "virsh").write_text("")
        (top / "units/libvirtd.socket").write_text("")
        self.users("alice", "bob")
        self.groups(libvirt="", kvm="")
        self.libvirt()

    def users(self, *names: str) -> None:
        (self.top / "passwd").write_text("".join(f"{name}:x:100{index}::::/bin/sh\n" for index, name in enumerate(names)))

    def groups(self, **members: str) -> None:
        (self.top / "group").write_text("".join(f"{name}:x:9{index}:{who}\n" for index, (name, who) in enumerate(members.items())))

    def libvirt(self, down: bool = False, networks: dict[str, dict[str, bool]] | None = None, machines: tuple[str, ...] = ()) -> None:
        (self.top / "libvirt.json").write_text(json.dumps({"down": down, "networks": networks or {}, "machines": machines}))

    def was(self, **record: object) -> None:
        """What an earlier run has written down, of a host that had no network."""
        self.record.parent.mkdir()
        self.record.write_text(json.dumps({"networks": {"default": {"defined": False, "active": False, "autostart": False}}, **record}))

    def state(self) -> tuple[str, object]:
        return (self.top / "group").read_text(), json.loads((self.top / "libvirt.json").read_text())["networks"]

    def members(self) -> dict[str, list[str]]:
        return json.loads(self.record.read_text())["members"]

    def run(self, entry: str, *users: str, words: tuple[str, ...] = (), ok: bool = True, **more: object) -> str:
        include = {"ansible.builtin.include_role": {"name": "kjoule.bench.kvm", "tasks_from": entry}}
        (self.top / "play.yml").write_text(
            json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [include]}])
        )
        variables = {
            "ansible_python_interpreter": sys.executable,
            "kvm_users": users,
            "kvm_network_xml": "default",
            "packages_record_dir": str(self.top / "packages"),
            "__kvm_record": str(self.record),
            "__kvm_client": str(self.top / "virsh"),
            "__kvm_unit_folders": [str(self.top / "units"), str(self.top / "no units")],
            **more,
        }
        playbook = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [playbook, "-i", "localhost,", "-e", json.dumps(variables), self.top / "play.yml", *words],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{self.top}/bin:{os.environ['PATH']}",
                "PYTHONPATH": str(self.top / "library"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def changes(said: str) -> int:
    return int(said.rsplit("changed=", 1)[1].split()[0])


def test_a_second_user_extends_the_record_and_both_leave(host):
    before = host.state()
    said = host.run("libvirt", "alice", words=("--check",))
    assert "alice would be put into kvm" in said
    assert host.state() == before
    assert not host.record.exists()
    host.run("libvirt", "alice")
    assert host.state() == ("libvirt:x:90:alice\nkvm:x:91:alice\n", {"default": {"active": True, "autostart": True}})
    host.run("libvirt", "alice", "bob")
    assert host.members() == {"libvirt": ["alice", "bob"], "kvm": ["alice", "bob"]}
    assert changes(host.run("libvirt", "alice", "bob")) == 0
    host.run("remove")
    assert host.state() == before
    assert not host.record.exists()


def test_a_second_network_extends_the_record_and_what_was_there_stays(host):
    there = {"default": {"active": True, "autostart": False}}
    host.libvirt(networks=there)
    host.groups(libvirt="bob", kvm="")
    before = host.state()
    host.run("libvirt", "bob")
    host.run("libvirt", "bob", kvm_network="second", kvm_network_xml="second")
    assert host.members() == {"libvirt": [], "kvm": ["bob"]}
    host.run("remove")
    assert host.state() == before


def test_who_has_left_and_what_is_gone_counts_as_gone(host):
    host.was(members={"libvirt": ["alice", "bob"], "kvm": ["alice", "bob"]})
    host.groups(libvirt="bob,carol", kvm="bob")  # alice has left
    host.users("carol")  # bob is no user any more, and his name has stayed in the groups
    host.run("remove")  # the network is undefined
    assert host.state() == ("libvirt:x:90:carol\nkvm:x:91:\n", {})
    assert not host.record.exists()


def test_a_libvirt_that_is_down_costs_nothing_of_the_record(host):
    host.was(members={"libvirt": ["alice"], "kvm": []})
    host.groups(libvirt="alice", kvm="")
    host.libvirt(down=True, networks={"default": {"active": True, "autostart": True}})
    kept = host.record.read_text()
    said = host.run("remove", ok=False)
    assert "libvirt does not answer on localhost: expected qemu:///system" in said
    assert "Failed to connect socket" in said
    assert "Next: systemctl start libvirtd.socket, and run this again" in said
    assert host.record.read_text() == kept


def test_modular_daemons_that_are_down_are_named(host):
    host.was(members={"libvirt": [], "kvm": []})
    host.libvirt(down=True)
    (host.top / "units/virtqemud.socket").write_text("")
    assert "Next: systemctl start virtqemud.socket virtnetworkd.socket" in host.run("remove", ok=False)


@pytest.mark.parametrize("gone", ["virsh", "units/libvirtd.socket"])
def test_where_libvirt_is_gone_the_users_still_leave(host, gone):
    host.was(members={"libvirt": ["alice"], "kvm": []})
    host.groups(libvirt="alice", kvm="alice")
    host.libvirt(down=True)
    (host.top / gone).unlink()
    host.run("remove")
    assert host.state()[0] == "libvirt:x:90:\nkvm:x:91:alice\n"
    assert not host.record.exists()


def test_a_record_of_an_earlier_version_is_understood(host):
    host.groups(libvirt="alice", kvm="alice")
    host.libvirt(networks={"default": {"active": True, "autostart": True}})
    host.record.parent.mkdir()
    early = {"network": "default", "defined": True, "active": True, "autostart": False, "members": {"libvirt": ["alice"], "kvm": []}}
    host.record.write_text(json.dumps(early))
    host.run("libvirt", "alice", "bob")
    assert host.members() == {"libvirt": ["alice", "bob"], "kvm": ["bob"]}
    host.run("remove")
    assert host.state() == ("libvirt:x:90:\nkvm:x:91:alice\n", {"default": {"active": True, "autostart": False}})


def test_a_misspelt_user_is_refused_before_anything_is_done(host):
    before = host.state()
    said = host.run("main", "alice", "bbo", ok=False)
    assert "kvm_users names who is no user of localhost: expected users that are there, saw bbo. Next: correct the name" in said
    assert changes(said) == 0
    assert host.state() == before


@pytest.mark.parametrize(
    "text", ["<network>\n<name> second </name></network>", "<network><!-- <name>default</name> --><name>second</name></network>"]
)
def test_a_definition_of_another_network_is_refused_before_anything_is_done(host, text):
    before = host.state()
    said = host.run("main", "alice", ok=False, kvm_network_xml=text)
    assert (
        "kvm_network_xml defines another network than kvm_network names: expected default, saw second. Next: set kvm_network to second"
        in said
    )
    assert changes(said) == 0
    assert host.state() == before
    said = host.run("main", "nobody-there", ok=False, kvm_network_xml=text, kvm_network="second")
    assert "kvm_users names who is no user" in said


def test_the_networks_definition_is_wherever_it_is(host):
    shipped = host.top / "second.xml"
    places = {"kvm_network_xml": "", "__kvm_network_files": [str(host.top / "first.xml"), str(shipped)]}
    said = host.run("libvirt", ok=False, **places)
    assert f"has no network default, and ships none: expected {host.top}/first.xml or {shipped}, saw neither. Next: " in said
    assert not host.record.exists()
    shipped.write_text("default\n")
    host.run("libvirt", **places)
    assert host.state()[1] == {"default": {"active": True, "autostart": True}}
