# SPDX-License-Identifier: GPL-3.0-or-later
"""Every source that asks another machine or program, and every bad answer: in the middle of a window whose joules are known."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import plug
from ansible_collections.kjoule.bench.plugins.module_utils.energy.polled import StaleWatch
from ansible_collections.kjoule.bench.plugins.module_utils.energy.registry import make_source
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Source
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Miss, Moment, energy_window
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.meters import Exporter, Redfish, Shelly, Tasmota, certificate, kepler_text, scaphandre_text

WATTS = 42.0
READINGS, BAD = 16, 5
#: In the place of ipmitool: says what a file holds, or does what its first line names.
IPMITOOL = """#!/bin/sh
case $(head -n 1 {folder}/says) in
  timeout) exec sleep 60 ;;
  401) echo 'Error: Unable to establish IPMI v2 / RMCP+ session' >&2; exit 1 ;;
  *) cat {folder}/says ;;
esac
"""


@dataclasses.dataclass
class Truth:
    """What the meter sees: 42 W at ``t`` seconds. It may be wrong by a factor, and its clock by seconds."""

    t: float = 0.0
    factor: float = 1.0
    clock_ahead: float = 0.0
    stuck_at: float | None = None
    #: Seconds that the watch for stale marks takes one of these for.
    pace: float = 1.0

    def watts(self) -> float:
        return WATTS * self.factor

    def joules(self) -> float:
        return 5e6 + WATTS * (self.t if self.stuck_at is None else self.stuck_at) * self.factor

    def clock(self) -> float:
        return 1.8e9 + (self.t if self.stuck_at is None else self.stuck_at) + self.clock_ahead


@dataclasses.dataclass
class Meter:
    truth: Truth
    source: Source
    #: Makes the next answers bad, or good again with None.
    fault: Callable[[str | None], None]


def ipmitool_says(folder: Path, truth: Truth, fault: str | None) -> None:
    stamp = int(truth.clock())
    reading = {"nan": "nan Watts", "negative": "-42 Watts", "unit": "42000 mW"}.get(fault or "", f"{round(truth.watts())} Watts")
    text = f"  Instantaneous power reading:   {reading}\n  IPMI timestamp:  {date_of(stamp)}\n  Power reading state is:  activated\n"
    (folder / "says").write_text({"html": "<html>It works!</html>", "timeout": "timeout", "401": "401"}.get(fault or "", text))


def date_of(stamp: int) -> str:
    return datetime.datetime.fromtimestamp(stamp, datetime.timezone.utc).strftime("%m/%d/%y %H:%M:%S UTC")


@contextlib.contextmanager
def meter_of(name: str, folder: Path, pem: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    truth = Truth()
    secret = folder / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    login = {"username": "kjoule", "password_file": str(secret)}
    patience = {"timeout_seconds": 1.0}
    monkeypatch.setattr(plug, "StaleWatch", lambda seconds: StaleWatch(seconds, lambda: truth.t * truth.pace))
    if name == "ipmi":
        program = folder / "ipmitool"
        program.write_text(IPMITOOL.format(folder=folder))
        program.chmod(0o755)
        state: dict[str, str | None] = {"fault": None}
        ipmitool_says(folder, truth, None)
        source = make_source("ipmi", {"ipmitool": str(program), "host": "127.0.0.1", **login, "timeout_seconds": 2})
        ask = source.ask  # type: ignore[attr-defined]

        def saying() -> Any:
            ipmitool_says(folder, truth, state["fault"])
            return ask()

        source.ask = saying  # type: ignore[attr-defined]
        yield Meter(truth, source, lambda fault: state.update(fault=fault))
        return
    doubles: dict[str, tuple[Any, dict[str, Any]]] = {
        "shelly": (Shelly(truth.watts, truth.joules, truth.clock), patience),
        "shelly energy": (Shelly(truth.watts, truth.joules, truth.clock), {**patience, "quantity": "energy"}),
        "tasmota": (Tasmota(truth.watts, truth.joules, truth.clock), patience),
        "redfish power": (Redfish(pem[0], truth.watts, truth.joules, "old"), {**patience, **login, "fingerprint": pem[1]}),
        "redfish": (Redfish(pem[0], truth.watts, truth.joules, "new"), {**patience, **login, "fingerprint": pem[1]}),
        "kepler": (Exporter(lambda: kepler_text({"package": truth.joules()}, {"package": 7.0})), patience),
        "scaphandre": (Exporter(lambda: scaphandre_text(truth.joules(), truth.watts())), patience),
    }
    double, options = doubles[name]
    with double:
        source = make_source(name.split()[0], {**options, "url": double.url})
        if name == "scaphandre":
            source.pause_seconds = 0.0  # type: ignore[attr-defined]
        yield Meter(truth, source, lambda fault: setattr(double, "fault", fault))
        source.close()


NAMES = ("ipmi", "shelly", "shelly energy", "tasmota", "redfish", "redfish power", "kepler", "scaphandre")
FAULTS = ("timeout", "401", "html", "nan", "negative")
#: What a reading in another unit looks like where it can be told from its text.
TEXT = {"ipmi": "unit", "shelly": "text", "shelly energy": "text", "tasmota": "text", "redfish": "text", "redfish power": "text"}


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=NAMES)
def meter(request, tmp_path, pem, monkeypatch):
    with meter_of(request.param, tmp_path, pem, monkeypatch) as made:
        made.name = request.param
        yield made


def window(meter: Meter, happens: Callable[[int], None]) -> tuple[dict[str, Any], list[str]]:
    """A window of readings one interval apart, which take no time here; and the reasons of those that failed."""
    interval = meter.source.update_seconds
    readings, misses = [], []
    for index in range(READINGS):
        meter.truth.t = index * interval
        happens(index)
        try:
            reading = meter.source.read()
            t_ns = round(meter.truth.t * 1e9)
            readings.append(dataclasses.replace(reading, t_before_ns=t_ns, t_after_ns=t_ns))
        except KjouleError as error:
            misses.append(Miss(round(meter.truth.t * 1e9), str(error), False))
    edges = [Moment(edge.t_ns, edge.t_ns, edge.t_ns, 0.0, 4) for edge in (readings[0], readings[-1])]
    return energy_window(meter.source, readings, *edges, misses, interval), [miss.reason for miss in misses]


def assert_right(record: dict[str, Any]) -> None:
    assert record["valid"], record["reasons"]
    assert abs(record["joules"] - WATTS * record["seconds"]) <= record["uncertainty_joules"]


@pytest.mark.parametrize("fault", FAULTS)
def test_one_bad_answer_is_a_failed_reading_and_the_joules_are_right_all_the_same(meter, fault):
    record, failed = window(meter, lambda index: meter.fault(fault if index == BAD else None))
    (reason,) = failed
    said = {"timeout": "does not answer", "401": "does not let us in", "html": "did not answer with|gives no power",
            "nan": "NaN|nan", "negative": "negative|is no reading"}  # fmt: skip
    assert any(part in reason for part in said[fault].split("|")), reason
    assert_right(record)
    assert record["warnings"][0] == f"1 of {READINGS} readings failed"


def test_a_figure_in_another_unit_is_no_reading_or_beyond_physics(meter):
    if meter.name in TEXT:
        _record, failed = window(meter, lambda index: meter.fault(TEXT[meter.name] if index == BAD else None))
        assert len(failed) == 1
        meter.fault(None)
    if meter.name == "ipmi":
        return  # whole watts by its protocol, up to 65535

    def milli(index: int) -> None:
        meter.truth.factor = 1e6 if index >= BAD else 1.0

    record, failed = window(meter, milli)
    assert not failed
    assert any("beyond physics" in reason for reason in record["reasons"]), record


def test_a_meter_that_stands_still_is_stale_or_frozen(meter):
    meter.truth.pace = 100.0

    def stop(index: int) -> None:
        meter.truth.stuck_at = 2 * meter.source.update_seconds if index >= 2 else None

    record, failed = window(meter, stop)
    if meter.name == "redfish power":  # a BMC that shows an old power for ever cannot be told from a steady machine: docs/sources.md
        return assert_right(record)
    said = failed if meter.name in ("shelly", "tasmota", "shelly energy") else record["reasons"]
    assert any("stale" in reason or "frozen" in reason for reason in said), (record["reasons"], failed)


def test_a_clock_that_is_years_off_changes_no_figure(meter):
    meter.truth.clock_ahead = 3 * 365 * 86400.0
    record, failed = window(meter, lambda index: None)
    assert not failed
    assert_right(record)


def test_a_clock_that_is_set_meanwhile_changes_no_figure_in_silence(meter):
    def set_back(index: int) -> None:
        meter.truth.clock_ahead = -7200.0 if index >= BAD else 0.0

    record, failed = window(meter, set_back)
    assert not failed
    if meter.name == "ipmi":
        assert "meter clock: it was set by" in record["reasons"][0]
    else:
        assert_right(record)
