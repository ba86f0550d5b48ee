# SPDX-License-Identifier: GPL-3.0-or-later
"""Software Carbon Intensity, (E * I + M) per R, of the Green Software Foundation's specification 1.1 (ISO/IEC 21031). Pure.

E: energy with what the building takes on top (PUE). I: carbon intensity of the grid. M: the share of making the machine, by
time and by the share of its CPU time that was used. R: a functional unit. E, I and M stay apart: what dominates decides what helps.
"""

from __future__ import annotations

from typing import Any

from .assumptions import Figure, corners, multiplied

JOULES_PER_KWH = 3.6e6
HOURS_PER_YEAR = 8760
SECONDS_PER_YEAR = HOURS_PER_YEAR * 3600


def kilowatt_hours(joules: float, pue: float = 1.0) -> float:
    """E in kWh."""
    return joules * pue / JOULES_PER_KWH


def embodied_grams(kilograms: float, lifetime_years: float, host_seconds: float) -> float:
    """M in g CO2e: what ``host_seconds`` of the whole machine are of its lifetime."""
    return 1000 * kilograms * host_seconds / (lifetime_years * SECONDS_PER_YEAR)


def score(joules: Figure, host_seconds: float, assumptions: dict[str, Figure]) -> dict[str, dict[str, float] | None]:
    """SCI of one functional unit: ``{energy_kwh, operational_g, embodied_g, sci_g, marginal_g}``, each with value, low and high.

    ``marginal_g`` is the energy by the marginal intensity of the grid: what not using it would have saved. None unless the user gave that
    factor (no shipped row has one: no table of them under a free licence was found), and in no sum: SCI takes the average.
    ``joules`` are those of the unit, ``host_seconds`` the seconds of the whole machine that it takes (CPU-seconds / number of CPUs).
    """
    grid, pue = assumptions["grid"], assumptions["pue"]
    energy = corners(kilowatt_hours, joules, pue)
    operational = corners(lambda amount, factor, intensity: kilowatt_hours(amount, factor) * intensity, joules, pue, grid)
    embodied = corners(
        lambda kilograms, years: embodied_grams(kilograms, years, host_seconds), assumptions["embodied_kg"], assumptions["lifetime_years"]
    )
    total = {end: operational[end] + embodied[end] for end in ("value", "low", "high")}
    marginal = None if grid.get("marginal") is None else multiplied(energy, grid["marginal"])
    return {"energy_kwh": energy, "operational_g": operational, "embodied_g": embodied, "sci_g": total, "marginal_g": marginal}


def _units(report: dict[str, Any]) -> list[tuple[str, str, float]]:
    """(name of the functional unit, metric, factor from the metric's unit to the functional unit)."""
    apps = report["settings"]["apps"]
    units = [
        ("year at rest", "rest", float(SECONDS_PER_YEAR)),
        ("app-hour at rest", "rest", 3600 / apps),
        ("deployment", "deploy_total", 1.0),
        ("change", "change_total", 1.0),
    ]
    return [unit for unit in units if unit[1] in report["metrics"]]


def table(report: dict[str, Any], assumptions: dict[str, Figure], cpus: int | None) -> list[dict[str, Any]]:
    """SCI per functional unit, of each side and of the difference.

    Joules are the measured ones where there are some (of the difference only: the joules of a side hold whatever else the machine did),
    else the estimate. Empty when the number of CPUs is not known.
    """
    if not cpus:
        return []
    measured = report["measured_energy"][0]["metrics"] if report["measured_energy"] else {}
    rows = []
    for unit, name, factor in _units(report):
        metric = report["metrics"][name]
        energy = measured.get(f"{name.removesuffix('_total')}_joules")
        parts = [("difference", metric["effect"]["mean"], metric["estimated"]["effect"])]
        if energy is None:
            parts = [(label, side["mean"], metric["estimated"]["sides"][label]) for label, side in metric["sides"].items()] + parts
        else:
            effect = energy["effect"]
            ends = {end: effect["mean"] if effect[end] is None else effect[end] for end in ("low", "high")}
            parts = [("difference", metric["effect"]["mean"], {"value": effect["mean"], **ends})]
        for side, cpu, joules in parts:
            host_seconds = cpu * factor / cpus
            found = score(multiplied(joules, factor), host_seconds, assumptions)
            rows.append({"unit": unit, "side": side, "kind": "estimated" if energy is None else "measured", **found})
    for label, cost in report["reconcile"].items():
        row = report["energy"]["estimate"]
        ends = {end: cost["mean"] if cost[end] is None else cost[end] for end in ("low", "high")}
        cpu = {"value": cost["mean"], **ends}
        coefficient = {"value": row["joules_per_cpu_second"], "low": row["low"], "high": row["high"]}
        joules = corners(lambda seconds, per_second: seconds * per_second, cpu, coefficient)
        rows.append({"unit": "reconcile", "side": label, "kind": "estimated", **score(joules, cost["mean"] / cpus, assumptions)})
    return rows
