# SPDX-License-Identifier: GPL-3.0-or-later
"""Where boot loaders keep the kernel command line, and how each is changed.

A loader knows its command lines (``lines``), the edits that bring them to what is wanted (``changes``), and the commands that make
them count. It decides nothing and writes nothing itself.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from functools import partial
from typing import Callable

from ..errors import KjouleError
from . import tokens
from .files import Change, encode, inside, read, read_text

DROP_IN = "/etc/default/grub.d/zz-kjoule.cfg"


@dataclass(frozen=True)
class Line:
    """A command line and the file it is in."""

    path: str
    words: list[str]


class Loader:
    """What all have in common. ``needed_bytes``: what a change may take at most on the file system of ``directories``."""

    name = ""
    directories: tuple[str, ...] = ()
    needed_bytes = 256 * 1024
    #: Whether the files that its commands write are put back as they were, instead of made again.
    restore_generated = True

    def __init__(self, root: str) -> None:
        self.root = root

    def lines(self) -> list[Line]:
        """The command lines of what can be booted (rescue entries left out)."""
        raise NotImplementedError

    def source_lines(self, changes: list[Change], remove: list[str]) -> list[Line]:
        """The command lines that a person edits, as they are when ``changes`` have taken out ``remove``: what is somebody else's."""
        return [Line(line.path, tokens.without(line.words, remove)) for line in self.lines()]

    def lacking(self, wanted: list[str]) -> list[str]:
        """The words that a change would put there. The others are somebody else's, and not to be taken out again."""
        return [word for word in wanted if any(word not in line.words for line in self.lines())]

    def changes(self, add: list[str], remove: list[str]) -> list[Change]:
        """The files that differ from what is wanted."""
        raise NotImplementedError

    def without(self, path: str, remove: list[str]) -> bytes | None:
        """What the file would be without these arguments. None when that is not known, or there is none."""
        return next((change.after for change in self.changes([], remove) if change.path == path), read(self.root, path))

    def files(self) -> list[str]:
        """The files that may be edited. What somebody has in one of them is known by how it was before the first change."""
        return []

    def commands(self, add: list[str], remove: list[str]) -> list[list[str]]:
        """What to run after a change."""
        return []

    def generated(self) -> list[str]:
        """The files that those commands write."""
        return []


def _find(root: str, *names: str) -> str | None:
    for name in names:
        for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"):
            if os.access(inside(root, f"{directory}/{name}"), os.X_OK):
                return f"{directory}/{name}"
    return None


def _names(folder: str, suffix: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(suffix)) if os.path.isdir(folder) else []


def _edit_lines(text: str, pattern: re.Pattern[str], add: list[str], remove: list[str], last_only: bool = False) -> str:
    """The text with the command line in every line that the pattern matches edited. A line that needs no edit keeps its every space.

    last_only: of a word that is there more than once, only the last one is taken out.
    """
    result = []
    for line in text.splitlines(keepends=True):
        match = pattern.match(line)
        if match:
            words = tokens.split(match["line"])
            kept = tokens.without_last(words, remove) if last_only else tokens.without(words, remove)
            added = tokens.missing(kept, add)
            if kept != words or added:
                value = " ".join(kept) if kept != words else match["line"].rstrip()
                value += "".join(f" {word}" for word in added)
                line = f"{line[: match.start('line')]}{value if kept else value.lstrip()}{line[match.end('line') :]}"
        result.append(line)
    return "".join(result)


@dataclass(frozen=True)
class _Assignment:
    """A line of GRUB's settings: the words that it gives a variable. ``extends``: after those that the variable had."""

    path: str
    variable: str
    words: list[str]
    extends: bool


class Grub(Loader):
    """GRUB whose menu is made by grub-mkconfig: Debian, Ubuntu, and others without boot loader entries.

    The arguments go into a drop-in of our own, which Debian's grub-mkconfig reads after /etc/default/grub. A grub-mkconfig that reads no
    drop-ins gets them in /etc/default/grub itself, at the end of GRUB_CMDLINE_LINUX, and they are taken out there and nowhere else.
    """

    name = "grub"
    directories = ("/boot", "/etc/default")
    needed_bytes = 1024 * 1024
    restore_generated = False

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.menu = next(path for path in ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg") if read(root, path) is not None)
        command = _find(root, "update-grub", "grub-mkconfig", "grub2-mkconfig")
        if command is None:
            raise KjouleError(
                "GRUB's menu cannot be made", expected="update-grub or grub-mkconfig", seen="neither", next_step="install grub2-common"
            )
        self.command = command
        maker = _find(root, "grub-mkconfig", "grub2-mkconfig")
        self.drop_ins = maker is not None and "default/grub.d/" in (read_text(root, maker) or "")

    def lines(self) -> list[Line]:
        """Those of the menu as it is, so that one that was never made again is seen."""
        found = []
        for line in (read_text(self.root, self.menu) or "").splitlines():
            match = re.match(r"\s*linux(?:16|efi)?\s+(\S+)\s+(.*)", line)
            words = tokens.split(match[2]) if match else []
            if match and "memtest" not in match[1] and "single" not in words and "recovery" not in words:
                found.append(Line(self.menu, words))
        return found

    def source_lines(self, changes: list[Change], remove: list[str]) -> list[Line]:
        return [Line(line.path, line.words) for line in self._assignments(changes)]

    def lacking(self, wanted: list[str]) -> list[str]:
        """What the settings lack. The menu says nothing about it: it may be older than they are."""
        unchanged = self.changes([], [])
        return [word for word in wanted if self.changes([word], []) != unchanged]

    def _sources(self) -> list[str]:
        folder = inside(self.root, "/etc/default/grub.d")
        names = _names(folder, ".cfg") if self.drop_ins else []
        return ["/etc/default/grub", *(f"/etc/default/grub.d/{name}" for name in names)]

    def _assignments(self, changes: list[Change]) -> list[_Assignment]:
        """The words that each file gives the two variables, when it is changed so. A variable's use of itself adds nothing."""
        changed = {change.path: (change.after or b"").decode("utf-8", errors="surrogateescape") for change in changes}
        found = []
        for path in self._sources():
            text = changed[path] if path in changed else read_text(self.root, path) or ""
            for line in text.splitlines():
                match = re.match(r"\s*(?:export\s+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)(\+?=)(.*)", line)
                if match:
                    try:
                        value = " ".join(shlex.split(match[3], comments=True))
                    except ValueError as error:
                        raise KjouleError(f"{path} is not shell", seen=line.strip(), next_step="correct it by hand") from error
                    words = [word for word in tokens.split(value) if not word.startswith("$")]
                    extends = match[2] == "+=" or re.search(rf"\$\{{?{match[1]}\b", value) is not None
                    found.append(_Assignment(path, match[1], words, extends))
        return found

    def _in_effect(self) -> list[_Assignment]:
        """Those that no later one replaces."""
        found: list[_Assignment] = []
        for assignment in self._assignments([]):
            if not assignment.extends:
                found = [earlier for earlier in found if earlier.variable != assignment.variable]
            found.append(assignment)
        return found

    def changes(self, add: list[str], remove: list[str]) -> list[Change]:
        if not self.drop_ins:
            return self._default_changes(add, remove)
        before = read(self.root, DROP_IN)
        ours = [word for line in self._assignments([]) if line.path == DROP_IN for word in line.words]
        others = [word for line in self._in_effect() if line.path != DROP_IN for word in line.words]
        wanted = tokens.missing(others, tokens.edited(ours, add, remove))
        after = encode(_drop_in(wanted)) if wanted else None
        return [Change(DROP_IN, before, after)] if before != after else []

    def _default_changes(self, add: list[str], remove: list[str]) -> list[Change]:
        path, ours = "/etc/default/grub", "GRUB_CMDLINE_LINUX"
        before = read_text(self.root, path) or ""
        pattern = re.compile(rf"""\s*{ours}=(["'])(?P<line>[^"']*)\1""")
        lines = self._in_effect()
        lacking = tokens.missing([word for line in lines for word in line.words], add)
        after = _edit_lines(before, pattern, lacking, remove, last_only=True)
        if lacking and not any(pattern.match(line) for line in before.splitlines()):
            # There is none, or it is written in another way, and stays in effect.
            value = " ".join([f"${ours}"] * any(line.variable == ours for line in lines) + lacking)
            after = before + ("\n" if before and not before.endswith("\n") else "") + f'{ours}="{value}"\n'
        return [Change(path, encode(before) if before else None, encode(after))] if after != before else []

    def commands(self, add: list[str], remove: list[str]) -> list[list[str]]:
        return [[self.command] if self.command.endswith("update-grub") else [self.command, "-o", self.menu]]

    def generated(self) -> list[str]:
        return [self.menu]


def _drop_in(words: list[str]) -> str:
    return (
        "# Written by the role kernel of kjoule; playbooks/teardown.yml takes it away.\n"
        f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {" ".join(words)}"\n'
    )


_OPTIONS = re.compile(r"options[ \t]+(?P<line>[^\n]*)")


class _Entries(Loader):
    """Boot loader entries (the UAPI Boot Loader Specification, type 1): one file for each kernel."""

    def __init__(self, root: str, top: str) -> None:
        super().__init__(root)
        self.top = top
        self.directories = (top, "/etc/kernel")

    def entries(self) -> list[str]:
        folder = f"{self.top}/loader/entries"
        paths = [f"{folder}/{name}" for name in _names(inside(self.root, folder), ".conf") if "rescue" not in name]
        return [path for path in paths if re.search(r"^linux[ \t]", read_text(self.root, path) or "", re.MULTILINE)]

    def lines(self) -> list[Line]:
        variables = _grub_environment(self.root)
        found = []
        for path in self.entries():
            words: list[str] = []
            for line in (read_text(self.root, path) or "").splitlines():
                match = _OPTIONS.match(line)
                for word in tokens.split(match["line"]) if match else []:
                    words += tokens.split(variables.get(word[1:], "")) if word.startswith("$") else [word]
            found.append(Line(path, words))
        return found


def _grub_environment(root: str) -> dict[str, str]:
    for path in ("/boot/grub2/grubenv", "/boot/grub/grubenv"):
        text = read_text(root, path)
        if text is not None:
            return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {}


class Grubby(_Entries):
    """GRUB with boot loader entries: Red Hat and its relatives. grubby changes them, and what later kernels start with."""

    name = "grubby"

    def __init__(self, root: str) -> None:
        super().__init__(root, "/boot")
        command = _find(root, "grubby")
        if command is None:
            raise KjouleError(
                "boot loader entries cannot be changed", expected="grubby", seen="no such command", next_step="dnf install grubby"
            )
        self.command = command
        self.directories = ("/boot", "/etc/default", "/etc/kernel")

    def changes(self, add: list[str], remove: list[str]) -> list[Change]:
        """What grubby will do to the entries. An entry that takes its options from GRUB's environment is told as if it held them."""
        found = []
        for line in self.lines():
            before = read_text(self.root, line.path) or ""
            edited = tokens.edited(line.words, add, remove)
            if edited != line.words:
                told = "options " + " ".join(edited)
                after = "".join(told + "\n" if _OPTIONS.match(text) else text for text in before.splitlines(keepends=True))
                found.append(Change(line.path, encode(before), encode(after)))
        return found

    def commands(self, add: list[str], remove: list[str]) -> list[list[str]]:
        command = [self.command, "--update-kernel=ALL"]
        if remove:
            command.append("--remove-args=" + " ".join(remove))
        if add:
            command.append("--args=" + " ".join(add))
        return [command]

    def without(self, path: str, remove: list[str]) -> bytes | None:
        """``changes`` shows variables with their values. What grubby makes of another file than an entry is not known."""
        text = read_text(self.root, path) or ""
        if path.endswith(".conf"):
            return encode(_edit_lines(text, _OPTIONS, [], remove))
        return None if any(word in text for word in remove) else read(self.root, path)

    def generated(self) -> list[str]:
        """Rescue entries as well: to grubby they are kernels like any other."""
        entries = [f"/boot/loader/entries/{name}" for name in _names(inside(self.root, "/boot/loader/entries"), ".conf")]
        others = ["/etc/default/grub", "/etc/kernel/cmdline", "/boot/grub2/grubenv"]
        return entries + [path for path in others if read(self.root, path) is not None]


class SystemdBoot(_Entries):
    """systemd-boot: the entries of the kernels that are there, and /etc/kernel/cmdline for those to come (kernel-install(8))."""

    name = "systemd-boot"

    def files(self) -> list[str]:
        return [path for path in (*self.entries(), "/etc/kernel/cmdline") if read(self.root, path) is not None]

    def changes(self, add: list[str], remove: list[str]) -> list[Change]:
        found = []
        for path in self.entries():
            before = read_text(self.root, path) or ""
            after = _edit_lines(before, _OPTIONS, add, remove)
            if add and not any(_OPTIONS.match(line) for line in before.splitlines()):
                after = before + ("" if before.endswith("\n") else "\n") + "options " + " ".join(add) + "\n"
            if after != before:
                found.append(Change(path, encode(before), encode(after)))
        path = "/etc/kernel/cmdline"
        source = read_text(self.root, path)
        if source is not None:
            # Its lines are one command line, so what is missing in all of them goes to the end of the last one.
            words = [word for line in source.splitlines() if not line.startswith("#") for word in tokens.split(line)]
            after = _edit_lines(source, re.compile(r"(?P<line>[^#\n][^\n]*)"), [], remove)
            if lacking := tokens.missing(words, add):
                after = after.rstrip() + " " * bool(after.strip()) + " ".join(lacking) + "\n"
            if after != source:
                found.append(Change(path, encode(source), encode(after)))
        return found


class Extlinux(Loader):
    """extlinux (syslinux, and U-Boot's distro boot): ``append`` lines, and the settings of the tool that writes them where there is one."""

    name = "extlinux"
    directories = ("/boot", "/etc/default")
    _append = re.compile(r"[ \t]*(?:append|APPEND)[ \t]+(?P<line>[^\n]*)")
    #: Debian's u-boot-menu and extlinux write the file again for a new kernel, from these.
    _settings = (("/etc/default/u-boot", "U_BOOT_PARAMETERS"), ("/etc/default/extlinux", "EXTLINUX_PARAMETERS"))

    def __init__(self, root: str, path: str) -> None:
        super().__init__(root)
        self.path = path

    def files(self) -> list[str]:
        return [path for path in (self.path, *(path for path, _variable in self._settings)) if read(self.root, path) is not None]

    def lines(self) -> list[Line]:
        found = []
        for line in (read_text(self.root, self.path) or "").splitlines():
            match = self._append.match(line)
            if match and "single" not in tokens.split(match["line"]):
                found.append(Line(self.path, tokens.split(match["line"])))
        return found

    def changes(self, add: list[str], remove: list[str]) -> list[Change]:
        found = []
        before = read_text(self.root, self.path) or ""
        after = "".join(
            line if "single" in line.split() else _edit_lines(line, self._append, add, remove) for line in before.splitlines(keepends=True)
        )
        if after != before:
            found.append(Change(self.path, encode(before), encode(after)))
        for path, variable in self._settings:
            text = read_text(self.root, path)
            if text is not None:
                edited = _edit_lines(text, re.compile(rf'\s*{variable}="(?P<line>[^"]*)"'), add, remove)
                if edited != text:
                    found.append(Change(path, encode(text), encode(edited)))
        return found


def detect(root: str, wanted: str = "auto") -> Loader:
    """The boot loader of this host. Raises KjouleError when there is none that can be changed, or not the wanted one."""
    candidates: dict[str, Callable[[], Loader]] = {}
    esp = next((top for top in ("/boot", "/efi", "/boot/efi") if os.path.isdir(inside(root, f"{top}/loader/entries"))), None)
    menu = any(read(root, path) is not None for path in ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"))
    if esp is not None and _Entries(root, esp).entries():
        if menu and esp == "/boot" and _find(root, "update-grub") is None:
            candidates["grubby"] = partial(Grubby, root)
        elif read(root, f"{esp}/loader/loader.conf") is not None or not menu:
            candidates["systemd-boot"] = partial(SystemdBoot, root, esp)
    if menu and "grubby" not in candidates:
        candidates["grub"] = partial(Grub, root)
    extlinux = next(
        (path for path in ("/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg") if read(root, path) is not None), None
    )
    if extlinux is not None:
        candidates["extlinux"] = partial(Extlinux, root, extlinux)
    if wanted == "auto" and candidates:
        return next(iter(candidates.values()))()
    if wanted in candidates:
        return candidates[wanted]()
    unified = [name for top in ("/boot", "/efi", "/boot/efi") for name in _names(inside(root, f"{top}/EFI/Linux"), ".efi")]
    raise KjouleError(
        "no boot loader was found that takes kernel arguments" if wanted == "auto" else f"the boot loader is not {wanted}",
        expected="GRUB, boot loader entries, systemd-boot or extlinux" if wanted == "auto" else wanted,
        seen=", ".join(candidates)
        or ("unified kernel images, which hold their command line" if unified else "none below /boot, /efi and /boot/efi"),
        next_step=(
            "put the arguments into /etc/kernel/cmdline and build the images again"
            if unified
            else "set the arguments where this host is booted from (PXE, a hypervisor, firmware), and kernel_arguments to []"
        ),
    )
