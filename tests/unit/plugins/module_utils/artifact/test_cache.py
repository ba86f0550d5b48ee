# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the cache is whole, is what was recorded, and says its version."""

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import cache as cache_files
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import origins
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.cache import says_version
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

from .conftest import lock_of, program, sha256


def test_the_second_run_asks_nobody_and_hashes_nothing(get, server, monkeypatch):
    server.release("tool", program("tool"))
    first = get("tool", origin="download")["tool"]
    asked = list(server.asked)
    for module in (cache_files, origins):
        monkeypatch.setattr(module, "hash_file", lambda path: pytest.fail("hashed again"))
    second = get("tool", origin="download")["tool"]
    assert not second.changed
    assert second.public() == first.public()
    assert server.asked == asked


def test_a_binary_of_another_version_is_refused(get, server, leftovers):
    server.release("tool", program("tool", "v1.2.30"))
    with pytest.raises(KjouleError, match=r"tool is not version v1\.2\.3: expected 'v1\.2\.3' from tool --version, saw 'tool v1\.2\.30'"):
        get("tool", origin="download")
    assert leftovers() == []


def test_what_a_binary_leaves_when_it_is_asked_for_its_version_goes(get, server, tmp_path, monkeypatch):
    """As minikube makes folders in its home, and a log among the temporary files."""
    for name in ("HOME", "TMPDIR", "MINIKUBE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    leaves = b"#!/bin/sh\nmkdir ${MINIKUBE_HOME:-$HOME}/.minikube\n: > $TMPDIR/minikube_version_0.log\necho tool v1.2.3\n"
    server.release("tool", leaves)
    assert get("tool", origin="download")["tool"].changed
    assert [list((tmp_path / name).iterdir()) for name in ("HOME", "TMPDIR", "MINIKUBE_HOME")] == [[], [], []]


def test_a_binary_that_does_not_start_is_refused(get, server):
    server.release("tool", b"\x7fELF nothing")
    with pytest.raises(KjouleError, match=r"is not version"):
        get("tool", origin="download")


@pytest.mark.parametrize(
    ("output", "text", "expected"),
    [
        ("Kubernetes v1.36.1", "v1.36.1", True),
        ("etcd Version: 3.6.14\nGit SHA: x", "3.6.14", True),
        ("v1.36.1+k3s1", "v1.36.1", True),
        ("v1.36.10", "v1.36.1", False),
        ("v1.36.1.2", "v1.36.1", False),
        ("v1.36.1-rc.1", "v1.36.1", False),
        ("13.6.14", "3.6.14", False),
        ("", "v1", False),
    ],
)
def test_a_version_is_compared_whole(output, text, expected):
    assert says_version(output, text) is expected


@pytest.mark.parametrize("damage", [b"", b"#!/bin/sh\n", program("tool").replace(b"tool", b"evil")])
@pytest.mark.parametrize("origin", ["auto", "download"])
def test_a_damaged_file_is_named_and_never_replaced(get, server, damage, origin):
    server.release("tool", program("tool"))
    path = get("tool", origin=origin)["tool"].path
    with open(path, "wb") as handle:
        handle.write(damage)
    with pytest.raises(KjouleError) as caught:
        get("tool", origin=origin)
    assert f"tool v1.2.3 is damaged: {path}" in str(caught.value)
    assert sha256(program("tool")) in caught.value.expected
    assert sha256(damage) in caught.value.seen
    assert "rm -r" in caught.value.next_step
    with open(path, "rb") as handle:
        assert handle.read() == damage


def test_damage_that_hides_behind_the_same_size_and_time_is_found_by_full_verification(get, server):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    before = os.stat(path)
    with open(path, "r+b") as handle:
        handle.write(program("tool").replace(b"tool", b"evil"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    get("tool", origin="download")
    with pytest.raises(KjouleError, match=r"is damaged"):
        get("tool", origin="download", verify_full=True)


def test_a_file_that_was_only_touched_is_hashed_once_more(get, server, cache):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.utime(path, (1, 1))
    assert not get("tool", origin="download")["tool"].changed
    assert lock_of(cache)["files"][path]["stat"]["mtime_ns"] == 1_000_000_000


def test_a_file_that_nobody_recorded_is_not_trusted(get, cache):
    folder = cache / "artifacts" / "tool-v1.2.3-linux-amd64"
    folder.mkdir(parents=True)
    (folder / "tool").write_bytes(program("tool"))
    with pytest.raises(KjouleError, match=r"is damaged: .*expected a file recorded in .*artifacts\.lock\.json"):
        get("tool")


def test_a_file_that_was_removed_is_got_anew(get, server):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.unlink(path)
    assert get("tool", origin="download")["tool"].changed
    assert os.path.exists(path)


def test_a_table_that_contradicts_the_cached_download_is_an_error(get, server, table):
    server.release("tool", program("tool"))
    get("tool", origin="download")
    table["tool"]["artifacts"]["tool"]["sha256"] = {"amd64": "a" * 64}
    with pytest.raises(KjouleError, match=r"the table's checksum is not that of the cached download"):
        get("tool")


def test_a_cache_that_cannot_be_written_is_named(get, server, tmp_path):
    server.release("tool", program("tool"))
    (tmp_path / "file").write_text("")
    with pytest.raises(KjouleError, match=r"cache.* cannot be (written|read)"):
        get("tool", cache_dir=str(tmp_path / "file" / "cache"))


def test_a_full_cache_that_may_only_be_read_can_be_used(get, server, monkeypatch):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.utime(path, (1, 1))

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    assert get("tool", origin="download")["tool"].path == path
