# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP client for meters: BMCs, plugs, exporters. Standard library only.

One connection is kept open, so that a reading a second costs no handshake a second. A redirect is an error, no proxy is used, and TLS is
always verified: by the system's certificate authorities, by a CA file, or by the fingerprint of the very certificate.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import math
import os
import re
import socket
import ssl
import stat
import time
from typing import Any
from urllib.parse import urlsplit

from ..errors import KjouleError

#: Options that every source with a URL takes.
WEB_OPTIONS = ("url", "username", "password_file", "ca_file", "fingerprint", "timeout_seconds")

LIMIT_BYTES = 64 * 1024 * 1024
_DIGESTS = {"MD5": "md5", "SHA-256": "sha256"}


def finite(value: Any, what: str, *, minimum: float | None = 0.0) -> float:
    """``value`` as a finite number of at least ``minimum``. Raises KjouleError that names ``what``: NaN, text and negative power are no
    readings."""
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    if not math.isfinite(number) or (minimum is not None and number < minimum):
        expected = "a number" if minimum is None else f"a number of at least {minimum:g}"
        raise KjouleError(f"{what} is no reading", expected=expected, seen=repr(value)[:80])
    return number


def read_secret(path: str) -> str:
    """The first line of a file that only its owner may read. Raises KjouleError when it is missing, empty, or open to others."""
    try:
        with open(path, encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise KjouleError(
            f"the password file {path} cannot be read", seen=str(reason), next_step="write the password into it, mode 0600"
        ) from None
    if mode & 0o077:
        raise KjouleError(
            f"the password file {path} can be read by others", expected="mode 0600", seen=f"mode {mode:04o}", next_step=f"chmod 600 {path}"
        )
    if not text:
        raise KjouleError(f"the password file {path} is empty", next_step="write the password into its first line")
    return text


def text_option(options: dict[str, Any], name: str, source: str, default: str | None = None) -> str:
    """A text option of a source; required without a default."""
    value = options.get(name)
    if value in (None, "") and default is not None:
        return default
    if value in (None, ""):
        raise KjouleError(
            f"the energy source {source} has to be set up",
            expected=f"option {name}",
            seen="none",
            next_step="docs/sources.md has an example",
        )
    if not isinstance(value, str) or not value.strip():
        raise KjouleError(f"option {name} of the energy source {source}", expected="text", seen=repr(value))
    return value.strip()


def path_option(options: dict[str, Any], name: str, source: str, default: str | None = None) -> str:
    """The name of a file, with ``~`` as a shell has it."""
    return os.path.expanduser(text_option(options, name, source, default))


def seconds_option(options: dict[str, Any], name: str, source: str, default: float) -> float:
    """A number of seconds above 0."""
    value = options.get(name)
    try:
        number = default if value in (None, "") else math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise KjouleError(f"option {name} of the energy source {source}", expected="seconds above 0", seen=repr(value))
    return number


def parse_json(text: bytes, what: str) -> Any:
    """JSON, or a KjouleError that says what came instead. NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise KjouleError(f"{what} answered with {constant}", expected="a number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise KjouleError(
            f"{what} did not answer with JSON", seen=_sight(text), next_step="check the address: something else answers there"
        ) from None


def _sight(text: bytes) -> str:
    return repr(text[:60].decode("utf-8", errors="replace")) if text else "an empty answer"


class WebClient:
    """Requests to one server. ``what`` names it in errors. Not for several threads at once.

    ca_file and fingerprint (sha256 of the certificate, hexadecimal, colons allowed) are for https only.
    """

    def __init__(
        self,
        url: str,
        what: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: str = "",
        fingerprint: str = "",
        timeout_seconds: float = 5.0,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise KjouleError(
                f"the address of {what}", expected="http://HOST[:PORT] or https://HOST[:PORT]", seen=repr(_without_secret(url))
            )
        if parts.username or parts.password:
            raise KjouleError(f"the address of {what} holds a password", next_step="give username and password_file instead")
        self.what = f"{what} at {parts.scheme}://{parts.netloc}"
        self.scheme = parts.scheme
        self.base = parts.path.rstrip("/")
        self._host, self._port = parts.hostname, port
        self._username, self._password = username, password
        self._timeout = timeout_seconds
        self._pin = re.sub(r"[:\s]", "", fingerprint).lower()
        if self._pin and not re.fullmatch(r"[0-9a-f]{64}", self._pin):
            raise KjouleError(f"the fingerprint of {what}", expected="a sha256 of 64 hexadecimal digits", seen=repr(fingerprint))
        if (self._pin or ca_file) and parts.scheme != "https":
            raise KjouleError(f"{self.what} is not https", next_step="use https, or leave ca_file and fingerprint out")
        self._context = _tls_context(ca_file, self._pin, self.what) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._challenge: dict[str, str] = {}
        self._uses = 0

    @classmethod
    def from_options(cls, options: dict[str, Any], source: str, default_url: str | None = None, **more: Any) -> WebClient:
        """From WEB_OPTIONS as a user gives them."""
        username = text_option(options, "username", source, "")
        secret = path_option(options, "password_file", source, "")
        return cls(
            text_option(options, "url", source, default_url),
            source,
            username=username,
            password=read_secret(secret) if secret else "",
            ca_file=path_option(options, "ca_file", source, ""),
            fingerprint=text_option(options, "fingerprint", source, ""),
            timeout_seconds=seconds_option(options, "timeout_seconds", source, 5.0),
            **more,
        )

    @property
    def credentials(self) -> tuple[str, str]:
        """User name and password as given; both may be empty."""
        return self._username, self._password

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """The body behind ``path`` (which is below the path of the URL). Raises KjouleError for anything but 200."""
        return self.request("GET", path, headers=headers)[1]

    def get_json(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """The JSON behind ``path``."""
        return parse_json(self.get(path, headers), self.what)

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[dict[str, str], bytes]:
        """``(headers in lower case, body)`` of an answer with 2xx. Answers a challenge for a password once. Raises KjouleError
        otherwise."""
        target = self.base + path
        status, answer, content = self._send(method, target, {**(headers or {}), **self._authorization(method, target)}, body)
        if status == 401 and self._password and self._accept(answer.get("www-authenticate", "")):
            status, answer, content = self._send(method, target, {**(headers or {}), **self._authorization(method, target)}, body)
        if status in (401, 403):
            raise KjouleError(
                f"{self.what} does not let us in",
                seen=f"status {status}" + ("" if self._password else ", no password was given"),
                next_step="check username and password_file",
            )
        if 300 <= status < 400:
            raise KjouleError(f"{self.what} sends us elsewhere", seen=f"status {status} to {answer.get('location', 'nowhere')[:120]}")
        if not 200 <= status < 300:
            raise KjouleError(
                f"{self.what} refuses {path.split('?')[0]}", expected="status 200", seen=f"status {status}, {_sight(content)}"
            )
        return answer, content

    def close(self) -> None:
        """Close the connection. The next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        reused = self._connection is not None
        try:
            return self._exchange(method, target, headers, body)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            # A server may close a connection between two requests; that is no failure of the meter.
            if not reused or isinstance(error, (ssl.SSLError, socket.timeout)):
                raise self._unreachable(error) from error
        try:
            return self._exchange(method, target, headers, body)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._unreachable(error) from error

    def _exchange(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        deadline = time.monotonic() + self._timeout
        connection = self._connected()
        connection.request(method, target, body=body, headers={"Accept-Encoding": "identity", **headers})
        response = connection.getresponse()
        parts, size = [], 0
        while part := response.read1(65536):
            parts.append(part)
            size += len(part)
            if size > LIMIT_BYTES:
                raise http.client.HTTPException(f"more than {LIMIT_BYTES // 2**20} MiB")
            if time.monotonic() > deadline:
                raise socket.timeout("timed out")
        response.read()  # nothing is left, but only this lets the connection be used again
        if response.will_close:
            self.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, b"".join(parts)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._context is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
            else:
                self._connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
            self._connection.connect()
            if self._pin:
                self._check_pin(self._connection.sock)
        return self._connection

    def _check_pin(self, sock: Any) -> None:
        seen = hashlib.sha256(sock.getpeercert(binary_form=True)).hexdigest()
        if not hmac.compare_digest(seen, self._pin):
            self.close()
            raise KjouleError(
                f"{self.what} shows another certificate",
                expected=f"sha256 {self._pin}",
                seen=f"sha256 {seen}",
                next_step="find out why before you change the fingerprint: nothing was sent to it",
            )

    def _unreachable(self, error: Exception) -> KjouleError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return KjouleError(
                f"the certificate of {self.what} cannot be verified",
                seen=error.verify_message,
                next_step="give ca_file, or fingerprint as `openssl x509 -noout -fingerprint -sha256` shows it for the certificate",
            )
        if isinstance(error, socket.timeout):
            return KjouleError(
                f"{self.what} does not answer", seen=f"nothing within {self._timeout:g} s", next_step="is it on, and is this its address?"
            )
        return KjouleError(
            f"{self.what} cannot be reached", seen=str(error) or type(error).__name__, next_step="is it on, and is this its address?"
        )

    # --- passwords

    def _accept(self, challenge: str) -> bool:
        """Remember how the server wants the password. False when it cannot be given that way, or was already."""
        kind, _, rest = challenge.partition(" ")
        fields = {name.lower(): quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', rest)}
        fields["kind"] = kind.lower()
        if fields["kind"] == "digest":
            offered = [part.strip() for part in fields.get("qop", "auth").split(",")]
            fields["algorithm"] = fields.get("algorithm", "MD5").upper()
            if fields["algorithm"] not in _DIGESTS or "auth" not in offered or fields.get("nonce") in (None, self._challenge.get("nonce")):
                return False
        elif fields["kind"] != "basic" or self._challenge:
            return False
        self._challenge, self._uses = fields, 0
        return True

    def _authorization(self, method: str, target: str) -> dict[str, str]:
        if not self._challenge:
            return {}
        if self._challenge["kind"] == "basic":
            return {"Authorization": basic(self._username, self._password)}
        self._uses += 1
        return {"Authorization": digest(self._challenge, self._username, self._password, method, target, self._uses, os.urandom(8).hex())}


def basic(username: str, password: str) -> str:
    """The value of the header Authorization, RFC 7617."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def digest(challenge: dict[str, str], username: str, password: str, method: str, target: str, count: int, cnonce: str) -> str:
    """The value of the header Authorization, RFC 7616 with qop=auth, MD5 or SHA-256 (which Shelly wants and urllib lacks)."""

    def hashed(text: str) -> str:
        return hashlib.new(_DIGESTS[challenge["algorithm"]], text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce, uses = challenge.get("realm", ""), challenge["nonce"], f"{count:08x}"
    answer = hashed(f"{hashed(f'{username}:{realm}:{password}')}:{nonce}:{uses}:{cnonce}:auth:{hashed(f'{method}:{target}')}")
    opaque = f', opaque="{challenge["opaque"]}"' if challenge.get("opaque") else ""
    return (
        f'Digest username="{username}", realm="{realm}", nonce="{nonce}", uri="{target}", algorithm={challenge["algorithm"]}, '
        f'qop=auth, nc={uses}, cnonce="{cnonce}", response="{answer}"{opaque}'
    )


def _tls_context(ca_file: str, pin: str, what: str) -> ssl.SSLContext:
    if pin:  # the certificate itself is compared; who signed it, and for which name, does not matter then
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise KjouleError(
            f"the CA file of {what} cannot be used", expected="a file of certificates in PEM form", seen=f"{ca_file}: {error}"
        ) from error


def _without_secret(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)
