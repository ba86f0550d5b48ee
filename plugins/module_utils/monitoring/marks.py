# SPDX-License-Identifier: GPL-3.0-or-later
"""The windows of a run as series of a Prometheus, so that they can be shown beside what Kepler counted.

Every phase is a series ``kjoule_phase`` of value 1 that begins and ends with its window; what the phase's record says, and what Kepler
counted between its edges, is held for as long.
The window itself stays what the journal says: between two readings of the clock that are 5 s apart nothing is more exact than a reading.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import KjouleError
from .kepler_windows import counted, wait_for_reading
from .query import ask
from .remote_write import STALE, Series, send, write

STEP_MS = 5000
#: The series by which a period is known to be there; the panels show what has it.
_MARKER = "kjoule_phase"
_HOST, _COMPONENT, _WATTS = "kjoule_phase_kepler_joules", "kjoule_phase_kepler_component_joules", "kjoule_phase_kepler_watts"
#: 1 where there is no figure of Kepler's, with the figure and why.
_MISSING = "kjoule_phase_kepler_missing"
#: What of a period is written last, in one request: of these, each window has its marker and one of the others.
_CLOSING = (_MARKER, _HOST, _MISSING)


def read_marks(journal: str) -> tuple[str, list[Series]]:
    """The host's name and the series of every phase in the text of a journal.

    Raises KjouleError for a journal that cannot be placed in the time of day.
    """
    lines = journal.split("\n")
    records = [json.loads(line) for line in lines[:-1] if line.strip()]  # what has no line end is no record
    if not records or records[0].get("kind") != "header":
        raise KjouleError("the journal has no header", expected="a journal of kjoule", next_step="name a run that has been measured")
    header = records[0]
    host = str(header["host"]["name"])
    series: list[Series] = []
    for record in records[1:]:
        if "clock" not in record:
            raise KjouleError(
                f"period {record['period_id']} of run {header['run_id']} does not say when it was",
                expected="both clocks in its record",
                next_step="show a run that was measured by this version",
            )
        offset_ns = int(record["clock"]["realtime_ns"]) - int(record["clock"]["monotonic_ns"])
        for phase in record["phases"]:
            series += _phase(header["run_id"], host, record, phase, offset_ns)
    return host, series


def kepler_marks(url: str, series: list[Series]) -> list[Series]:
    """What Kepler counted in the windows that are marked among ``series``, from the readings that Prometheus has, or that it has no figure.

    Waits for the reading after the last window where that has just ended. Raises KjouleError when Prometheus cannot be asked.
    """
    markers = [one for one in series if one.labels["__name__"] == _MARKER]
    found: list[Series] = []
    if markers:
        wait_for_reading(url, markers[0].labels["host"], max(one.samples[-1][0] for one in markers) / 1000)
    for one in markers:
        start, end = one.samples[0][0], one.samples[-1][0]
        labels = {name: value for name, value in one.labels.items() if name != "__name__"}
        figures = counted(url, labels["host"], start / 1000, end / 1000)
        held = [(_COMPONENT, joules, {"component": name}) for name, joules in figures.components.items()]
        held += [(name, value, {}) for name, value in ((_HOST, figures.joules), (_WATTS, figures.watts)) if value is not None]
        reasons = (("energy", figures.no_energy), ("power", figures.no_power))
        held += [(_MISSING, 1.0, {"figure": figure, "reason": reason}) for figure, reason in reasons if reason]
        found += [_held({"__name__": name, **labels, **more}, value, start, end) for name, value, more in held]
    return found


def shown_periods(url: str, run_id: str, host: str, timeout: float = 10.0) -> set[str]:
    """Periods of the run that Prometheus has already, each of them whole. Raises KjouleError when it cannot be reached, or is none.

    One that was written by a version that did not say anything of Kepler's joules is not whole. Its markers are there already; what says
    that all the rest has come is the figure of the host, or that it is missing.
    """
    of = f"{{run={json.dumps(run_id)},host={json.dumps(host)}}}"
    asked = {"match[]": [_MARKER + of, _HOST + of, _MISSING + of], "start": "0", "end": "4102444800"}

    def read(data: Any) -> set[str]:
        there = [(str(labels["__name__"]), str(labels.get("period", ""))) for labels in data]
        return {period for name, period in there if name == _MARKER} & {period for name, period in there if name != _MARKER}

    return ask(url, "series", asked, read, timeout)


def write_marks(url: str, series: list[Series]) -> None:
    """Send them to the Prometheus at ``url``, period by period.

    The markers of a period, and what Kepler says of the host in it, go in one request, which Prometheus takes whole or not at all, and
    after everything else of it: a period that has them is whole, and one whose write broke off is not there, for ``shown_periods`` and
    (but for what an older version had marked) for the dashboards. Raises KjouleError as ``write`` does; then the same again completes what
    is missing.
    """
    periods: dict[str, tuple[list[Series], list[Series]]] = {}
    for one in series:
        figures, closing = periods.setdefault(one.labels["period"], ([], []))
        (closing if one.labels["__name__"] in _CLOSING else figures).append(one)
    for figures, closing in periods.values():
        write(url, figures)
        send(url, closing)


def _phase(run_id: str, host: str, record: dict[str, Any], phase: dict[str, Any], offset_ns: int) -> list[Series]:
    start, end = ((int(phase[key]) + offset_ns) // 1_000_000 for key in ("start_ns", "end_ns"))
    labels = {
        "run": run_id,
        "host": host,
        "arm": str(record["arm"]),
        "label": str(record["label"]),
        "period": str(record["period_id"]),
        "phase": str(phase["name"]),
        "index": str(phase["index"]),
        "kind": str(phase["kind"]),
        "valid": "true" if phase["valid"] and record["valid"] else "false",
    }

    def held(name: str, value: float, **more: str) -> Series:
        return _held({"__name__": name, **labels, **more}, value, start, max(end, start + 1))

    found = [held(_MARKER, 1.0)]
    found += [
        held("kjoule_phase_cpu_seconds", seconds, component=name, role=str(phase["components"][name]))
        for name, seconds in phase["cpu_seconds"].items()
    ]
    found.append(held("kjoule_phase_actor_cpu_seconds", phase["actor"]["cpu_seconds"]))
    found.append(held("kjoule_phase_busy_cpu_seconds", phase["machine"]["busy_seconds"]))
    found += [
        held("kjoule_phase_energy_joules", energy["joules"], source=str(energy["source"]), scope=str(energy["scope"]))
        for energy in phase["energy"]
        if energy["valid"] and energy["joules"] is not None
    ]
    return found


def _held(labels: dict[str, str], value: float, start: int, end: int) -> Series:
    """It ends where its window ends, so that it never stands beside the next one."""
    return Series(labels, [*((stamp, float(value)) for stamp in range(start, end, STEP_MS)), (end, STALE)])
