# SPDX-License-Identifier: GPL-3.0-or-later
"""The windows of a run as series of a Prometheus, so that they can be shown beside what Kepler counted.

Every phase is a series ``kjoule_phase`` of value 1 that begins and ends with its window; what the phase's record says is held for as long.
The window itself stays what the journal says: between two readings of the clock that are 5 s apart nothing is more exact than a reading.
"""

from __future__ import annotations

import http.client
import json
import urllib.parse
import urllib.request
from typing import Any

from ..errors import KjouleError
from .remote_write import STALE, Series, send, unreachable, write

STEP_MS = 5000
#: The series by which a period is known to be there.
_MARKER = "kjoule_phase"


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


def shown_periods(url: str, run_id: str, host: str, timeout: float = 10.0) -> set[str]:
    """Periods of the run that Prometheus has already, each of them whole. Raises KjouleError when it cannot be reached, or is none."""
    match = f"{_MARKER}{{run={json.dumps(run_id)},host={json.dumps(host)}}}"
    query = urllib.parse.urlencode({"match[]": match, "start": "0", "end": "4102444800"})
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/series?{query}", timeout=timeout) as response:
            answer = json.load(response)
        return {str(labels.get("period", "")) for labels in answer["data"]}
    except (ValueError, http.client.HTTPException, KeyError, TypeError, AttributeError) as error:
        raise KjouleError(
            f"what answers at {url} is no Prometheus",
            expected="its answer to /api/v1/series",
            seen=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step="give the address of Prometheus, or end what has its port; the journal is not touched",
        ) from error
    except OSError as error:
        raise unreachable(url, error) from error


def write_marks(url: str, series: list[Series]) -> None:
    """Send them to the Prometheus at ``url``, period by period.

    The markers of a period go in one request, which Prometheus takes whole or not at all, and after everything else of it: a period whose
    markers are there is whole, and one whose write broke off is not there, for ``shown_periods`` and for the dashboards. Raises
    KjouleError as ``write`` does; then the same again completes what is missing.
    """
    periods: dict[str, tuple[list[Series], list[Series]]] = {}
    for one in series:
        figures, markers = periods.setdefault(one.labels["period"], ([], []))
        (markers if one.labels["__name__"] == _MARKER else figures).append(one)
    for figures, markers in periods.values():
        write(url, figures)
        send(url, markers)


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
        # It ends where its window ends, so that it never stands beside the next one.
        samples = [(stamp, float(value)) for stamp in range(start, max(end, start + 1), STEP_MS)]
        return Series({"__name__": name, **labels, **more}, [*samples, (max(end, start + 1), STALE)])

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
