# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment import journal
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.journal import (
    append_record,
    check_header,
    journal_path,
    read_header,
    read_text,
)

HEADER = {"kind": "header", "schema": "kjoule.journal/1", "run_id": "r", "plan_hash": "h"}


@pytest.fixture
def path(tmp_path):
    return journal_path(str(tmp_path), "r")


def lines(path):
    return [json.loads(line) for line in read_text(path).splitlines()]


def test_records_come_back_in_order_from_below_the_state_directory(path, tmp_path):
    assert path == str(tmp_path / "runs" / "r" / "journal.jsonl")
    assert read_text(path) == ""
    assert read_header(path) is None
    for record in (HEADER, {"n": 1, "text": "20 µJ\nof é"}, {"n": 2}):
        append_record(path, record)
    assert lines(path) == [HEADER, {"n": 1, "text": "20 µJ\nof é"}, {"n": 2}]
    assert read_header(path) == HEADER


@pytest.mark.parametrize("length", [0, 70_000])
def test_a_torn_last_line_was_never_a_record_and_is_cut_off(path, length):
    append_record(path, HEADER)
    append_record(path, {"long": "x" * length})
    with open(path, "a") as stream:
        stream.write('{"torn": "' + "y" * length)
    assert len(lines(path)) == 2
    append_record(path, {"n": 3})
    assert lines(path)[1:] == [{"long": "x" * length}, {"n": 3}]
    assert Path(path).read_text() == read_text(path)


def test_a_journal_that_is_nothing_but_a_torn_header_is_a_new_one(path):
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as stream:
        stream.write('{"kind": "hea')
    assert read_header(path) is None
    append_record(path, HEADER)
    assert lines(path) == [HEADER]


def nothing(_descriptor, _data):
    raise OSError(errno.ENOSPC, "No space left on device")


def half(descriptor, data, write=os.write):
    return write(descriptor, data[: len(data) // 2])


def unsynced(_descriptor):
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(("call", "instead"), [("write", nothing), ("write", half), ("fsync", unsynced)])
def test_a_disk_that_is_full_or_broken_leaves_the_journal_as_it_was(path, monkeypatch, call, instead):
    append_record(path, HEADER)
    before = Path(path).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, call, instead)
        with pytest.raises(KjouleError, match=r"the journal .* cannot be written.*goes on with the first unfinished block"):
            append_record(path, {"n": 1})
    assert Path(path).read_bytes() == before
    append_record(path, {"n": 1})
    assert lines(path) == [HEADER, {"n": 1}]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(KjouleError, match="cannot be written"):
        append_record(journal_path(str(tmp_path), "r"), HEADER)


def test_what_is_no_number_is_no_record(path):
    with pytest.raises(ValueError, match="JSON"):
        append_record(path, {"joules": float("nan")})
    assert read_text(path) == ""


@pytest.mark.parametrize("first", ["not json", "[1]", '{"kind": "period"}', '{"kind": "header", "schema": "kjoule.journal/9"}'])
def test_a_foreign_file_is_not_written_to(path, first):
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as stream:
        stream.write(first + "\n")
    with pytest.raises(KjouleError, match=r"no usable header: expected schema kjoule\.journal/1.*another kjoule_run_id"):
        read_header(path)


def test_a_journal_belongs_to_one_plan():
    check_header(HEADER, {"run_id": "r", "plan_hash": "h"})
    with pytest.raises(KjouleError, match="belongs to another plan: expected plan_hash other, saw h"):
        check_header(HEADER, {"run_id": "r", "plan_hash": "other"})
