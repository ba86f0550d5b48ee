# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel command line as what it is: words, some ``key=value``, some with quotes (Documentation/admin-guide/kernel-parameters)."""

from __future__ import annotations

from ..errors import KjouleError

#: Keys that are meant to be given more than once; another value is no contradiction.
_REPEATABLE = frozenset({"console", "earlycon", "modprobe.blacklist", "module_blacklist", "initcall_blacklist", "rd.driver.pre"})

_NO = frozenset({"0", "no", "n", "false", "off"})


def split(line: str) -> list[str]:
    """The words of a command line. Spaces inside double quotes do not separate. Raises KjouleError for a quote without its second."""
    words, word, quoted, inside = [], "", False, False
    for character in line:
        if character == '"':
            inside = not inside
        if character.isspace() and not inside:
            if word or quoted:
                words.append(word)
            word, quoted = "", False
        else:
            word += character
            quoted = quoted or inside
    if inside:
        raise KjouleError("a kernel command line", expected="quotes in pairs", seen=line, next_step="correct it by hand")
    if word:
        words.append(word)
    return words


def check(arguments: list[str]) -> list[str]:
    """The arguments somebody asks for, each one word, none twice. Raises KjouleError for anything else."""
    for argument in arguments:
        if not argument or split(argument) != [argument] or argument.startswith("=") or any(sign in argument for sign in "'\\$`\n#"):
            raise KjouleError(
                f"{argument!r} is not a kernel argument", expected="one word, such as psi=1", next_step="correct kernel_arguments"
            )
    keys = [key_of(argument) for argument in arguments if key_of(argument) not in _REPEATABLE]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise KjouleError(f"kernel argument {twice[0]} is asked for twice", next_step="remove one of them from kernel_arguments")
    return list(arguments)


def key_of(word: str) -> str:
    """The name of a word's parameter. To the kernel ``-`` and ``_`` are one in a name, as in parameq() of kernel/params.c."""
    return word.split("=", 1)[0].replace("-", "_")


def missing(words: list[str], wanted: list[str]) -> list[str]:
    return [word for word in wanted if word not in words]


def without(words: list[str], unwanted: list[str]) -> list[str]:
    return [word for word in words if word not in unwanted]


def without_last(words: list[str], unwanted: list[str]) -> list[str]:
    """The words without the last one of each that is not wanted: what was put at the end goes, what was there before stays."""
    kept = list(reversed(words))
    for word in set(unwanted) & set(kept):
        kept.remove(word)
    return kept[::-1]


def edited(words: list[str], add: list[str], remove: list[str]) -> list[str]:
    """The words without some, and with what is missing of others at the end."""
    kept = without(words, remove)
    return kept + missing(kept, add)


def check_conflicts(words: list[str], wanted: list[str], where: str) -> None:
    """Raises KjouleError when somebody else's argument says the opposite of a wanted one."""
    for want in wanted:
        key = key_of(want)
        for word in words:
            if word != want and key_of(word) == key and key not in _REPEATABLE:
                raise KjouleError(
                    f"kernel argument {word} contradicts {want}",
                    expected=want,
                    seen=f"{word} in {where}",
                    next_step="it is somebody's decision: take it away there, or take the other one out of kernel_arguments",
                )
    forced = [word for word in words if forces_cgroup_v1(word)]
    if forced and any(key_of(want) in ("systemd.unified_cgroup_hierarchy", "cgroup_no_v1") for want in wanted):
        raise KjouleError(
            f"kernel argument {forced[0]} forces cgroup v1",
            expected="cgroup v2, which Kubernetes 1.35 and newer needs",
            seen=f"{forced[0]} in {where}",
            next_step="it is somebody's decision: take it away there, or take the cgroup arguments out of kernel_arguments",
        )


def forces_cgroup_v1(word: str) -> bool:
    """Whether this word makes systemd mount the old hierarchy (systemd's src/shared/mount-setup.c and NEWS of v256)."""
    name, _equals, value = word.partition("=")
    if name in ("systemd.unified_cgroup_hierarchy", "systemd.unified-cgroup-hierarchy"):
        return value.lower() in _NO
    return name == "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE" and value.lower() not in _NO
