# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reconcile, an app and a change cost, fitted over phases with the counts that were really done; and costs at other sizes. Pure.

Ordinary least squares of the cluster side's CPU-seconds of a phase, without an intercept: an empty phase costs nothing. What an app costs
at rest without Flux is fitted on the snowflake arm and taken off before the Flux arm is fitted: there, at one interval, apps and
reconciles go together.
Every valid period counts, whether its block is whole or not: nothing here is a paired comparison.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import statsmodels.api as sm
from scipy import stats

from .effects import cpu_of, estimated_interval, reconciles_of
from .plan import arm_of, is_valid, plan_of_cell
from .statistics import FloatArray

#: Phases whose work is counted; drift and prune hold hand edits, install and teardown other things.
KINDS = ("idle", "deploy", "steady", "update")
#: What a phase is explained by, the name of its marginal cost, its unit, and what it is.
TERMS: dict[str, tuple[str, str]] = {
    "seconds": ("CPU", "the control plane and, with Flux, its controllers, nothing to do"),
    "app_seconds": ("CPU per app", "an app at rest, without Flux"),
    "reconciles": ("CPU-seconds per reconcile", "a reconcile that changes nothing"),
    "reconciled_apps": ("CPU-seconds per reconcile and app", "what each app in the repository adds to a reconcile"),
    "failed": ("CPU-seconds per failed reconcile", "a reconcile that fails"),
    "deployed": ("CPU-seconds per app", "the deployment of an app, its reconciles apart"),
    "changes": ("CPU-seconds per change", "a change, its reconciles apart"),
}
INTERVALS = (10, 30, 60, 300, 600, 1800, 3600)
APPS = (1, 10, 100, 1000)
#: Fewer sizes cannot tell a straight line from a power law.
FEWEST_SIZES = 3


def observations(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each counted phase of each valid period: arm, layout, interval, kind, cpu_seconds, and the terms."""
    rows = []
    by_cell = {cell: plan_of_cell(plan, cell)["settings"] for cell in {block.get("cell", 0) for block in plan["blocks"]}}
    settings = {block["block"]: by_cell[block.get("cell", 0)] for block in plan["blocks"]}
    for record in records:
        own = settings.get(record["block"])
        if own is None or not is_valid(record):
            continue
        present = 0
        for phase in record["phases"]:
            kind = phase["kind"]
            if kind not in KINDS or not phase.get("valid", True) or not phase["seconds"] > 0:
                continue
            failed = sum(results.get("error", 0) for results in ((phase.get("counters") or {}).get("reconciles") or {}).values())
            before, present = present, own["apps"] if kind == "deploy" else present
            rows.append(
                {
                    "arm": arm_of(plan, record["label"]),
                    "layout": own["layout"],
                    "interval_seconds": own["interval_seconds"],
                    "apps": own["apps"],
                    "kind": kind,
                    "cpu_seconds": cpu_of(phase),
                    "converged_seconds": phase.get("converged_seconds"),
                    "seconds": phase["seconds"],
                    # During a deployment apps come up little by little: half of the time, on average.
                    "app_seconds": (before + present) / 2 * phase["seconds"],
                    "reconciles": reconciles_of(phase) - failed,
                    "reconciled_apps": (reconciles_of(phase) - failed) * present,
                    "failed": failed,
                    "deployed": own["apps"] if kind == "deploy" else 0,
                    "changes": phase.get("changes") or 0 if kind == "update" else 0,
                }
            )
    return rows


def _fit(rows: list[dict[str, Any]], terms: list[str], offset: float = 0.0) -> Any:
    """The fit, and the terms that the rows can tell apart; None with too few rows."""
    used: list[str] = []
    for term in terms:
        columns = np.array([[row[name] for name in [*used, term]] for row in rows], dtype=float)
        scale = np.abs(columns).max(axis=0, initial=0.0)
        if (
            scale.min(initial=0.0 if columns.size == 0 else np.inf) > 0
            and np.linalg.matrix_rank(columns / scale, tol=1e-6) == len(used) + 1
        ):
            used.append(term)
    if not used or len(rows) <= len(used):
        return None
    outcome = np.array([row["cpu_seconds"] - offset * row["app_seconds"] for row in rows])
    return sm.OLS(outcome, np.array([[row[name] for name in used] for row in rows], dtype=float)).fit(), used


def marginal(rows: list[dict[str, Any]], alpha: float = 0.05) -> list[dict[str, Any]]:
    """Marginal costs by arm and layout: ``{arm, layout, phases, costs: {term: {value, low, high, unit, what}}, left_out}``.

    ``left_out`` are terms that these phases cannot tell apart from others, or in which nothing happened.
    """
    result = []
    without, per_app = _fit_snowflake(rows)
    if without is not None:
        result.append(_entry("snowflake", None, without[0], without[1], alpha, int(without[0].nobs)))
    for layout in sorted({row["layout"] for row in rows if row["arm"] == "flux"}):
        found = _fit_flux(rows, layout, per_app)
        if found is not None:
            result.append(_entry("flux", layout, found[0], found[1], alpha, int(found[0].nobs)))
    return result


def _fit_snowflake(rows: list[dict[str, Any]]) -> tuple[Any, float]:
    """The fit of the snowflake arm, and the CPU of an app at rest by it; 0 where it cannot tell."""
    found = _fit([row for row in rows if row["arm"] == "snowflake"], ["seconds", "app_seconds", "deployed", "changes"])
    if found is None or "app_seconds" not in found[1]:
        return found, 0.0
    return found, float(found[0].params[found[1].index("app_seconds")])


def _fit_flux(rows: list[dict[str, Any]], layout: str, per_app: float) -> Any:
    """The fit of the Flux arm. Where sizes differ, a reconcile has a price of its own and one for every app that is in the repository."""
    mine = [row for row in rows if row["arm"] == "flux" and row["layout"] == layout]
    by_size = ["reconciled_apps"] if len({row["apps"] for row in mine}) > 1 else []
    return _fit(mine, ["seconds", "reconciles", *by_size, "failed", "deployed", "changes"], per_app)


def _entry(arm: str, layout: str | None, model: Any, used: list[str], alpha: float, phases: int) -> dict[str, Any]:
    ends = model.conf_int(alpha)
    costs = {
        term: {"value": float(value), "low": float(low), "high": float(high), "unit": TERMS[term][0], "what": TERMS[term][1]}
        for term, value, (low, high) in zip(used, model.params, ends, strict=True)
    }
    return {"arm": arm, "layout": layout, "phases": phases, "costs": costs, "left_out": [term for term in TERMS if term not in used]}


def by_interval(rows: list[dict[str, Any]], alpha: float = 0.05) -> list[dict[str, Any]]:
    """What reconciling costs at rest at other intervals, by layout: price of a reconcile x reconciles of a round / interval, with a band.

    For the largest number of apps that was measured. ``kind`` is ``fitted`` inside the measured intervals, ``extrapolated`` outside.
    """
    result = []
    _without, per_app = _fit_snowflake(rows)
    for layout in sorted({row["layout"] for row in rows if row["arm"] == "flux"}):
        steady = [row for row in rows if row["arm"] == "flux" and row["layout"] == layout and row["kind"] == "steady"]
        found = _fit_flux(rows, layout, per_app)
        if not steady or found is None or "reconciles" not in found[1]:
            continue
        model, used = found
        apps = max(row["apps"] for row in steady)
        price = np.array([{"reconciles": 1.0, "reconciled_apps": float(apps)}.get(term, 0.0) for term in used])
        value, error = float(price @ model.params), math.sqrt(max(0.0, float(price @ model.cov_params() @ price)))
        half = float(stats.t.isf(alpha / 2, model.df_resid)) * error
        measured = sorted({row["interval_seconds"] for row in steady})
        rounds = [row["reconciles"] * row["interval_seconds"] / row["seconds"] for row in steady if row["apps"] == apps]
        per_round = math.fsum(rounds) / len(rounds)
        points = [
            {
                "interval_seconds": interval,
                "kind": "fitted" if measured[0] <= interval <= measured[-1] else "extrapolated",
                "value": value * per_round / interval,
                "low": (value - half) * per_round / interval,
                "high": (value + half) * per_round / interval,
            }
            for interval in sorted({*INTERVALS, *measured})
        ]
        result.append({"layout": layout, "apps": apps, "reconciles_per_round": per_round, "unit": "CPU", "points": points})
    return result


def by_apps(rows: list[dict[str, Any]], alpha: float = 0.05) -> list[dict[str, Any]]:
    """CPU-seconds of a deployment against the number of apps, by arm and layout: a straight line or a power law, with a band.

    The one with the smaller mean squared error of the logarithm in leaving one phase out is taken. Needs three sizes.
    """
    result = []
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "deploy" and row["cpu_seconds"] > 0:
            groups.setdefault((row["arm"], row["layout"]), []).append(row)
    for (arm, layout), group in sorted(groups.items()):
        sizes = sorted({row["apps"] for row in group})
        if len(sizes) < FEWEST_SIZES:
            continue
        apps, cpu = (np.array([row[key] for row in group], dtype=float) for key in ("apps", "cpu_seconds"))
        errors = {law: _left_out_error(law, apps, cpu) for law in ("linear", "power law")}
        law = min(errors, key=lambda name: errors[name])
        ready = {
            str(size): max(row["converged_seconds"] for row in group if row["apps"] == size)
            for size in sizes
            if all(row["converged_seconds"] is not None for row in group if row["apps"] == size)
        }
        points = [
            {"apps": size, "kind": "fitted" if sizes[0] <= size <= sizes[-1] else "extrapolated", **_predicted(law, apps, cpu, size, alpha)}
            for size in sorted({*APPS, *sizes})
        ]
        slope, _intercept = _coefficients(law, apps, cpu)
        result.append(
            {
                "arm": arm,
                "layout": layout,
                "law": law,
                "exponent": slope if law == "power law" else None,
                "left_out_errors": errors,
                "unit": "CPU-seconds",
                "ready_seconds": ready,
                "points": points,
            }
        )
    return result


def _scales(law: str, apps: FloatArray, cpu: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Abscissa, ordinate and weights. Errors are relative: a line is weighted by 1 / cpu squared, a power law is a line of logarithms."""
    return (np.log(apps), np.log(cpu), np.ones_like(cpu)) if law == "power law" else (apps, cpu, 1 / cpu**2)


def _coefficients(law: str, apps: FloatArray, cpu: FloatArray) -> tuple[float, float]:
    abscissa, ordinate, weights = _scales(law, apps, cpu)
    slope, intercept = np.polyfit(abscissa, ordinate, 1, w=np.sqrt(weights))
    return float(slope), float(intercept)


def _left_out_error(law: str, apps: FloatArray, cpu: FloatArray) -> float:
    errors = []
    for index in range(apps.size):
        keep = np.arange(apps.size) != index
        if np.unique(apps[keep]).size < 2:
            continue
        slope, intercept = _coefficients(law, apps[keep], cpu[keep])
        value = math.exp(intercept + slope * math.log(apps[index])) if law == "power law" else intercept + slope * apps[index]
        # A line that predicts nothing or less for a deployment is as wrong as can be.
        errors.append(math.log(max(value, 1e-9) / cpu[index]) ** 2)
    return math.fsum(errors) / len(errors)


def _predicted(law: str, apps: FloatArray, cpu: FloatArray, size: float, alpha: float) -> dict[str, float]:
    """Mean at ``size`` with its interval."""
    abscissa, ordinate, weights = _scales(law, apps, cpu)
    model = sm.WLS(ordinate, sm.add_constant(abscissa), weights=weights).fit()
    place = np.array([1.0, math.log(size) if law == "power law" else size])
    value = float(place @ model.params)
    error = math.sqrt(max(0.0, float(place @ model.cov_params() @ place)))
    half = float(stats.t.isf(alpha / 2, model.df_resid)) * error if model.df_resid > 0 else math.inf
    ends = {"value": value, "low": value - half, "high": value + half}
    return {key: math.exp(end) if law == "power law" else end for key, end in ends.items()}


def costs(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Marginal costs and costs at other sizes of one run, with estimated joules beside the CPU time; None where nothing was counted."""
    rows = observations(plan, records)
    alpha, row = plan["settings"]["alpha"], plan["settings"]["estimate"]
    found = marginal(rows, alpha)
    if not found:
        return None
    for entry in found:
        for cost in entry["costs"].values():
            cost["estimated"] = estimated_interval({**cost, "mean": cost["value"]}, row)
    return {"marginal": found, "interval": by_interval(rows, alpha), "scale": by_apps(rows, alpha)}
