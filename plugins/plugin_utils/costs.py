# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reconcile, an app and a change cost, fitted over phases with the counts that were really done; and costs at other sizes. Pure.

Ordinary least squares of the cluster side's CPU-seconds of a phase, without an intercept: an empty phase costs nothing. What an app costs
at rest without Flux is fitted on the snowflake arm and taken off before the Flux arm is fitted: there, at one interval, apps and
reconciles go together.
Every valid period counts, whether its block is whole or not: nothing here is a paired comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import statsmodels.api as sm
from scipy import stats

from .effects import estimated_interval
from .phases import cpu_of, reconciles_of
from .plan import arm_of, plan_of_cell
from .schedule import is_valid
from .statistics import FloatArray

#: Phases whose work is counted; drift and prune hold hand edits, install and teardown other things.
KINDS = ("idle", "deploy", "steady", "update")
#: What a phase is explained by, the name of its marginal cost, its unit, and what it is.
TERMS: dict[str, tuple[str, str]] = {
    "seconds": ("CPU", "the control plane and, with Flux, its controllers, nothing to do"),
    "app_seconds": ("CPU per app", "an app at rest, without Flux"),
    "reconciles": ("CPU-seconds per reconcile", "a reconcile that changes nothing"),
    "reconciled_apps": ("CPU-seconds per reconcile and app", "what each app in the same repository adds to a reconcile"),
    "failed": ("CPU-seconds per failed reconcile", "a reconcile that fails"),
    "deployed": ("CPU-seconds per app", "the deployment of an app, its reconciles apart"),
    "changes": ("CPU-seconds per change", "a change, its reconciles apart"),
}
INTERVALS = (10, 30, 60, 300, 600, 1800, 3600)
APPS = (1, 3, 10, 30, 100, 300, 1000)
#: Fewer sizes cannot tell a straight line from a power law.
FEWEST_SIZES = 3
#: A phase that is so near to deciding a term alone leaves no residual.
LEVERAGE = 0.01


def observations(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each counted phase of each valid period: arm, layout, repositories, interval, kind, cpu_seconds, and the terms.

    A reconcile that only puts a finalizer on a new object and asks to be run again (``requeue``) is counted with the one that follows: it
    does none of the work, and in a deployment it comes once for every Kustomization.
    """
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
            failed = reconciles_of(phase, "error")
            done = reconciles_of(phase) - failed - reconciles_of(phase, "requeue")
            before, present = present, own["apps"] if kind == "deploy" else present
            rows.append(
                {
                    "arm": arm_of(plan, record["label"]),
                    "layout": own["layout"],
                    "repositories": own.get("repositories", 1),
                    "interval_seconds": own["interval_seconds"],
                    "apps": own["apps"],
                    "kind": kind,
                    "cpu_seconds": cpu_of(phase),
                    "converged_seconds": phase.get("converged_seconds"),
                    "seconds": phase["seconds"],
                    # During a deployment apps come up little by little: half of the time, on average.
                    "app_seconds": (before + present) / 2 * phase["seconds"],
                    "reconciles": done,
                    "reconciled_apps": done * present / own.get("repositories", 1),
                    "failed": failed,
                    "deployed": own["apps"] if kind == "deploy" else 0,
                    "changes": phase.get("changes") or 0 if kind == "update" else 0,
                }
            )
    return rows


def _fit(rows: list[dict[str, Any]], terms: list[str], offset: float = 0.0) -> Any:
    """The fit, and the terms that the rows can tell apart; None with too few rows.

    Phases in which more happens vary more, so the errors are those of MacKinnon and White 1985 (HC3). Where a phase is the only one to tell
    a term it leaves no residual to judge by, and all phases are taken to vary alike.
    """
    used: list[str] = []
    values = {term: np.array([row[term] for row in rows], dtype=float) for term in terms}
    for term in terms:
        columns = np.column_stack([values[name] for name in [*used, term]])
        scale = np.abs(columns).max(axis=0, initial=0.0)
        if (
            scale.min(initial=0.0 if columns.size == 0 else np.inf) > 0
            and np.linalg.matrix_rank(columns / scale, tol=1e-6) == len(used) + 1
        ):
            used.append(term)
    if not used or len(rows) <= len(used):
        return None
    outcome = np.array([row["cpu_seconds"] - offset * row["app_seconds"] for row in rows])
    design = np.column_stack([values[name] for name in used])
    alone = float(np.einsum("ij,ji->i", design, np.linalg.pinv(design)).max()) > 1 - LEVERAGE
    return sm.OLS(outcome, design).fit(**({} if alone else {"cov_type": "HC3", "use_t": True})), used


def marginal(rows: list[dict[str, Any]], alpha: float = 0.05) -> list[dict[str, Any]]:
    """Marginal costs by arm, layout and number of repositories: ``{arm, layout, repositories, phases, costs: {term: {value, low, high,
    unit, what}}, left_out}``. Layout and repositories are None for the snowflake, which has none.

    ``left_out`` are terms that these phases cannot tell apart from others, or in which nothing happened.
    """
    result = []
    without, per_app = _fit_snowflake(rows)
    if without is not None:
        result.append(_entry(("snowflake", None, None), without[0], without[1], alpha))
    for group in sorted({_group(row) for row in rows if row["arm"] == "flux"}):
        found = _fit_flux([row for row in rows if _group(row) == group], per_app)
        if found is not None:
            result.append(_entry(group, found[0], found[1], alpha))
    return result


Group = tuple[str, str | None, int | None]


def _group(row: dict[str, Any]) -> Group:
    """What is fitted together: phases of one arm, with one layout and number of repositories, which the snowflake does not have."""
    return (row["arm"], row["layout"], row["repositories"]) if row["arm"] == "flux" else (row["arm"], None, None)


def _fit_snowflake(rows: list[dict[str, Any]]) -> tuple[Any, float]:
    """The fit of the snowflake arm, and the CPU of an app at rest by it; 0 where it cannot tell."""
    found = _fit([row for row in rows if row["arm"] == "snowflake"], ["seconds", "app_seconds", "deployed", "changes"])
    if found is None or "app_seconds" not in found[1]:
        return found, 0.0
    return found, float(found[0].params[found[1].index("app_seconds")])


def _fit_flux(mine: list[dict[str, Any]], per_app: float) -> Any:
    """The fit of the Flux arm. Where sizes differ, a reconcile has a price of its own and one for every app of the repository."""
    by_size = ["reconciled_apps"] if len({row["apps"] for row in mine}) > 1 else []
    return _fit(mine, ["seconds", "reconciles", *by_size, "failed", "deployed", "changes"], per_app)


def _entry(group: Group, model: Any, used: list[str], alpha: float) -> dict[str, Any]:
    arm, layout, repositories = group
    ends = model.conf_int(alpha)
    costs = {
        term: {"value": float(value), "low": float(low), "high": float(high), "unit": TERMS[term][0], "what": TERMS[term][1]}
        for term, value, (low, high) in zip(used, model.params, ends, strict=True)
    }
    return {
        "arm": arm,
        "layout": layout,
        "repositories": repositories,
        "phases": int(model.nobs),
        "costs": costs,
        "left_out": [term for term in TERMS if term not in used],
    }


@dataclass(frozen=True)
class AtRest:
    """What Flux adds to a cluster at rest, by the fits of both arms, for one layout and number of repositories.

    Its reconciles of a round: ``idle_round`` without apps, ``rounds`` by number of apps.
    """

    flux: Any
    terms: list[str]
    without: tuple[float, float]  # CPU of the control plane alone, and the variance of that
    intervals: list[float]
    idle_round: float
    rounds: dict[int, float]
    apps_share: float  # share of the apps that a reconcile pays for: one by the number of repositories
    grows: bool  # whether more apps are more reconciles
    alpha: float

    def reconciles(self, apps: float) -> float:
        """Reconciles of a round with that many apps."""
        if not self.grows:
            return math.fsum(self.rounds.values()) / len(self.rounds)
        each = [(number - self.idle_round) / size for size, number in self.rounds.items()]
        return self.idle_round + apps * math.fsum(each) / len(each)

    def point(self, apps: float, interval_seconds: float) -> dict[str, Any]:
        """``{kind, value, low, high}`` in CPU; ``fitted`` between what was measured, ``extrapolated`` beyond.

        A run at one interval cannot tell how much of what Flux takes with nothing to deliver is polling, which gets rarer, and how much
        stays. The band then reaches from all to nothing of it, and the value is its middle.
        """
        first, last = self.intervals[0], self.intervals[-1]
        inside = first <= interval_seconds <= last and min(self.rounds) <= apps <= max(self.rounds)
        number, polls = self.reconciles(apps), self.idle_round
        ends = [self._end(1.0, number / interval_seconds, apps)]
        if first == last:
            rarer = first / interval_seconds
            ends = [
                self._end(rarer, number / interval_seconds, apps),
                self._end(1.0, polls / first + (number - polls) / interval_seconds, apps),
            ]
        return {
            "kind": "fitted" if inside else "extrapolated",
            "value": math.fsum(value for value, _half in ends) / len(ends),
            "low": min(value - half for value, half in ends),
            "high": max(value + half for value, half in ends),
        }

    def _end(self, of_the_time: float, per_second: float, apps: float) -> tuple[float, float]:
        """Mean, and half of its interval, of what runs all the time (so much of it) and so many reconciles a second."""
        weights = {"seconds": of_the_time, "reconciles": per_second, "reconciled_apps": per_second * apps * self.apps_share}
        place = np.array([weights.get(term, 0.0) for term in self.terms])
        alone, variance = self.without
        spread = float(place @ self.flux.cov_params() @ place) + of_the_time**2 * variance
        half = float(stats.t.isf(self.alpha / 2, self.flux.df_resid)) * math.sqrt(max(0.0, spread))
        return float(place @ self.flux.params) - of_the_time * alone, half


def at_rest(rows: list[dict[str, Any]], settings: dict[str, Any]) -> AtRest | None:
    """The fits for the layout and the repositories of these settings; None where the rows do not tell the price of a reconcile.

    Over idle and steady phases only: how a deployment or a change departs from its straight line is no matter of a cluster at rest.
    """
    rows = [row for row in rows if row["kind"] in ("idle", "steady")]
    without, per_app = _fit_snowflake(rows)
    mine = [row for row in rows if _group(row) == ("flux", settings["layout"], settings.get("repositories", 1))]
    found = _fit_flux(mine, per_app)
    steady = [row for row in mine if row["kind"] == "steady" and row["seconds"] >= row["interval_seconds"]]
    if not steady or without is None or "seconds" not in without[1] or found is None or not {"seconds", "reconciles"} <= set(found[1]):
        return None
    place = without[1].index("seconds")
    # A window shorter than an interval holds a burst of reconciles or none: it says nothing about a round.
    idle = [row for row in mine if row["kind"] == "idle" and row["seconds"] >= row["interval_seconds"]]
    sizes = sorted({row["apps"] for row in steady})
    return AtRest(
        flux=found[0],
        terms=found[1],
        without=(float(without[0].params[place]), float(without[0].cov_params()[place, place])),
        intervals=sorted({row["interval_seconds"] for row in mine}),
        idle_round=_round(idle),
        rounds={size: _round([row for row in steady if row["apps"] == size]) for size in sizes},
        apps_share=1 / settings.get("repositories", 1),
        # From one size it cannot be told what a larger one costs: a straight line from no app at all, whatever the layout.
        grows=settings["layout"] == "per-app" or len(sizes) == 1,
        alpha=settings["alpha"],
    )


def _round(rows: list[dict[str, Any]]) -> float:
    """Reconciles of one interval, on average; 0 without rows."""
    numbers = [row["reconciles"] * row["interval_seconds"] / row["seconds"] for row in rows]
    return math.fsum(numbers) / len(numbers) if numbers else 0.0


def curves(plan: dict[str, Any], rows: list[dict[str, Any]], rest: dict[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """``interval_curve`` and ``apps_curve``: the effect at rest of the plan (of a cell) at other intervals and with other numbers of apps.

    ``rest`` is the metric as it was measured; its point is ``measured``. All others come from the fits over ``rows``. In CPU, with the
    estimated watts beside it. Empty unless exactly one side is Flux.
    """
    settings = plan["settings"]
    flux = [label for label in settings["labels"] if arm_of(plan, label) == "flux"]
    fit = at_rest(rows, settings) if rest is not None and len(flux) == 1 else None
    if fit is None or rest is None:
        return {"interval_curve": [], "apps_curve": []}
    turned = flux[0] == settings["labels"][0]
    apps, interval_seconds, effect = settings["apps"], settings["interval_seconds"], rest["effect"]
    ends = {end: effect["mean"] if effect[end] is None else effect[end] for end in ("low", "high")}
    here = {"kind": "measured", "value": effect["mean"], **ends}

    def points(key: str, places: set[float], at: Callable[[float], dict[str, Any]]) -> list[dict[str, Any]]:
        made = []
        for place in sorted(places):
            point = here if place == settings[key] else at(place)
            if turned and point is not here:
                point = {**point, "value": -point["value"], "low": -point["high"], "high": -point["low"]}
            watts = estimated_interval({**point, "mean": point["value"]}, settings["estimate"])
            made.append({key: place, "unit": "CPU", **point, "watts": watts})
        return made

    return {
        "interval_curve": points("interval_seconds", {*INTERVALS, *fit.intervals, interval_seconds}, lambda place: fit.point(apps, place)),
        "apps_curve": points("apps", {*APPS, *fit.rounds, apps}, lambda place: fit.point(place, interval_seconds)),
    }


def by_apps(rows: list[dict[str, Any]], alpha: float = 0.05) -> list[dict[str, Any]]:
    """CPU-seconds of a deployment against the number of apps, by arm, layout and repositories: a straight line or a power law, with a band.

    The one with the smaller mean squared error of the logarithm in leaving one phase out is taken. Needs three sizes.
    """
    result = []
    groups: dict[Group, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "deploy" and row["cpu_seconds"] > 0:
            groups.setdefault(_group(row), []).append(row)
    for (arm, layout, repositories), group in sorted(groups.items()):
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
                "repositories": repositories,
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


def costs(plan: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Marginal costs and deployments at other sizes of one run, from its ``observations``, with estimated joules beside the CPU time; None
    where nothing was counted."""
    alpha, row = plan["settings"]["alpha"], plan["settings"]["estimate"]
    found = marginal(rows, alpha)
    if not found:
        return None
    for entry in found:
        for cost in entry["costs"].values():
            cost["estimated"] = estimated_interval({**cost, "mean": cost["value"]}, row)
    return {"marginal": found, "scale": by_apps(rows, alpha)}
