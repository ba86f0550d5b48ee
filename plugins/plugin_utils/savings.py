# SPDX-License-Identifier: GPL-3.0-or-later
"""What Flux saves, and where that meets what it costs. Pure.

What it saves is counted (objects left drifted or orphaned) and multiplied with what a pod draws. Where pods ran, that is measured
(pod_energy.py); on kwok no containers run, and watts per pod are stated, with their bounds. The bounds of both sides go into every
quotient; where both sides are CPU time turned into energy by the same coefficient, it stands on both sides and goes out of the quotient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .assumptions import Figure, corners, multiplied
from .metrics import COUNTS
from .plan import arm_of
from .pod_energy import KINDS

SECONDS_PER_DAY = 86400


def flux_side(plan: dict[str, Any]) -> str | None:
    """The label of the one side that is Flux; None where none or both are."""
    flux = [label for label in plan["settings"]["labels"] if arm_of(plan, label) == "flux"]
    return flux[0] if len(flux) == 1 else None


def without_flux(plan: dict[str, Any]) -> str | None:
    """The label of the other side, on which what nobody asks for goes on running."""
    flux = flux_side(plan)
    return next((label for label in plan["settings"]["labels"] if label != flux), None) if flux else None


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
    found: dict[str, float] = {}
    for name, kind in COUNTS.items():
        phases = [phase for phase in settings["scenario"] if phase["kind"] == kind]
        counts = left.get(name)
        if not phases or not counts or counts[other]["mean"] is None or counts[flux]["mean"] is None or not counts[other]["mean"]:
            continue
        repaired = max(0.0, 1 - counts[flux]["mean"] / counts[other]["mean"])
        # An edit of replicas leaves one more pod, another edit none; a removed app leaves all of its own.
        edits = any(phase.get("edit") == "replicas" for phase in phases)
        pods = float(edits) if name == "drifted" else pods_of(settings["workload"], settings["apps"])
        found[name] = repaired * pods
    return found


@dataclass(frozen=True)
class PodPower:
    """What a pod of one kind draws: ``watts``, and ``cpu`` (CPU) where its watts come by the coefficient of Flux's estimate."""

    basis: str
    watts: Figure
    cpu: Figure | None

    def against(self, point: dict[str, Any]) -> tuple[Figure, Figure]:
        """Cost of Flux at a point of the curve and power of this pod, both in CPU where one coefficient would stand on both sides."""
        if self.cpu is not None and point["energy"] == "estimated":
            return point["cpu"], self.cpu
        return point["watts"], self.watts


def pod_powers(pods: dict[str, dict[str, Any]] | None, estimate: dict[str, Any], assumptions: dict[str, Figure]) -> dict[str, PodPower]:
    """By name (``pod_energy.KINDS``): measured where pods of the kind were seen, else stated. ``pods``: as ``pod_energy.table`` makes it.

    ``estimate``: the row by which the CPU time of Flux becomes joules; that of a calibration, where it is one.
    """
    powers = {}
    for name in KINDS:
        row = (pods or {}).get(name)
        if row is None:
            powers[name] = PodPower("stated", assumptions["watts_per_pod"], None)
        else:
            same = row["method"] == "estimated" or (row["method"] == "marginal" and estimate["id"] == "calibrated")
            powers[name] = PodPower("measured", row["watts"], row["cpu"] if same else None)
    return powers


#: What is saved -> (in words, per what)
BENEFITS = {
    "drifted": ("a hand edit taken back", "drift event"),
    "orphans": ("a removed app that does not go on running", "removed app"),
    "asleep": ("an environment like this one put to sleep", "environment and day"),
}


def savings(plan: dict[str, Any], report: dict[str, Any], assumptions: dict[str, Figure]) -> dict[str, Any] | None:
    """What Flux saves and where it breaks even; None unless exactly one side is Flux and a cost at rest is known.

    ``benefits``: joules that one repaired edit, one pruned app and one sleeping environment save, each with the ``basis`` of its pods'
    power: ``measured`` or ``stated``. ``break_even``: for each interval of the curve, how many orphaned pods at any time, drift events a
    day, or deployments a day make Flux cost nothing; ``pods_stated``: the orphaned pods by the stated watts, for comparison.
    """
    flux = flux_side(plan)
    if flux is None or not report["interval_curve"]:
        return None
    apps = plan["settings"]["apps"]
    counts = {**_kept_running(plan, report["state"]["left"], flux), "asleep": pods_of(plan["settings"]["workload"], apps) * apps}
    powers = pod_powers(report["pods"], plan["settings"]["estimate"], assumptions)
    benefits = [
        {
            "name": name,
            "what": BENEFITS[name][0],
            "per": BENEFITS[name][1],
            "basis": powers[name].basis,
            "pods": count,
            "joules": _saved(name, count, powers[name].watts, assumptions),
        }
        for name, count in counts.items()
    ]
    points = _powers(report)
    return {"benefits": benefits, "break_even": [_break_even(point, report, assumptions, counts, powers) for point in points]}


def _saved(name: str, pods: float, power: Figure, assumptions: dict[str, Figure]) -> dict[str, float]:
    """What ``pods`` would have used: until somebody notices, or in a day's share of sleep. Joules of watts, CPU-seconds of CPU."""
    if name == "asleep":
        return corners(lambda rate, share: pods * rate * share * SECONDS_PER_DAY, power, assumptions["asleep_share"])
    return corners(lambda rate, hours: pods * rate * hours * 3600, power, assumptions["unnoticed_hours"])


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
        cpu = {end: point[end] for end in ("value", "low", "high")}
        points.append({"interval_seconds": point["interval_seconds"], "kind": point["kind"], "energy": kind, "watts": watts, "cpu": cpu})
    return points


def _quotient(cost: Figure, gain: Figure) -> dict[str, float] | None:
    """Cost by gain; nothing to break even where the cost is not above 0, and None where the gain may be none."""
    if gain["low"] <= 0:
        return None
    positive = {end: max(0.0, cost[end]) for end in ("value", "low", "high")}
    return corners(lambda spent, gained: spent / gained, positive, gain)


def _break_even(
    point: dict[str, Any], report: dict[str, Any], assumptions: dict[str, Figure], counts: dict[str, float], powers: dict[str, PodPower]
) -> dict[str, Any]:
    def a_day(name: str) -> dict[str, float] | None:
        if name not in counts:
            return None
        cost, power = powers[name].against(point)
        day = multiplied(cost, SECONDS_PER_DAY)
        return _quotient(day, _saved(name, counts[name], power, assumptions))

    deploy = report["metrics"].get("deploy_total")
    deployments = None
    if deploy is not None and point["energy"] == "estimated":
        saved = deploy["estimated"]["effect"]
        gain = {"value": -saved["value"], "low": -saved["high"], "high": -saved["low"]}
        deployments = _quotient(multiplied(point["watts"], SECONDS_PER_DAY), gain)
    stated = _quotient(point["watts"], assumptions["watts_per_pod"])
    return {
        **{key: point[key] for key in ("interval_seconds", "kind", "energy", "watts")},
        "basis": powers["orphans"].basis,
        "pods": _quotient(*powers["orphans"].against(point)),
        "pods_stated": stated,
        "drift_events_a_day": a_day("drifted"),
        "deployments_a_day": deployments,
        "sleeping_environments": a_day("asleep"),
    }
