# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads that are quick to say no: a host that does not answer is found out in seconds and not asked again."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from typing import IO, Any, Callable

from ..errors import KjouleError

READ_TIMEOUT_SECONDS = 60.0
_CHUNK = 1 << 20
_CHECKSUM_FILE_LIMIT = 4 << 20


class Unavailable(KjouleError):
    """A file that could not be had from there. The only error after which another origin may be tried."""


class _HTTPConnection(http.client.HTTPConnection):
    """Connects and waits for the first answer with the short timeout, reads the body with the long one."""

    def getresponse(self) -> http.client.HTTPResponse:
        sock = self.sock
        response = super().getresponse()
        sock.settimeout(READ_TIMEOUT_SECONDS)
        return response


class _HTTPSConnection(http.client.HTTPSConnection):
    def getresponse(self) -> http.client.HTTPResponse:
        sock = self.sock
        response = super().getresponse()
        sock.settimeout(READ_TIMEOUT_SECONDS)
        return response


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPSConnection, req, context=ssl.create_default_context())


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Fetcher:
    """Reads URLs (http, https, file) and remembers the hosts that did not answer."""

    def __init__(self, connect_timeout: float = 5.0, unreachable: dict[str, str] | None = None) -> None:
        self.connect_timeout = connect_timeout
        self.unreachable: dict[str, str] = dict(unreachable or {})
        self._opener = urllib.request.build_opener(_HTTPHandler, _HTTPSHandler, _Redirects)
        self._opener.addheaders = [("User-Agent", "kjoule"), ("Accept", "*/*")]

    def open(self, url: str, method: str = "GET") -> Any:
        """An open response. Raises Unavailable, with the reason, for whatever went wrong."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https", "file"):
            raise Unavailable(
                f"cannot read {url}", expected="an http, https or file URL", next_step="correct the table or artifacts_mirrors"
            )
        if parts.netloc in self.unreachable:
            raise self._unreachable(url, self.unreachable[parts.netloc] + " (asked once in this run)")
        try:
            self._resolve(parts)
            return self._opener.open(urllib.request.Request(url, method=method), timeout=self.connect_timeout)
        except urllib.error.HTTPError as error:
            error.close()
            raise Unavailable(
                f"cannot read {url}",
                seen=f"HTTP {error.code} {error.reason}",
                next_step="check that this version is released for this platform, or use another origin (artifacts_origin)",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
            if isinstance(error, socket.timeout) or isinstance(getattr(error, "reason", None), socket.timeout):
                reason = f"no answer within {self.connect_timeout:g} s"
            if parts.netloc:
                self.unreachable[parts.netloc] = reason
            raise self._unreachable(url, reason) from error

    def read_checksum(self, url: str, file_name: str) -> str:
        """The sha256 of ``file_name`` in the checksum file at ``url``; raises Unavailable when it has none."""
        with self.open(url) as response:
            try:
                text = response.read(_CHECKSUM_FILE_LIMIT).decode("utf-8", "replace")
            except (OSError, http.client.HTTPException) as error:
                raise self._interrupted(url, str(error)) from error
        found = find_checksum(text, file_name)
        if found is None:
            raise Unavailable(
                f"the checksum file {url} has no sha256 of {file_name}",
                seen=describe_content(text.encode()[:200], len(text)),
                next_step="give the sha256 in the table (artifacts_extra), or use another origin",
            )
        return found

    def download(self, url: str, target: IO[bytes]) -> str:
        """Copies ``url`` into ``target``; returns the sha256. A short read raises Unavailable."""
        digest = hashlib.sha256()
        size = 0
        with self.open(url) as response:
            announced = response.headers.get("Content-Length")
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise self._interrupted(url, f"{size} bytes, then: {error or type(error).__name__}") from error
                if not chunk:
                    break
                target.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        if announced and announced.isdigit() and int(announced) != size:
            raise self._interrupted(url, f"{size} of {announced} bytes")
        return digest.hexdigest()

    def _resolve(self, parts: urllib.parse.SplitResult) -> None:
        """Looks the name up within the connect timeout: the system's resolver may take far longer, and has no timeout of its own."""
        if parts.scheme == "file" or not parts.hostname:
            return
        if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(parts.hostname):
            return
        host = parts.hostname
        outcome: list[OSError | None] = []

        def look_up() -> None:
            try:
                socket.getaddrinfo(host, parts.port or 0, type=socket.SOCK_STREAM)
                outcome.append(None)
            except OSError as error:
                outcome.append(error)

        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(self.connect_timeout)
        if not outcome:
            raise socket.timeout()
        if outcome[0] is not None:
            raise outcome[0]

    @staticmethod
    def _unreachable(url: str, reason: str) -> Unavailable:
        return Unavailable(
            f"cannot reach {url}",
            seen=reason,
            next_step="check network, proxy and certificates (https_proxy, SSL_CERT_FILE), name a mirror (artifacts_mirrors) or build",
        )

    @staticmethod
    def _interrupted(url: str, seen: str) -> Unavailable:
        return Unavailable(f"the download of {url} was interrupted", seen=seen, next_step="run again")


def find_checksum(text: str, file_name: str) -> str | None:
    """The sha256 of ``file_name`` in a checksum file: ``HEX  NAME`` lines, BSD style, or a bare digest."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        plain = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S+)", line)
        if plain and plain.group(2).rsplit("/", 1)[-1] == file_name:
            return plain.group(1).lower()
        bsd = re.fullmatch(r"SHA256 ?\((.+)\) ?= ?([0-9a-fA-F]{64})", line)
        if bsd and bsd.group(1).rsplit("/", 1)[-1] == file_name:
            return bsd.group(2).lower()
    if len(lines) == 1 and re.fullmatch(r"[0-9a-fA-F]{64}", lines[0]):
        return lines[0].lower()
    return None


def describe_content(head: bytes, size: int) -> str:
    """In a few words what a file is, for an error: a proxy's login page is the usual surprise."""
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return f"an HTML page of {size} bytes (a proxy's or login page?)"
    if not size:
        return "an empty file"
    return f"{size} bytes beginning {head[:24]!r}"


def extract(archive: str, member: str, target: IO[bytes]) -> None:
    """Writes ``member`` of a tar (any compression) or zip file into ``target``. Raises KjouleError when it is not in there."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                names = zipped.namelist()
                if member in names:
                    with zipped.open(member) as source:
                        _copy(source.read, target)
                    return
        else:
            with tarfile.open(archive) as tarred:
                names = []
                for info in tarred:
                    name = os.path.normpath(info.name)
                    names.append(name)
                    if name == os.path.normpath(member) and info.isfile():
                        content = tarred.extractfile(info)
                        if content is not None:
                            _copy(content.read, target)
                            return
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise KjouleError(
            f"the archive {os.path.basename(archive)} cannot be read",
            expected="a tar or zip file",
            seen=str(error),
            next_step="check url and member in the table",
        ) from error
    raise KjouleError(
        f"the archive has no member {member!r}",
        seen=", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "an empty archive",
        next_step="correct member in the table (artifacts_extra)",
    )


def _copy(read: Callable[[int], bytes], target: IO[bytes]) -> None:
    while True:
        chunk = read(_CHUNK)
        if not chunk:
            return
        target.write(chunk)
