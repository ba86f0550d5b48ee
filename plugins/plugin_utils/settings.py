# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the settings, ``kjoule_*``: one that nothing reads is a slip of the pen, and would change nothing without a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..module_utils.errors import KjouleError
from .tables import read_table

PREFIX = "kjoule_"


def known_settings() -> list[str]:
    """Every name that a playbook or a role reads."""
    return [PREFIX + name for name in read_table("settings.yml")]


def check_names(variables: Iterable[str]) -> None:
    """Raises KjouleError for variables that begin with ``kjoule_`` and are no settings, with the nearest setting as the next step."""
    known = known_settings()
    unknown = sorted({name for name in variables if name.startswith(PREFIX)} - set(known))
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0][len(PREFIX) :], [name[len(PREFIX) :] for name in known], 1, cutoff=0.7)
    raise KjouleError(
        "setting " + ", ".join(unknown),
        expected=f"a name that means something (inventories/local/group_vars/all.yml lists all {len(known)})",
        seen="one that nothing reads",
        next_step=f"write {PREFIX}{close[0]}" if close else f"take it out; variables of your own should not begin with {PREFIX}",
    )
