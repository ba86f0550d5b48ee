# SPDX-License-Identifier: GPL-3.0-or-later
"""Power and energy of a chassis from its BMC, by Redfish over HTTPS.

New schema first: EnvironmentMetrics of the chassis (DSP0268, EnvironmentMetrics 1.x: PowerWatts, EnergyJoules, EnergykWh). Else the old
one: Power
(Power 1.x: PowerControl[].PowerConsumedWatts). Power supplies are not added up: they would be asked one after the other, and their sum
would be the
power of no moment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..errors import KjouleError
from .polled import JOULES_PER_KILOWATT_HOUR, Answer, PolledSource
from .source import Accuracy, Channel
from .web import WEB_OPTIONS, WebClient, basic, finite, text_option

OPTIONS = (*WEB_OPTIONS, "auth", "chassis", "power_control", "quantity")

ROOT = "/redfish/v1"
SESSIONS = f"{ROOT}/SessionService/Sessions"
#: property -> joules per unit
_ENERGY = {"EnergyJoules": 1.0, "EnergykWh": JOULES_PER_KILOWATT_HOUR}
#: What a BMC renews its figure at is not in the schema. Most do within some seconds.
UPDATE_SECONDS = 5.0


class Service:
    """A Redfish service with a session, or with basic authentication."""

    def __init__(self, client: WebClient, auth: str) -> None:
        self.client = client
        self._auth = auth
        self._token = ""
        self._session = ""

    def get(self, path: str) -> dict[str, Any]:
        """The resource at ``path``, logging in where that is needed."""
        if self._auth == "session" and not self._token:
            self._log_in()
        username, password = self.client.credentials
        headers = {"X-Auth-Token": self._token} if self._auth == "session" else {"Authorization": basic(username, password)}
        resource = self.client.get_json(path, {"Accept": "application/json", **headers})
        if not isinstance(resource, dict):
            raise KjouleError(f"{self.client.what} gives no resource for {path}", expected="a JSON object", seen=repr(resource)[:80])
        return resource

    def read(self, path: str) -> dict[str, Any]:
        """Like ``get``; a session that has run out meanwhile is renewed once."""
        try:
            return self.get(path)
        except KjouleError as error:
            if not self._token or "status 401" not in (error.seen or ""):
                raise
            self._token = self._session = ""
            return self.get(path)

    def close(self) -> None:
        """End the session. A BMC that cannot be reached any more ends it by itself."""
        token, session, self._token, self._session = self._token, self._session, "", ""
        try:
            if token and session:
                self.client.request("DELETE", session, headers={"X-Auth-Token": token})
        except KjouleError:
            return
        finally:
            self.client.close()

    def _log_in(self) -> None:
        username, password = self.client.credentials
        body = json.dumps({"UserName": username, "Password": password}).encode()
        headers, _content = self.client.request("POST", SESSIONS, headers={"Content-Type": "application/json"}, body=body)
        self._token = headers.get("x-auth-token", "")
        location = headers.get("location", "")
        self._session = location[location.find("/redfish/") :] if "/redfish/" in location else ""
        if not self._token:
            raise KjouleError(f"{self.client.what} opens no session", expected="a header X-Auth-Token", next_step="try auth: basic")


@dataclass(frozen=True)
class Place:
    """Where the figure stands: the resource, the keys that lead to it, its unit in joules or watts, and what marks a counter that began
    anew."""

    path: str
    keys: tuple[Any, ...]
    kind: str
    factor: float
    epoch_keys: tuple[Any, ...]
    chassis: str


def make(options: dict[str, Any]) -> PolledSource:
    """Options: WEB_OPTIONS with an https URL; auth (session or basic), chassis, power_control, quantity (power or energy).

    Without quantity: energy where a counter is offered, else power.
    """
    quantity = text_option(options, "quantity", "redfish", "auto")
    auth = text_option(options, "auth", "redfish", "session")
    for name, value, allowed in (("quantity", quantity, ("auto", "energy", "power")), ("auth", auth, ("session", "basic"))):
        if value not in allowed:
            raise KjouleError(f"option {name} of the energy source redfish", expected=" or ".join(allowed), seen=repr(value))
    for needed in ("username", "password_file"):
        text_option(options, needed, "redfish")
    client = WebClient.from_options(options, "redfish")
    if client.scheme != "https":
        raise KjouleError(
            f"{client.what} would get the password in the clear", next_step="use https; with a certificate of its own give fingerprint"
        )
    service = Service(client, auth)
    try:
        place = find(
            service, text_option(options, "chassis", "redfish", ""), text_option(options, "power_control", "redfish", ""), quantity
        )
        counter = place.kind == "counter"
        return PolledSource(
            name="redfish",
            kind=place.kind,
            scope="redfish:chassis",
            channels=(Channel(place.chassis, "J" if counter else "W"),),
            resolution=max(1.0, place.factor / 1000) if counter else 1.0,
            update_seconds=UPDATE_SECONDS,
            accuracy=Accuracy(0.05, "assumed: the service states none; calibrate against a meter and set accuracy"),
            ask=lambda: answer(service.read(place.path), place, client.what),
            more={"at": client.what, "resource": place.path, "property": ".".join(map(str, place.keys))},
            give_back=service.close,
        )
    except BaseException:
        service.close()
        raise


def find(service: Service, chassis: str, power_control: str, quantity: str) -> Place:
    """The one place that holds the figure that is wanted. Raises KjouleError that lists what there is when it is not exactly one."""
    collection = service.get(f"{ROOT}/Chassis")
    members = [_link(member) for member in collection.get("Members") or []]
    names = {path.rstrip("/").rpartition("/")[2]: path for path in members if path}
    if chassis and chassis not in names:
        raise KjouleError(
            f"{service.client.what} has no chassis {chassis!r}", expected="one of " + ", ".join(names), next_step="correct chassis"
        )
    found, tried = [], []
    for name, path in names.items():
        if chassis in ("", name):
            places, seen = _places(service, name, path, power_control)
            tried.append(f"{name}: {seen}")
            wanted = [place for place in places if quantity == "auto" or place.kind == {"power": "gauge", "energy": "counter"}[quantity]]
            if wanted:
                found.append(wanted[0])
    if len(found) == 1:
        return found[0]
    if not found:
        raise KjouleError(
            f"{service.client.what} shows no {'power' if quantity == 'auto' else quantity}",
            seen="; ".join(tried) or "no chassis",
            next_step="update the BMC's firmware, or try the source ipmi",
        )
    raise KjouleError(
        f"{service.client.what} has several chassis with power",
        expected="one",
        seen=", ".join(place.chassis for place in found),
        next_step="choose this host's with the option chassis; they may contain each other, so they are not added up",
    )


def _places(service: Service, name: str, path: str, power_control: str) -> tuple[list[Place], str]:
    resource = service.get(path)
    seen = []
    places = []
    link = _link(resource.get("EnvironmentMetrics"))
    if link and not power_control:
        metrics = service.get(link)
        for key, factor in _ENERGY.items():
            excerpt = metrics.get(key)
            # LifetimeReading is not touched by the action ResetMetrics, Reading is.
            for figure in ("LifetimeReading", "Reading"):
                if isinstance(excerpt, dict) and excerpt.get(figure) is not None:
                    epoch = () if figure == "LifetimeReading" else (key, "SensorResetTime")
                    places.append(Place(link, (key, figure), "counter", factor, epoch, name))
                    break
        if isinstance(metrics.get("PowerWatts"), dict) and metrics["PowerWatts"].get("Reading") is not None:
            places.append(Place(link, ("PowerWatts", "Reading"), "gauge", 1.0, (), name))
        seen.append("EnvironmentMetrics with " + (", ".join(place.keys[0] for place in places) or "neither power nor energy"))
    link = _link(resource.get("Power"))
    if link and not any(place.kind == "gauge" for place in places):
        controls = service.get(link).get("PowerControl")
        index = _control(controls if isinstance(controls, list) else [], power_control, f"{service.client.what}, chassis {name}")
        if index is not None:
            places.append(Place(link, ("PowerControl", index, "PowerConsumedWatts"), "gauge", 1.0, (), name))
        seen.append("Power " + ("with" if index is not None else "without") + " PowerConsumedWatts")
    return places, ", ".join(seen) or "neither EnvironmentMetrics nor Power"


def _control(controls: list[Any], wanted: str, where: str) -> int | None:
    """The entry of PowerControl to read: the only one, or the one named by MemberId or Name. Several may overlap (system, CPU, memory)."""
    offered = {
        index: entry for index, entry in enumerate(controls) if isinstance(entry, dict) and entry.get("PowerConsumedWatts") is not None
    }
    if wanted:
        offered = {index: entry for index, entry in offered.items() if wanted in (entry.get("MemberId"), entry.get("Name"))}
    if not offered:
        return None
    if len(offered) > 1:
        raise KjouleError(
            f"{where} shows power in several parts",
            expected="one",
            seen=", ".join(repr(entry.get("Name") or entry.get("MemberId") or index) for index, entry in offered.items()),
            next_step="choose the whole machine's with the option power_control; parts overlap, so they are not added up",
        )
    return next(iter(offered))


def answer(resource: Any, place: Place, what: str) -> Answer:
    """The figure at its place, in J or W."""
    value = _follow(resource, place.keys)
    epoch = _follow(resource, place.epoch_keys) if place.epoch_keys else None
    return Answer(
        (finite(value, f"{'.'.join(map(str, place.keys))} of {what}") * place.factor,), epoch=None if epoch is None else str(epoch)
    )


def _follow(value: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        if isinstance(value, list):
            value = value[key] if isinstance(key, int) and key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _link(value: Any) -> str:
    path = value.get("@odata.id") if isinstance(value, dict) else None
    return path if isinstance(path, str) and path.startswith("/") else ""
