# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources by name, and which of them a run uses.

``kjoule_source`` is ``auto``, ``estimate``, a name, or ``{name: {option: value}}``. ``auto`` takes the first of AUTO that works here,
and the estimate from CPU time where none does. Sources that need an address have to be named.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any, Callable

from ..errors import KjouleError
from . import hwmon, ipmi, kepler, plug, rapl, redfish, scaphandre
from .estimate import SCOPE as ESTIMATE_SCOPE
from .source import Accuracy, Source
from .windows import LOOK_SECONDS, observed_update_seconds


@dataclass(frozen=True)
class Entry:
    """A source that can be chosen. make: from its own options, all checked, to a source that has been read once.

    Imported and named here, not looked up: Ansible packs what is imported.
    """

    make: Callable[[dict[str, Any]], Source]
    options: tuple[str, ...]
    covers: str


#: One line per source. options: those of the source itself; COMMON_OPTIONS are taken by all.
SOURCES: dict[str, Entry] = {
    "rapl": Entry(rapl.make, rapl.OPTIONS, "processor packages and memory, counted by the processor"),
    "hwmon": Entry(hwmon.make, hwmon.OPTIONS, "what the board's sensors see: the machine, its sockets, or the rails you name"),
    "ipmi": Entry(ipmi.make, ipmi.OPTIONS, "the whole machine, by its BMC (IPMI DCMI)"),
    "redfish": Entry(redfish.make, redfish.OPTIONS, "the chassis, by its BMC (Redfish)"),
    "shelly": Entry(plug.make_shelly, plug.SHELLY_OPTIONS, "what hangs on the plug, power supply included"),
    "tasmota": Entry(plug.make_tasmota, plug.TASMOTA_OPTIONS, "what hangs on the plug, power supply included"),
    "kepler": Entry(kepler.make, kepler.OPTIONS, "what Kepler reads of the processor, active and idle"),
    "scaphandre": Entry(scaphandre.make, scaphandre.OPTIONS, "what Scaphandre reads of the processor"),
}

#: What ``auto`` tries, in this order: what counts joules in this machine before what shows watts.
AUTO = ("rapl", "hwmon")

#: What can be tried without being told anything: on this host, or at its usual address on loopback.
LOCAL = (*AUTO, "ipmi", "kepler", "scaphandre")

#: accuracy: relative, as you have calibrated the meter. update_seconds: how often the meter renews its figure, where that is not what is
#: usual.
COMMON_OPTIONS = ("accuracy", "update_seconds")


def parse_setting(setting: Any) -> tuple[str, dict[str, Any]]:
    """``(name, options)`` of a ``kjoule_source``. Raises KjouleError for a name or an option that is not known."""
    wanted: Any = "auto" if setting in (None, "") else setting
    options: Any = {}
    if isinstance(wanted, dict) and len(wanted) == 1:
        ((wanted, options),) = wanted.items()
    options = options or {}
    known = ("auto", "estimate", *SOURCES)
    if wanted not in known or not isinstance(options, dict):
        close = difflib.get_close_matches(str(wanted), known, 1)
        raise KjouleError(
            "the energy source is not known",
            expected=", ".join(known) + ", or {name: {option: value}}",
            seen=repr(setting),
            next_step=f"kjoule_source: {close[0] if close else 'auto'}",
        )
    allowed = SOURCES[wanted].options + COMMON_OPTIONS if wanted in SOURCES else ()
    for option in options:
        if option not in allowed:
            close = difflib.get_close_matches(str(option), allowed, 1)
            raise KjouleError(
                f"the energy source {wanted} has no option {option!r}",
                expected=", ".join(allowed) or "no options",
                next_step=f"write {close[0]!r}" if close else None,
            )
    return wanted, dict(options)


def make_source(name: str, options: dict[str, Any]) -> Source:
    """The source of that name, read once. Raises KjouleError with why it does not work here and what would make it work."""
    own = {option: value for option, value in options.items() if option not in COMMON_OPTIONS}
    source = SOURCES[name].make(own)
    if options.get("update_seconds") is not None:
        source.update_seconds = _positive("update_seconds", options["update_seconds"])
    elif source.kind == "counter" and source.update_seconds < LOOK_SECONDS:
        source.update_seconds = max(source.update_seconds, observed_update_seconds(source))
    if options.get("accuracy") is not None:
        source.accuracy = Accuracy(_positive("accuracy", options["accuracy"]), "given by the user")
    return source


def choose_source(setting: Any) -> tuple[Source | None, dict[str, Any]]:
    """The source of a run, None for the estimate, and its description for the journal's header.

    ``auto`` falls back to the estimate and says why in ``unavailable``; a source that was named raises KjouleError where it does not work.
    """
    name, options = parse_setting(setting)
    unavailable: list[str] = []
    for candidate in AUTO if name == "auto" else (name,) if name in SOURCES else ():
        try:
            source = make_source(candidate, options)
            return source, {**source.describe(), "unavailable": unavailable}
        except KjouleError as error:
            if name != "auto":
                raise
            unavailable.append(str(error))
    return None, {"name": "estimate", "kind": "estimate", "scope": ESTIMATE_SCOPE, "unavailable": unavailable}


def _positive(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise KjouleError(f"{name} of the energy source", expected="a number above 0", seen=repr(value))
    return number
