# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option that a run takes, and how a value given for it is checked. Pure.

A check takes the name of the option and the value, gives the value in its one form, and raises KjouleError for one that is wrong.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..module_utils.errors import KjouleError
from . import checks
from .plain import to_plain
from .remote_setting import checked_setting

ARMS = ("snowflake", "flux")
LAYOUTS = ("per-app", "one")
SWITCH = ("on", "off")
LABS = ("kwok", "existing", "minikube")
#: compare: two ways of delivering. calibrate: the same way twice, for the noise of the host.
MODES = ("compare", "calibrate")
#: factor -> the setting that it varies.
FACTORS = {"apps": "apps", "interval": "interval_seconds", "layout": "layout", "repositories": "repositories", "sampling": "sampling"}
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


#: Where there is nothing nearer to say.
DESCRIBED = "give it such a value, or leave it out for its default; inventories/local/group_vars/all.yml says what every setting means"


def refuse(name: str, expected: str, seen: Any, next_step: str | None = None) -> KjouleError:
    return KjouleError(f"setting {name}", expected=expected, seen=repr(seen), next_step=next_step or DESCRIBED)


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in ("true", "yes", "on", "1"):
        return True
    if str(value).strip().lower() in ("false", "no", "off", "0"):
        return False
    raise refuse(name, "true or false", value)


def _switch(name: str, value: Any) -> str:
    """on or off; YAML reads both as truth values."""
    return {"true": "on", "false": "off"}.get(text := str(value).lower()) or one_of(SWITCH)(name, text)


def _whole(minimum: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", text) or int(text) < minimum:
            raise refuse(name, f"a whole number of at least {minimum}", value)
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
            raise refuse(name, expected, value)
        return to_plain(number, name)

    return check


def one_of(values: Iterable[str]) -> Callable[[str, Any], str]:
    known = list(values)

    def check(name: str, value: Any) -> str:
        if value not in known:
            close = difflib.get_close_matches(str(value), known, 1)
            raise refuse(name, "one of " + ", ".join(known), value, f"write {close[0]!r}" if close else None)
        return value

    return check


def _arms(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list) or len(value) != 2:
        raise refuse(
            name, "exactly two arms, the control first", value, "kjoule_arms: [snowflake, flux], or one of them twice for A against A"
        )
    return [one_of(ARMS)(name, arm) for arm in value]


def _dictionary(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refuse(name, "a dictionary", value)
    return value


def _extra(name: str, value: Any) -> dict[str, str]:
    given = {key: choice for key, choice in _dictionary(name, value).items() if is_given(choice)}
    for key, choice in given.items():
        one_of(EXTRA)(name, key)
        one_of(EXTRA[key])(key, choice)
    return {key: given.get(key, choices[0]) for key, choices in EXTRA.items()}


def _texts(known: Iterable[str], choices: dict[str, tuple[str, ...]] | None = None) -> Callable[[str, Any], dict[str, str]]:
    """A dictionary of texts under known names, such as which cluster the lab ``existing`` is; what is not given is left out."""

    def check(name: str, value: Any) -> dict[str, str]:
        given = {key: part for key, part in _dictionary(name, value).items() if is_given(part)}
        for key, part in given.items():
            one_of(known)(name, key)
            _text(f"{name}.{key}", part)
            if choices and key in choices:
                one_of(choices[key])(f"{name}.{key}", part)
        return given

    return check


def _images(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise refuse(name, "a list of images", value)
    if len(value) == 1:
        raise refuse(name, "at least two images, because an update changes from one to the next", value)
    return [_text(name, image) for image in value]


def _factors(name: str, value: Any) -> dict[str, list[Any]]:
    """factor -> its levels, checked as the setting that the factor varies; in the order of FACTORS, whatever order they came in."""
    given = {key: levels for key, levels in _dictionary(name, value).items() if is_given(levels)}
    for key, levels in given.items():
        one_of(FACTORS)(f"{name}: factor", key)
        if not isinstance(levels, list) or len(levels) < 2:
            raise refuse(f"{name}.{key}", "a list of at least two levels", levels, f"kjoule_{key}, if it is to have one value")
        given[key] = [OPTIONS[FACTORS[key]](f"{name}.{key}", level) for level in levels]
        if len({repr(level) for level in given[key]}) < len(levels):
            raise refuse(f"{name}.{key}", "every level once", levels)
    return {key: given[key] for key in FACTORS if key in given}


def _stopping(name: str, value: Any) -> dict[str, float]:
    given = {key: limit for key, limit in _dictionary(name, value).items() if is_given(limit)}
    for key in given:
        one_of(("max_hours",))(f"{name}: rule", key)
    return {key: _number(above=0)(f"{name}.{key}", limit) for key, limit in given.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise refuse(name, "text", value)
    return value.strip()


def _anything(name: str, value: Any) -> Any:
    return value


#: Every option that a run takes, and how it is checked. The names are those of the settings, without ``kjoule_``.
OPTIONS: dict[str, Callable[[str, Any], Any]] = {
    "profile": _text,
    "mode": one_of(MODES),
    "arms": _arms,
    "blocks": _whole(1),
    "block_retries": _whole(0),
    "apps": _whole(1),
    "interval_seconds": _number(above=0),
    "layout": one_of(LAYOUTS),
    "repositories": _whole(1),
    "sampling": _switch,
    "factors": _factors,
    "stopping": _stopping,
    "scenario": _anything,
    "lab": one_of(LABS),
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


def is_given(value: Any) -> bool:
    return value is not None and value != ""
