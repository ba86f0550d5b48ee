# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call decides, where it is silent."""

from __future__ import annotations

from ansible_collections.kjoule.bench.plugins.module_utils.artifact.settings import default_cache_dir


def test_the_cache_follows_the_xdg_rules(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache_dir() == "/x/kjoule"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert default_cache_dir() == "/h/.cache/kjoule"
