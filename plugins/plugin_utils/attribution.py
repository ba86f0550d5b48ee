# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the measured energy of a phase went: idle, components, actor, residual. Pure. Parts and residual add up to what was measured.

Two ways stand beside each other. By marginal cost: each part gets its CPU-seconds times what a CPU-second costs on this host by
calibration; what is left of the energy above idle is the residual. By CPU share: the energy above idle is split by busy time, and the
residual is what neither a component nor the actor used. Without a calibration only the share is known, and idle is what Kepler takes for
it: the share of capacity that was not busy (its active energy is energy x busy / capacity, so static power leaks into the parts). Where
Kepler ran, what it gave stands in a third column.

Uncertainties: of the window (a bound), of the calibration (the 95 % interval, with the covariance of idle and cost), combined in
quadrature.
"""

from __future__ import annotations

import math
from typing import Any

from .phases import actor_of, measured
from .selection import Selected

ACTOR = "actor"
#: The kernel keeps 15 characters of a process's name (TASK_COMM_LEN), and so does Kepler.
COMM = 15


def figure(joules: float, uncertainty: float) -> dict[str, float]:
    return {"joules": joules, "uncertainty": uncertainty}


def attribute(phase: dict[str, Any], scope: str, calibration: dict[str, Any] | None) -> dict[str, Any]:
    """One phase with valid measured energy of ``scope``.

    ``{total, marginal: {idle, residual} or None, share: {idle, residual}, parts: {name: {role, cpu_seconds, marginal, share, kepler}}}``;
    figures are ``{joules, uncertainty}``. ``calibration`` is one of the same scope, or None.
    """
    entry = next(one for one in phase["energy"] if one.get("scope") == scope and one.get("kind") == "measured" and one.get("valid"))
    total = figure(entry["joules"], entry.get("uncertainty_joules") or 0.0)
    machine, seconds = phase["machine"], phase["seconds"]
    busy, capacity = machine["busy_seconds"], seconds * machine["cpus"]
    roles = phase.get("components") or {}
    cpu = {**phase["cpu_seconds"], ACTOR: actor_of(phase)}
    # Ticks against nanoseconds: in a short phase the parts may be some ticks ahead of the machine.
    busy = max(busy, math.fsum(cpu.values()))
    marginal: dict[str, dict[str, float]] | None = None
    costs: dict[str, dict[str, float]] = {}
    if calibration is not None:
        idle_watts, cost = calibration["idle_watts"], calibration["joules_per_cpu_second"]
        idle = figure(idle_watts["value"] * seconds, (idle_watts["high"] - idle_watts["value"]) * seconds)
        costs = {name: figure(cost["value"] * used, (cost["high"] - cost["value"]) * used) for name, used in cpu.items()}
        used = math.fsum(cpu.values())
        rest = total["joules"] - idle["joules"] - math.fsum(part["joules"] for part in costs.values())
        off = math.hypot(total["uncertainty"], _line(calibration, seconds, used))
        marginal = {"idle": idle, "residual": figure(rest, off)}
        active = figure(total["joules"] - idle["joules"], math.hypot(total["uncertainty"], idle["uncertainty"]))
    else:
        ratio = min(1.0, busy / capacity) if capacity > 0 else 0.0
        active = figure(total["joules"] * ratio, total["uncertainty"] * ratio)
        idle = figure(total["joules"] - active["joules"], total["uncertainty"] * (1 - ratio))
    shared = {name: _share(active, used, busy, machine["resolution_seconds"]) for name, used in cpu.items()}
    left = total["joules"] - idle["joules"] - math.fsum(part["joules"] for part in shared.values())
    unused = max(0.0, 1 - math.fsum(cpu.values()) / busy) if busy > 0 else 1.0
    kepler = _kepler(phase, list(phase["cpu_seconds"]))
    return {
        "total": total,
        "marginal": marginal,
        "share": {"idle": idle, "residual": figure(left, active["uncertainty"] * unused)},
        "parts": {
            name: {
                "role": ACTOR if name == ACTOR else roles.get(name, "cluster"),
                "cpu_seconds": used,
                "marginal": costs.get(name),
                "share": shared[name],
                "kepler": kepler.get(name),
            }
            for name, used in cpu.items()
        },
    }


def _line(calibration: dict[str, Any], seconds: float, cpu_seconds: float) -> float:
    """Half the interval of idle x seconds + cost x cpu_seconds: the two are estimated from the same points and not independent."""
    (idle, both), (_both, cost) = calibration["covariance"]
    variance = seconds**2 * idle + 2 * seconds * cpu_seconds * both + cpu_seconds**2 * cost
    return float(calibration["t"] * math.sqrt(max(0.0, variance)))


def _share(active: dict[str, float], used: float, busy: float, resolution_seconds: float) -> dict[str, float]:
    if busy <= 0:
        return figure(0.0, 0.0)
    share = used / busy
    return figure(active["joules"] * share, math.hypot(active["uncertainty"] * share, active["joules"] * share * resolution_seconds / busy))


def _given(phase: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What meters gave to whom, by source: read on the host beside the energy, or through Prometheus."""
    direct = {entry["source"]: entry["attribution"] for entry in phase["energy"] if entry.get("attribution")}
    return {**direct, **(phase.get("remote_attribution") or {})}


def kepler_zones(phases: list[dict[str, Any]]) -> list[str]:
    """The zones in which Kepler attributed, where it did."""
    return sorted({zone for phase in phases for given in _given(phase).values() for zone in given.get("zones") or []})


def _kepler(phase: dict[str, Any], names: list[str]) -> dict[str, dict[str, float]]:
    """What Kepler gave the processes of the components, by their names; its uncertainty is that of its own window, relative."""
    result: dict[str, dict[str, float]] = {}
    for source, given in _given(phase).items():
        windows = [one for one in phase["energy"] if one.get("source") == source and one.get("valid") and one["joules"] > 0]
        relative = (windows[0].get("uncertainty_joules") or 0.0) / windows[0]["joules"] if windows else 0.0
        for name in names:
            joules = [
                row["joules"]
                for row in (given.get("processes") or {}).get("listed") or []
                if (row.get("comm") or row.get("command") or "")[:COMM] == name[:COMM]
            ]
            if joules and name not in result:
                result[name] = figure(math.fsum(joules), relative * math.fsum(joules))
    return result


def choose(scopes: list[str], calibration: dict[str, Any] | None) -> tuple[str | None, dict[str, Any] | None]:
    """The scope to attribute, and the calibration if it is of that: the one that was calibrated, else the first; None without any."""
    calibrated = (calibration or {}).get("source", {}).get("scope")
    scope = calibrated if calibrated in scopes else next(iter(scopes), None)
    return scope, calibration if calibration and scope is not None and scope == calibrated else None


def table(selected: Selected, labels: list[str], scopes: list[str], calibration: dict[str, Any] | None) -> dict[str, Any] | None:
    """Where the energy went, for each phase and side, means per period over the blocks that count; None without measured energy.

    Of several scopes the one that was calibrated is taken, else the first: joules of different scopes are never mixed.
    """
    scope, used = choose(scopes, calibration)
    if scope is None:
        return None
    groups: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    for sides in selected.values():
        for label, record in sides.items():
            for phase in record["phases"]:
                if measured(phase, scope) is not None:
                    groups.setdefault((phase["index"], phase["name"], label), []).append(phase)
    zones = kepler_zones([phase for phases in groups.values() for phase in phases])
    # Kepler's figures are compared with ours only where both cover the same.
    comparable = sorted(scope.partition(":")[2].split("+")) == zones
    rows = [
        _row(phases, label, [attribute(phase, scope, used) for phase in phases], comparable)
        for (_index, _name, label), phases in sorted(groups.items(), key=lambda item: (item[0][0], labels.index(item[0][2])))
    ]
    return {
        "scope": scope,
        "calibrated_at": None if used is None else used["measured_at"],
        "kepler_zones": zones,
        "disagreements": sum(1 for row in rows for part in row["parts"] if part["disagree"]),
        "rows": rows,
    }


def _row(phases: list[dict[str, Any]], label: str, found: list[dict[str, Any]], comparable: bool) -> dict[str, Any]:
    names = list(dict.fromkeys(name for one in found for name in one["parts"]))
    parts = []
    for name in names:
        sides = [one["parts"].get(name) for one in found]
        part = {
            "name": name,
            "role": next(side["role"] for side in sides if side),
            "cpu_seconds": math.fsum(side["cpu_seconds"] for side in sides if side) / len(found),
            **{method: _mean([side[method] if side else None for side in sides]) for method in ("marginal", "share", "kepler")},
        }
        parts.append({**part, "disagree": _disagree(part, comparable)})
    return {
        "phase": phases[0]["name"],
        "kind": phases[0]["kind"],
        "label": label,
        "periods": len(phases),
        "seconds": math.fsum(phase["seconds"] for phase in phases) / len(phases),
        "total": _mean([one["total"] for one in found]),
        "marginal": None
        if found[0]["marginal"] is None
        else {key: _mean([one["marginal"][key] for one in found]) for key in ("idle", "residual")},
        "share": {key: _mean([one["share"][key] for one in found]) for key in ("idle", "residual")},
        "parts": parts,
    }


def _mean(figures: list[dict[str, float] | None]) -> dict[str, float] | None:
    """Mean per period; a part that is not in a period used nothing there. Uncertainties do not shrink: the calibration is that of all."""
    known = [one for one in figures if one is not None]
    if not known:
        return None
    return figure(*(math.fsum(one[key] for one in known) / len(figures) for key in ("joules", "uncertainty")))


def _disagree(part: dict[str, Any], comparable: bool) -> list[str]:
    """Pairs of methods that differ by more than both their uncertainties."""
    methods = [method for method in ("marginal", "share", "kepler") if part[method] is not None and (comparable or method != "kepler")]
    return [
        f"{one}/{other}"
        for index, one in enumerate(methods)
        for other in methods[index + 1 :]
        if abs(part[one]["joules"] - part[other]["joules"]) > part[one]["uncertainty"] + part[other]["uncertainty"]
    ]
