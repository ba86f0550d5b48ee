# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that does not answer is found out in seconds; a checksum file is read in the forms that projects use."""

from __future__ import annotations

import io
import socket
import threading
import time
import zipfile

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import fetch
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.fetch import Fetcher, Unavailable, extract, find_checksum
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

from .conftest import tar_of

SUM = "ab" * 32


def test_a_closed_port_is_unavailable_at_once(closed_url):
    with pytest.raises(Unavailable, match=r"cannot reach"):
        Fetcher().open(closed_url + "/x")


def test_a_host_that_never_answers_is_given_up_after_the_connect_timeout(silent):
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0.3 s"):
        Fetcher(0.3).open(silent.url + "/x")
    assert 0.3 <= time.monotonic() - start < 30


def test_a_silent_host_is_asked_once(silent):
    fetcher = Fetcher(0.3)
    with pytest.raises(Unavailable):
        fetcher.open(silent.url + "/x")
    with pytest.raises(Unavailable, match=r"asked once in this run"):
        fetcher.open(silent.url + "/y")
    assert silent.asked == 1


def test_what_another_call_found_out_is_believed(server):
    with pytest.raises(Unavailable, match=r"timed out"):
        Fetcher(unreachable={server.url[len("http://") :]: "timed out"}).open(server.url + "/x")
    assert server.asked == []


def test_a_resolver_that_hangs_is_given_up_too(monkeypatch):
    given_up = threading.Event()
    in_time = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: in_time.append(given_up.wait(60)))
    with pytest.raises(Unavailable, match=r"no answer within 0.2 s"):
        Fetcher(0.2).open("http://name.invalid/x")
    assert in_time == []  # it still hangs
    given_up.set()


def test_an_answer_of_404_does_not_make_the_host_unreachable(server):
    fetcher = Fetcher()
    with pytest.raises(Unavailable, match=r"HTTP 404"):
        fetcher.open(server.url + "/nothing")
    assert fetcher.unreachable == {}


def test_only_web_and_file_urls_are_read():
    with pytest.raises(Unavailable, match=r"an http, https or file URL"):
        Fetcher().open("gopher://example.invalid/x")


def test_a_file_url_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    target = io.BytesIO()
    Fetcher().download((tmp_path / "x").as_uri(), target)
    assert target.getvalue() == b"hello"


def test_a_body_that_ends_early_is_an_interrupted_download(server):
    server.files["/x"] = b"0123456789"
    server.cut.add("/x")
    with pytest.raises(Unavailable, match=r"interrupted"):
        Fetcher().download(server.url + "/x", io.BytesIO())


def test_https_is_never_redirected_to_http():
    with pytest.raises(OSError, match=r"redirected from https"):
        fetch._Redirects().redirect_request(fetch.urllib.request.Request("https://a.invalid/"), None, 302, "", {}, "http://a.invalid/")


@pytest.mark.parametrize(
    "text",
    [
        SUM,
        SUM.upper() + "\n",
        f"{'0' * 64}  other\n{SUM}  tool\n",
        f"{SUM} *tool",
        f"{SUM}  ./dist/tool",
        f"SHA256 (tool) = {SUM}",
    ],
)
def test_a_checksum_is_found(text):
    assert find_checksum(text, "tool") == SUM


@pytest.mark.parametrize("text", ["", "<html>", f"{SUM}  other", f"{SUM}  tool.tar.gz", f"{SUM}\n{SUM}"])
def test_another_files_checksum_is_not_taken(text):
    assert find_checksum(text, "tool") is None


def test_a_page_instead_of_a_checksum_file_is_told(server):
    server.files["/sums"] = b"<!DOCTYPE html><title>Sign in</title>"
    with pytest.raises(Unavailable, match=r"has no sha256 of tool: saw an HTML page"):
        Fetcher().read_checksum(server.url + "/sums", "tool")


def test_a_member_comes_out_of_a_tar_and_a_zip(tmp_path):
    (tmp_path / "t").write_bytes(tar_of({"./d/tool": b"body"}))
    with zipfile.ZipFile(tmp_path / "z", "w") as zipped:
        zipped.writestr("d/tool", b"body")
    for name in "tz":
        target = io.BytesIO()
        extract(str(tmp_path / name), "d/tool", target)
        assert target.getvalue() == b"body"


def test_a_member_that_is_missing_is_told_with_those_there(tmp_path):
    (tmp_path / "t").write_bytes(tar_of({"d/tool": b"", "d/README": b""}))
    with pytest.raises(KjouleError, match=r"no member 'd/tol': saw d/tool, d/README"):
        extract(str(tmp_path / "t"), "d/tol", io.BytesIO())


def test_a_file_that_is_no_archive_is_told(tmp_path):
    (tmp_path / "t").write_bytes(b"text")
    with pytest.raises(KjouleError, match=r"cannot be read: expected a tar or zip file"):
        extract(str(tmp_path / "t"), "x", io.BytesIO())
