# SPDX-License-Identifier: GPL-3.0-or-later
"""A release server on loopback, a Go tool chain made of shell, and a table with one small family. Nothing here leaves the machine."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import os
import socket
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import build as gobuild
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.settings import Settings
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.store import Store
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.table import Platform, resolve

PLATFORM = Platform("linux", "amd64")


def program(name: str, version: str = "v1.2.3") -> bytes:
    return f"#!/bin/sh\necho {name} {version}\n".encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def lock_of(cache: Path) -> dict:
    return json.loads((cache / "artifacts.lock.json").read_text())


class Server:
    """``files``: path to content. ``cut``: paths whose body stops half-way. ``asked``: what was requested."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = outer.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body[: len(body) // 2] if self.path in outer.cut else body)

            do_HEAD = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def release(self, name: str, content: bytes) -> None:
        """A file and its checksum file, as most projects publish them."""
        self.files[f"/v1.2.3/{name}"] = content
        self.files[f"/v1.2.3/{name}.sha256"] = f"{sha256(content)}  {name}\n".encode()


@pytest.fixture
def server():
    instance = Server()
    yield instance
    instance.httpd.shutdown()
    instance.httpd.server_close()


@pytest.fixture
def closed_url():
    """A port of this machine where nobody listens, nor will before the test has ended."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


class Silent:
    """A port that takes connections and never says a word, as a firewall that drops does. ``asked``: how many connections that were."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._taken: list[socket.socket] = []

    @property
    def asked(self) -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._taken.append(self.listener.accept()[0])
        return len(self._taken)

    def close(self) -> None:
        for connection in self._taken:
            connection.close()


@pytest.fixture
def silent():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        listener.setblocking(False)
        instance = Silent(listener)
        yield instance
        instance.close()


@pytest.fixture
def table(server):
    """Two tools that are released and can be built, and their manifests."""
    return {
        "tool": {
            "version": "v1.2.3",
            "build": {"module": "example.invalid/tool", "ldflags": ["-s", "-X main.version={version}"], "free_gb": 0.001},
            "artifacts": {
                "tool": {
                    "url": server.url + "/{version}/tool",
                    "checksum_url": server.url + "/{version}/tool.sha256",
                    "package": "example.invalid/tool/cmd/tool",
                    "version_args": ["--version"],
                    "version_text": "{version}",
                },
                "toolctl": {
                    "url": server.url + "/{version}/toolctl",
                    "checksum_url": server.url + "/{version}/toolctl.sha256",
                    "package": "example.invalid/tool/cmd/toolctl",
                },
                "tool-crds": {"kind": "crds", "file": "tool.crds.yaml", "manifests": "config/crd"},
            },
        }
    }


FAKE_GO = """#!/bin/sh
echo "$@" >> "{log}"
case "$1" in
env) echo go{version} ;;
list) echo "{module}" ;;
build)
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
    -C|-ldflags) shift 2 ;;
    -o) out=$2; shift 2 ;;
    -*) shift ;;
    *) name=${{1##*/}}
       target=$out
       case "$out" in */) target=$out$name ;; esac
       sleep {seconds}
       printf '#!/bin/sh\\necho %s {says}\\n' "$name" > "$target"
       shift ;;
    esac
  done ;;
esac
"""


@pytest.fixture
def fake_go(tmp_path, monkeypatch):
    """Makes a ``go`` that "compiles" shell scripts; returns a function (version, says, seconds) -> its log file."""
    module = tmp_path / "module"
    (module / "config" / "crd").mkdir(parents=True)
    (module / "config" / "crd" / "b.yaml").write_text("kind: CustomResourceDefinition\nname: b\n")
    (module / "config" / "crd" / "a.yaml").write_text("---\nkind: CustomResourceDefinition\nname: a\n")
    log = tmp_path / "go.log"

    def make(version: str = "1.26.8", says: str = "v1.2.3", seconds: float = 0) -> Path:
        folder = tmp_path / "gobin"
        folder.mkdir(exist_ok=True)
        command = folder / "go"
        command.write_text(FAKE_GO.format(log=log, version=version, says=says, module=module, seconds=seconds))
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        monkeypatch.setattr(gobuild, "_USUAL_PLACES", ())
        return log

    return make


@pytest.fixture
def no_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(gobuild, "_USUAL_PLACES", ())


@pytest.fixture
def tools(tmp_path) -> Path:
    folder = tmp_path / "tools" / "tool"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module kjoule.invalid/tools/tool\n\ngo 1.26.0\n\nrequire (\n\texample.invalid/tool v1.2.3\n)\n")
    (folder / "go.sum").write_text("example.invalid/tool v1.2.3 h1:x\n")
    return folder.parent


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store_of(cache, tools):
    """Makes a Store with the small family's module files; keywords are fields of Settings."""

    def make(**settings: Any) -> Store:
        values: dict[str, Any] = {"cache_dir": str(cache), "tools_dirs": {"tool": str(tools / "tool")}, "connect_timeout": 1.0}
        return Store(Settings(**{**values, **settings}))

    return make


@pytest.fixture
def get(store_of, table):
    """Gets artifacts of the small family by name."""

    def run(*names: str, paths: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
        return store_of(**settings).get(resolve(table, list(names), PLATFORM, paths))

    return run


@pytest.fixture
def leftovers(cache):
    """The files that no finished run leaves."""
    return lambda: sorted(path.name for path in cache.rglob("*.part"))
