# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments come, stay, and go, and what was there before is there again to the byte. Every boot loader, in a directory tree."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Callable

import pytest
import trees
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.kernel import arguments as kernel
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.arguments import absent, present
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.files import RECORD_DIRECTORY, Record
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.loaders import DROP_IN, Line, detect
from ansible_collections.kjoule.bench.plugins.module_utils.kernel.removed import REMOVED

WANTED = ["systemd.unified_cgroup_hierarchy=1", "cgroup_no_v1=all", "psi=1"]
HOSTS: dict[str, Callable[[Path], Path]] = {
    "grub": trees.grub,
    "grub without drop-ins": lambda root: trees.grub(root, drop_ins=False),
    "grubby": trees.red_hat,
    "grubby with kernelopts": lambda root: trees.red_hat(root, "$kernelopts $tuned_params"),
    "systemd-boot": trees.systemd_boot,
    "systemd-boot in /boot": lambda root: trees.systemd_boot(root, "/boot"),
    "extlinux": trees.extlinux,
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return HOSTS[request.param](tmp_path)


def in_every_entry(root: Path, words: list[str]) -> bool:
    lines = detect(str(root)).lines()
    assert lines
    return all(line.words.count(word) == 1 for line in lines for word in words)


def test_checked_made_kept_and_taken_back(host: Path) -> None:
    """The life of an argument: predicted, there once in every entry, not touched again, and gone without a trace."""
    before, tools = trees.contents(host), trees.Tools(host)
    predicted = present(str(host), WANTED, check=True, run=tools)
    assert predicted.changed
    assert predicted.configured[-3:] == WANTED
    assert (trees.contents(host), tools.calls) == (before, [])

    made = present(str(host), WANTED, run=tools)
    assert made.changed
    assert [change.path for change in made.changes] == [change.path for change in predicted.changes]
    assert in_every_entry(host, WANTED)
    assert made.reboot_required
    assert sorted(made.configured) == sorted(predicted.configured)  # GRUB has an order of its own

    after = trees.contents(host)
    calls = len(tools.calls)
    again = present(str(host), WANTED, run=tools)
    assert (again.changed, again.changes, again.commands) == (False, [], [])
    assert (trees.contents(host), len(tools.calls)) == (after, calls)

    foretold = absent(str(host), check=True, run=tools)
    assert foretold.changed
    assert trees.contents(host) == after
    gone = absent(str(host), run=tools)
    assert gone.changed
    assert trees.contents(host) == before
    assert not absent(str(host), run=tools).changed


def test_what_is_predicted_for_a_file_is_what_is_written(host: Path) -> None:
    predicted = {change.path: change.after for change in present(str(host), WANTED, check=True).changes}
    assert predicted
    present(str(host), WANTED, run=trees.Tools(host))
    if detect(str(host)).name != "grubby":  # its prediction shows variables with their values
        for path, after in predicted.items():
            assert (host / path.lstrip("/")).read_bytes() == after, path


def test_an_argument_that_was_there_stays_when_the_others_go(host: Path) -> None:
    tools = trees.Tools(host)
    there = detect(str(host)).lines()[0].words[-1]
    present(str(host), [there, "psi=1"], run=tools)
    absent(str(host), run=tools)
    assert there in detect(str(host)).lines()[0].words


def test_what_is_wanted_no_more_goes_and_what_is_new_comes(host: Path) -> None:
    before, tools = trees.contents(host), trees.Tools(host)
    present(str(host), ["psi=1", "audit=0"], run=tools)
    changed = present(str(host), ["psi=1", "mitigations=auto"], run=tools)
    assert changed.changed
    words = detect(str(host)).lines()[0].words
    assert ("audit=0" in words, "mitigations=auto" in words, words.count("psi=1")) == (False, True, 1)
    assert Record(str(host)).arguments == ["psi=1", "mitigations=auto"]
    assert not present(str(host), ["psi=1", "mitigations=auto"], run=tools).changed
    absent(str(host), run=tools)
    assert trees.contents(host) == before


EDITED = {
    "grub": ["/etc/default/grub"],
    "grubby": ["/etc/kernel/cmdline", "/boot/grub2/grubenv", "/boot/loader/entries/0a1b-5.14.0-427.el9.x86_64.conf"],
    "systemd-boot": ["/etc/kernel/cmdline", "{top}/loader/entries/arch.conf"],
    "extlinux": ["/boot/extlinux/extlinux.conf", "/etc/default/u-boot"],
}


@pytest.mark.parametrize("later", [[], [["psi=1"]], [[*WANTED, "audit=0"]], [[*WANTED, "audit=0"], [*WANTED, "mitigations=auto"]]])
def test_nobody_elses_edit_is_lost(host: Path, later: list[list[str]]) -> None:
    """A file edited after the change loses the arguments and keeps the edit, whatever is changed after it."""
    before, tools = trees.contents(host), trees.Tools(host)
    present(str(host), WANTED, run=tools)
    loader = detect(str(host))
    paths = [host / name.format(top=getattr(loader, "top", "")).lstrip("/") for name in EDITED[loader.name]]
    for path in paths:
        path.write_text("# mine\n" + path.read_text())
    for wanted in later:
        present(str(host), wanted, run=tools)
        assert in_every_entry(host, wanted)
    absent(str(host), run=tools)
    for path in paths:
        text = path.read_text()
        assert text.startswith("# mine\n"), path
        words = before[str(path.relative_to(host))][0].decode().split()
        assert text.removeprefix("# mine\n").split() == words, path
    untouched = {name: data for name, data in trees.contents(host).items() if host / name not in paths}
    assert untouched == {name: data for name, data in before.items() if host / name not in paths}


KERNELS = {
    "grubby": "boot/loader/entries/0a1b-5.14.0-427.el9.x86_64.conf",
    "grubby with kernelopts": "boot/loader/entries/0a1b-5.14.0-427.el9.x86_64.conf",
    "systemd-boot": "efi/loader/entries/lts.conf",
    "systemd-boot in /boot": "boot/loader/entries/arch.conf",
}


@pytest.mark.parametrize(("host", "entry"), list(KERNELS.items()), indirect=["host"])
@pytest.mark.parametrize("later", [[], [["psi=1", "audit=0"]], [["psi=1", "audit=0"], ["audit=0"]]])
def test_the_entry_of_a_kernel_that_was_removed_does_not_come_back(host: Path, entry: str, later: list[list[str]]) -> None:
    before, tools = trees.contents(host), trees.Tools(host)
    present(str(host), ["psi=1"], run=tools)
    (host / entry).unlink()
    for wanted in later:
        assert present(str(host), wanted, run=tools).changed
    absent(str(host), run=tools)
    del before[entry]
    assert trees.contents(host) == before


@pytest.mark.parametrize(("host", "entry"), list(KERNELS.items()), indirect=["host"])
@pytest.mark.parametrize("later", [["psi=1", "audit=0"], ["audit=0"]])
@pytest.mark.parametrize("edited", [False, True])
def test_the_entry_of_a_kernel_that_came_since_loses_the_arguments(host: Path, entry: str, later: list[str], edited: bool) -> None:
    """It was made with them, from what later kernels start with. The spaces in it are kept where nobody had an argument."""
    tools = trees.Tools(host)
    present(str(host), ["psi=1"], run=tools)
    text = (host / entry).read_text().replace("quiet \n", "quiet\n")
    assert "psi=1" in text
    for name, content in {"new": text, "theirs": text.replace(" psi=1", "  theirs")}.items():
        trees.put(host, f"{Path(entry).parent}/{name}.conf", content)
    assert present(str(host), later, run=tools).changed
    assert in_every_entry(host, later)
    new = host / entry.replace(Path(entry).name, "new.conf")
    if edited:
        new.write_text("# mine\n" + new.read_text())
    absent(str(host), run=tools)
    assert new.read_text().split() == ("# mine\n" * edited + text.replace(" psi=1", "")).split()
    assert new.with_name("theirs.conf").read_text() == text.replace(" psi=1", "  theirs")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("grubby", "/etc/kernel/cmdline"),
        ("grubby with kernelopts", "/etc/kernel/cmdline"),
        ("systemd-boot", "/etc/kernel/cmdline"),
        ("extlinux", "/etc/default/u-boot"),
    ],
    indirect=["host"],
)
def test_a_file_that_was_made_since_with_the_arguments_in_it_loses_them(host: Path, path: str) -> None:
    """As grubby makes /etc/kernel/cmdline where there is none."""
    tools, place = trees.Tools(host), host / path.lstrip("/")
    text = place.read_text()
    place.unlink()
    present(str(host), ["psi=1"], run=tools)
    words = re.compile(r"(root=UUID=abc|ro quiet)")
    place.write_text(words.sub(r"\1 psi=1", text))
    assert present(str(host), ["psi=1", "audit=0"], run=tools).changed
    absent(str(host), run=tools)
    assert place.read_text() == text


@pytest.mark.parametrize(("host", "entry"), list(KERNELS.items()), indirect=["host"])
def test_a_file_of_which_an_earlier_version_noted_nothing_loses_only_the_arguments(host: Path, entry: str) -> None:
    """It wrote null for a file that was gone, and for every file until it had finished."""
    before, tools = trees.contents(host), trees.Tools(host)
    present(str(host), ["psi=1"], run=tools)
    path = host / RECORD_DIRECTORY.lstrip("/") / "record.json"
    data = json.loads(path.read_text())
    for known in data["files"].values():
        known["written_sha256"] = None
    path.write_text(json.dumps(data))
    (host / entry).unlink()
    absent(str(host), run=tools)
    del before[entry]
    after = trees.contents(host)
    assert sorted(after) == sorted(before)
    assert b"psi=1" not in b"".join(content for content, _mode in after.values())


def test_a_file_whose_copy_is_lost_is_not_removed(host: Path) -> None:
    """As after a teardown by an earlier version that was cut off while it removed the copies, and the record not yet."""
    before, tools = trees.contents(host), trees.Tools(host)
    present(str(host), ["psi=1"], run=tools)
    shutil.rmtree(host / RECORD_DIRECTORY.lstrip("/") / "originals", ignore_errors=True)
    absent(str(host), run=tools)
    after = trees.contents(host)
    assert sorted(after) == sorted(before)
    assert b"psi=1" not in b"".join(content for content, _mode in after.values())


@pytest.mark.parametrize("host", ["extlinux"], indirect=True)
def test_the_kernel_that_a_tool_has_put_there_since_stays(host: Path) -> None:
    """u-boot-update writes extlinux.conf again for every new kernel."""
    before, tools = trees.contents(host), trees.Tools(host)
    path = host / "boot/extlinux/extlinux.conf"
    present(str(host), ["psi=1"], run=tools)
    path.write_text(path.read_text().replace("vmlinuz", "vmlinuz-NEW"))
    present(str(host), ["psi=1", "audit=0"], run=tools)
    absent(str(host), run=tools)
    old = before["boot/extlinux/extlinux.conf"][0].decode()
    assert path.read_text().split() == old.replace("vmlinuz", "vmlinuz-NEW").split()


WITH_TOOLS = [name for name in HOSTS if name.startswith("grub")]


@pytest.mark.parametrize("host", WITH_TOOLS, indirect=True)
def test_a_tool_that_fails_leaves_everything_as_it_was(host: Path) -> None:
    before = trees.contents(host)
    for tools in (trees.Tools(host, broken=True), trees.Tools(host, deaf=True)):
        with pytest.raises(KjouleError, match=r"No space left on device|not as they were to be"):
            present(str(host), WANTED, run=tools)
        assert tools.calls
        assert trees.contents(host) == before


@pytest.mark.parametrize("host", WITH_TOOLS, indirect=True)
def test_what_could_not_be_added_is_not_ours_to_take_out(host: Path) -> None:
    present(str(host), ["audit=0"], run=trees.Tools(host))
    before = trees.contents(host)
    with pytest.raises(KjouleError, match="No space left on device"):
        present(str(host), ["audit=0", "psi=1"], run=trees.Tools(host, broken=True))
    assert trees.contents(host) == before
    assert Record(str(host)).arguments == ["audit=0"]


@pytest.mark.parametrize("host", WITH_TOOLS, indirect=True)
def test_a_tool_that_fails_on_the_way_back_leaves_the_arguments(host: Path) -> None:
    present(str(host), WANTED, run=trees.Tools(host))
    after = trees.contents(host)
    with pytest.raises(KjouleError, match="failed"):
        absent(str(host), run=trees.Tools(host, broken=True))
    assert trees.contents(host) == after


def test_cgroup_v1_forced_by_somebody_is_an_error_that_names_the_file(host: Path) -> None:
    loader = detect(str(host))
    files = {
        "grub": "/etc/default/grub",
        "grubby": "/boot/loader/entries/0a1b-5.14.0-503.el9.x86_64.conf",
        "extlinux": "/boot/extlinux/extlinux.conf",
    }
    name = files.get(loader.name) or loader.lines()[0].path
    path = host / name.lstrip("/")
    forced = "systemd.unified_cgroup_hierarchy=0"
    path.write_text(
        path.read_text()
        .replace("console=ttyS0", forced)
        .replace("quiet", forced, 1)
        .replace("options root", f"options {forced} root")
        .replace("$kernelopts", f"{forced} $kernelopts")
    )
    before = trees.contents(host)
    for check in (True, False):
        with pytest.raises(KjouleError, match=f"{forced}.*{name}"):
            present(str(host), WANTED, check=check, run=trees.Tools(host))
    assert trees.contents(host) == before


def test_reboot_is_required_until_the_kernel_has_them(host: Path) -> None:
    tools = trees.Tools(host)
    assert present(str(host), WANTED, check=True, run=tools).reboot_required
    present(str(host), WANTED, run=tools)
    (host / "proc/cmdline").write_text("root=UUID=abc " + " ".join(WANTED) + "\n")
    assert not present(str(host), WANTED, run=tools).reboot_required
    assert absent(str(host), run=tools).reboot_required


GRUBS = ["grub", "grub without drop-ins"]


def edit_grub(root: Path, old: str, new: str) -> None:
    path = root / "etc/default/grub"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("host", GRUBS, indirect=True)
@pytest.mark.parametrize(("old", "new"), [('DEFAULT="', 'DEFAULT="psi=1 '), ("LINUX='", "LINUX='psi=1 "), ('LINUX="', 'LINUX="psi=1 ')])
@pytest.mark.parametrize("menu", ["made", "not made"])
def test_what_the_administrator_adds_as_well_stays_and_is_told(host: Path, old: str, new: str, menu: str) -> None:
    """The same word, in either of GRUB's variables, after ours: ours goes, theirs stays, and nothing fails."""
    if old == 'LINUX="':
        edit_grub(host, "LINUX='console=ttyS0'", 'LINUX="console=ttyS0"')
    tools = trees.Tools(host)
    boot(host, "one")
    present(str(host), WANTED, run=tools)
    edit_grub(host, old, new)
    theirs = trees.contents(host)["etc/default/grub"][0].decode().replace(" " + " ".join(WANTED), "")
    if menu == "made":
        tools(["/usr/sbin/update-grub"])
        boot(host, "two")
    for check in (True, False):
        gone = absent(str(host), check=check, run=tools)
        assert gone.changed
        assert gone.kept == [Line("/etc/default/grub", ["psi=1"])]
        assert gone.reboot_required is (menu == "made")
        assert ("psi=1" in gone.configured, "cgroup_no_v1=all" in gone.configured) == (True, False)
    assert (host / "etc/default/grub").read_text() == theirs
    assert not (host / DROP_IN.lstrip("/")).exists()
    assert [line.words.count("psi=1") for line in detect(str(host)).lines()] == [1]
    assert not absent(str(host), run=tools).changed
    if menu == "made":
        assert absent(str(host), run=tools).reboot_required, "for the others"


@pytest.mark.parametrize("host", GRUBS, indirect=True)
@pytest.mark.parametrize(("old", "new"), [('DEFAULT="', 'DEFAULT="psi=1 '), ("LINUX='", "LINUX='psi=1 ")])
@pytest.mark.parametrize("menu", ["made", "not made"])
def test_what_the_administrator_had_before_is_not_put_there_again(host: Path, old: str, new: str, menu: str) -> None:
    """Also where the menu was not made since they wrote it."""
    tools = trees.Tools(host)
    edit_grub(host, old, new)
    if menu == "made":
        tools(["/usr/sbin/update-grub"])
    before = trees.contents(host)["etc/default/grub"][0]
    present(str(host), WANTED, run=tools)
    assert in_every_entry(host, WANTED)
    assert Record(str(host)).arguments == WANTED[:-1]
    assert not present(str(host), WANTED, run=tools).changed
    edit_grub(host, "GRUB_DEFAULT=0", "GRUB_DEFAULT=1")
    assert absent(str(host), run=tools).kept == [], "it was never ours"
    assert trees.contents(host)["etc/default/grub"][0] == before.replace(b"GRUB_DEFAULT=0", b"GRUB_DEFAULT=1")
    assert in_every_entry(host, ["psi=1"])


@pytest.mark.parametrize("host", GRUBS, indirect=True)
def test_what_is_wanted_no_more_stays_where_the_administrator_has_it(host: Path) -> None:
    tools = trees.Tools(host)
    present(str(host), ["audit=0", "psi=1"], run=tools)
    edit_grub(host, 'DEFAULT="', 'DEFAULT="audit=0 ')
    changed = present(str(host), ["psi=1"], run=tools)
    assert (changed.changed, changed.kept) == (True, [Line("/etc/default/grub", ["audit=0"])])
    assert Record(str(host)).arguments == ["psi=1"]
    assert not present(str(host), ["psi=1"], run=tools).changed
    assert detect(str(host)).lines()[0].words.count("audit=0") == 1


@pytest.mark.parametrize("host", GRUBS, indirect=True)
def test_what_was_ours_contradicts_where_the_administrator_has_it_too(host: Path) -> None:
    tools = trees.Tools(host)
    present(str(host), ["audit=0"], run=tools)
    assert present(str(host), ["audit=1"], check=True, run=tools).changed
    edit_grub(host, 'DEFAULT="', 'DEFAULT="audit=0 ')
    before = trees.contents(host)
    with pytest.raises(KjouleError, match=r"audit=0 contradicts audit=1.*/etc/default/grub"):
        present(str(host), ["audit=1"], run=tools)
    assert trees.contents(host) == before


@pytest.mark.parametrize("host", GRUBS, indirect=True)
def test_an_argument_that_nobody_has_and_stays_in_the_menu_is_an_error(host: Path) -> None:
    present(str(host), ["audit=0"], run=trees.Tools(host))
    after = trees.contents(host)
    with pytest.raises(KjouleError, match="not as they were to be: expected no audit=0"):
        absent(str(host), run=trees.Tools(host, deaf=True))
    assert trees.contents(host) == after


def test_words_of_an_assignment_that_another_replaces_do_not_count(tmp_path: Path) -> None:
    """Ubuntu's images for clouds set GRUB_CMDLINE_LINUX_DEFAULT a second time, in a drop-in."""
    root, tools = trees.grub(tmp_path, trees.GRUB_DEFAULTS.replace("quiet  splash", "psi=1")), trees.Tools(tmp_path)
    trees.put(root, "/etc/default/grub.d/50-cloudimg-settings.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1"\n')
    tools(["/usr/sbin/update-grub"])
    before = trees.contents(root)
    present(str(root), ["psi=1"], run=tools)
    assert in_every_entry(root, ["psi=1"])
    assert absent(str(root), run=tools).kept == []
    assert trees.contents(root) == before


PLACES = {
    "grubby": "boot/loader/entries/0a1b-5.14.0-427.el9.x86_64.conf",
    "systemd-boot": "efi/loader/entries/arch.conf",
    "systemd-boot in /boot": "etc/kernel/cmdline",
    "extlinux": "etc/default/u-boot",
}


@pytest.mark.parametrize(("host", "place"), list(PLACES.items()), indirect=["host"])
def test_what_somebody_has_in_one_place_stays_in_that_place(host: Path, place: str) -> None:
    """The others get it, and only the others lose it."""
    path, tools = host / place, trees.Tools(host)
    path.write_text(re.sub(r"(root=UUID=abc|ro quiet)", r"\1 psi=1", path.read_text()))
    assert "psi=1" in path.read_text()
    before = trees.contents(host)
    present(str(host), WANTED[2:], run=tools)
    assert in_every_entry(host, WANTED[2:])
    absent(str(host), run=tools)
    assert trees.contents(host) == before


def cut_off(work: Callable[[kernel.Runner], object], tools: trees.Tools, number: int) -> bool:
    """Do it in a process of its own that ends, as with the power, before its step of that number. Whether it came to that.

    A step is a command, or what makes a write count: a file that gets its name, or that goes.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    steps = itertools.count(1)

    def step(real: Callable[..., object]) -> Callable[..., None]:
        def counted(*given: object, **named: object) -> None:
            if next(steps) == number:
                os._exit(9)
            real(*given, **named)

        return counted

    try:
        os.replace, os.unlink = step(os.replace), step(os.unlink)
        work(step(tools))
    finally:
        os._exit(0)


def boot_files(root: Path) -> dict[str, bytes]:
    """What a boot reads, and what is on record."""
    return {name: data for name, (data, _mode) in trees.contents(root).items() if not name.startswith("run/")}


def with_one_of_somebody(root: Path, name: str) -> None:
    if name in PLACES:
        place = root / PLACES[name]
        place.write_text(re.sub(r"(root=UUID=abc|ro quiet)", r"\1 psi=1", place.read_text()))


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("had", [False, True], ids=["nobody has one", "somebody has one"])
@pytest.mark.parametrize("earlier", [[], ["audit=0", "psi=1"]], ids=["first", "second"])
@pytest.mark.parametrize("again", [False, True], ids=["then back", "then again, then back"])
def test_a_run_that_was_cut_off_anywhere_leaves_nothing(
    name: str, had: bool, earlier: list[str], again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    for number in itertools.count(1):
        root = HOSTS[name](tmp_path / str(number))
        if had:
            with_one_of_somebody(root, name)
        before, tools = boot_files(root), trees.Tools(root)
        if earlier:
            present(str(root), earlier, run=tools)
        cut = cut_off(lambda run, root=root: present(str(root), WANTED, run=run), tools, number)
        if again:
            present(str(root), WANTED, run=tools)
        recorded = (root / RECORD_DIRECTORY.lstrip("/")).exists()
        assert absent(str(root), check=True, run=tools).changed == recorded, number
        assert absent(str(root), run=tools).changed == recorded, number
        assert boot_files(root) == before, number
        assert not (root / "var/lib/kjoule").exists(), number
        assert not absent(str(root), run=tools).changed, number
        if not cut:
            break
    assert number > 4


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("had", [False, True], ids=["nobody has one", "somebody has one"])
@pytest.mark.parametrize("again", [False, True], ids=["then back", "then again, then back"])
def test_a_teardown_that_was_cut_off_anywhere_is_finished_by_the_next(
    name: str, had: bool, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    for number in itertools.count(1):
        root = HOSTS[name](tmp_path / str(number))
        if had:
            with_one_of_somebody(root, name)
        before, tools = boot_files(root), trees.Tools(root)
        present(str(root), WANTED, run=tools)
        cut = cut_off(lambda run, root=root: absent(str(root), run=run), tools, number)
        if again:
            present(str(root), WANTED, run=tools)
            assert in_every_entry(root, WANTED)
        absent(str(root), run=tools)
        assert boot_files(root) == before, number
        assert not (root / "var/lib/kjoule").exists(), number
        if not cut:
            break
    assert number > 2


def boot(root: Path, boot_id: str) -> None:
    """The host starts: with the words of its first entry, an identity of this boot, and an empty /run."""
    shutil.rmtree(root / "run", ignore_errors=True)
    trees.put(root, "/proc/sys/kernel/random/boot_id", boot_id + "\n")
    trees.put(root, "/proc/cmdline", " ".join(detect(str(root)).lines()[0].words) + "\n")


def test_a_reboot_stays_required_until_the_host_was_booted(host: Path) -> None:
    """Who takes the arguments out and does not reboot is told so again, however often it is asked."""
    tools = trees.Tools(host)
    boot(host, "one")
    before = trees.contents(host)
    present(str(host), WANTED, run=tools)
    boot(host, "two")
    assert absent(str(host), check=True, run=tools).reboot_required
    assert absent(str(host), run=tools).reboot_required
    for check in (True, False, False):
        again = absent(str(host), check=check, run=tools)
        assert (again.changed, again.reboot_required) == (False, True)
    assert present(str(host), ["audit=0"], check=True, run=tools).reboot_required
    boot(host, "three")
    assert not absent(str(host), run=tools).reboot_required
    boot(host, "one")
    assert trees.contents(host) == before


def test_what_is_wanted_no_more_needs_a_reboot_until_there_was_one(host: Path) -> None:
    tools = trees.Tools(host)
    boot(host, "one")
    present(str(host), ["audit=0", "psi=1"], run=tools)
    boot(host, "two")
    assert [present(str(host), ["psi=1"], run=tools).reboot_required for _again in range(3)] == [True] * 3
    assert absent(str(host), run=tools).reboot_required
    assert present(str(host), ["audit=0", "psi=1"], run=tools).reboot_required is False, "the kernel has what is wanted again"
    assert not (host / "run").exists() or not any((host / "run").rglob("*"))
    present(str(host), ["psi=1"], run=tools)
    boot(host, "three")
    assert not present(str(host), ["psi=1"], run=tools).reboot_required


def test_what_was_removed_in_another_boot_counts_no_more(host: Path) -> None:
    """A /run that outlives the boot, as that of some containers."""
    tools = trees.Tools(host)
    boot(host, "one")
    present(str(host), WANTED, run=tools)
    boot(host, "two")
    absent(str(host), run=tools)
    trees.put(host, "/proc/sys/kernel/random/boot_id", "three\n")
    assert not absent(str(host), run=tools).reboot_required


def test_somebody_who_adds_the_argument_again_needs_no_reboot_for_it(host: Path) -> None:
    tools = trees.Tools(host)
    boot(host, "one")
    present(str(host), ["psi=1"], run=tools)
    boot(host, "two")
    configured = {name: data for name, data in trees.contents(host).items() if name.startswith(("boot", "efi", "etc"))}
    assert absent(str(host), run=tools).reboot_required
    for name, (data, _mode) in configured.items():
        trees.put(host, name, "").write_bytes(data)
    assert not absent(str(host), run=tools).reboot_required


def test_a_damaged_note_of_this_boot_is_named(tmp_path: Path) -> None:
    root = trees.grub(tmp_path)
    boot(root, "one")
    trees.put(root, REMOVED, "{")
    with pytest.raises(KjouleError, match=f"{REMOVED} is damaged.*reboot"):
        absent(str(root))


def test_modes_are_kept(tmp_path: Path) -> None:
    root = trees.extlinux(tmp_path)
    path = root / "boot/extlinux/extlinux.conf"
    path.chmod(0o600)
    present(str(root), WANTED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_menu_that_was_never_made_again_is_made(tmp_path: Path) -> None:
    """Somebody restored the old menu: the settings say one thing, the boot another."""
    root, tools = trees.grub(tmp_path), trees.Tools(tmp_path)
    menu = (root / "boot/grub/grub.cfg").read_bytes()
    present(str(root), WANTED, run=tools)
    (root / "boot/grub/grub.cfg").write_bytes(menu)
    again = present(str(root), WANTED, run=tools)
    assert (again.changed, again.changes) == (True, [])
    assert in_every_entry(root, WANTED)


def test_words_inside_of_other_words_do_not_count(tmp_path: Path) -> None:
    root = trees.grub(tmp_path, trees.GRUB_DEFAULTS.replace("quiet  splash", "xpsi=1 psi=10x"))
    present(str(root), ["audit=0"], run=trees.Tools(root))
    assert (root / DROP_IN.lstrip("/")).read_text().splitlines()[-1] == 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX audit=0"'


def test_without_a_boot_loader_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    trees.put(tmp_path, "/proc/cmdline", "ro\n")
    before = trees.contents(tmp_path)
    with pytest.raises(KjouleError, match=r"no boot loader was found.*set the arguments where this host is booted from"):
        present(str(tmp_path), WANTED)
    assert trees.contents(tmp_path) == before


def test_unified_kernel_images_are_named(tmp_path: Path) -> None:
    trees.put(tmp_path, "/efi/EFI/Linux/linux.efi", "MZ")
    with pytest.raises(KjouleError, match="unified kernel images"):
        present(str(tmp_path), WANTED)


def test_another_boot_loader_than_asked_for_is_an_error(tmp_path: Path) -> None:
    trees.grub(tmp_path)
    with pytest.raises(KjouleError, match="the boot loader is not systemd-boot: expected systemd-boot, saw grub"):
        present(str(tmp_path), WANTED, "systemd-boot")


class _Status:
    f_flag, f_bavail, f_frsize = 0, 10, 1024


def test_a_read_only_boot_is_an_error_in_check_mode_too(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trees.contents(host)
    read_only = _Status()
    read_only.f_flag = os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _path: read_only)
    for check in (True, False):
        with pytest.raises(KjouleError, match=r"is read-only.*mount -o remount,rw"):
            present(str(host), WANTED, check=check, run=trees.Tools(host))
    assert trees.contents(host) == before


def test_too_little_space_is_an_error_before_anything_is_written(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trees.contents(host)
    monkeypatch.setattr(os, "statvfs", lambda _path: _Status())
    with pytest.raises(KjouleError, match=r"too little space in .* KiB free, saw 10 KiB"):
        present(str(host), WANTED, run=trees.Tools(host))
    assert trees.contents(host) == before


def test_without_root_it_says_so(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.X_OK)
    with pytest.raises(KjouleError, match=r"may not be written.*run this as root"):
        present(str(host), WANTED, run=trees.Tools(host))


def test_settings_that_are_not_shell_are_named(tmp_path: Path) -> None:
    root = trees.grub(tmp_path)
    (root / "etc/default/grub").write_text('GRUB_CMDLINE_LINUX="quiet\n')
    with pytest.raises(KjouleError, match="/etc/default/grub is not shell"):
        present(str(root), WANTED, run=trees.Tools(root))


def test_a_damaged_record_is_not_glossed_over(tmp_path: Path) -> None:
    root = trees.grub(tmp_path)
    trees.put(root, f"{RECORD_DIRECTORY}/record.json", "{")
    with pytest.raises(KjouleError, match=r"record.json is damaged.*originals"):
        absent(str(root))


def test_a_command_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(KjouleError, match="sh failed: saw no disk"):
        kernel.run_command(["sh", "-c", "echo first; echo no disk >&2; exit 3"])
    with pytest.raises(KjouleError, match="could not be run"):
        kernel.run_command(["/nonexistent/update-grub"])
    kernel.run_command(["true"])
