# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the user gave to the settings of a run: profile, defaults, factors and their cells, workload and scenario.

Pure, apart from reading the shipped tables and the scenario or the manifests the user named.
"""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from typing import Any

from ..module_utils.energy.estimate import checked_row, row_from_user
from ..module_utils.errors import KjouleError
from . import energy_calibration
from . import scenario as scenarios
from .options import ARMS, ESTIMATE_WORDS, FACTORS, OPTIONS, is_given, one_of, refuse
from .plain import to_plain
from .tables import read_table
from .workload import apps_that_allow, generated, read_manifests

DEFAULT_PROFILE = "quick"
DEFAULT_SEED_OF_WORKLOAD = 1
#: Blocks of a calibration that names no number: fewer do not tell a standard deviation well enough to plan with.
CALIBRATION_BLOCKS = 10
#: What a cell of a plan with factors may have of its own.
CELL_SETTINGS = (*FACTORS.values(), "scenario", "workload")
#: What holds when neither the user nor the profile says otherwise.
DEFAULTS: dict[str, Any] = {
    "mode": "compare",
    "block_retries": 1,
    "layout": "per-app",
    "repositories": 1,
    "sampling": "on",
    "factors": {},
    "stopping": {},
    "warmup_seconds": 0,
    "washout_seconds": 0,
    "scenario": "day",
    "lab": "kwok",
    "source": "auto",
    "prometheus": {},
    "inference": True,
    "alpha": 0.05,
    "margin_cpu": 0.005,
    "timeout_seconds": 120,
    "replicas": 2,
    "workload": "generated",
    "ports": {},
    "estimate": "auto",
    "joules_per_cpu_second": None,
    "extra": {},
    "existing": {},
    "minikube": {},
    "flux": {},
    "workload_images": [],
    "workload_iterations": 0,
    "checks": True,
    "energy_calibration": {},
}
#: Options that stand in the settings in another form, or as a part of another one.
NOT_IN_SETTINGS = (
    "seed",
    "scenario",
    "estimate",
    "joules_per_cpu_second",
    "workload",
    "replicas",
    "workload_images",
    "workload_iterations",
)


def labels_of(arms: list[str]) -> list[str]:
    """The names of the sides: the arms, numbered when one stands twice."""
    return list(arms) if arms[0] != arms[1] else [f"{arms[0]}-1", f"{arms[1]}-2"]


def blocks_needed(alpha: float) -> int:
    """Fewest pairs with which an exact two-sided sign-flip test can give p < alpha: the smallest p of n pairs is 2 / 2**n."""
    pairs = 1
    while 2.0 / 2**pairs >= alpha:
        pairs += 1
    return pairs


def estimate_row(estimate: str, coefficient: Any, calibration: dict[str, Any]) -> dict[str, Any]:
    """The row of the estimate table that a run uses; what the user knows about the own hardware wins.

    ``auto`` is the calibration of the host where there is one, else the first row of the table; ``calibrated`` insists on it.
    """
    if is_given(coefficient):
        return to_plain(row_from_user(coefficient), "joules_per_cpu_second")
    rows = {row["id"]: row for row in read_table("estimate.yml")}
    one_of([*ESTIMATE_WORDS, *rows])("estimate", estimate)
    if calibration and estimate in ESTIMATE_WORDS:
        return to_plain(energy_calibration.estimate_row(calibration), "estimate")
    if estimate == "calibrated":
        raise KjouleError(
            "setting estimate",
            expected="a calibration that holds on this host",
            seen="none",
            next_step="calibrate it with the module energy_calibrate (docs/calibration.md), or use kjoule_estimate: auto",
        )
    return to_plain(checked_row(next(iter(rows.values())) if estimate == "auto" else rows[estimate]), "estimate")


def build_settings(options: dict[str, Any], base_dir: str | None = None) -> tuple[dict[str, Any], int | None]:
    """``(settings, seed or None)`` from what the user gave; options that are None or empty count as not given.

    Raises KjouleError for the first thing that is wrong.
    """
    given = {key: value for key, value in to_plain(options, "options").items() if is_given(value)}
    for key in given:
        if key not in OPTIONS:
            close = difflib.get_close_matches(key, OPTIONS, 1)
            raise KjouleError(
                f"unknown setting {key!r}",
                expected="one of " + ", ".join(OPTIONS),
                next_step=f"write {close[0]!r}" if close else None,
            )
    profiles = read_table("profiles.yml")
    profile = one_of(profiles)("profile", given.get("profile", DEFAULT_PROFILE))
    merged = {**DEFAULTS, **profiles[profile], **_defaults_of_mode(given), **given}
    checked: dict[str, Any] = {key: check(key, merged[key]) if is_given(merged.get(key)) else None for key, check in OPTIONS.items()}
    seed = checked["seed"]

    if checked["inference"] and checked["blocks"] < blocks_needed(checked["alpha"]):
        needed = blocks_needed(checked["alpha"])
        smallest = 2 / 2 ** checked["blocks"]
        raise KjouleError(
            f"{checked['blocks']} blocks cannot give p < {checked['alpha']:g}: "
            f"the smallest p of an exact sign-flip test of them is {smallest:g}",
            expected=f"at least {needed} blocks",
            next_step=f"kjoule_blocks: {needed}, or kjoule_inference: false for figures without p and verdict",
        )

    own = [name for name, setting in checked["factors"].items() if setting_given(given, name, checked)]
    if own:
        name = own[0]
        raise refuse(
            FACTORS[name],
            "one of the levels of the factor, or nothing",
            given[FACTORS[name]],
            f"leave kjoule_{name} out, or add it to kjoule_factors",
        )
    _check_flux_place(checked)
    plain = {setting: checked[setting] if setting in given else None for setting in (FACTORS[name] for name in checked["factors"])}
    cells = _cells(checked["factors"], plain)
    varied = [
        _cell_settings({**checked, **{FACTORS[name]: level for name, level in levels.items()}}, given, seed, base_dir) for levels in cells
    ]
    checked.update(varied[0][1])
    name = varied[0][0]

    settings = {key: checked[key] for key in OPTIONS if key not in NOT_IN_SETTINGS}
    settings["profile"] = profile
    settings["labels"] = labels_of(checked["arms"])
    settings["scenario_name"] = name
    settings["scenario"] = checked["scenario"]
    settings["estimate"] = estimate_row(checked["estimate"], checked["joules_per_cpu_second"], checked["energy_calibration"])
    settings["workload"] = checked["workload"]
    settings["cells"] = [
        {"cell": number, "levels": levels, "settings": {key: value for key, value in own.items() if value != checked[key]}}
        for number, (levels, (_name, own)) in enumerate(zip(cells, varied, strict=True), start=1)
        if checked["factors"]
    ]
    return to_plain(settings, "settings"), seed


def _defaults_of_mode(given: dict[str, Any]) -> dict[str, Any]:
    """What a calibration has by default, and what it refuses: two different arms."""
    if given.get("mode", "compare") == "compare":
        return {"arms": list(ARMS)}
    arms = given.get("arms")
    if arms is not None and len(set(OPTIONS["arms"]("arms", arms))) > 1:
        raise refuse("arms", "the same arm twice, for a calibration", arms, "kjoule_arms: [flux, flux], or leave it out for the control")
    profile = read_table("profiles.yml").get(given.get("profile", DEFAULT_PROFILE), {})
    return {"arms": [ARMS[0], ARMS[0]], "blocks": max(CALIBRATION_BLOCKS, profile.get("blocks", 0))}


def setting_given(given: dict[str, Any], factor: str, checked: dict[str, Any]) -> bool:
    """Whether the user also gave the setting that a factor varies, with a value that is none of its levels."""
    return FACTORS[factor] in given and checked[FACTORS[factor]] not in checked["factors"][factor]


def _cells(factors: dict[str, list[Any]], first: dict[str, Any]) -> list[dict[str, Any]]:
    """Levels of every cell, fully crossed; one empty cell without factors. The cell that the plain settings describe comes first."""
    cells = [dict(zip(factors, levels, strict=True)) for levels in itertools.product(*factors.values())]
    return sorted(cells, key=lambda levels: any(first[FACTORS[name]] not in (None, level) for name, level in levels.items()))


def _cell_settings(checked: dict[str, Any], given: dict[str, Any], seed: int | None, base_dir: str | None) -> tuple[str, dict[str, Any]]:
    """Name of the scenario, and the settings that a cell has of its own: sizes, resolved scenario, workload."""
    apps = checked["apps"]
    if checked["workload"] == "generated":
        workload = generated(
            apps,
            checked["replicas"],
            DEFAULT_SEED_OF_WORKLOAD if seed is None else seed,
            checked["workload_images"],
            checked["workload_iterations"],
        )
    else:
        folder = Path(checked["workload"]).expanduser()
        if not folder.is_absolute() and base_dir and (Path(base_dir) / folder).is_dir():
            folder = Path(base_dir) / folder
        workload = read_manifests(folder)
        found = len(workload["apps"])
        if apps != found and ("apps" in given or "apps" in checked["factors"]):
            raise KjouleError(
                "setting apps",
                expected=f"{found}, what {checked['workload']} holds",
                seen=str(apps),
                next_step="leave kjoule_apps out",
            )
        apps = found
    if checked["repositories"] > apps:
        raise refuse("repositories", f"at most {apps}, one for each app", checked["repositories"], "fewer repositories, or more apps")
    name, items = scenarios.read_scenario(checked["scenario"], base_dir)
    phases = scenarios.resolve(items, apps=apps, interval_seconds=checked["interval_seconds"], arms=checked["arms"])
    _check_patience(checked, phases)
    if workload["kind"] == "manifests":
        for phase in phases:
            change = phase.get("change") or phase.get("edit")
            if change and apps_that_allow(workload, change) < phase["apps"]:
                raise KjouleError(
                    f"phase {phase['name']!r} changes {change} of {phase['apps']} apps",
                    expected=f"that many apps in {checked['workload']} with something to change",
                    seen=str(apps_that_allow(workload, change)),
                    next_step="use a scenario of your own with fewer apps or another change",
                )
    own = {key: checked[key] for key in CELL_SETTINGS}
    return name, to_plain({**own, "apps": apps, "scenario": phases, "workload": workload}, "settings")


def polls(settings: dict[str, Any]) -> bool:
    """Whether Flux finds a change by looking, and not because it is told."""
    return bool((settings["extra"] or {}).get("flux_trigger", "poll") == "poll")


def _check_flux_place(checked: dict[str, Any]) -> None:
    """Flux in a cluster fetches from a git server of the host, at the node's address: the node has to be the host."""
    driver = (checked["minikube"] or {}).get("driver", "kvm2")
    wanted = (checked["flux"] or {}).get("place") == "cluster" and "flux" in checked["arms"]
    if wanted and checked["lab"] == "minikube" and driver != "none":
        raise refuse(
            "flux.place",
            "host, with a node that is a virtual machine or a container",
            f"cluster, with the driver {driver}",
            "kjoule_flux_place: host, or kjoule_minikube_driver: none",
        )


def _check_patience(checked: dict[str, Any], phases: list[dict[str, Any]]) -> None:
    """A change that Flux looks for once in an interval is not live before that: less time than that is a run that fails half-way."""
    interval, timeout = checked["interval_seconds"], checked["timeout_seconds"]
    if "flux" in checked["arms"] and polls(checked) and timeout <= interval and any(phase["kind"] != "idle" for phase in phases):
        raise refuse(
            "timeout_seconds",
            f"more than the interval of {interval:g} s, for Flux looks for a change only that often",
            timeout,
            f"kjoule_timeout: {2 * interval:g}, or kjoule_flux_trigger: annotate",
        )
