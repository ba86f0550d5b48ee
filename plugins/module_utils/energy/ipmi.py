# SPDX-License-Identifier: GPL-3.0-or-later
"""Power of the whole machine as its BMC shows it: IPMI DCMI, read by the real ipmitool.

DCMI 1.5, 6.6.1 "Get Power Reading": one figure in whole watts, with the BMC's time and its sampling period. Reached through the kernel's
driver (interface ``open``), or over the network (``lanplus``). The password never stands in an argument list: ipmitool reads its file.
"""

from __future__ import annotations

import calendar
import os
import re
import shutil
import time
from typing import Any

from ..child import run_child
from ..errors import KjouleError
from .polled import Answer, PolledSource
from .source import Accuracy, Channel
from .web import finite, path_option, read_secret, seconds_option, text_option

OPTIONS = ("interface", "host", "port", "username", "password_file", "cipher_suite", "privilege", "ipmitool", "timeout_seconds")

DEVICES = ("/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0")
UDEV_RULE = 'KERNEL=="ipmi[0-9]*", GROUP="power", MODE="0660"'
_INTERFACES = ("open", "lanplus")
#: The level user is enough for Get Power Reading; ipmitool would ask for administrator.
_PRIVILEGES = ("user", "operator", "administrator")
_TIMES = (
    (r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d", "%m/%d/%y %H:%M:%S"),
    (r"\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}", "%a %b %d %H:%M:%S %Y"),
)


def make(options: dict[str, Any]) -> PolledSource:
    """Options: interface (open or lanplus); for lanplus host, port, username, password_file, cipher_suite, privilege; ipmitool (path),
    timeout_seconds."""
    interface = text_option(options, "interface", "ipmi", "lanplus" if options.get("host") else "open")
    if interface not in _INTERFACES:
        raise KjouleError("option interface of the energy source ipmi", expected="open or lanplus", seen=repr(interface))
    timeout = seconds_option(options, "timeout_seconds", "ipmi", 5.0)
    program = shutil.which(text_option(options, "ipmitool", "ipmi", "ipmitool"))
    if program is None:
        raise KjouleError(
            "IPMI cannot be read", expected="the program ipmitool", next_step="install the package ipmitool of your distribution"
        )
    command = [program, "-I", interface]
    if interface == "open":
        _check_device()
    else:
        command += _lan_arguments(options, timeout)
    command += ["dcmi", "power", "reading"]
    where = text_option(options, "host", "ipmi") if interface == "lanplus" else "this host"

    tool = _Ipmitool(command, timeout, where)

    return PolledSource(
        name="ipmi",
        kind="gauge",
        scope="ipmi:system",
        channels=(Channel("system", "W"),),
        resolution=1.0,
        update_seconds=1.0,
        accuracy=Accuracy(0.05, "assumed: DCMI states none; calibrate against a meter and set accuracy"),
        ask=lambda: parse_power_reading(tool.run(), f"the BMC of {where}"),
        more={"interface": interface, "at": where},
        children=lambda: tool.cpu_seconds,
    )


def _check_device() -> None:
    found = [path for path in DEVICES if os.path.exists(path)]
    if not found:
        raise KjouleError(
            "IPMI cannot be read",
            expected=" or ".join(DEVICES),
            seen="none of them",
            next_step="on a machine with a BMC: modprobe ipmi_si ipmi_devintf; or reach the BMC over the network with the option host",
        )
    if not os.access(found[0], os.R_OK | os.W_OK):
        raise KjouleError(
            f"{found[0]} may not be opened",
            seen="permission denied",
            next_step=f"become: true; or let a group of your choice use it with the udev rule {UDEV_RULE}",
        )


def _lan_arguments(options: dict[str, Any], timeout: float) -> list[str]:
    host = text_option(options, "host", "ipmi")
    username = text_option(options, "username", "ipmi")
    secret = path_option(options, "password_file", "ipmi")
    if host.startswith("-") or username.startswith("-"):
        raise KjouleError("option host of the energy source ipmi", expected="a host name or an address", seen=repr(host))
    read_secret(secret)  # for its errors: ipmitool takes a file that is open to everybody, and says little about one that is not there
    privilege = text_option(options, "privilege", "ipmi", "user")
    if privilege not in _PRIVILEGES:
        raise KjouleError("option privilege of the energy source ipmi", expected=" or ".join(_PRIVILEGES), seen=repr(privilege))
    arguments = ["-H", host, "-U", username, "-f", secret, "-L", privilege.upper(), "-N", str(max(1, round(timeout / 3))), "-R", "2"]
    for name, flag in (("port", "-p"), ("cipher_suite", "-C")):
        if options.get(name) not in (None, ""):
            if not str(options[name]).isdigit():
                raise KjouleError(f"option {name} of the energy source ipmi", expected="a number", seen=repr(options[name]))
            arguments += [flag, str(options[name])]
    return arguments


class _Ipmitool:
    """The command and what it has cost so far."""

    def __init__(self, command: list[str], timeout: float, where: str) -> None:
        self.cpu_seconds = 0.0
        self._command, self._timeout, self._where = command, timeout, where

    def run(self) -> str:
        """What it prints. Raises KjouleError when it fails or takes too long."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent"}
        try:
            done = run_child(self._command, environment=environment, timeout_seconds=self._timeout)
        except OSError as error:
            raise KjouleError(f"{self._command[0]} cannot be run", seen=str(error)) from error
        self.cpu_seconds += done.cpu_seconds
        if not done.in_time:
            raise KjouleError(
                f"the BMC of {self._where} does not answer",
                seen=f"nothing within {self._timeout:g} s",
                next_step="is IPMI over LAN on, and is this its address?",
            )
        if done.returncode != 0 or not done.stdout.strip():
            raise _failure(done.stderr.decode(errors="replace").strip(), self._where)
        return done.stdout.decode(errors="replace")


def _failure(said: str, where: str) -> KjouleError:
    seen = said.splitlines()[-1][:160] if said else "nothing"
    if re.search(r"RAKP|HMAC|password|username|Unable to establish", said, re.IGNORECASE):
        return KjouleError(
            f"the BMC of {where} does not let us in, or is not there",
            seen=seen,
            next_step="check host, username and password_file, and that IPMI over LAN is on for that user",
        )
    return KjouleError(f"the BMC of {where} gives no DCMI power reading", seen=seen, next_step="not every BMC can; try the source redfish")


def parse_power_reading(text: str, what: str) -> Answer:
    """Watts and the BMC's own time from the output of ``ipmitool dcmi power reading``. Raises KjouleError where there is no valid
    figure."""
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    state = fields.get("power reading state is")
    if state is not None and state != "activated":
        raise KjouleError(f"{what} does not measure power now", expected="a power reading that is activated", seen=state)
    reading = fields.get("instantaneous power reading", "")
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?) (\w+)", reading)
    if match is None or match[2] != "Watts":
        raise KjouleError(f"{what} gives no power", expected="an instantaneous power reading in Watts", seen=repr(reading or text[:80]))
    return Answer((finite(float(match[1]), f"the power reading of {what}"),), meter_ns=_time_ns(fields.get("ipmi timestamp", "")))


def _time_ns(text: str) -> int | None:
    """The BMC's time; ipmitool 1.8.19 prints it as month/day/year, older ones like ctime(3). One that stands at nought is none."""
    for pattern, layout in _TIMES:
        match = re.match(pattern, text)  # 1.8.19 goes on with the sampling period in the same line
        if match:
            return calendar.timegm(time.strptime(match[0], layout)) * 10**9 or None
    return None
