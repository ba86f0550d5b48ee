# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call to the store of artifacts may decide."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def default_cache_dir() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "kjoule")


@dataclass
class Settings:
    """What a call may decide; the defaults are a host on the internet."""

    origin: str = "auto"
    cache_dir: str = ""
    tools_dirs: dict[str, str] = field(default_factory=dict)
    recipe_hashes: dict[str, str] = field(default_factory=dict)
    mirrors: dict[str, str] = field(default_factory=dict)
    #: What the controller has, by name: ``path`` there (its folder names the platform), ``sha256``, ``source``.
    offers: dict[str, dict[str, str | None]] = field(default_factory=dict)
    verify_full: bool = False
    check_mode: bool = False
    connect_timeout: float = 5.0
    unreachable: dict[str, str] = field(default_factory=dict)
    go: str | None = None
    go_pip_version: str = "1.26.6"
    go_pip_sha256: str | None = None

    @property
    def folder(self) -> str:
        """The cache itself, as an absolute path."""
        return os.path.abspath(os.path.expanduser(self.cache_dir or default_cache_dir()))
