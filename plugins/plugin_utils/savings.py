# SPDX-License-Identifier: GPL-3.0-or-later
"""What Flux saves, and where that meets what it costs. Pure.

What it saves cannot be measured on kwok, where no containers run: it is counted (objects left drifted or orphaned) and multiplied with
watts per pod that were stated, with their bounds. The bounds of both sides go into every quotient.
"""

from __future__ import annotations

from typing import Any

from .assumptions import Figure, corners
from .plan import arm_of

SECONDS_PER_DAY = 86400


def flux_side(plan: dict[str, Any]) -> str | None:
    """The label of the one side that is Flux; None where none or both are."""
    flux = [label for label in plan["settings"]["labels"] if arm_of(plan, label) == "flux"]
    return flux[0] if len(flux) == 1 else None


def _ends(interval: dict[str, Any]) -> tuple[float, float]:
    mean = interval["mean"]
    return (mean if interval["low"] is None else interval["low"], mean if interval["high"] is None else interval["high"])


def pods_of(workload: dict[str, Any], apps: int) -> float:
    """Pods of one app, on average."""
    if workload["kind"] == "generated":
        return float(workload["replicas"])
    pods = [
        int((item.get("spec") or {}).get("replicas", 1) or 0)
        for app in workload["apps"]
        for item in app["objects"]
        if item.get("kind") in ("Deployment", "StatefulSet", "ReplicaSet")
    ]
    return sum(pods) / apps


def _kept_running(plan: dict[str, Any], left: dict[str, Any], flux: str) -> dict[str, float]:
    """Share of hand edits and removals that stay without Flux and not with it, by what the run counted, and the pods behind each."""
    settings = plan["settings"]
    other = next(label for label in settings["labels"] if label != flux)
    found = {}
    for name, kind in (("drifted", "drift"), ("orphans", "prune")):
        phases = [phase for phase in settings["scenario"] if phase["kind"] == kind]
        counts = left.get(name)
        if not phases or not counts or counts[other]["mean"] is None or counts[flux]["mean"] is None or not counts[other]["mean"]:
            continue
        repaired = max(0.0, 1 - counts[flux]["mean"] / counts[other]["mean"])
        # An edit of replicas leaves about one more pod; a removed app leaves all of its own.
        pods = 1.0 if name == "drifted" else pods_of(settings["workload"], settings["apps"])
        found[name] = repaired * pods
    return found


def savings(plan: dict[str, Any], report: dict[str, Any], assumptions: dict[str, Figure]) -> dict[str, Any] | None:
    """What Flux saves and where it breaks even; None unless exactly one side is Flux and a cost at rest is known.

    ``benefits``: joules that one repaired edit, one pruned app and one sleeping environment save. ``break_even``: for each interval of the
    curve, how many orphaned pods at any time, drift events a day, or deployments a day make Flux cost nothing.
    """
    flux = flux_side(plan)
    if flux is None or not report["interval_curve"]:
        return None
    watts, hours, asleep = assumptions["watts_per_pod"], assumptions["unnoticed_hours"], assumptions["asleep_share"]
    pods = pods_of(plan["settings"]["workload"], plan["settings"]["apps"])
    kept = _kept_running(plan, report["state"]["left"], flux)
    benefits = []
    titles = {"drifted": ("a hand edit taken back", "drift event"), "orphans": ("a removed app that does not go on running", "removed app")}
    for name, count in kept.items():
        what, per = titles[name]
        joules = corners(lambda power, time, number=count: number * power * time * 3600, watts, hours)
        benefits.append({"name": name, "what": what, "per": per, "pods": count, "joules": joules})
    environment = pods * plan["settings"]["apps"]
    sleeping = corners(lambda power, share: environment * power * share * SECONDS_PER_DAY, watts, asleep)
    benefits.append(
        {
            "name": "asleep",
            "what": "an environment like this one put to sleep",
            "per": "environment and day",
            "pods": environment,
            "joules": sleeping,
        }
    )
    return {"benefits": benefits, "break_even": [_break_even(point, report, assumptions, benefits) for point in _powers(report)]}


def _powers(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What Flux takes at rest, in watts, at every interval of the curve; measured joules replace the estimate where it was measured."""
    points = []
    for point in report["interval_curve"]:
        watts, kind = point["watts"], "estimated"
        if point["kind"] == "measured" and report["measured_energy"]:
            metric = report["measured_energy"][0]["metrics"].get("rest_joules")
            if metric is not None:
                low, high = _ends(metric["effect"])
                watts, kind = {"value": metric["effect"]["mean"], "low": low, "high": high}, "measured"
        points.append({"interval_seconds": point["interval_seconds"], "kind": point["kind"], "energy": kind, "watts": watts})
    return points


def _quotient(cost: Figure, gain: Figure) -> dict[str, float] | None:
    """Cost by gain; nothing to break even where the cost is not above 0, and None where the gain may be none."""
    if gain["low"] <= 0:
        return None
    positive = {end: max(0.0, cost[end]) for end in ("value", "low", "high")}
    return corners(lambda spent, gained: spent / gained, positive, gain)


def _break_even(
    point: dict[str, Any], report: dict[str, Any], assumptions: dict[str, Figure], benefits: list[dict[str, Any]]
) -> dict[str, Any]:
    watts = point["watts"]
    day = {end: watts[end] * SECONDS_PER_DAY for end in ("value", "low", "high")}
    drift = next((item for item in benefits if item["name"] == "drifted"), None)
    deploy = report["metrics"].get("deploy_total")
    gain = None
    if deploy is not None:
        saved = deploy["estimated"]["effect"]
        gain = {"value": -saved["value"], "low": -saved["high"], "high": -saved["low"]}
    sleep = next(item for item in benefits if item["name"] == "asleep")
    return {
        **point,
        "pods": _quotient(watts, assumptions["watts_per_pod"]),
        "drift_events_a_day": _quotient(day, drift["joules"]) if drift else None,
        "deployments_a_day": _quotient(day, gain) if gain and point["energy"] == "estimated" else None,
        "sleeping_environments": _quotient(day, sleep["joules"]),
    }
