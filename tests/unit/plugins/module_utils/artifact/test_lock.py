# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file keeps what several runs write, and a lock is held by one."""

from __future__ import annotations

import errno
import multiprocessing
import threading
from multiprocessing.synchronize import Event

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.lock import LockFile, entry, exclusive, writing
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


def test_a_missing_lock_file_is_an_empty_one_and_is_not_made_by_reading(tmp_path):
    assert LockFile(str(tmp_path)).entries == {}
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_keep_each_others_entries(tmp_path):
    one, two = LockFile(str(tmp_path)), LockFile(str(tmp_path))
    one.update({"a": entry("1", "x")}, {})
    two.update({"b": entry("2", "y")}, {})
    assert set(LockFile(str(tmp_path)).entries) == {"a", "b"}


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "other"}', "not json"])
def test_a_lock_file_that_is_none_is_named(tmp_path, text):
    (tmp_path / "artifacts.lock.json").write_text(text)
    with pytest.raises(KjouleError, match=r"artifacts\.lock\.json cannot be read"):
        LockFile(str(tmp_path))


def _hold(folder: str, ready: Event, release: Event) -> None:
    with exclusive(folder, "family"):
        ready.set()
        release.wait(120)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock, and what makes it let go."""
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, release))
    process.start()
    try:
        assert ready.wait(60)
        yield process, release
    finally:
        process.kill()
        process.join()


def test_the_second_waits_for_the_first(tmp_path, holder):
    process, release = holder
    entered = threading.Event()

    def second():
        with exclusive(str(tmp_path), "family"):
            entered.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert not entered.wait(0.3)
    release.set()
    assert entered.wait(60)
    thread.join()
    process.join()


def test_a_lock_of_a_run_that_was_killed_is_free(tmp_path, holder):
    process, _release = holder
    process.kill()
    process.join()
    with exclusive(str(tmp_path), "family"):
        pass


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KjouleError, match=r"the cache .*/file/cache cannot be written"), exclusive(str(tmp_path / "file" / "cache"), "x"):
        pass


def test_a_full_disk_is_told_as_one(tmp_path):
    with pytest.raises(KjouleError, match=r"no space left in the cache"), writing(str(tmp_path)):
        raise OSError(errno.ENOSPC, "No space left on device")
