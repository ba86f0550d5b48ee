# SPDX-License-Identifier: GPL-3.0-or-later
"""From plan and period records to effects: metrics per block and side, comparisons, components, state, exclusions. Pure.

Definitions of the metrics: docs/architecture.md, section "Metrics".
"""

from __future__ import annotations

import math
from typing import Any

from ..module_utils.energy.estimate import estimate_joules
from . import diagnostics, statistics
from .plan import arm_of, plan_of_cell
from .run_settings import blocks_needed
from .schedule import attempts_of, is_valid, last_valid, progress

#: Roles of components that make up the cluster side of a cost.
CLUSTER_SIDE = ("cluster", "arm", "simulator")
#: metric -> (unit, what it is). The order is the order of the report.
METRICS: dict[str, tuple[str, str]] = {
    "rest": ("CPU", "the deployed workload at rest, cluster side"),
    "idle": ("CPU", "nothing to deliver, cluster side"),
    "deploy": ("CPU-seconds", "a deployment, cluster side, above idle"),
    "deploy_actor": ("CPU-seconds", "a deployment, what the actor runs"),
    "deploy_total": ("CPU-seconds", "a deployment, cluster side above idle and actor together"),
    "change": ("CPU-seconds per change", "a change, cluster side, above rest"),
    "change_actor": ("CPU-seconds per change", "a change, what the actor runs"),
    "change_total": ("CPU-seconds per change", "a change, cluster side above rest and actor together"),
}
#: The same on measured energy of the whole host.
ENERGY_METRICS: dict[str, tuple[str, str]] = {
    "rest_joules": ("W", "the deployed workload at rest, whole host"),
    "idle_joules": ("W", "nothing to deliver, whole host"),
    "deploy_joules": ("J", "a deployment, whole host, above idle"),
    "change_joules": ("J per change", "a change, whole host, above rest"),
}
COUNTS: dict[str, str] = {"drifted": "drift", "orphans": "prune"}
#: block -> label -> the record that counts
Selected = dict[int, dict[str, dict[str, Any]]]
#: block -> label -> the metrics of that record
Values = dict[int, dict[str, dict[str, "float | None"]]]
HOURS_PER_YEAR = 8760
#: The power at which a smallest detectable effect is stated.
WANTED_POWER = 0.8


# --- one period --------------------------------------------------------------------------------------------------------------------


def phases_of(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The phases of one kind, in order."""
    return [phase for phase in record["phases"] if phase["kind"] == kind]


def _measured_phases(record: dict[str, Any]) -> tuple[list[dict[str, Any]], ...]:
    """The phases of the kinds that metrics are made of: idle, deploy, steady, update."""
    found: dict[str, list[dict[str, Any]]] = {"idle": [], "deploy": [], "steady": [], "update": []}
    for phase in record["phases"]:
        if phase["kind"] in found:
            found[phase["kind"]].append(phase)
    return tuple(found.values())


def cpu_of(phase: dict[str, Any], roles: tuple[str, ...] = CLUSTER_SIDE) -> float:
    """CPU-seconds of the components that play one of ``roles``. A component without a role counts for the cluster side."""
    components = phase.get("components") or {}
    return math.fsum([seconds for name, seconds in phase["cpu_seconds"].items() if components.get(name, "cluster") in roles])


def actor_of(phase: dict[str, Any]) -> float:
    return (phase.get("actor") or {}).get("cpu_seconds") or 0.0


def residual_of(phase: dict[str, Any]) -> float | None:
    """Busy time of the machine minus every component minus the actor; None if the machine's clock was not read."""
    busy = (phase.get("machine") or {}).get("busy_seconds")
    return None if busy is None else busy - math.fsum(phase["cpu_seconds"].values()) - actor_of(phase)


def _usable(phases: list[dict[str, Any]]) -> bool:
    return bool(phases) and all(phase.get("valid", True) for phase in phases) and math.fsum(phase["seconds"] for phase in phases) > 0


def _rate(phases: list[dict[str, Any]], amount: Any) -> float | None:
    if not _usable(phases):
        return None
    amounts = [amount(phase) for phase in phases]
    return None if None in amounts else math.fsum(amounts) / math.fsum(phase["seconds"] for phase in phases)


def _above(phases: list[dict[str, Any]], amount: Any, rate: float | None) -> float | None:
    if rate is None or not _usable(phases):
        return None
    amounts = [amount(phase) for phase in phases]
    return None if None in amounts else math.fsum(amounts) - rate * math.fsum(phase["seconds"] for phase in phases)


def _changes(phases: list[dict[str, Any]]) -> int:
    return sum(phase.get("changes") or 0 for phase in phases)


def period_metrics(record: dict[str, Any]) -> dict[str, float | None]:
    """The CPU metrics of one period; None where a phase is missing or invalid."""
    idle, deploy, steady, update = _measured_phases(record)
    metrics: dict[str, float | None] = {"rest": _rate(steady, cpu_of), "idle": _rate(idle, cpu_of)}
    metrics["deploy"] = _above(deploy, cpu_of, metrics["idle"])
    metrics["deploy_actor"] = math.fsum(actor_of(phase) for phase in deploy) if _usable(deploy) else None
    changes = _changes(update)
    above = _above(update, cpu_of, metrics["rest"])
    metrics["change"] = above / changes if above is not None and changes else None
    metrics["change_actor"] = math.fsum(actor_of(phase) for phase in update) / changes if _usable(update) and changes else None
    for name in ("deploy", "change"):
        cluster, actor = metrics[name], metrics[f"{name}_actor"]
        metrics[f"{name}_total"] = None if cluster is None or actor is None else cluster + actor
    return metrics


def baseline_rate(record: dict[str, Any]) -> float | None:
    """CPU of the cluster side before the arm was there: the covariate of the period."""
    return _rate(phases_of(record, "baseline"), cpu_of)


def measured(phase: dict[str, Any], scope: str) -> float | None:
    """Measured joules of one scope in a phase; None unless there is exactly one valid window of it."""
    found = [
        entry
        for entry in phase.get("energy") or []
        if entry.get("kind") == "measured" and entry.get("scope") == scope and entry.get("valid")
    ]
    return found[0]["joules"] if len(found) == 1 and found[0].get("joules") is not None else None


def period_energy(record: dict[str, Any], scope: str) -> dict[str, float | None]:
    """The energy metrics of one period in one scope; the seconds are those of the phase."""
    idle, deploy, steady, update = _measured_phases(record)

    def joules(phase: dict[str, Any]) -> float | None:
        return measured(phase, scope)

    metrics: dict[str, float | None] = {"rest_joules": _rate(steady, joules), "idle_joules": _rate(idle, joules)}
    metrics["deploy_joules"] = _above(deploy, joules, metrics["idle_joules"])
    changes = _changes(update)
    above = _above(update, joules, metrics["rest_joules"])
    metrics["change_joules"] = above / changes if above is not None and changes else None
    return metrics


def period_energy_bounds(record: dict[str, Any], scope: str) -> dict[str, tuple[float, float] | None]:
    """Bounds of the meter's error in each energy metric of one period: (independent from window to window, relative and common to all).

    Edges, resolution, update period and sampling differ from window to window: they add as squares. The accuracy of the meter is the
    same error in every window: it scales whatever is computed from them.
    """
    idle, deploy, steady, update = _measured_phases(record)
    seconds = {id(phases): math.fsum(phase["seconds"] for phase in phases) for phases in (idle, deploy, steady, update)}

    def bound(phases: list[dict[str, Any]]) -> tuple[float, float] | None:
        windows = [window for phase in phases for window in phase.get("energy") or [] if window.get("scope") == scope]
        if not windows or any(window.get("uncertainty_joules") is None for window in windows):
            return None
        accuracy = [(window.get("parts") or {}).get("accuracy_joules") or 0.0 for window in windows]
        joules = math.fsum(abs(window.get("joules") or 0.0) for window in windows)
        own = math.hypot(*(window["uncertainty_joules"] - part for window, part in zip(windows, accuracy, strict=True)))
        return own, math.fsum(accuracy) / joules if joules else 0.0

    def rate(phases: list[dict[str, Any]]) -> tuple[float, float] | None:
        found = bound(phases)
        return None if found is None or not seconds[id(phases)] else (found[0] / seconds[id(phases)], found[1])

    def above(phases: list[dict[str, Any]], reference: list[dict[str, Any]], divisor: int) -> tuple[float, float] | None:
        found, other = bound(phases), rate(reference)
        if found is None or other is None or not divisor:
            return None
        return math.hypot(found[0], other[0] * seconds[id(phases)]) / divisor, max(found[1], other[1])

    return {
        "rest_joules": rate(steady),
        "idle_joules": rate(idle),
        "deploy_joules": above(deploy, idle, 1),
        "change_joules": above(update, steady, _changes(update)),
    }


def period_counts(record: dict[str, Any]) -> dict[str, int | None]:
    """Objects that differ after drift and that are left over after prune: the state after the last phase of that kind."""
    counts: dict[str, int | None] = {}
    for name, kind in COUNTS.items():
        phases = phases_of(record, kind)
        counts[name] = (phases[-1].get("state") or {}).get(name) if phases else None
    return counts


def reconciles_of(phase: dict[str, Any], result: str | None = None) -> int:
    """Reconciles counted in a phase, of every kind, with one result (as controller-runtime names it) or any."""
    counted = (phase.get("counters") or {}).get("reconciles") or {}
    return sum(number for results in counted.values() for name, number in results.items() if result in (None, name))


def reconcile_rate(record: dict[str, Any], kind: str) -> float | None:
    """Reconciles per second in the phases of one kind; None where there is none."""
    phases = phases_of(record, kind)
    return sum(reconciles_of(phase) for phase in phases) / math.fsum(phase["seconds"] for phase in phases) if _usable(phases) else None


def reconcile_cost(
    record: dict[str, Any], metrics: dict[str, float | None], without: dict[str, float | None] | None
) -> dict[str, float] | None:
    """What a reconcile costs in one block: ``{cpu_seconds, per_second, reconciles}``; None if too little was counted.

    The slope between two points of this side: idle (Flux looks after itself only) and steady (and after the apps). ``metrics`` are those of
    the record, ``without`` those of the other side of the block where it has no Flux: its own difference between steady and idle, the cost
    of having the workload at all, is taken off.
    """
    idle_rate, steady_rate = reconcile_rate(record, "idle"), reconcile_rate(record, "steady")
    rest, idle = metrics["rest"], metrics["idle"]
    if rest is None or idle is None or idle_rate is None or steady_rate is None or steady_rate <= idle_rate:
        return None
    if without is not None:
        if without["rest"] is None or without["idle"] is None:
            return None
        rest, idle = rest - without["rest"], idle - without["idle"]
    cost = (rest - idle) / (steady_rate - idle_rate)
    number = sum(reconciles_of(phase) for phase in phases_of(record, "steady"))
    return {"cpu_seconds": cost, "per_second": steady_rate, "reconciles": number}


def _reconcile_costs(plan: dict[str, Any], selected: Selected, values: Values, label: str) -> list[dict[str, float]]:
    other = next(name for name in plan["settings"]["labels"] if name != label)
    without = arm_of(plan, other) != "flux"
    costs = (
        reconcile_cost(sides[label], values[block][label], values[block][other] if without else None) for block, sides in selected.items()
    )
    return [cost for cost in costs if cost]


# --- all periods -------------------------------------------------------------------------------------------------------------------


def select(plan: dict[str, Any], records: list[dict[str, Any]]) -> Selected:
    """block -> label -> the record that counts."""
    attempts = attempts_of(plan, records)
    return {block: attempts[block][attempt] for block, attempt in sorted(last_valid(plan, attempts).items())}


def values_of(selected: Selected) -> Values:
    """The CPU metrics of every record that counts."""
    return {block: {label: period_metrics(record) for label, record in sides.items()} for block, sides in selected.items()}


def as_first_measured(plan: dict[str, Any], records: list[dict[str, Any]]) -> Selected:
    """block -> label -> record of the first attempt with both sides, whatever the checks said of it, invalid phases taken as valid."""
    labels = set(plan["settings"]["labels"])
    first: Selected = {}
    for block, attempts in sorted(attempts_of(plan, records).items()):
        whole = [number for number, sides in attempts.items() if set(sides) == labels]
        if whole:
            sides = attempts[min(whole)]
            first[block] = {
                label: {**side, "phases": [{**phase, "valid": True} for phase in side.get("phases") or []]} for label, side in sides.items()
            }
    return first


def exclusions(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every period that does not count, and why: interrupted, invalid, partner invalid, superseded."""
    by_block = attempts_of(plan, records)
    chosen = last_valid(plan, by_block)
    labels = set(plan["settings"]["labels"])
    result = []
    for block, attempts in sorted(by_block.items()):
        for attempt, sides in sorted(attempts.items()):
            if chosen.get(block) == attempt:
                continue
            for record in sorted(sides.values(), key=lambda side: side["position"]):
                if not is_valid(record):
                    why = "invalid"
                elif set(sides) != labels:
                    why = "interrupted: the block was not finished"
                elif not all(is_valid(side) for side in sides.values()):
                    why = "the other period of the block is invalid"
                else:
                    why = "superseded by a later attempt"
                result.append(
                    {
                        "period_id": record["period_id"],
                        "block": block,
                        "attempt": attempt,
                        "label": record["label"],
                        "why": why,
                        "reasons": reasons_of(record),
                    }
                )
    return result


def reasons_of(record: dict[str, Any]) -> list[str]:
    """Why a period says that it is not valid: its own reasons, its error, its phases' reasons; each once."""
    reasons = [str(reason) for reason in record.get("reasons") or []]
    error = record.get("error")
    if error:
        reasons.append(str(error.get("message") or error.get("what") or error) if isinstance(error, dict) else str(error))
    for phase in record.get("phases") or []:
        if not phase.get("valid", True):
            reasons += [f"{phase['name']}: {reason}" for reason in phase.get("reasons") or ["invalid"]]
    return list(dict.fromkeys(reasons))


def _metric(
    plan: dict[str, Any],
    per_block: dict[int, dict[str, float | None]],
    margin: float | None,
    baseline: dict[int, float | None] | None = None,
) -> dict[str, Any] | None:
    """Sides and effect of one metric over the blocks in which both sides have it; None if no block has."""
    settings = plan["settings"]
    labels = settings["labels"]
    blocks = [block for block, sides in per_block.items() if all(sides.get(label) is not None for label in labels)]
    if not blocks:
        return None
    values = {label: [value for block in blocks if (value := per_block[block][label]) is not None] for label in labels}
    confidence = 1 - settings["alpha"]
    effect = statistics.compare(
        values[labels[0]],
        values[labels[1]],
        alpha=settings["alpha"],
        margin=margin,
        seed=plan["seed"],
        pairs_needed=blocks_needed(settings["alpha"]),
        inference=settings["inference"],
    )
    covariate = [value for block in blocks if baseline and (value := baseline.get(block)) is not None]
    effect["ancova"] = statistics.ancova(effect["differences"], covariate, confidence) if len(covariate) == len(blocks) else None
    effect["with_excluded"] = None
    return {
        "blocks": blocks,
        "sides": {label: {"values": values[label], **statistics.mean_interval(values[label], confidence)} for label in labels},
        "effect": effect,
    }


def metric_table(plan: dict[str, Any], selected: Selected, values: Values, as_first: Selected | None = None) -> dict[str, dict[str, Any]]:
    """Every CPU metric with its sides, effect, verdict and estimated joules; ``values`` as ``values_of`` finds them.

    The primary metric is tested on its own; the others get a p adjusted by Holm, and their verdict uses that. With ``as_first`` (see
    ``as_first_measured``) every effect also says what it would be had no check left a block out.
    """
    settings = plan["settings"]
    labels = settings["labels"]
    baseline = _baseline_differences(labels, selected)
    others = values_of(as_first or {})
    table: dict[str, dict[str, Any]] = {}
    for name, (unit, what) in METRICS.items():
        per_block = {block: {label: sides[label][name] for label in labels} for block, sides in values.items()}
        metric = _metric(plan, per_block, settings.get("margin_cpu") if unit == "CPU" else None, baseline)
        if metric is not None:
            table[name] = {"unit": unit, "what": what, **metric}
            if others:
                metric["effect"]["with_excluded"] = _with_excluded(
                    plan, [[sides[label][name] for label in labels] for sides in others.values()]
                )
    primary = primary_metric(plan)
    _judge(table, primary, settings["alpha"])
    for metric in table.values():
        metric["estimated"] = _estimated(metric, labels, settings["estimate"])
    return table


def _baseline_differences(labels: list[str], selected: Selected) -> dict[int, float | None]:
    result: dict[int, float | None] = {}
    for block, sides in selected.items():
        first, second = (baseline_rate(sides[label]) for label in labels)
        result[block] = None if first is None or second is None else second - first
    return result


def _with_excluded(plan: dict[str, Any], sides: list[list[float | None]]) -> dict[str, Any] | None:
    pairs = [(first, second) for first, second in sides if first is not None and second is not None]
    if not pairs:
        return None
    differences = [second - first for first, second in pairs]
    allowed = plan["settings"]["inference"] and len(pairs) >= blocks_needed(plan["settings"]["alpha"])
    interval = statistics.mean_interval(differences, 1 - plan["settings"]["alpha"])
    return {**interval, "p": statistics.sign_flip_p(differences, plan["seed"]) if allowed else None}


def diagnostics_table(plan: dict[str, Any], selected: Selected, metrics: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Diagnostics of the primary metric, in the order of the run; None where it was not measured."""
    metric = metrics.get(primary_metric(plan) or "")
    if metric is None:
        return None
    control, treatment = plan["settings"]["labels"]
    first = [selected[block][treatment]["position"] < selected[block][control]["position"] for block in metric["blocks"]]
    sides = metric["sides"]
    return diagnostics.diagnose(sides[control]["values"], sides[treatment]["values"], first, metric["blocks"], plan["seed"])


def _judge(table: dict[str, dict[str, Any]], primary: str | None, alpha: float) -> None:
    family = {name: metric["effect"]["p"] for name, metric in table.items() if name != primary and metric["effect"]["p"] is not None}
    adjusted = statistics.holm(family)
    for name, metric in table.items():
        metric["primary"] = name == primary
        metric["effect"]["p_adjusted"] = adjusted.get(name)
        word = statistics.verdict(metric["effect"], alpha, adjusted.get(name))
        # Where no data could have given a small enough p, "cannot tell" would say something about the data that it does not.
        attainable = (metric["effect"]["smallest_p"] or 1.0) * (len(family) if name in family else 1) < alpha
        metric["effect"]["verdict"] = None if word == statistics.CANNOT_TELL and not attainable else word


def primary_metric(plan: dict[str, Any]) -> str | None:
    """``rest`` where the scenario has a steady phase, else ``idle``, else none."""
    kinds = {phase["kind"] for phase in plan["settings"]["scenario"]}
    return "rest" if "steady" in kinds else "idle" if "idle" in kinds else None


def estimated_interval(interval: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Estimated joules (or watts) of an interval of CPU-seconds (or CPU): bounds of the coefficient on both ends of the interval."""
    ends = [interval["mean"] if interval[end] is None else interval[end] for end in ("low", "high")]
    estimates = [estimate_joules(end, row) for end in ends]
    return {
        "value": estimate_joules(interval["mean"], row)["joules"],
        "low": min(estimate["low"] for estimate in estimates),
        "high": max(estimate["high"] for estimate in estimates),
    }


def _estimated(metric: dict[str, Any], labels: list[str], row: dict[str, Any]) -> dict[str, Any]:
    unit = {"CPU": "W", "CPU-seconds": "J", "CPU-seconds per change": "J per change"}[metric["unit"]]
    sides = {label: estimated_interval(metric["sides"][label], row) for label in labels}
    return {"unit": unit, "scope": "estimate:cpu-time", "sides": sides, "effect": estimated_interval(metric["effect"], row)}


def measured_scopes(plan: dict[str, Any], selected: Selected) -> list[str]:
    """Scopes with one valid measured window in the phase of the primary metric of every period that counts."""
    kind = {"rest": "steady", "idle": "idle", None: None}[primary_metric(plan)]
    common: set[str] | None = None
    for sides in selected.values():
        for record in sides.values():
            for phase in phases_of(record, kind) if kind else []:
                scopes = {entry.get("scope") for entry in phase.get("energy") or [] if measured(phase, entry.get("scope")) is not None}
                common = scopes if common is None else common & scopes
    return sorted(scope for scope in common or () if scope)


def energy_table(plan: dict[str, Any], selected: Selected, preferred: str | None = None) -> list[dict[str, Any]]:
    """Measured energy metrics, one entry per scope, the preferred scope first. Scopes stand beside each other, never added."""
    settings = plan["settings"]
    labels = settings["labels"]
    result = []
    for scope in sorted(measured_scopes(plan, selected), key=lambda name: (name != preferred, name)):
        values = {block: {label: period_energy(record, scope) for label, record in sides.items()} for block, sides in selected.items()}
        bounds = {
            block: {label: period_energy_bounds(record, scope) for label, record in sides.items()} for block, sides in selected.items()
        }
        metrics = {}
        for name, (unit, what) in ENERGY_METRICS.items():
            per_block = {block: {label: sides[label][name] for label in labels} for block, sides in values.items()}
            metric = _metric(plan, per_block, None)
            if metric is not None:
                metric["effect"]["meter"] = _meter(
                    metric, [bounds[block][label][name] for block in metric["blocks"] for label in labels], len(metric["blocks"])
                )
                metrics[name] = {"unit": unit, "what": what, **metric}
        _judge(metrics, None, settings["alpha"])
        result.append({"scope": scope, "sources": _sources(selected, scope), "metrics": metrics})
    return result


def _meter(metric: dict[str, Any], bounds: list[tuple[float, float] | None], pairs: int) -> dict[str, Any] | None:
    """Uncertainty of the meter in a mean effect, and the interval with it: ``{expanded, low, high}``; None where a window states none.

    Bounds are taken as rectangular (standard uncertainty: bound / sqrt(3)) and expanded by 2; independent ones shrink with the number of
    windows, the accuracy does not: it scales the effect (JCGM 100:2008, 4.3.7, 5.1.2 and 6.2). Sampling error and meter add as squares.
    """
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds):
        return None
    effect = metric["effect"]
    independent = math.hypot(*(own for own, _relative in known)) / pairs
    common = abs(effect["mean"]) * max(relative for _own, relative in known)
    expanded = 2 * math.hypot(independent, common) / math.sqrt(3)
    halves = [0.0 if effect[end] is None else abs(effect[end] - effect["mean"]) for end in ("low", "high")]
    low, high = (math.hypot(half, expanded) for half in halves)
    return {"expanded": expanded, "low": effect["mean"] - low, "high": effect["mean"] + high}


def _sources(selected: Selected, scope: str) -> list[str]:
    return sorted(
        {
            str(entry.get("source"))
            for sides in selected.values()
            for record in sides.values()
            for phase in record["phases"]
            for entry in phase.get("energy") or []
            if entry.get("scope") == scope and entry.get("kind") == "measured"
        }
    )


def reconcile_table(plan: dict[str, Any], selected: Selected, values: Values) -> dict[str, dict[str, Any]]:
    """label -> cost of a reconcile with its interval, for the sides that are flux."""
    result = {}
    for label in plan["settings"]["labels"]:
        if arm_of(plan, label) != "flux":
            continue
        costs = _reconcile_costs(plan, selected, values, label)
        if costs:
            confidence = 1 - plan["settings"]["alpha"]
            result[label] = {
                "unit": "CPU-seconds per reconcile",
                "what": "CPU time per reconcile from idle to steady, less what the workload adds without Flux",
                **statistics.mean_interval([cost["cpu_seconds"] for cost in costs], confidence),
                "reconciles": sum(int(cost["reconciles"]) for cost in costs),
                "reconciles_per_second": math.fsum(cost["per_second"] for cost in costs) / len(costs),
            }
    return result


def component_table(plan: dict[str, Any], selected: Selected) -> list[dict[str, Any]]:
    """Mean CPU-seconds per phase and side, by component; actor, machine, residual, steal. In the order of the scenario."""
    rows = []
    order: dict[str, int] = {}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for sides in selected.values():
        for label, record in sides.items():
            for phase in record["phases"]:
                order.setdefault(phase["name"], phase.get("index", len(order)))
                groups.setdefault((phase["name"], label), []).append(phase)
    labels = plan["settings"]["labels"]
    for name, label in sorted(groups, key=lambda key: (order[key[0]], key[0], labels.index(key[1]))):
        phases = groups[(name, label)]
        roles: dict[str, str] = {}
        spent: dict[str, list[float]] = {}
        for phase in phases:
            roles.update(phase.get("components") or {})
            for component, seconds in phase["cpu_seconds"].items():
                spent.setdefault(component, []).append(seconds)
        # A component that is not there in a period used no time in it: the mean is over all periods.
        components: list[dict[str, Any]] = [
            {"name": component, "role": roles.get(component, "cluster"), "cpu_seconds": math.fsum(spent[component]) / len(phases)}
            for component in sorted(spent)
        ]
        converged = [phase["converged_seconds"] for phase in phases if phase.get("converged_seconds") is not None]
        rows.append(
            {
                "phase": name,
                "kind": phases[0]["kind"],
                "label": label,
                "periods": len(phases),
                "seconds": _mean([phase["seconds"] for phase in phases]),
                "converged_seconds": _mean(converged),
                "components": components,
                "cluster_side_cpu_seconds": math.fsum(part["cpu_seconds"] for part in components if part["role"] in CLUSTER_SIDE),
                "tool_cpu_seconds": math.fsum(part["cpu_seconds"] for part in components if part["role"] == "tool"),
                "actor_cpu_seconds": _mean([actor_of(phase) for phase in phases]),
                "machine_busy_seconds": _mean(_machine(phases, "busy_seconds")),
                "residual_seconds": _mean([residual for residual in map(residual_of, phases) if residual is not None]),
                "steal_seconds": _mean(_machine(phases, "steal_seconds")),
                "reconciles": _mean([float(reconciles_of(phase)) for phase in phases]),
            }
        )
    return rows


def _machine(phases: list[dict[str, Any]], key: str) -> list[float]:
    values = [(phase.get("machine") or {}).get(key) for phase in phases]
    return [value for value in values if value is not None]


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def state_table(plan: dict[str, Any], selected: Selected) -> dict[str, Any]:
    """Whether both sides held the same objects after deploy, steady and update, and what was left after drift and prune."""
    labels = plan["settings"]["labels"]
    flags, compared = [], 0
    counts: dict[str, dict[str, list[int]]] = {name: {label: [] for label in labels} for name in COUNTS}
    for block, sides in selected.items():
        states = {
            label: {
                phase["name"]: phase.get("state") or {} for phase in record["phases"] if phase["kind"] in ("deploy", "steady", "update")
            }
            for label, record in sides.items()
        }
        for phase in dict.fromkeys(name for label in labels for name in states[label]):
            found = {label: states[label].get(phase, {}) for label in labels}
            hashes = {label: found[label].get("hash") for label in labels}
            compared += 1
            if None in hashes.values():
                flags.append({"block": block, "phase": phase, "what": "the state of one side was not read", "hashes": hashes})
            elif len(set(hashes.values())) > 1:
                flags.append({"block": block, "phase": phase, "what": "the two sides hold different objects", "hashes": hashes})
            for label in labels:
                wrong = [f"{found[label][key]} {key}" for key in ("drifted", "orphans", "missing") if found[label].get(key)]
                if wrong:
                    flags.append({"block": block, "phase": phase, "what": f"{label}: " + ", ".join(wrong), "hashes": hashes})
        for label, record in sides.items():
            for name, value in period_counts(record).items():
                if value is not None:
                    counts[name][label].append(value)
    left = {
        name: {label: {"mean": _mean([float(v) for v in per[label]]), "values": per[label]} for label in labels}
        for name, per in counts.items()
        if any(per.values())
    }
    return {"compared": compared, "equal": compared > 0 and not flags, "flags": flags, "left": left}


def power_table(plan: dict[str, Any], metrics: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What the run can show of its primary metric: smallest detectable effect at power 0.8, before (from a calibration) and after.

    None where the metric was not measured or nothing was to be inferred.
    """
    settings = plan["settings"]
    name = primary_metric(plan)
    metric = metrics.get(name or "")
    if metric is None or not settings["inference"]:
        return None
    effect, pairs, alpha = metric["effect"], metric["effect"]["n"], settings["alpha"]
    margin = settings.get("margin_cpu")
    deviation = effect["sd"]
    calibration = plan.get("calibration")
    return {
        "metric": name,
        "unit": metric["unit"],
        "pairs": pairs,
        "wanted": WANTED_POWER,
        "sd": deviation,
        "detectable": None if deviation is None else statistics.smallest_detectable(deviation, pairs, alpha, WANTED_POWER),
        "power_at_margin": statistics.power(margin / deviation, pairs, alpha) if margin and deviation else None,
        "pairs_for_margin": statistics.pairs_for(margin, deviation, alpha, WANTED_POWER) if margin and deviation else None,
        "planned": None if calibration is None else expected_power(calibration, settings),
    }


def cell_table(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The primary effect in every cell of a plan with factors, p adjusted by Holm over the cells.

    Empty without factors. The cells are never averaged: each is a comparison of its own. ``against_first`` is how the effect differs from
    that of the first cell, paired by replicate: what a factor changes, since the cells of a replicate were measured next to each other.
    """
    rows: list[dict[str, Any]] = []
    replicates = {block["block"]: block.get("replicate") for block in plan["blocks"]}
    first: dict[Any, float] = {}
    for cell in plan["settings"].get("cells", []):
        own = plan_of_cell(plan, cell["cell"])
        name = primary_metric(own)
        selected = select(own, records)
        metric = metric_table(own, selected, values_of(selected)).get(name or "")
        if metric is not None:
            here = {replicates[block]: value for block, value in zip(metric["blocks"], metric["effect"]["differences"], strict=True)}
            first = first or here
            changes = [here[replicate] - first[replicate] for replicate in here if replicate in first]
            rows.append(
                {
                    "cell": cell["cell"],
                    "levels": cell["levels"],
                    "metric": name,
                    "unit": metric["unit"],
                    "effect": metric["effect"],
                    "against_first": statistics.mean_interval(changes, 1 - plan["settings"]["alpha"]) if rows and changes else None,
                }
            )
    family = {str(row["cell"]): row["effect"]["p"] for row in rows if row["effect"]["p"] is not None}
    adjusted = statistics.holm(family)
    for row in rows:
        row["effect"]["p_adjusted"] = adjusted.get(str(row["cell"]))
        row["effect"]["verdict"] = statistics.verdict(row["effect"], plan["settings"]["alpha"], row["effect"]["p_adjusted"])
    return rows


def expected_power(calibration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What the noise of a calibration lets a plan with these settings expect: ``{run_id, blocks, sd, detectable, power_at_margin}``."""
    deviation, alpha, blocks, margin = calibration["noise"]["sd"], settings["alpha"], settings["blocks"], settings.get("margin_cpu")
    return {
        "run_id": calibration["run_id"],
        "blocks": blocks,
        "sd": deviation,
        "detectable": statistics.smallest_detectable(deviation, blocks, alpha, WANTED_POWER),
        "power_at_margin": statistics.power(margin / deviation, blocks, alpha) if margin and deviation else None,
    }


def analyse(plan: dict[str, Any], records: list[dict[str, Any]], preferred_scope: str | None = None) -> dict[str, Any]:
    """Everything that can be computed from a plan and its period records."""
    selected = select(plan, records)
    left_out = exclusions(plan, records)
    values = values_of(selected)
    metrics = metric_table(plan, selected, values, as_first_measured(plan, records) if left_out else None)
    return {
        "progress": progress(plan, records),
        "valid_blocks": sorted(selected),
        "primary": primary_metric(plan),
        "values": values,
        "metrics": metrics,
        "measured_energy": energy_table(plan, selected, preferred_scope),
        "reconcile": reconcile_table(plan, selected, values),
        "components": component_table(plan, selected),
        "state": state_table(plan, selected),
        "exclusions": left_out,
        "diagnostics": diagnostics_table(plan, selected, metrics),
        "power": power_table(plan, metrics),
    }
