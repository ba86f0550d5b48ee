# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a run: checked settings, seeded order of blocks, and what of it is left to do.

Pure, apart from reading the shipped tables and the scenario or the manifests the user named.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import math
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from ..module_utils.energy.estimate import checked_row, row_from_user
from ..module_utils.errors import KjouleError
from . import checks, energy_calibration
from . import scenario as scenarios
from .plain import sha256_of, to_plain
from .remote_setting import checked_setting
from .workload import apps_that_allow, generated, read_manifests

SCHEMA = "kjoule.plan/1"
DATA = Path(__file__).parent / "data"
ARMS = ("snowflake", "flux")
LAYOUTS = ("per-app", "one")
SWITCH = ("on", "off")
LABS = ("kwok", "existing", "minikube")
DEFAULT_PROFILE = "quick"
DEFAULT_SEED_OF_WORKLOAD = 1
#: compare: two ways of delivering. calibrate: the same way twice, for the noise of the host.
MODES = ("compare", "calibrate")
#: Blocks of a calibration that names no number: fewer do not tell a standard deviation well enough to plan with.
CALIBRATION_BLOCKS = 10
#: factor -> the setting that it varies.
FACTORS = {"apps": "apps", "interval": "interval_seconds", "layout": "layout", "repositories": "repositories", "sampling": "sampling"}
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

#: Words of ``estimate`` that are no rows of the table.
ESTIMATE_WORDS = ("auto", "calibrated")

#: What names the cluster of the lab ``existing``.
EXISTING = ("kubeconfig", "context", "confirm", "processes")
#: What names the cluster of the lab ``minikube``.
MINIKUBE = ("profile", "home", "driver")
#: Where Flux runs, and where its images come from.
FLUX = ("place", "registry")
#: What only one of the arms takes, with its values; the first is the default.
EXTRA = {"flux_trigger": ("poll", "annotate"), "snowflake_prune": ("none", "delete")}

#: Rough seconds around the windows of a period, for the estimated run time only: a lab that comes up and goes away, controllers that start.
LAB_SECONDS = 5.0
INSTALL_SECONDS = {"snowflake": 0.5, "flux": 4.0}
CHECK_SECONDS = 0.5
SECONDS_PER_APP = 0.2


def read_table(name: str) -> Any:
    """A YAML table that comes with the collection."""
    return yaml.safe_load((DATA / name).read_text(encoding="utf-8"))


# --- options -----------------------------------------------------------------------------------------------------------------------


def _refuse(name: str, expected: str, seen: Any, next_step: str | None = None) -> KjouleError:
    return KjouleError(f"setting {name}", expected=expected, seen=repr(seen), next_step=next_step)


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in ("true", "yes", "on", "1"):
        return True
    if str(value).strip().lower() in ("false", "no", "off", "0"):
        return False
    raise _refuse(name, "true or false", value)


def _switch(name: str, value: Any) -> str:
    """on or off; YAML reads both as truth values."""
    return {"true": "on", "false": "off"}.get(text := str(value).lower()) or _one_of(SWITCH)(name, text)


def _whole(minimum: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", text) or int(text) < minimum:
            raise _refuse(name, f"a whole number of at least {minimum}", value)
        return int(text)

    return check


def _number(*, above: float | None = None, at_least: float | None = None, below: float | None = None) -> Callable[[str, Any], float]:
    words = [f"above {above:g}"] if above is not None else []
    words += [f"of at least {at_least:g}"] if at_least is not None else []
    words += [f"below {below:g}"] if below is not None else []
    expected = "a number " + " and ".join(words)

    def check(name: str, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        inside = math.isfinite(number) and not (
            (above is not None and number <= above)
            or (at_least is not None and number < at_least)
            or (below is not None and number >= below)
        )
        if not inside:
            raise _refuse(name, expected, value)
        return to_plain(number, name)

    return check


def _one_of(values: Iterable[str]) -> Callable[[str, Any], str]:
    known = list(values)

    def check(name: str, value: Any) -> str:
        if value not in known:
            close = difflib.get_close_matches(str(value), known, 1)
            raise _refuse(name, "one of " + ", ".join(known), value, f"write {close[0]!r}" if close else None)
        return value

    return check


def _arms(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list) or len(value) != 2:
        raise _refuse(
            name, "exactly two arms, the control first", value, "kjoule_arms: [snowflake, flux], or one of them twice for A against A"
        )
    return [_one_of(ARMS)(name, arm) for arm in value]


def _dictionary(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse(name, "a dictionary", value)
    return value


def _extra(name: str, value: Any) -> dict[str, str]:
    given = {key: choice for key, choice in _dictionary(name, value).items() if _is_given(choice)}
    for key, choice in given.items():
        _one_of(EXTRA)(name, key)
        _one_of(EXTRA[key])(key, choice)
    return {key: given.get(key, choices[0]) for key, choices in EXTRA.items()}


def _texts(known: Iterable[str], choices: dict[str, tuple[str, ...]] | None = None) -> Callable[[str, Any], dict[str, str]]:
    """A dictionary of texts under known names, such as which cluster the lab ``existing`` is; what is not given is left out."""

    def check(name: str, value: Any) -> dict[str, str]:
        given = {key: part for key, part in _dictionary(name, value).items() if _is_given(part)}
        for key, part in given.items():
            _one_of(known)(name, key)
            _text(f"{name}.{key}", part)
            if choices and key in choices:
                _one_of(choices[key])(f"{name}.{key}", part)
        return given

    return check


def _images(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise _refuse(name, "a list of images", value)
    if len(value) == 1:
        raise _refuse(name, "at least two images, because an update changes from one to the next", value)
    return [_text(name, image) for image in value]


def _factors(name: str, value: Any) -> dict[str, list[Any]]:
    """factor -> its levels, checked as the setting that the factor varies; in the order of FACTORS, whatever order they came in."""
    given = {key: levels for key, levels in _dictionary(name, value).items() if _is_given(levels)}
    for key, levels in given.items():
        _one_of(FACTORS)(f"{name}: factor", key)
        if not isinstance(levels, list) or len(levels) < 2:
            raise _refuse(f"{name}.{key}", "a list of at least two levels", levels, f"kjoule_{key}, if it is to have one value")
        given[key] = [OPTIONS[FACTORS[key]](f"{name}.{key}", level) for level in levels]
        if len({repr(level) for level in given[key]}) < len(levels):
            raise _refuse(f"{name}.{key}", "every level once", levels)
    return {key: given[key] for key in FACTORS if key in given}


def _stopping(name: str, value: Any) -> dict[str, float]:
    given = {key: limit for key, limit in _dictionary(name, value).items() if _is_given(limit)}
    for key in given:
        _one_of(("max_hours",))(f"{name}: rule", key)
    return {key: _number(above=0)(f"{name}.{key}", limit) for key, limit in given.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _refuse(name, "text", value)
    return value.strip()


def _anything(name: str, value: Any) -> Any:
    return value


#: Every option that a run takes, and how it is checked. The names are those of the settings, without ``kjoule_``.
OPTIONS: dict[str, Callable[[str, Any], Any]] = {
    "profile": _text,
    "mode": _one_of(MODES),
    "arms": _arms,
    "blocks": _whole(1),
    "block_retries": _whole(0),
    "apps": _whole(1),
    "interval_seconds": _number(above=0),
    "layout": _one_of(LAYOUTS),
    "repositories": _whole(1),
    "sampling": _switch,
    "factors": _factors,
    "stopping": _stopping,
    "scenario": _anything,
    "lab": _one_of(LABS),
    "warmup_seconds": _number(at_least=0),
    "washout_seconds": _number(at_least=0),
    "baseline_seconds": _number(at_least=0),
    "settle_seconds": _number(at_least=0),
    "sample_seconds": _number(above=0),
    "source": _anything,
    "prometheus": checked_setting,
    "inference": _boolean,
    "alpha": _number(above=0, below=1),
    "margin_cpu": _number(above=0),
    "timeout_seconds": _number(above=0),
    "replicas": _whole(1),
    "workload": _text,
    "ports": _dictionary,
    "estimate": _text,
    "joules_per_cpu_second": _anything,
    "extra": _extra,
    "existing": _texts(EXISTING),
    "minikube": _texts(MINIKUBE, {"driver": ("kvm2", "docker", "none")}),
    "flux": _texts(FLUX, {"place": ("host", "cluster")}),
    "workload_images": _images,
    "workload_iterations": _whole(0),
    "checks": checks.checked,
    "energy_calibration": _dictionary,
    "seed": _whole(0),
}


def _is_given(value: Any) -> bool:
    return value is not None and value != ""


def labels_of(arms: list[str]) -> list[str]:
    """The names of the sides: the arms, numbered when one stands twice."""
    return list(arms) if arms[0] != arms[1] else [f"{arms[0]}-1", f"{arms[1]}-2"]


def arm_of(plan: dict[str, Any], label: str) -> str:
    """The arm behind a label of this plan."""
    settings = plan["settings"]
    return settings["arms"][settings["labels"].index(label)]


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
    if _is_given(coefficient):
        return to_plain(row_from_user(coefficient), "joules_per_cpu_second")
    rows = {row["id"]: row for row in read_table("estimate.yml")}
    _one_of([*ESTIMATE_WORDS, *rows])("estimate", estimate)
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
    given = {key: value for key, value in to_plain(options, "options").items() if _is_given(value)}
    for key in given:
        if key not in OPTIONS:
            close = difflib.get_close_matches(key, OPTIONS, 1)
            raise KjouleError(
                f"unknown setting {key!r}",
                expected="one of " + ", ".join(OPTIONS),
                next_step=f"write {close[0]!r}" if close else None,
            )
    profiles = read_table("profiles.yml")
    profile = _one_of(profiles)("profile", given.get("profile", DEFAULT_PROFILE))
    merged = {**DEFAULTS, **profiles[profile], **_defaults_of_mode(given), **given}
    checked: dict[str, Any] = {key: check(key, merged[key]) if _is_given(merged.get(key)) else None for key, check in OPTIONS.items()}
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
        raise _refuse(
            FACTORS[name],
            "one of the levels of the factor, or nothing",
            given[FACTORS[name]],
            f"leave kjoule_{name} out, or add it to kjoule_factors",
        )
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
    if arms is not None and len(set(_arms("arms", arms))) > 1:
        raise _refuse("arms", "the same arm twice, for a calibration", arms, "kjoule_arms: [flux, flux], or leave it out for the control")
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
        raise _refuse("repositories", f"at most {apps}, one for each app", checked["repositories"], "fewer repositories, or more apps")
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


def _polls(settings: dict[str, Any]) -> bool:
    """Whether Flux finds a change by looking, and not because it is told."""
    return bool((settings["extra"] or {}).get("flux_trigger", "poll") == "poll")


def _check_patience(checked: dict[str, Any], phases: list[dict[str, Any]]) -> None:
    """A change that Flux looks for once in an interval is not live before that: less time than that is a run that fails half-way."""
    interval, timeout = checked["interval_seconds"], checked["timeout_seconds"]
    if "flux" in checked["arms"] and _polls(checked) and timeout <= interval and any(phase["kind"] != "idle" for phase in phases):
        raise _refuse(
            "timeout_seconds",
            f"more than the interval of {interval:g} s, for Flux looks for a change only that often",
            timeout,
            f"kjoule_timeout: {2 * interval:g}, or kjoule_flux_trigger: annotate",
        )


# --- the plan ----------------------------------------------------------------------------------------------------------------------


def draw_blocks(labels: list[str], blocks: int, seed: int, host: str, cells: int = 0) -> list[dict[str, Any]]:
    """Randomised complete blocks: every label once in each block, in an order drawn from seed and host.

    With ``cells`` every replicate holds one block of each cell, the cells next to each other in random order, and within each the labels.
    """
    digest = hashlib.sha256(f"{seed}\n{host}".encode()).digest()
    generator = random.Random(int.from_bytes(digest, "big"))  # reproducible on purpose
    drawn: list[dict[str, Any]] = []
    for replicate in range(1, blocks + 1):
        order_of_cells = list(range(1, cells + 1))
        generator.shuffle(order_of_cells)
        for cell in order_of_cells or [0]:
            order = list(labels)
            generator.shuffle(order)
            block: dict[str, Any] = {"block": len(drawn) + 1, "order": order}
            drawn.append({**block, "replicate": replicate, "cell": cell} if cell else block)
    return drawn


def settings_hash(settings: dict[str, Any], seed: int | None) -> str:
    """Hash that two runs share when they measure the same thing the same way; the seed counts only when the user gave it."""
    return sha256_of({"settings": settings} if seed is None else {"settings": settings, "seed": seed})


def plan_hash(plan: dict[str, Any]) -> str:
    """Hash of everything in the plan but itself."""
    return sha256_of({key: value for key, value in plan.items() if key != "plan_hash"})


def build_plan(
    options: dict[str, Any],
    host: str,
    *,
    run_id: str,
    created_at: str,
    drawn_seed: int,
    tool_version: str = "",
    base_dir: str | None = None,
    calibration: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
) -> dict[str, Any]:
    """The plan of one host. ``drawn_seed`` is used when the options hold no seed. Same input, same plan.

    ``calibration`` finds, for the settings, what an earlier run of the same arm twice says about the host.

    Raises KjouleError for any option that is wrong.
    """
    settings, given_seed = build_settings(options, base_dir)
    seed = drawn_seed if given_seed is None else given_seed
    plan = {
        "schema": SCHEMA,
        "run_id": run_id,
        "host": to_plain(host),
        "created_at": created_at,
        "tool_version": tool_version,
        "settings": settings,
        "seed": seed,
        "blocks": draw_blocks(settings["labels"], settings["blocks"], seed, to_plain(host), len(settings["cells"])),
        "settings_hash": settings_hash(settings, given_seed),
    }
    known = calibration(settings) if calibration is not None and settings["mode"] == "compare" else None
    if known is not None:
        plan["calibration"] = known
    plan["plan_hash"] = plan_hash(plan)
    return plan


def differing_settings(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """``name: stored -> wanted`` for every setting in which two plans differ."""
    left, right = stored.get("settings", {}), wanted.get("settings", {})
    lines = []
    for key in sorted(set(left) | set(right)):
        if left.get(key) != right.get(key):
            lines.append(f"{key}: {_short(left.get(key))} -> {_short(right.get(key))}")
    if not lines and stored.get("seed") != wanted.get("seed"):
        lines.append(f"seed: {stored.get('seed')} -> {wanted.get('seed')}")
    return lines


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:157] + "..."


def cell_of(plan: dict[str, Any], block: int) -> int:
    """The cell that a block belongs to; 0 in a plan without factors."""
    return next((item.get("cell", 0) for item in plan["blocks"] if item["block"] == block), 0)


def plan_of_cell(plan: dict[str, Any], cell: int) -> dict[str, Any]:
    """The plan as it is for one cell: its settings and its blocks. With cell 0, the plan itself."""
    if not cell:
        return plan
    own = next(item for item in plan["settings"]["cells"] if item["cell"] == cell)
    return {
        **plan,
        "settings": {**plan["settings"], **own["settings"]},
        "blocks": [block for block in plan["blocks"] if block.get("cell") == cell],
    }


def period_seconds(settings: dict[str, Any], arm: str) -> float:
    """Estimated seconds of one period: the windows, and a rough guess for everything around them."""
    total = LAB_SECONDS + INSTALL_SECONDS.get(arm, 2.0) + settings["baseline_seconds"]
    total += settings.get("warmup_seconds", 0) + settings.get("washout_seconds", 0)
    wait = settings["interval_seconds"] if arm == "flux" and _polls(settings) else 0.0
    for phase in settings["scenario"]:
        total += phase["hold_seconds"] + settings["settle_seconds"] + CHECK_SECONDS
        if phase["kind"] == "deploy":
            total += wait + SECONDS_PER_APP * settings["apps"]
        elif phase["kind"] == "update":
            total += phase["times"] * (wait + SECONDS_PER_APP * phase["apps"])
        elif phase["kind"] == "teardown":
            total += SECONDS_PER_APP * settings["apps"]
    return total


def estimate_seconds(plan: dict[str, Any], records: list[dict[str, Any]] | None = None) -> float:
    """Estimated seconds of what is left of a plan."""
    settings = {cell: plan_of_cell(plan, cell)["settings"] for cell in {block.get("cell", 0) for block in plan["blocks"]}}
    left = sum(period_seconds(settings[item["cell"]], item["arm"]) for item in remaining(plan, records or []))
    limit = plan["settings"].get("stopping", {}).get("max_hours")
    return left if limit is None else min(left, max(0.0, 3600 * limit - measured_seconds(records or [])))


def measured_seconds(records: list[dict[str, Any]]) -> float:
    """What the recorded periods took, by their own monotonic clocks: no clock that somebody sets is part of it."""
    return math.fsum(record.get("seconds") or 0.0 for record in records)


def stopped_by(plan: dict[str, Any], records: list[dict[str, Any]]) -> str | None:
    """The rule of the plan by which the run ends at the next border between blocks, in words; None while none holds.

    It looks at time alone, never at a result: stopping when the result pleases would make the test wrong.
    """
    limit = plan["settings"].get("stopping", {}).get("max_hours")
    if limit is None or measured_seconds(records) < 3600 * limit:
        return None
    return f"max_hours {limit:g}: the recorded periods took {measured_seconds(records) / 3600:.2f} h"


#: block -> attempt -> label -> record
Attempts = dict[int, dict[int, dict[str, dict[str, Any]]]]


# --- what is left ------------------------------------------------------------------------------------------------------------------


def is_valid(record: dict[str, Any]) -> bool:
    """Whether a period counts: it says so itself and ended without an error."""
    return bool(record.get("valid")) and not record.get("error")


def attempts_of(plan: dict[str, Any], records: list[dict[str, Any]]) -> Attempts:
    """Period records by block, attempt and label."""
    result: Attempts = {block["block"]: {} for block in plan["blocks"]}
    for record in records:
        if record.get("kind", "period") == "period" and record["block"] in result:
            result[record["block"]].setdefault(record["attempt"], {})[record["label"]] = record
    return result


def selected_attempts(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[int, int]:
    """For each block that counts: its last attempt in which every side is there and valid."""
    return last_valid(plan, attempts_of(plan, records))


def last_valid(plan: dict[str, Any], attempts_by_block: Attempts) -> dict[int, int]:
    """``selected_attempts`` of what ``attempts_of`` found."""
    labels = set(plan["settings"]["labels"])
    chosen = {}
    for block, attempts in attempts_by_block.items():
        good = [number for number, sides in attempts.items() if set(sides) == labels and all(is_valid(side) for side in sides.values())]
        if good:
            chosen[block] = max(good)
    return chosen


def remaining(plan: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Periods still to be measured, in order: ``{period_id, block, position, label, arm, attempt, cell}``; none once a stopping rule holds.

    Blocks without a whole attempt come first, run whole from their first period with a fresh attempt number. Then
    come blocks whose whole attempts hold an invalid period, as long as ``block_retries`` allows. Ask once, measure all
    of it, ask again: periods that turned out invalid come up then. The list gets empty after at most block_retries rounds more.
    """
    if stopped_by(plan, records):
        return []
    settings = plan["settings"]
    labels = set(settings["labels"])
    attempts = attempts_of(plan, records)
    chosen = last_valid(plan, attempts)
    first: list[dict[str, Any]] = []
    again: list[dict[str, Any]] = []
    for block in plan["blocks"]:
        number = block["block"]
        if number in chosen:
            continue
        whole = [sides for sides in attempts[number].values() if set(sides) == labels]
        attempt = max(attempts[number], default=0) + 1
        items = [
            {
                "period_id": f"b{number:02d}-p{position}-a{attempt}",
                "block": number,
                "position": position,
                "label": label,
                "arm": arm_of(plan, label),
                "attempt": attempt,
                "cell": block.get("cell", 0),
            }
            for position, label in enumerate(block["order"], start=1)
        ]
        if not whole:
            first += items
        elif len(whole) <= settings["block_retries"]:
            again += items
    return first + again


def progress(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """How far a run is: blocks planned, valid, given up; periods recorded and left; seconds left by estimate."""
    left = remaining(plan, records)
    attempts = attempts_of(plan, records)
    valid = len(last_valid(plan, attempts))
    open_blocks = {item["block"] for item in left}
    touched = {number for number, sides in attempts.items() if sides}
    return {
        "blocks_planned": len(plan["blocks"]),
        "blocks_valid": valid,
        "blocks_given_up": len(touched) - valid - len(touched & open_blocks),
        "periods_recorded": sum(1 for record in records if record.get("kind", "period") == "period"),
        "periods_left": len(left),
        "finished": not left,
        "stopped_by": stopped_by(plan, records),
        "estimate_seconds": estimate_seconds(plan, records),
    }
