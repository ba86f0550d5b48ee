# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubles of meters as servers on loopback: plugs, a Redfish service, exporters. What they show is injected, so it is the truth of a test.

Each takes ``watts`` and ``joules``: functions without arguments that say what is true now. ``fault`` makes the next answers bad ones.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.server
import ipaddress
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ansible_collections.kjoule.bench.plugins.module_utils.energy import kepler
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

#: What real exporters have served.
TEXTS = Path(__file__).parent / "texts"
HTML = b"<!doctype html><html><body>It works!</body></html>"


def certificate(folder: Path) -> tuple[Path, str]:
    """A self-signed certificate for 127.0.0.1 with its key in one file, and its sha256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a BMC")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "bmc.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, made.fingerprint(hashes.SHA256()).hex()


class Answer:
    """What a double answers: status, body, headers."""

    def __init__(self, body: Any = b"", status: int = 200, **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Double:
    """A server on a free port of 127.0.0.1. Used as a context; subclasses answer.

    fault: None; ``timeout`` (accepts and says nothing), ``html``, ``401``, ``500``, ``redirect``; what else there is is up to the subclass.
    """

    def __init__(self, pem: Path | None = None) -> None:
        self.fault: str | None = None
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._closing = threading.Event()
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536  # head and body in one piece: no waiting for a delayed acknowledgement

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                double.requests.append((self.command, self.path, dict(self.headers)))
                answer = double._faulty() or double.answer(self.command, self.path, self.headers, body)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *args: Any) -> None:
                """Silence."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away is no error of the double."""

        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _faulty(self) -> Answer | None:
        if self.fault == "timeout":
            self._closing.wait(30)
        simple = {
            "html": Answer(HTML, content_type="text/html"),
            "401": Answer(b"no", 401),
            "500": Answer(b"oops", 500),
            "redirect": Answer(b"", 302, location="http://elsewhere.example/"),
            "empty": Answer(b""),
        }
        return simple.get(self.fault or "")

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        raise NotImplementedError


class Shelly(Double):
    """A Shelly plug of the second generation: Switch.GetStatus in the shape of its API documentation, digest authentication with SHA-256.

    Faults: nan, negative, text, off, no-meter, stale (its minute stands still).
    """

    def __init__(self, watts: Callable[[], float], joules: Callable[[], float], clock: Callable[[], float], password: str = "") -> None:
        super().__init__()
        self.watts, self.joules, self.clock, self.password = watts, joules, clock, password
        self._nonce = "6d2f1c"

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if self.password and not self._knows(headers.get("Authorization", ""), method):
            ask = f'Digest qop="auth", realm="shellyplugsg3-a0b1c2d3e4f5", nonce="{self._nonce}", algorithm=SHA-256'
            return Answer(b"", 401, WWW_Authenticate=ask)
        if path != "/rpc/Switch.GetStatus?id=0":
            return Answer({"code": 404, "message": "No handler"}, 404)
        minute = 60 if self.fault == "stale" else int(self.clock() // 60 * 60)
        status = {
            "id": 0,
            "source": "init",
            "output": self.fault != "off",
            "apower": round(self.watts(), 1),
            "voltage": 230.1,
            "current": 0.4,
            "aenergy": {"total": round(self.joules() / 3600, 3), "by_minute": [0.0, 0.0, 0.0], "minute_ts": minute},
            "temperature": {"tC": 40.1, "tF": 104.2},
        }
        if self.fault == "no-meter":
            del status["apower"]
        wrong = {"nan": float("nan"), "negative": -3.0, "text": "42 W"}
        if self.fault in wrong:
            status["apower"] = wrong[self.fault]
            status["aenergy"]["total"] = wrong[self.fault]
        return Answer(status)

    def _knows(self, header: str, method: str) -> bool:
        """RFC 7616 from the server's side, written down once more on purpose."""
        fields = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)}

        def sha(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()

        first = sha(f"admin:{fields.get('realm')}:{self.password}")
        second = sha(f"{method}:{fields.get('uri')}")
        middle = ":".join(fields.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
        return fields.get("nonce") == self._nonce and fields.get("response") == sha(f"{first}:{middle}:{second}")


class Tasmota(Double):
    """A plug with Tasmota: Status 10, and basic authentication that is taken but not asked for.

    Faults: nan, negative, text, no-meter, stale (its time stands still).
    """

    def __init__(self, watts: Callable[[], float], joules: Callable[[], float], clock: Callable[[], float], password: str = "") -> None:
        super().__init__()
        self.watts, self.joules, self.clock, self.password = watts, joules, clock, password

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        wanted = "Basic " + base64.b64encode(f"admin:{self.password}".encode()).decode()
        if self.password and headers.get("Authorization") != wanted:
            return Answer({"WARNING": "Need user=<username>&password=<password>"}, 401)
        if path != "/cm?cmnd=Status%2010":
            return Answer({"Command": "Unknown"})
        now = 0.0 if self.fault == "stale" else self.clock()
        energy = {
            "TotalStartTime": "2024-02-15T01:00:00",
            "Total": round(self.joules() / 3.6e6, 3),
            "Yesterday": 0.1,
            "Today": 0.32,
            "Power": round(self.watts()),
            "ApparentPower": 100,
            "Factor": 0.94,
            "Voltage": 234,
            "Current": 0.122,
        }
        wrong = {"nan": float("nan"), "negative": -3, "text": "42 W"}
        if self.fault in wrong:
            energy["Power"] = energy["Total"] = wrong[self.fault]
        time_text = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        sensors: dict[str, Any] = {"Time": time_text}
        if self.fault != "no-meter":
            sensors["ENERGY"] = energy
        return Answer({"StatusSNS": sensors})


class Redfish(Double):
    """A Redfish service in the shape of DMTF's published schemas and mockups. schema: ``old`` (Power) or ``new`` (EnvironmentMetrics).

    Faults: nan, negative, text, null, reset (the energy counter was reset), logged-out (the session ends before the next answer),
    two-chassis, parts (PowerControl holds overlapping parts).
    """

    def __init__(
        self, pem: Path | None, watts: Callable[[], float], joules: Callable[[], float], schema: str = "new", password: str = "secret"
    ) -> None:
        super().__init__(pem)
        self.watts, self.joules, self.schema, self.password = watts, joules, schema, password
        self.sessions: set[str] = set()
        self.opened = 0
        self.lifetime = True

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if path == "/redfish/v1/SessionService/Sessions" and method == "POST":
            given = json.loads(body)
            if (given.get("UserName"), given.get("Password")) != ("kjoule", self.password):
                return Answer({"error": {"code": "Base.1.0.GeneralError"}}, 401)
            self.opened += 1
            token = f"token-{self.opened}"
            self.sessions.add(token)
            return Answer({"Id": str(self.opened)}, 201, X_Auth_Token=token, Location=f"{path}/{token}")
        if self.fault == "logged-out":
            self.sessions.clear()
            self.fault = None
        basic = "Basic " + base64.b64encode(f"kjoule:{self.password}".encode()).decode()
        if headers.get("X-Auth-Token") not in self.sessions and headers.get("Authorization") != basic:
            return Answer({"error": {"code": "Base.1.0.NoValidSession"}}, 401)
        if method == "DELETE":
            self.sessions.discard(path.rpartition("/")[2])
            return Answer(b"", 204)
        resource = self._resources().get(path)
        return Answer({"error": {"code": "Base.1.0.ResourceMissingAtURI"}}, 404) if resource is None else Answer(resource)

    def _resources(self) -> dict[str, Any]:
        wrong = {"nan": float("nan"), "negative": -5, "text": "344 W", "null": None}
        chassis = "/redfish/v1/Chassis"
        ids = ["1U", "Enclosure"] if self.fault == "two-chassis" else ["1U"]
        resources: dict[str, Any] = {
            chassis: {
                "@odata.type": "#ChassisCollection.ChassisCollection",
                "Name": "Chassis Collection",
                "Members@odata.count": len(ids),
                "Members": [{"@odata.id": f"{chassis}/{one}"} for one in ids],
            }
        }
        for one in ids:
            base = f"{chassis}/{one}"
            resources[base] = {"@odata.type": "#Chassis.v1_25_0.Chassis", "Id": one, "ChassisType": "RackMount", "PowerState": "On"}
            if self.schema == "new":
                resources[base] |= {
                    "PowerSubsystem": {"@odata.id": f"{base}/PowerSubsystem"},
                    "EnvironmentMetrics": {"@odata.id": f"{base}/EnvironmentMetrics"},
                }
                reading = wrong.get(self.fault or "", round(self.watts(), 1))
                joules = wrong.get(self.fault or "", round(self.joules()))
                energy = {"Reading": joules, "SensorResetTime": "2026-02-01T00:00:00Z" if self.fault == "reset" else "2026-01-01T00:00:00Z"}
                if self.lifetime:
                    energy["LifetimeReading"] = joules
                resources[f"{base}/EnvironmentMetrics"] = {
                    "@odata.type": "#EnvironmentMetrics.v1_3_2.EnvironmentMetrics",
                    "Id": "EnvironmentMetrics",
                    "TemperatureCelsius": {"DataSourceUri": f"{base}/Sensors/Temp", "Reading": 39},
                    "PowerWatts": {"DataSourceUri": f"{base}/Sensors/TotalPower", "Reading": reading},
                    "EnergyJoules": {"DataSourceUri": f"{base}/Sensors/TotalEnergy", **energy},
                }
            else:
                resources[base]["Power"] = {"@odata.id": f"{base}/Power"}
                watts = wrong.get(self.fault or "", round(self.watts()))
                names = ["Server Power Control", "CPU Sub-system Power"] if self.fault == "parts" else ["System Input Power"]
                resources[f"{base}/Power"] = {
                    "@odata.type": "#Power.v1_7_1.Power",
                    "Id": "Power",
                    "PowerControl": [
                        {
                            "@odata.id": f"{base}/Power#/PowerControl/{index}",
                            "MemberId": str(index),
                            "Name": name,
                            "PowerConsumedWatts": watts,
                            "PowerMetrics": {
                                "IntervalInMin": 30,
                                "MinConsumedWatts": 271,
                                "MaxConsumedWatts": 489,
                                "AverageConsumedWatts": 319,
                            },
                        }
                        for index, name in enumerate(names)
                    ],
                }
        return resources


class Exporter(Double):
    """A Prometheus exporter that serves ``text()`` at /metrics. Faults: nan, negative (in every sample)."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self.text = text

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if path != "/metrics":
            return Answer(b"<a href='/metrics'>metrics</a>", content_type="text/html")
        text = self.text()
        if self.fault in ("nan", "negative"):
            text = re.sub(r"(?m)^([^#\s].*) \S+$", rf"\1 {'NaN' if self.fault == 'nan' else '-7'}", text)
        return Answer(text.encode(), content_type="text/plain; version=0.0.4; charset=utf-8")


def kepler_text(
    active: dict[str, float],
    idle: dict[str, float],
    *,
    raw: dict[str, float] | None = None,
    started: float | None = 1000.0,
    node: str = "nuc1",
    path: str = "/sys/class/powercap/intel-rapl:0",
    workloads: str = "",
) -> str:
    """What Kepler 0.10 and later serves: node joules by zone, and whatever ``workloads`` holds. ``raw`` is kepler_node_cpu_joules_total."""
    lines = [
        "# HELP kepler_build_info A metric with a constant '1' value labeled with version information",
        "# TYPE kepler_build_info gauge",
        'kepler_build_info{arch="amd64",branch="",goversion="go1.24.9",revision="13944a6",version="v0.11.4"} 1',
    ]
    for name, values in (("active_joules", active), ("idle_joules", idle), ("joules", raw or {})):
        metric = f"kepler_node_cpu_{name}_total"
        lines += [f"# HELP {metric} Energy in joules", f"# TYPE {metric} counter"]
        lines += [f'{metric}{{node_name="{node}",path="{path}",zone="{zone}"}} {value!r}' for zone, value in values.items()]
    if started is not None:
        lines += ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {started!r}"]
    return "\n".join([*lines, workloads]) + "\n"


def legacy_kepler_text(dynamic: dict[str, float], idle: dict[str, float], source: str = "rapl-sysfs", workloads: str = "") -> str:
    """What Kepler up to 0.9 serves."""
    lines = [f'kepler_node_info{{components_power_source="{source}",cpu_architecture="x86",platform_power_source="none",source="os"}} 1']
    for mode, values in (("dynamic", dynamic), ("idle", idle)):
        lines += [
            f'kepler_node_{zone}_joules_total{{instance="nuc1",mode="{mode}",package="0",source="{source}"}} {value!r}'
            for zone, value in values.items()
        ]
    return "\n".join([*lines, workloads]) + "\n"


def scaphandre_text(joules: float | None, watts: float | None, psys: bool = False, processes: str = "") -> str:
    """What the Prometheus exporter of Scaphandre 1.0.0 served (texts/README.md), with these figures of the host and these processes."""
    recorded = (TEXTS / f"scaphandre-1.0.0-{'psys' if psys else 'dram'}.txt").read_text()
    for metric, value in (("energy_microjoules", joules), ("power_microwatts", watts)):
        figure = "" if value is None else rf"\g<1> {round(value * 1e6)}"
        recorded = re.sub(rf"(?m)^(scaph_host_{metric}(?:{{.*}})?) \S+$", figure, recorded)
    return re.sub(r"(?m)^scaph_process_.*\n", "", recorded) + processes + "\n"


def series_of_scrapes(scrapes: Iterable[tuple[float, Iterable[Any]]]) -> list[Any]:
    """Series from scrapes of one exporter, each with its time in seconds."""
    found: dict[Any, Any] = {}
    for t, samples in scrapes:
        for sample in samples:
            key = (sample.name, frozenset(sample.labels.items()))
            if key not in found:
                found[key] = kepler.Series(sample.name, dict(sample.labels))
            found[key].points.append(kepler.Point(t, sample.value))
    return list(found.values())
