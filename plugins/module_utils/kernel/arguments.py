# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel arguments put into the boot loader's files, and taken out again."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from typing import Callable

from ..errors import KjouleError
from . import tokens
from .files import Change, Record, check_writable, read, read_text, write
from .loaders import Line, Loader, detect
from .removed import recall, remember

COMMAND_SECONDS = 1800.0  # grub-mkconfig with os-prober looks into every disk
Runner = Callable[[list[str]], None]


@dataclass
class Result:
    """What was done, or would be. ``configured`` and ``running``: words of the first entry of the menu after it, and of this boot.

    ``kept``: of the arguments that were taken out, those that stay, since somebody else has them in that file.
    """

    bootloader: str | None
    changed: bool = False
    changes: list[Change] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    configured: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    reboot_required: bool = False
    kept: list[Line] = field(default_factory=list)


def running(root: str = "/") -> list[str]:
    """The words of the command line that this kernel was booted with."""
    return tokens.split((read_text(root, "/proc/cmdline") or "").strip())


def run_command(command: list[str]) -> None:
    """Run it to its end. Raises KjouleError with its last words when it fails."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KjouleError(f"{command[0]} could not be run", seen=str(error), next_step="run it by hand") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        seen = " ".join(words) or f"exit code {done.returncode}"
        raise KjouleError(f"{command[0]} failed", seen=seen, next_step="run it by hand and see why")


def present(root: str, arguments: list[str], bootloader: str = "auto", check: bool = False, run: Runner = run_command) -> Result:
    """Every argument in every entry that boots, once; arguments of an earlier call that are wanted no more are taken out.

    Raises KjouleError, with the host left as it was. A contradiction by somebody else's argument, a boot loader that is not known and a
    file system that cannot be written are errors, in check mode too. When a command fails, or the arguments are not in the entries
    after it, all files are put back.
    """
    wanted = tokens.check(arguments)
    loader, record, (_from, taken) = detect(root, bootloader), Record(root), recall(root)
    stale = tokens.without(record.arguments, wanted)
    changes = loader.changes(wanted, stale)
    sources = loader.source_lines(changes, stale)
    for line in sources:
        tokens.check_conflicts(line.words, wanted, line.path)
    behind = not _as_wanted(loader.lines(), wanted, stale)
    result = Result(loader.name, bool(changes) or behind, changes, running=running(root), kept=_kept(sources, stale))
    unwanted = tokens.without(stale, _words(result.kept))
    if result.changed:
        result.commands = loader.commands(wanted, stale)
        check_writable(root, loader.directories, loader.needed_bytes)
    if result.changed and not check:
        added = loader.lacking(wanted)
        earlier = record.copy()
        as_they_are = {path: read(root, path) for path in loader.generated() + loader.files()}
        others = [Change(path, content, content) for path, content in as_they_are.items() if path not in [each.path for each in changes]]
        # What came since the last change may have been made with what was added by it.
        came = [each.path for each in [*changes, *others] if record.data is not None and each.path not in record.data["files"]]
        record.keep(loader.name, added, [*changes, *others], {path: loader.without(path, record.arguments) for path in came})
        with_rollback(root, loader, result, earlier, lambda: _carry_out(root, loader, result, run, {}, wanted, unwanted))
    lines = _finish(loader, check, result, wanted, unwanted)
    left = _still_running(result, lines, taken + tokens.without(stale, taken))
    if not check:
        remember(root, loader.name, left)
        record.forget(stale)
    result.reboot_required = bool(tokens.missing(result.running, wanted) or left)
    return result


def absent(root: str, bootloader: str = "auto", check: bool = False, run: Runner = run_command) -> Result:
    """What ``present`` has added is taken out again, and the files are byte for byte what they were.

    Nothing is done without the record that ``present`` keeps: an argument that was there before is somebody's. A file that somebody has
    edited since keeps that edit and loses only the arguments.
    """
    record, (taken_from, taken) = Record(root), recall(root)
    if record.data is None:
        result = Result(None, record.exists, running=running(root))
        if record.exists and not check:
            record.remove()
        result.reboot_required = bool(taken and _still_running(result, _lines_of(root, taken_from), taken))
        return result
    ours = record.arguments
    loader = detect(root, record.data["loader"] if bootloader == "auto" else bootloader)
    made = [] if loader.restore_generated else loader.generated()
    originals = {path: record.original(path) for path in record.data["files"] if path not in made and record.untouched(path)}
    changes = [Change(path, read(root, path), content) for path, content in originals.items() if read(root, path) != content]
    changes += [change for change in loader.changes([], ours) if change.path not in originals]
    kept = _kept(loader.source_lines(changes, ours), ours)
    unwanted = tokens.without(ours, _words(kept))
    result = Result(loader.name, True, changes, loader.commands([], ours), running=running(root), kept=kept)
    check_writable(root, loader.directories, loader.needed_bytes)
    if not check:
        earlier = record.copy()
        record.expect({path: [content, *_made_of(loader, path, ours)] for path, content in originals.items()})
        with_rollback(root, loader, result, earlier, lambda: _carry_out(root, loader, result, run, originals, [], unwanted))
    lines = _finish(loader, check, result, [], unwanted)
    left = _still_running(result, lines, taken + tokens.without(ours, taken))
    if not check:
        remember(root, loader.name, left)
        record.remove()
    result.reboot_required = bool(left)
    return result


def _made_of(loader: Loader, path: str, unwanted: list[str]) -> list[bytes | None]:
    """What a command makes of the file before its original is put back, as far as that is known."""
    made = loader.without(path, unwanted) if path in loader.generated() else None
    return [] if made is None else [made]


def _lines_of(root: str, bootloader: str) -> list[Line]:
    """The command lines of what can be booted; none where the boot loader is gone since."""
    try:
        return detect(root, bootloader).lines()
    except KjouleError:
        return []


def _kept(sources: list[Line], unwanted: list[str]) -> list[Line]:
    """Where somebody else has what is not wanted, by file."""
    words: dict[str, list[str]] = {}
    for line in sources:
        found = words.setdefault(line.path, [])
        found += [word for word in unwanted if word in line.words and word not in found]
    return [Line(path, found) for path, found in words.items() if found]


def _words(lines: list[Line]) -> list[str]:
    return [word for line in lines for word in line.words]


def _finish(loader: Loader, check: bool, result: Result, wanted: list[str], unwanted: list[str]) -> list[Line]:
    """Say what came of it. Returns the command lines as they are after the change or, in check mode, would be."""
    lines = loader.lines()
    if check:
        changing = {*loader.generated(), *(change.path for change in result.changes)} if result.changed else set()
        lines = [Line(line.path, tokens.edited(line.words, wanted, unwanted)) if line.path in changing else line for line in lines]
    result.configured = lines[0].words if lines else []
    # A word in a setting that another one replaces reaches no kernel.
    result.kept = _kept(result.kept, [word for word in _words(result.kept) if word in _words(lines)])
    return lines


def _still_running(result: Result, lines: list[Line], taken: list[str]) -> list[str]:
    """What the running kernel has of the arguments that were taken out. What is in every entry again is nothing to reboot for."""
    again = [word for word in taken if lines and all(word in line.words for line in lines)]
    return [word for word in taken if word in result.running and word not in again]


def _as_wanted(lines: list[Line], wanted: list[str], unwanted: list[str]) -> bool:
    return all(not tokens.missing(line.words, wanted) and line.words == tokens.without(line.words, unwanted) for line in lines)


def _carry_out(
    root: str, loader: Loader, result: Result, run: Runner, originals: dict[str, bytes | None], wanted: list[str], unwanted: list[str]
) -> None:
    """Write, run, put originals back over what a command wrote, and look whether it is so."""
    written_by_command = loader.generated()
    for change in result.changes:
        if change.path not in written_by_command:
            write(root, change.path, change.after)
    for command in result.commands:
        run(command)
    for path in originals:
        if path in written_by_command:
            write(root, path, originals[path])
    lines = loader.lines()
    # What was put back is right, even where somebody else had the same argument.
    if not lines or not _as_wanted([line for line in lines if line.path not in originals], wanted, unwanted):
        raise KjouleError(
            f"the boot entries of {loader.name} are not as they were to be",
            expected=" ".join([*wanted, *(f"no {word}" for word in unwanted)]),
            seen="; ".join(f"{line.path}: {' '.join(line.words)}" for line in lines) or "no entry",
            next_step="everything was put back; look whether something else writes these files",
        )


def with_rollback(root: str, loader: Loader, result: Result, earlier: Record, work: Callable[[], None]) -> None:
    """Do the work and note what it left in the files; whatever goes wrong, the files and the record are what they were.

    A file that somebody has edited or deleted since the last change is not noted: its original is not to be put back over that.
    """
    record = Record(root)
    untouched = [path for path in (record.data or {})["files"] if record.untouched(path)]
    before = {change.path: change.before for change in result.changes}
    before.update({path: read(root, path) for path in loader.generated()})
    try:
        work()
        record.written({path: read(root, path) for path in untouched})
    except BaseException:
        for path, content in before.items():
            if read(root, path) != content:
                write(root, path, content)
        earlier.put_back()
        raise
