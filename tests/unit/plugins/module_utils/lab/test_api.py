# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a scripted server. TLS is left out here; the integration tests talk to a real API server."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from unittest import mock

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab import api as module
from ansible_collections.kjoule.bench.plugins.module_utils.lab.api import ApiError, ApiUnavailable, KubeApi


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []
    answers: ClassVar[dict[str, Any]] = {}

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        answer = self.answers.get(self.path.split("?")[0], (404, {"kind": "Status", "reason": "NotFound", "message": "no such thing"}))
        if callable(answer):
            answer(self)
            return
        status, content = answer
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = do

    def log_message(self, *_arguments: Any) -> None:
        pass


class Plain(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, timeout: float, context: Any) -> None:
        super().__init__(host, port, timeout=timeout)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    monkeypatch.setattr(module.ssl, "create_default_context", lambda **_kwargs: mock.Mock())
    monkeypatch.setattr(module.http.client, "HTTPSConnection", Plain)
    Handler.seen, Handler.answers = [], {}
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, args=(0.01,))
    thread.start()
    Handler.port = web.server_port  # type: ignore[attr-defined]
    yield Handler
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture
def api(server: Any) -> Iterator[KubeApi]:
    client = KubeApi(f"https://127.0.0.1:{server.port}", cafile="a", certfile="b", keyfile="c", timeout=5)
    yield client
    client.close()


def chunks(*parts: str, whole: bool = True):
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return answer


def test_json_is_a_dictionary_and_text_is_text(server, api):
    server.answers = {"/version": (200, {"gitVersion": "v1"}), "/readyz": (200, "ok")}
    assert api.get("/version") == {"gitVersion": "v1"}
    assert api.request("GET", "/readyz") == "ok"
    assert api.ready() is True
    with pytest.raises(KjouleError, match="did not answer with JSON"):
        api.get("/readyz")


def test_a_server_that_asks_for_a_moment_gets_it(server, api, monkeypatch):
    busy = {"kind": "Status", "reason": "TooManyRequests", "message": "storage is (re)initializing"}
    left = [2]

    def answer(handler: Handler) -> None:
        status, content = (429, busy) if left[0] else (200, {"items": []})
        left[0] -= 1
        data = json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("Retry-After", "0")
        handler.end_headers()
        handler.wfile.write(data)

    server.answers = {"/x": answer}
    assert api.get("/x") == {"items": []}
    assert [path for _method, path, _headers, _body in server.seen] == ["/x"] * 3
    monkeypatch.setattr(module, "BUSY_SECONDS", -1.0)
    left[0] = 1
    with pytest.raises(ApiError, match="initializing") as error:
        api.get("/x")
    assert error.value.status == 429


def test_an_error_keeps_status_reason_and_message(server, api):
    server.answers = {
        "/x": (422, {"kind": "Status", "reason": "Invalid", "message": "spec.replicas: must be positive"}),
        "/y": (503, "busy"),
    }
    with pytest.raises(ApiError, match="must be positive") as error:
        api.get("/x")
    assert (error.value.status, error.value.reason) == (422, "Invalid")
    assert error.value.body["kind"] == "Status"
    with pytest.raises(ApiError, match=r"503.*busy"):
        api.get("/y")


def test_apply_is_a_server_side_apply_with_its_manager(server, api):
    server.answers = {"/o": (200, {})}
    api.apply("/o", {"kind": "X"}, "kjoule")
    method, path, headers, body = server.seen[-1]
    assert (method, path, body) == ("PATCH", "/o?fieldManager=kjoule&force=true", b'{"kind":"X"}')
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    api.delete("/o", propagation="Foreground")
    assert json.loads(server.seen[-1][3])["propagationPolicy"] == "Foreground"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_was_closed_while_idle_is_replaced(server, api, method):
    def close_after(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        handler.close_connection = True  # without saying so

    server.answers = {"/bye": close_after, "/o": (200, {})}
    api.request("GET", "/bye")
    sock = api._local.connection.sock
    sock.settimeout(5)
    assert sock.recv(1, socket.MSG_PEEK) == b""  # the server has closed it
    assert api.request(method, "/o") == {}
    assert [entry[1] for entry in server.seen] == ["/bye", "/o"]


def test_a_create_is_never_sent_twice(server, api):
    def drop(handler: Handler) -> None:
        handler.close_connection = True

    server.answers = {"/o": (200, {}), "/drop": drop}
    api.get("/o")
    with pytest.raises(ApiUnavailable):
        api.create("/drop", {})
    assert [entry[1] for entry in server.seen] == ["/o", "/drop"]
    assert api.get("/o") == {}


def test_a_server_that_is_not_there_is_unavailable(server, api):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = KubeApi(f"https://127.0.0.1:{unused.getsockname()[1]}", cafile="a", certfile="b", keyfile="c")
        with pytest.raises(ApiUnavailable, match="cannot be reached"):
            client.get("/version")
        with pytest.raises(ApiUnavailable):
            client.watch("/api/v1/pods", timeout_seconds=1)
        assert client.ready() is False


def test_a_watch_yields_events_and_ends_with_the_server(server, api):
    server.answers = {"/w": chunks('{"type":"ADDED","object":{}}\n{"type":"MODI', 'FIED","object":{}}\n')}
    with api.watch("/w", resource_version="5", timeout_seconds=5) as events:
        assert [event["type"] for event in events] == ["ADDED", "MODIFIED"]
    assert "resourceVersion=5" in server.seen[-1][1]
    assert "watch=true" in server.seen[-1][1]


def test_a_watch_that_breaks_off_within_an_event_is_unavailable(server, api):
    server.answers = {"/w": chunks('{"type":"ADDED","object":{}}\n{"type":', whole=False)}
    events = api.watch("/w", timeout_seconds=5)
    assert next(events)["type"] == "ADDED"
    with pytest.raises(ApiUnavailable):
        next(events)
    assert list(events) == []


def test_an_expired_watch_is_an_error_with_its_status(server, api):
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}}
    server.answers = {"/w": chunks(json.dumps(gone) + "\n")}
    with pytest.raises(ApiError, match="too old") as error:
        list(api.watch("/w", timeout_seconds=5))
    assert (error.value.status, error.value.reason) == (410, "Expired")


def test_a_refused_watch_is_an_error_at_once(server, api):
    with pytest.raises(ApiError, match="no such thing"):
        api.watch("/nothing", timeout_seconds=5)


LISTING = {
    "resources": [
        {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
        {"name": "pods/status", "kind": "Pod", "namespaced": True, "verbs": []},
    ]
}
NODES = {"resources": [{"name": "nodes", "kind": "Node", "namespaced": False, "verbs": ["get"]}]}


def test_discovery_works_without_aggregation(server, api):
    server.answers = {
        "/api": (200, {"kind": "APIVersions", "versions": ["v1"]}),
        "/apis": (200, {"kind": "APIGroupList", "groups": [{"versions": [{"groupVersion": "a.b/v1"}, {"groupVersion": "away/v1"}]}]}),
        "/api/v1": (200, LISTING),
        "/apis/a.b/v1": (200, NODES),
        "/apis/away/v1": (503, {"reason": "ServiceUnavailable"}),
    }
    assert [(entry["group_version"], entry["plural"], entry["namespaced"]) for entry in api.resources()] == [
        ("v1", "pods", True),
        ("a.b/v1", "nodes", False),
    ]
    before = len(server.seen)
    assert api.path_for("v1", "Pod", "ns", "p/q") == "/api/v1/namespaces/ns/pods/p%2Fq"
    assert api.path_for("v1", "Pod", None) == "/api/v1/pods"
    assert api.path_for("a.b/v1", "Node", "ignored", "n") == "/apis/a.b/v1/nodes/n"
    assert len(server.seen) == before
    with pytest.raises(KjouleError, match="lives in a namespace"):
        api.path_for("v1", "Pod", None, "p")
    with pytest.raises(KjouleError, match="does not know Lamp"):
        api.path_for("v1", "Lamp", None)


def test_an_address_without_tls_is_refused():
    with pytest.raises(KjouleError, match="https://host:port"):
        KubeApi("http://127.0.0.1:8080", cafile="a", certfile="b", keyfile="c")


def test_missing_certificates_are_named(tmp_path):
    with pytest.raises(KjouleError, match=r"certificates.*none\.crt"):
        KubeApi("https://127.0.0.1:1", cafile=str(tmp_path / "none.crt"), certfile="b", keyfile="c")
