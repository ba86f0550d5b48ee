# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of the Kubernetes API: http.client, one persistent connection for each thread, no retries that hide cost."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import os
import select
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Callable, TypeVar, Union

from ..errors import KjouleError

Json = dict[str, Any]
Resources = list[Json]
Answer = Union[Json, str]
Result = TypeVar("Result")

#: How long a server may ask to be asked again, as it does while the storage of a new kind begins.
BUSY_SECONDS = 30.0
PAUSE_SECONDS = 0.2

_JSON = "application/json"
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class ApiError(KjouleError):
    """The API server refused: HTTP ``status``, Kubernetes' ``reason`` in one word, and the whole answer as ``body``."""

    def __init__(self, what: str, *, status: int, reason: str, body: Answer, next_step: str | None = None) -> None:
        self.status = status
        self.reason = reason
        self.body = body
        message = body.get("message") if isinstance(body, dict) else body.strip()[:2000]
        super().__init__(what, seen=f"{status} {reason}: {message}" if message else f"{status} {reason}", next_step=next_step)


#: What to do about an API server that is down: kubectl has nobody to ask then.
_LOOK = "look at the logs of kube-apiserver and etcd (lab kwok: their .log files in its folder; on a node: crictl logs)"


class ApiUnavailable(KjouleError):
    """The API server cannot be reached, or went away in the middle of an answer."""


class Watch:
    """Events of one watch, in order, until its time is over. Closes its connection at the end, on ``close`` and on exit.

    The time over (or the server's own end of the watch) ends the iteration; a broken connection raises ApiUnavailable;
    an ERROR event, such as 410 Gone for an expired resource version, raises ApiError. Watching again is the caller's job.
    """

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, server: str, deadline: float) -> None:
        self._connection: http.client.HTTPConnection | None = connection
        self._response = response
        self._server = server
        self._deadline = deadline
        self._socket = connection.sock

    def __iter__(self) -> Iterator[Json]:
        return self

    def __next__(self) -> Json:
        if self._connection is None:
            raise StopIteration
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            self.close()
            raise StopIteration
        try:
            self._socket.settimeout(remaining)
            line = self._response.readline()
        except socket.timeout:  # TimeoutError itself from Python 3.10 on
            self.close()
            raise StopIteration from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _unavailable(self._server, error) from error
        if not line.endswith(b"\n"):
            self.close()
            if line:
                raise _unavailable(self._server, EOFError("the watch broke off within an event"))
            raise StopIteration
        event: Json = json.loads(line)
        if event.get("type") == "ERROR":
            self.close()
            body = event.get("object") or {}
            raise ApiError("the watch ended", status=int(body.get("code") or 500), reason=str(body.get("reason") or "Unknown"), body=body)
        return event

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # The response first: it holds a reference to the socket, which would otherwise stay open.
            self._response.close()
            connection.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _unavailable(server: str, error: BaseException) -> ApiUnavailable:
    return ApiUnavailable(
        f"the API server at {server} cannot be reached",
        seen=f"{type(error).__name__}: {error}",
        next_step=_LOOK,
    )


class KubeApi:
    """Requests to one API server, with a client certificate.

    Paths start with a slash and are sent as they are. Every method raises ApiError when the server refuses and ApiUnavailable
    when it cannot be reached. ``timeout`` is in seconds and holds for each wait on the socket.
    """

    def __init__(self, server: str, *, cafile: str, certfile: str, keyfile: str, timeout: float = 10.0) -> None:
        address = urllib.parse.urlsplit(server)
        if address.scheme != "https" or not address.hostname:
            raise KjouleError("the API server's address cannot be used", expected="https://host:port", seen=server)
        self.server = server.rstrip("/")
        self.timeout = timeout
        self._host = address.hostname
        self._port = address.port or 443
        try:
            self._tls = ssl.create_default_context(cafile=cafile)
            self._tls.load_cert_chain(certfile, keyfile)
        except OSError as error:  # ssl.SSLError is one
            raise KjouleError(
                "the certificates of the API server cannot be loaded",
                seen=f"{cafile}, {certfile}, {keyfile}: {error}",
                next_step="make a fresh lab",
            ) from error
        self._local = threading.local()
        self._known: Resources | None = None

    @classmethod
    def from_kubeconfig_json(cls, config: Json, timeout: float = 10.0) -> KubeApi:
        """The server of the current context of a kubeconfig that was parsed already (kubectl config view --raw -o json).

        Only client certificates are understood; KjouleError otherwise.
        """

        def named(key: str, name: str, part: str) -> Json:
            for entry in config.get(key) or []:
                if entry.get("name") == name:
                    return entry.get(part) or {}
            raise KjouleError(
                "the kubeconfig is incomplete", expected=f"{key} with the name {name}", next_step="check current-context in the kubeconfig"
            )

        context = named("contexts", str(config.get("current-context")), "context")
        cluster = named("clusters", str(context.get("cluster")), "cluster")
        user = named("users", str(context.get("user")), "user")
        with tempfile.TemporaryDirectory(prefix="kjoule-") as scratch:

            def path(part: Json, key: str) -> str:
                if part.get(key):
                    return str(part[key])
                if not part.get(f"{key}-data"):
                    raise KjouleError(
                        "the kubeconfig cannot be used",
                        expected=f"{key} or {key}-data",
                        next_step="use a context with a client certificate",
                    )
                file = os.path.join(scratch, key)
                with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                    stream.write(base64.b64decode(part[f"{key}-data"]))
                return file

            return cls(
                str(cluster.get("server")),
                cafile=path(cluster, "certificate-authority"),
                certfile=path(user, "client-certificate"),
                keyfile=path(user, "client-key"),
                timeout=timeout,
            )

    # --- requests

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        timeout: float | None = None,
        accept: str = _JSON,
    ) -> Answer:
        """Send one request and return the answer: a dictionary when it is JSON, else its text.

        A server that asks for a moment (429 with Retry-After: it has done nothing yet) gets it, for BUSY_SECONDS at most.
        """
        target, payload, headers = self._prepare(path, body, query, content_type, accept)
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            response, content = self._exchange(method, target, payload, headers, self.timeout if timeout is None else timeout)
            pause = response.getheader("Retry-After") or ""
            if response.status != 429 or not pause.isdigit() or time.monotonic() + int(pause) > deadline:
                return _answer(method, path, response, content)
            time.sleep(int(pause))

    def _exchange(
        self, method: str, target: str, payload: bytes | None, headers: dict[str, str], timeout: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        for last in (False, True):
            connection, reused = self._connection(timeout)
            try:
                connection.request(method, target, body=payload, headers=headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection that the server closed while it was idle. Only what can be sent twice is sent twice.
                if reused and not last and method != "POST" and isinstance(error, (http.client.RemoteDisconnected, ConnectionError)):
                    continue
                raise _unavailable(self.server, error) from error
            except BaseException:
                self.close()  # an interrupt in the middle leaves the connection in no usable state
                raise
            if response.will_close:
                self.close()
            return response, content
        raise AssertionError("unreachable")

    def _prepare(
        self, path: str, body: Any, query: Mapping[str, Any] | None, content_type: str, accept: str
    ) -> tuple[str, bytes | None, dict[str, str]]:
        headers = {"Accept": accept, "User-Agent": "kjoule"}
        payload = None
        if body is not None:
            text = body if isinstance(body, (str, bytes)) else json.dumps(body, separators=(",", ":"))
            payload = text.encode() if isinstance(text, str) else text
            headers["Content-Type"] = content_type
        given = {key: value for key, value in (query or {}).items() if value is not None}
        if given:
            pairs = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}
            path += ("&" if "?" in path else "?") + urllib.parse.urlencode(pairs)
        return path, payload, headers

    def _connection(self, timeout: float) -> tuple[http.client.HTTPSConnection, bool]:
        connection = getattr(self._local, "connection", None)
        if connection is not None and connection.sock is not None:
            # Readable before anything was asked: the server has closed it (it does so after 90 s without a request).
            if not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(timeout)
                return connection, True
            connection.close()
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        self._local.connection = connection
        return connection, False

    def close(self) -> None:
        """Close this thread's connection; the next request opens a new one."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        return _object(self.request("GET", path, query=query))

    def list(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """The whole list object, ``metadata.resourceVersion`` included (to start a watch from)."""
        return _object(self.request("GET", path, query=query))

    def create(self, path: str, obj: Json, field_manager: str | None = None) -> Json:
        return _object(self.request("POST", path, obj, query={"fieldManager": field_manager}))

    def apply(self, path: str, obj: Json, field_manager: str, force: bool = True) -> Json:
        """Server-side apply of an object at its own path. JSON is YAML, so the body is sent as JSON."""
        return _object(
            self.request(
                "PATCH", path, obj, query={"fieldManager": field_manager, "force": force}, content_type="application/apply-patch+yaml"
            )
        )

    def patch(self, path: str, body: Any, content_type: str = "application/merge-patch+json", field_manager: str | None = None) -> Json:
        return _object(self.request("PATCH", path, body, query={"fieldManager": field_manager}, content_type=content_type))

    def delete(self, path: str, propagation: str = "Background") -> Json:
        return _object(self.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}))

    def watch(
        self, path: str, *, resource_version: str | None = None, timeout_seconds: float, query: Mapping[str, Any] | None = None
    ) -> Watch:
        """Watch a list path for ``timeout_seconds``. The watch is open at the server when this returns."""
        deadline = time.monotonic() + timeout_seconds
        parameters = {"watch": True, "timeoutSeconds": max(1, math.ceil(timeout_seconds)), "resourceVersion": resource_version}
        parameters.update(query or {})
        target, _payload, headers = self._prepare(path, None, parameters, _JSON, _JSON)
        # Without events the answer's header may come late, so the wait for it may take the whole time.
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=max(self.timeout, timeout_seconds), context=self._tls)
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                _answer("GET", path, response, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unavailable(self.server, error) from error
        except BaseException:
            connection.close()
            raise
        return Watch(connection, response, self.server, deadline)

    def ready(self) -> bool:
        """Whether /readyz says ok. False as well when the server cannot be reached."""
        try:
            return self.request("GET", "/readyz", accept="*/*") == "ok"
        except (ApiError, ApiUnavailable):
            return False

    # --- discovery

    def resources(self, refresh: bool = False) -> Resources:
        """What the server knows: ``{group_version, kind, plural, namespaced, verbs}``, without subresources. Cached."""
        if self._known is None or refresh:
            found: Resources = []
            for root in ("/api", "/apis"):
                answer = _object(self.request("GET", root, accept=_AGGREGATED))
                found += _aggregated(answer) if answer.get("kind") == "APIGroupDiscoveryList" else self._one_by_one(root, answer)
            self._known = found
        return self._known

    def _one_by_one(self, root: str, answer: Json) -> Resources:
        """Discovery of servers before 1.27, or with aggregated discovery switched off: one request for each version of each group."""
        if root == "/api":
            versions = [str(version) for version in answer.get("versions") or []]
        else:
            versions = [str(version["groupVersion"]) for group in answer.get("groups") or [] for version in group.get("versions") or []]
        found: Resources = []
        for version in versions:
            try:
                listing = self.get(f"{root}/{version}")
            except ApiError:
                continue  # an aggregated API whose server is away
            found += [
                {
                    "group_version": version,
                    "kind": entry["kind"],
                    "plural": entry["name"],
                    "namespaced": entry["namespaced"],
                    "verbs": entry["verbs"],
                }
                for entry in listing.get("resources") or []
                if "/" not in entry["name"]
            ]
        return found

    def path_for(self, api_version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """The path of an object, or of its list when ``name`` is None; the list over all namespaces when ``namespace`` is None too.

        Raises KjouleError for a kind that the server does not know, or a namespaced object without a namespace.
        """
        for refresh in (False, True):
            for entry in self.resources(refresh):
                if entry["group_version"] != api_version or entry["kind"] != kind:
                    continue
                path = f"/{'apis' if '/' in api_version else 'api'}/{api_version}"
                if entry["namespaced"] and namespace:
                    path += f"/namespaces/{urllib.parse.quote(namespace, safe='')}"
                elif entry["namespaced"] and name:
                    raise KjouleError(
                        f"{kind} {name} lives in a namespace", expected="a namespace", seen="none", next_step="add metadata.namespace"
                    )
                path += f"/{entry['plural']}"
                return f"{path}/{urllib.parse.quote(name, safe='')}" if name else path
        raise KjouleError(
            f"the API server does not know {kind} of {api_version}",
            next_step="check apiVersion and kind; for a custom resource apply its CustomResourceDefinition first and wait for Established",
        )


def patiently(api: KubeApi, call: Callable[[], Result], seconds: float) -> Result:
    """Make a call that may be made twice, again and again until the API server is ready and answers it, for ``seconds`` at most.

    Raises ApiUnavailable when it does not by then; what the server refuses is raised at once.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if api.ready():
                return call()
            silence = ApiUnavailable("the API server is not ready", expected=f"ok from /readyz within {seconds:g} s", next_step=_LOOK)
        except ApiUnavailable as error:
            silence = error
        if time.monotonic() > deadline:
            raise silence
        time.sleep(PAUSE_SECONDS)


def condition(item: Json, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of one condition of an object; empty texts when it is not there."""
    for entry in (item.get("status") or {}).get("conditions") or []:
        if entry.get("type") == kind:
            return str(entry.get("status") or ""), str(entry.get("reason") or ""), str(entry.get("message") or "")
    return "", "", ""


def _object(answer: Answer) -> Json:
    if not isinstance(answer, dict):
        raise KjouleError(
            "the API server did not answer with JSON", seen=repr(answer[:200]), next_step="check that the address is that of an API server"
        )
    return answer


def _answer(method: str, path: str, response: http.client.HTTPResponse, content: bytes) -> Answer:
    answer: Answer = content.decode("utf-8", "replace")
    if "json" in (response.getheader("Content-Type") or ""):
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise ApiUnavailable(f"{method} {path}: the answer is not whole", seen=str(error), next_step=_LOOK) from error
    if response.status < 400:
        return answer
    reason = (answer.get("reason") if isinstance(answer, dict) else None) or response.reason
    next_step = {
        401: "check the client certificate",
        403: "check the user's rights",
        409: "read the object again",
        422: "correct the manifest",
    }
    raise ApiError(
        f"{method} {path} was refused", status=response.status, reason=str(reason), body=answer, next_step=next_step.get(response.status)
    )


def _aggregated(answer: Json) -> Resources:
    found: Resources = []
    for group in answer.get("items") or []:
        name = (group.get("metadata") or {}).get("name")
        for version in group.get("versions") or []:
            group_version = f"{name}/{version['version']}" if name else version["version"]
            for entry in version.get("resources") or []:
                kind = (entry.get("responseKind") or {}).get("kind")
                if kind:
                    found.append(
                        {
                            "group_version": group_version,
                            "kind": kind,
                            "plural": entry["resource"],
                            "namespaced": entry.get("scope") == "Namespaced",
                            "verbs": list(entry.get("verbs") or []),
                        }
                    )
    return found
