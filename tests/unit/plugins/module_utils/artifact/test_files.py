# SPDX-License-Identifier: GPL-3.0-or-later
"""Space, and what is left when a write does not come to its end."""

from __future__ import annotations

import collections
import errno

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import fetch, files
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

from .conftest import program


def test_an_interrupted_download_leaves_no_file(get, server, cache, leftovers):
    server.release("tool", program("tool"))
    server.cut.add("/v1.2.3/tool")
    with pytest.raises(KjouleError, match=r"interrupted"):
        get("tool", origin="download")
    assert leftovers() == []
    assert not list((cache / "artifacts").glob("*"))


def test_what_a_killed_run_left_is_cleared_by_the_next(get, server, cache, leftovers):
    server.release("tool", program("tool"))
    folder = cache / "artifacts" / "tool-v1.2.3-linux-amd64"
    folder.mkdir(parents=True)
    (folder / ".tool.abc.1.part").write_bytes(b"half")
    get("tool", origin="download")
    assert leftovers() == []


def test_a_disk_that_is_nearly_full_is_told_before_anything_is_got(get, server, fake_go, monkeypatch):
    log = fake_go()
    server.release("tool", program("tool"))
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(KjouleError, match=r"not enough space for downloading tool in .*: expected 0\.5 GB free, saw 0\.0 GB"):
        get("tool", origin="download")
    with pytest.raises(KjouleError, match=r"not enough space for building tool"):
        get("tool", origin="build")
    assert not log.exists()


def test_a_disk_that_fills_up_on_the_way_is_told_and_cleaned(get, server, monkeypatch, leftovers):
    server.release("tool", program("tool"))

    def full(self, url, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.Fetcher, "download", full)
    with pytest.raises(KjouleError, match=r"no space left in the cache"):
        get("tool", origin="download")
    assert leftovers() == []
