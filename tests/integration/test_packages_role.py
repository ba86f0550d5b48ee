# SPDX-License-Identifier: GPL-3.0-or-later
"""The role packages with the real apt and dpkg, which keep their books in a folder of the test. No package of this machine is touched.

apt-get is a wrapper around the real one, which first does what the test has put into a file: where another apt, or a cut, would come in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, ("apt-get", "dpkg-deb"))), reason="needs root, apt-get and dpkg-deb"),
]
ROOT = Path(__file__).resolve().parents[2]

#: Name, what it depends on. All of them are made for the test; the names are nobody's.
PACKAGES = {
    "dpkg": "",  # the host's own, by its name only
    "kjoule-t-base": "",
    "kjoule-t-part": "",
    "kjoule-t-tool": "kjoule-t-part",
    "kjoule-t-foreign": "",
    "kjoule-t-guest": "kjoule-t-part",
    "kjoule-t-rival": "",
    "kjoule-t-left": "",
    "kjoule-t-right": "",
    "kjoule-t-either": "kjoule-t-left | kjoule-t-right",
    "kjoule-t-broken": "kjoule-t-part",
    "kjoule-t-set": "",  # has settings, in /etc
}
DOUBLE = """#!/bin/bash
# A double of apt-get: the real one, and once, before it looks for another apt (.check) or installs (.install), what is in that file.
case " $* " in *' --simulate '*) at=;; *' check '*) at=check ;; *' install '*) at=install ;; esac
if [ -n "$at" ] && [ -e {hook}.$at ]; then mv {hook}.$at {hook}.done; . {hook}.done; fi
exec {real} "$@"
"""


class Host:
    """A root folder with its own dpkg and apt, a repository, and the role on it."""

    def __init__(self, top: Path) -> None:
        self.top, self.root, self.repository, self.records = top, top / "root", top / "repository", top / "records"
        self.record = top / "records" / "lab.json"
        admin = self.root / "var/lib/dpkg"
        for folder in (
            admin / "updates",
            admin / "info",
            self.repository,
            top / "etc/apt.conf.d",
            top / "etc/preferences.d",
            top / "lists/partial",
            top / "cache/archives/partial",
            top / "bin",
        ):
            folder.mkdir(parents=True)
        (admin / "status").write_text("")
        (top / "sources.list").write_text(f"deb [trusted=yes] copy:{self.repository} ./\n")
        (top / "apt.conf").write_text(
            f"""
            Dir "{top}"; Dir::Etc "{top}/etc"; Dir::Etc::sourcelist "{top}/sources.list"; Dir::Etc::parts "{top}/etc/apt.conf.d";
            Dir::State "{top}"; Dir::State::status "{admin}/status"; Dir::State::lists "{top}/lists"; Dir::Cache "{top}/cache";
            Dir::Log "{top}";
            Dir::Bin::methods "/usr/lib/apt/methods"; Dir::Bin::dpkg "/usr/bin/dpkg"; APT::Architecture "all"; APT::Sandbox::User "root";
            DPkg::Options {{ "--root={self.root}"; "--force-script-chrootless"; "--log={top}/dpkg.log"; }};
            Dpkg::Use-Pty "false"; #clear DPkg::Pre-Install-Pkgs; #clear DPkg::Post-Invoke; #clear APT::Update::Post-Invoke-Success;
            """
        )
        wrapper = top / "bin/apt-get"
        wrapper.write_text(DOUBLE.format(hook=top / "hook", real=shutil.which("apt-get")))
        wrapper.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{top}/bin:{os.environ['PATH']}",
            "APT_CONFIG": str(top / "apt.conf"),
            "DPKG_ADMINDIR": str(admin),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
        }
        self.publish()
        self.dpkg("install", "base")
        self.dpkg("install", "dpkg")

    def build(self, name: str, depends: str = "", conflicts: str = "", file: str = "") -> None:
        tree = self.top / "trees" / name
        (tree / "DEBIAN").mkdir(parents=True)
        place = tree / "opt" / (file or name)
        place.parent.mkdir()
        place.write_text(name)
        if name == "kjoule-t-set":
            (tree / "etc").mkdir()
            (tree / "etc/kjoule-t-set.conf").write_text("shipped")
            (tree / "DEBIAN/conffiles").write_text("/etc/kjoule-t-set.conf\n")
        provides = "kjoule-t-virtual" if name == "kjoule-t-part" else ""
        fields = (("Depends", depends), ("Conflicts", conflicts), ("Provides", provides))
        more = "".join(f"{field}: {value}\n" for field, value in fields if value)
        (tree / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: made for a test\n{more}"
        )
        subprocess.run(["dpkg-deb", "--build", tree, self.repository / f"{name}.deb"], check=True, capture_output=True)

    def publish(self) -> None:
        for name, depends in PACKAGES.items():
            # Two packages with one file: the second fails while it is unpacked.
            self.build(
                name, depends, "kjoule-t-base" if name == "kjoule-t-rival" else "", "kjoule-t-base" if name == "kjoule-t-broken" else ""
            )
        index = ""
        for archive in sorted(self.repository.glob("*.deb")):
            control = subprocess.run(["dpkg-deb", "--field", archive], check=True, capture_output=True, text=True).stdout
            content = archive.read_bytes()
            index += f"{control}Filename: ./{archive.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        (self.repository / "Packages").write_text(index)

    def by_hand(self, action: str, name: str) -> list[str]:
        """The command with which somebody else installs or removes a package, past the role."""
        name = name if name == "dpkg" else f"kjoule-t-{name}"
        what = str(self.repository / f"{name}.deb") if action in ("install", "unpack") else name
        return ["dpkg", f"--root={self.root}", f"--log={self.top}/dpkg.log", "--force-script-chrootless", f"--{action}", what]

    def dpkg(self, action: str, name: str) -> None:
        subprocess.run(self.by_hand(action, name), check=True, capture_output=True)

    def meanwhile(self, at: str, command: str) -> None:
        """What happens just before apt-get is asked that."""
        with (self.top / f"hook.{at}").open("a") as hook:
            hook.write(f"{command}\n")

    def tear(self, name: str) -> None:
        """As a power cut in the middle of dpkg leaves it: a package that is half there, and a journal that is not worked off."""
        admin = self.root / "var/lib/dpkg"
        status = (admin / "status").read_text()
        torn = re.sub(rf"(Package: kjoule-t-{name}\nStatus: install) ok (unpacked|installed)\n", r"\1 reinstreq half-installed\n", status)
        assert torn != status
        (admin / "status").write_text(torn)
        entry = next(text for text in (admin / "status").read_text().split("\n\n") if text.startswith("Package: kjoule-t-base\n"))
        (admin / "updates/0000").write_text(entry + "\n")

    def there(self) -> set[str]:
        query = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package}\\n"]
        lines = subprocess.run(query, check=True, capture_output=True, text=True, env=self.environment).stdout.splitlines()
        return {line.split()[-1].removeprefix("kjoule-t-") for line in lines if line[1] not in "nc"}

    def recorded(self) -> set[str]:
        return {name.removeprefix("kjoule-t-") for name in json.loads(self.record.read_text())} if self.record.exists() else set()

    def command(self, entry: str, names: tuple[str, ...], *words: str) -> list[str]:
        play = self.top / "play.yml"
        include = {"ansible.builtin.include_role": {"name": "kjoule.bench.packages", "tasks_from": entry}}
        play.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [include]}]))
        variables = {
            "ansible_python_interpreter": sys.executable,
            "packages_names": [f"kjoule-t-{name}" for name in names],
            "packages_owner": "lab",
            "packages_free_mb": 1,
            "packages_record_dir": str(self.records),
            "__packages_dpkg_updates": str(self.root / "var/lib/dpkg/updates"),
        }
        return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-e", json.dumps(variables), str(play), *words]

    def run(self, entry: str, *names: str, words: tuple[str, ...] = (), ok: bool = True) -> str:
        done = subprocess.run(
            self.command(entry, names, *words),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout

    def cut_off(self, *names: str) -> None:
        """Starts the role, and kills it where the hook says so."""
        mark = self.top / "mark"
        self.meanwhile("install", f"touch {mark}; while [ -e {mark} ]; do sleep 0.1; done; exit 1")
        with subprocess.Popen(
            self.command("main", names),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as run:
            limit = time.monotonic() + 300
            while not mark.exists() and run.poll() is None and time.monotonic() < limit:
                time.sleep(0.1)
            assert mark.exists()
            run.send_signal(signal.SIGKILL)
        mark.unlink()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def changes(said: str) -> int:
    return int(said.rsplit("changed=", 1)[1].split()[0])


def test_what_came_is_on_record_and_goes(host):
    before = host.there()
    assert "kjoule-t-tool" in host.run("main", "tool", words=("--check",))
    assert not host.records.exists()
    host.run("main", "tool")
    assert host.there() == before | {"tool", "part"}
    assert host.recorded() == {"tool", "part"}
    assert changes(host.run("main", "tool")) == 0
    host.run("remove", words=("--check",))
    assert host.recorded() == {"tool", "part"}
    host.run("remove")
    assert host.there() == before
    assert not host.record.exists()
    assert changes(host.run("remove")) == 0


@pytest.mark.parametrize("then", ["teardown", "again", "torn"])
def test_a_run_that_is_cut_off_leaves_a_teardown_that_puts_things_back(host, then):
    before = host.there()
    host.meanwhile("install", shlex.join(host.by_hand("unpack", "part")))  # half of what apt does
    host.cut_off("tool")
    assert host.there() == before | {"part"}
    assert host.recorded() == {"tool", "part"}
    if then == "again":
        host.run("main", "tool")
        assert host.there() == before | {"tool", "part"}
        assert host.recorded() == {"tool", "part"}
    if then == "torn":
        host.tear("part")
    host.run("remove")
    assert host.there() == before
    assert not host.record.exists()


@pytest.mark.parametrize("archive", ["to be had", "not to be had"])
def test_what_a_later_upgrade_left_torn_stays_where_others_need_it(host, archive):
    before = host.there()
    host.run("main", "tool")
    host.dpkg("install", "guest")
    host.tear("part")
    if archive == "not to be had":  # apt refuses to do anything then
        (host.repository / "Packages").write_text("")
        subprocess.run(["apt-get", "update"], check=True, capture_output=True, env=host.environment)
    assert "kjoule-t-tool" in host.run("remove", words=("--check",))
    assert host.there() == before | {"tool", "part", "guest"}
    said = " ".join(host.run("remove").split())
    assert "there stays on localhost: kjoule-t-part. Expected that nothing else needs it, saw kjoule-t-guest" in said
    assert "Next: apt-get install --reinstall kjoule-t-part, in the middle of which dpkg was cut off; once nothing else needs it" in said
    assert host.there() == before | {"part", "guest"}
    assert host.recorded() == {"part"}
    host.dpkg("remove", "guest")
    assert "kjoule-t-part" in host.run("remove", words=("--check",))
    host.run("remove")
    assert host.there() == before
    assert not host.record.exists()


def test_what_is_there_under_another_name_is_there(host):
    before = host.there()
    assert changes(host.run("main", "virtual", "tool=1", words=("--check",))) == 1
    host.run("main", "virtual", "tool=1")
    assert host.there() == before | {"tool", "part"}
    assert host.recorded() == {"tool", "part"}
    assert changes(host.run("main", "virtual", "tool=1")) == 0
    assert changes(host.run("main", "virtual", "tool=1", words=("--check",))) == 0
    host.run("remove")
    assert host.there() == before


def test_what_a_run_that_was_cut_off_did_not_bring_is_not_ours_later(host):
    before = host.there()
    host.cut_off("tool")
    assert host.recorded() == {"tool", "part"}
    host.meanwhile("install", shlex.join(host.by_hand("install", "part")))
    host.run("main", "foreign")
    assert host.recorded() == {"foreign"}
    host.run("remove")
    assert host.there() == before | {"part"}


def test_settings_that_an_admin_has_left_stay(host):
    settings = host.root / "etc/kjoule-t-set.conf"
    host.dpkg("install", "set")
    settings.write_text("mine")
    host.dpkg("remove", "set")
    before = host.there()
    host.run("main", "set", "tool")
    assert host.recorded() == {"set", "tool", "part"}
    host.run("remove")
    assert host.there() == before
    assert settings.read_text() == "mine"
    assert not list(host.records.iterdir())
    host.dpkg("purge", "set")
    host.run("main", "set")
    host.run("remove")
    assert host.there() == before
    assert not settings.exists()


def test_an_installation_that_fails_leaves_on_record_what_it_brought(host):
    before = host.there()
    said = host.run("main", "broken", ok=False)
    assert "kjoule-t-broken could not be installed" in said
    assert host.recorded() == host.there() - before == {"part"}
    host.run("remove")
    assert host.there() == before


def test_what_another_brings_meanwhile_is_not_ours(host):
    before = host.there()
    host.meanwhile("check", shlex.join(host.by_hand("install", "part")))  # by unattended-upgrades, whose end the role waits for
    host.meanwhile("install", shlex.join(host.by_hand("install", "foreign")))
    host.run("main", "tool")
    assert host.there() == before | {"tool", "part", "foreign"}
    assert host.recorded() == {"tool"}
    host.run("remove")
    assert host.there() == before | {"part", "foreign"}


def test_what_others_need_stays_and_is_named(host):
    before = host.there()
    host.run("main", "tool")
    host.dpkg("install", "guest")
    said = host.run("remove")
    assert "there stays on localhost: kjoule-t-part. Expected" in said
    assert "saw kjoule-t-guest" in said
    assert host.there() == before | {"part", "guest"}
    assert host.recorded() == {"part"}
    host.dpkg("remove", "guest")
    host.run("remove")
    assert host.there() == before
    assert not host.record.exists()


def test_what_others_need_stays_where_the_host_purges_by_itself(host):
    before = host.there()
    (host.top / "etc/apt.conf.d/purge").write_text('APT::Get::Purge "true";\n')
    host.run("main", "tool")
    host.dpkg("install", "guest")
    assert "saw kjoule-t-guest" in host.run("remove")
    assert host.there() == before | {"part", "guest"}
    assert "saw that apt would remove kjoule-t-base" in host.run("main", "rival", ok=False)


def test_of_two_that_another_needs_one_of_none_goes(host):
    before = host.there()
    host.run("main", "left", "right")
    host.dpkg("install", "either")
    assert "kjoule-t-either" in host.run("remove")
    assert host.there() == before | {"left", "right", "either"}
    assert host.recorded() == {"left", "right"}


def test_nothing_of_the_host_goes_for_it(host):
    before = host.there()
    said = host.run("main", "rival", ok=False)
    assert (
        "kjoule-t-rival may not be installed: expected nothing to be removed for it, saw that apt would remove kjoule-t-base. Next: "
        in said
    )
    assert host.there() == before
    assert not host.record.exists()
