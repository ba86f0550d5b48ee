# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lacks is said before anything is fetched."""

from __future__ import annotations

import collections

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import files, preflight
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


def free(monkeypatch, gigabytes):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(0, 0, gigabytes * 1e9))


def test_a_host_that_has_everything_passes(tmp_path):
    assert set(preflight.check_host(["sh"], 0.001, str(tmp_path / "cache"))) == {"sh"}


def test_a_command_that_is_missing_is_named(tmp_path):
    with pytest.raises(KjouleError, match=r"lacks commands: expected sh, gitt, saw no gitt\. Next: install"):
        preflight.check_host(["sh", "gitt"], 0, str(tmp_path))


def test_a_python_that_is_too_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(KjouleError, match=r"Python that Ansible uses on this host is too old"):
        preflight.check_host([], 0, str(tmp_path))


def test_an_empty_cache_needs_the_space_it_will_take(tmp_path, monkeypatch):
    free(monkeypatch, 3)
    with pytest.raises(KjouleError, match=r"not enough space for the cache in .*: expected 9 GB free, saw 3\.0 GB"):
        preflight.check_host([], 9, str(tmp_path / "not" / "there"))


def test_a_cache_that_was_filled_does_not(tmp_path, monkeypatch):
    free(monkeypatch, 3)
    (tmp_path / "artifacts.lock.json").write_text("{}")
    preflight.check_host([], 9, str(tmp_path))
