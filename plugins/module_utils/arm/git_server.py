# SPDX-License-Identifier: GPL-3.0-or-later
"""A git server on loopback: smart HTTP through git's own http-backend. Runs as a process of its own, from this one file.

    python3 git_server.py --root REPOSITORIES --port PORT --cpu-file FILE [--address ADDRESS]

Every request runs ``git http-backend`` (git-http-backend(1)) as a child. The CPU time of all children so far, in nanoseconds, stands in
FILE, because the clock of this process does not contain them. Push is allowed to who comes from the very address that is listened on:
with the default, loopback, nobody else can reach this server; with an address of the host, others may read what they can name.
"""

from __future__ import annotations

import argparse
import http.server
import os
import resource
import shutil
import subprocess
import threading

_LIMIT_BYTES = 256 * 1024 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    """One CGI call (RFC 3875) for each request."""

    protocol_version = "HTTP/1.0"
    root = ""
    cpu_file = ""
    address = "127.0.0.1"
    guard = threading.Lock()

    def do_GET(self) -> None:  # the name that http.server asks for
        self._serve(b"")

    def do_POST(self) -> None:  # the name that http.server asks for
        encoding = (self.headers.get("Transfer-Encoding") or "").lower()
        body = self._chunks() if encoding == "chunked" else self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _LIMIT_BYTES))
        self._serve(body)

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
            if size == 0:
                self.rfile.readline()
                return b"".join(parts)
            parts.append(self.rfile.read(size))
            self.rfile.readline()

    def _serve(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        if "git-receive-pack" in self.path and self.client_address[0] != self.address:
            self.send_error(403, "push comes from this host alone")
            return
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/nonexistent"),
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_USER": "operator",
            # The children's settings (no housekeeping) and the mark by which what a crash leaves is found.
            **{name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL", "KJOULE_OWNER") if name in os.environ},
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment, check=False)
        self._account()
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        if done.returncode != 0 or not head:
            self.send_error(500, "git http-backend failed")
            return
        status, headers = 200, []
        for line in head.decode("latin-1").split("\r\n"):
            key, _, value = line.partition(":")
            if key.lower() == "status":
                status = int(value.split()[0])
            else:
                headers.append((key, value.strip()))
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _account(self) -> None:
        with self.guard:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            nanoseconds = round((used.ru_utime + used.ru_stime) * 1e6) * 1000
            with open(self.cpu_file, "r+b") as stream:
                stream.write(b"%020d\n" % nanoseconds)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a log line for each poll is work inside the measurement."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--cpu-file", required=True)
    parser.add_argument("--address", default=Handler.address)
    arguments = parser.parse_args()
    if shutil.which("git") is None:
        raise SystemExit("git is not in PATH")
    with open(arguments.cpu_file, "wb") as stream:
        stream.write(b"%020d\n" % 0)
    Handler.root = arguments.root
    Handler.cpu_file = arguments.cpu_file
    Handler.address = arguments.address
    http.server.ThreadingHTTPServer((arguments.address, arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
