# SPDX-License-Identifier: GPL-3.0-or-later
"""Smart plugs that speak HTTP: Shelly of the second generation and later (RPC), and Tasmota.

A plug shows power and counts energy. Power is the default: it is renewed about once a second, while the counters move in steps that are
larger
than a short window (0.001 Wh with Shelly, 0.001 kWh with Tasmota, that is 3600 J).
"""

from __future__ import annotations

from typing import Any, Callable

from ..errors import KjouleError
from .polled import JOULES_PER_KILOWATT_HOUR, JOULES_PER_WATT_HOUR, Answer, PolledSource, StaleWatch
from .source import Accuracy, Channel
from .web import WEB_OPTIONS, WebClient, basic, finite, text_option

SHELLY_OPTIONS = (*WEB_OPTIONS, "component", "id", "quantity")
TASMOTA_OPTIONS = (*WEB_OPTIONS, "channel", "quantity")

_QUANTITIES = ("power", "energy")
_COMPONENTS = {"switch": "Switch", "pm1": "PM1"}
#: The counter of a Shelly follows its power within a minute (aenergy.minute_ts); its power, and that of Tasmota, within a second.
_POWER_UPDATE_SECONDS = 1.0
_ENERGY_UPDATE_SECONDS = 60.0
#: A Shelly closes a minute every minute, a Tasmota tells its time to the second.
_SHELLY_PATIENCE_SECONDS = 150.0
_TASMOTA_PATIENCE_SECONDS = 10.0
_ACCURACY = Accuracy(0.02, "assumed: plugs are not classed; calibrate against a class 1 meter and set accuracy")


def _quantity(options: dict[str, Any], source: str) -> str:
    quantity = text_option(options, "quantity", source, "power")
    if quantity not in _QUANTITIES:
        raise KjouleError(f"option quantity of the energy source {source}", expected="power or energy", seen=repr(quantity))
    return quantity


def _number(options: dict[str, Any], name: str, source: str) -> int:
    value = options.get(name) or 0
    if isinstance(value, bool) or not str(value).isdigit():
        raise KjouleError(f"option {name} of the energy source {source}", expected="a number from 0", seen=repr(value))
    return int(value)


def _plug(name: str, quantity: str, resolution: float, ask: Callable[[], Answer], client: WebClient, **more: Any) -> PolledSource:
    power = quantity == "power"
    try:
        return PolledSource(
            name=name,
            kind="gauge" if power else "counter",
            scope=f"{name}:plug",
            channels=(Channel(quantity, "W" if power else "J"),),
            resolution=resolution,
            update_seconds=_POWER_UPDATE_SECONDS if power else _ENERGY_UPDATE_SECONDS,
            accuracy=_ACCURACY,
            ask=ask,
            more={"at": client.what, **more},
            give_back=client.close,
        )
    except KjouleError:
        client.close()
        raise


def make_shelly(options: dict[str, Any]) -> PolledSource:
    """Options: WEB_OPTIONS; component (switch or pm1), id, quantity (power or energy).

    Method: the RPC calls Switch.GetStatus and PM1.GetStatus; apower in W, aenergy.total in Wh.
    """
    quantity = _quantity(options, "shelly")
    component = text_option(options, "component", "shelly", "switch")
    if component not in _COMPONENTS:
        raise KjouleError("option component of the energy source shelly", expected="switch or pm1", seen=repr(component))
    number = _number(options, "id", "shelly")
    client = WebClient.from_options({**options, "username": options.get("username") or "admin"}, "shelly")

    watch = StaleWatch(_SHELLY_PATIENCE_SECONDS)

    def ask() -> Answer:
        status = client.get_json(f"/rpc/{_COMPONENTS[component]}.GetStatus?id={number}")
        answer = shelly_answer(status, quantity, client.what)
        watch.check(shelly_mark(status), client.what)
        return answer

    return _plug(
        "shelly", quantity, 0.1 if quantity == "power" else 0.001 * JOULES_PER_WATT_HOUR, ask, client, component=f"{component}:{number}"
    )


def shelly_answer(status: Any, quantity: str, what: str) -> Answer:
    """Power or energy of a status, in W or J. Raises KjouleError where it holds none, or where the switch is off."""
    if not isinstance(status, dict) or "apower" not in status:
        raise KjouleError(
            f"{what} measures no power",
            expected="a status with apower",
            seen=repr(status)[:80],
            next_step="use a plug that meters, or another id",
        )
    if status.get("output") is False:
        raise KjouleError(f"{what} is switched off", next_step="is this the plug of this host?")
    if quantity == "power":
        return Answer((finite(status["apower"], f"apower of {what}"),))
    return Answer((finite(_counted(status).get("total"), f"aenergy.total of {what}") * JOULES_PER_WATT_HOUR,))


def shelly_mark(status: dict[str, Any]) -> Any:
    """The minute that a Shelly counted last; 0 or none as long as it does not know the time of day."""
    return _counted(status).get("minute_ts") or None


def _counted(status: dict[str, Any]) -> dict[str, Any]:
    counted = status.get("aenergy")
    return counted if isinstance(counted, dict) else {}


def make_tasmota(options: dict[str, Any]) -> PolledSource:
    """Options: WEB_OPTIONS; channel (of a power strip, from 0), quantity (power or energy).

    Method: the command Status 10 (Status 8 before version 5.12); ENERGY.Power in W, ENERGY.Total in kWh.
    """
    quantity = _quantity(options, "tasmota")
    channel = _number(options, "channel", "tasmota")
    client = WebClient.from_options({**options, "username": options.get("username") or "admin"}, "tasmota")
    username, password = client.credentials
    headers = {"Authorization": basic(username, password)} if password else {}  # Tasmota takes it, but does not ask for it

    watch = StaleWatch(_TASMOTA_PATIENCE_SECONDS)

    def ask() -> Answer:
        status = client.get_json("/cm?cmnd=Status%2010", headers)
        answer = tasmota_answer(status, quantity, channel, client.what)
        watch.check(status["StatusSNS"].get("Time"), client.what)
        return answer

    return _plug("tasmota", quantity, 1.0 if quantity == "power" else 0.001 * JOULES_PER_KILOWATT_HOUR, ask, client, channel=channel)


def tasmota_answer(status: Any, quantity: str, channel: int, what: str) -> Answer:
    """Power or energy of the answer to Status 10 or 8, in W or J. Raises KjouleError where it holds none."""
    sensors = status.get("StatusSNS") if isinstance(status, dict) else None
    energy = sensors.get("ENERGY") if isinstance(sensors, dict) else None
    if not isinstance(energy, dict):
        raise KjouleError(
            f"{what} measures no power", expected="StatusSNS with ENERGY", seen=repr(status)[:80], next_step="use a plug that meters"
        )
    key = "Power" if quantity == "power" else "Total"
    value = energy.get(key)
    if isinstance(value, list):
        if channel >= len(value):
            raise KjouleError(f"{what} has no channel {channel}", expected=f"0 to {len(value) - 1}")
        value = value[channel]
    elif channel:
        raise KjouleError(f"{what} has one channel", expected="channel 0", seen=str(channel))
    figure = finite(value, f"{key} of {what}")
    return Answer((figure if quantity == "power" else figure * JOULES_PER_KILOWATT_HOUR,))
