# SPDX-License-Identifier: GPL-3.0-or-later
"""One window without a run: joules of a stretch of time or of a command, and which sources there are on this host."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..child import run_child
from ..errors import KjouleError
from .clocks import machine_difference, machine_time
from .estimate import SCOPE, estimate_joules
from .registry import AUTO, LOCAL, SOURCES, choose_source, make_source
from .source import Source
from .windows import Recorder


def survey(configured: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every source there is: what it covers, whether it works here, and if not why and what would make it.

    Local sources are tried as they are, others with the options in ``configured``; those that need an address and have none are listed
    only. All are tried at once, so that one that does not answer holds up no other.
    """
    tried = {**{name: {} for name in LOCAL}, **{name: options for name, options in configured.items() if name in SOURCES}}
    with ThreadPoolExecutor(len(SOURCES)) as pool:
        pending = {name: pool.submit(_try, name, options) for name, options in tried.items()}
        rows = []
        for name, entry in SOURCES.items():
            if name in pending:
                found = pending[name].result()
            else:
                options = ", ".join(entry.options)
                found = {"works": None, "scope": None, "source": None, "why": f"needs to be named with its options: {options}"}
            rows.append({"name": name, "covers": entry.covers, "automatic": name in AUTO, **found})
    covers = "CPU time times a coefficient: marginal energy of the processor only, never compared with joules that were measured"
    rows.append({"name": "estimate", "covers": covers, "automatic": True, "works": True, "scope": SCOPE, "source": None, "why": None})
    return rows


def _try(name: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        source = make_source(name, options)
    except KjouleError as error:
        return {"works": False, "scope": None, "source": None, "why": str(error)}
    source.close()
    return {"works": True, "scope": source.scope, "source": source.describe(), "why": None}


def chosen(rows: list[dict[str, Any]]) -> str:
    """The source of a survey that ``auto`` takes: the first automatic one that works, at last the estimate."""
    works = {row["name"] for row in rows if row["works"]}
    return next(name for name in (*AUTO, "estimate") if name in works)


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """A survey for reading, one line per source."""
    automatic = chosen(rows)
    result = []
    for row in rows:
        state = {True: "works", False: "does not work", None: "not tried"}[row["works"]]
        state += ", taken by auto" if row["name"] == automatic else ""
        result.append("; ".join(part for part in (f"{row['name']}: {state}", row["scope"] or row["covers"], row["why"]) if part))
    return result


def measure(
    setting: Any, seconds: float | None, argv: list[str] | None, chdir: str | None, sample_seconds: float, row: dict[str, Any]
) -> dict[str, Any]:
    """A window of ``seconds``, or of the command ``argv``, with what there is to know of it.

    ``{energy: record of the window or None, estimate, cpu, source, rc, stdout, stderr, text}``. row: coefficient of the estimate. What
    the command did is returned also when the energy could not be read. Raises KjouleError when the source or the command cannot be started.
    """
    source, description = choose_source(setting)
    fault = threading.Event()
    recorder = Recorder(source, sample_seconds, lambda _reason: fault.set()) if source is not None else None
    result: dict[str, Any] = {"source": description, "rc": None, "stdout": None, "stderr": None}
    of_command = None
    try:
        if recorder is not None:
            recorder.start()
        machine, begin_ns = machine_time(), time.monotonic_ns()
        start = recorder.edge() if recorder is not None else None
        if argv is not None:
            of_command = _run(argv, chdir, result)
        else:
            fault.wait(seconds)
        energy = None
        if recorder is not None and start is not None:
            try:
                energy = recorder.window(start, recorder.edge())
            except KjouleError as error:
                energy = _lost(recorder.source, (time.monotonic_ns() - begin_ns) / 1e9, str(error))
        elapsed = (time.monotonic_ns() - begin_ns) / 1e9
        cpu = machine_difference(machine, machine_time())
    finally:
        if recorder is not None:
            recorder.stop()
    estimate = estimate_joules(cpu["busy_seconds"], row)
    estimate.update({key: row[key] for key in ("joules_per_cpu_second", "id")}, origin=row["source"])
    result.update(energy=energy, estimate=estimate, cpu={**cpu, "command_seconds": of_command}, seconds=elapsed)
    result["text"] = _text(energy, estimate, cpu, elapsed)
    return result


def _run(argv: list[str], chdir: str | None, result: dict[str, Any]) -> float:
    """Run a command to its end, with what it did into ``result``; returns its CPU-seconds. What is left of it when this process is told to
    end is ended with it."""
    try:
        done = run_child(argv, cwd=chdir)
    except OSError as error:
        raise KjouleError(f"the command {argv[0]} cannot be started", seen=str(error), next_step="check cmd and chdir") from error
    result.update(rc=done.returncode, stdout=done.stdout.decode(errors="replace"), stderr=done.stderr.decode(errors="replace"))
    return done.cpu_seconds


def _lost(source: Source, seconds: float, reason: str) -> dict[str, Any]:
    """The record of a window that has no second edge."""
    return {
        "source": source.name,
        "scope": source.scope,
        "kind": "measured",
        "joules": None,
        "seconds": seconds,
        "uncertainty_joules": None,
        "readings": 0,
        "valid": False,
        "reasons": [reason],
        "parts": {},
        "channels": {},
        "warnings": [],
    }


def _text(energy: dict[str, Any] | None, estimate: dict[str, Any], cpu: dict[str, Any], elapsed: float) -> str:
    """The result in one line."""
    busy = f"{cpu['busy_seconds']:.2f} CPU-seconds on {cpu['cpus']} CPUs"
    if energy is None:
        bounds = f"{estimate['low']:.3g} to {estimate['high']:.3g} J"
        return f"{elapsed:.1f} s: no energy can be read here; {busy}, estimated {estimate['joules']:.3g} J ({bounds}; {SCOPE})"
    if not energy["valid"]:
        return f"{elapsed:.1f} s: invalid: {'; '.join(energy['reasons'])} ({energy['scope']}); {busy}"
    watts = energy["joules"] / energy["seconds"]
    figure = f"{energy['joules']:.6g} J +- {energy['uncertainty_joules']:.2g} J, {watts:.4g} W ({energy['scope']})"
    return f"{energy['seconds']:.1f} s: {figure}; {busy}"
