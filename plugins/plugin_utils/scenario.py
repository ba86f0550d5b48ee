# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenarios: lists of phases from a shipped name, a file or an inline list, checked and resolved.

A wrong phase is reported with the file and the line, or the item number for an inline list.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..module_utils.errors import KjouleError
from .plain import to_plain

DATA = Path(__file__).parent / "data"

#: kind -> {key: required}. ``name`` and ``kind`` are allowed everywhere.
PHASE_KEYS: dict[str, dict[str, bool]] = {
    "idle": {"hold": True},
    "deploy": {"revision": False, "hold": False},
    "steady": {"hold": True},
    "update": {"change": True, "apps": True, "times": True, "hold": False},
    "drift": {"edit": True, "apps": True, "hold": True},
    "prune": {"remove": True, "hold": True},
    "teardown": {"hold": False},
}
#: What an update or a hand edit can touch.
CHANGES = ("image", "config", "replicas")
#: Phases that every period has anyway; a scenario cannot name them.
IMPLICIT = ("baseline", "install")
#: Phases in which reconciles are counted: shorter than the interval, there may be none.
COUNTED = ("steady", "drift", "prune")

_HOLD = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*intervals?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Item:
    """One phase as written: its keys, and where each of them stands."""

    phase: dict[str, Any]
    where: str
    key_where: dict[str, str] = field(default_factory=dict)

    def at(self, key: str) -> str:
        return self.key_where.get(key, self.where)


def shipped_names() -> list[str]:
    """Names of the scenarios that come with the collection."""
    return sorted(path.stem for path in (DATA / "scenarios").glob("*.yml"))


def items_from_text(text: str, file_name: str) -> list[Item]:
    """Phases of a YAML text with line numbers. Raises KjouleError that names file and line."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise KjouleError(f"scenario {file_name}", expected="a list of phases", seen="an empty file")
        if not isinstance(root, yaml.SequenceNode):
            raise KjouleError(f"scenario {file_name}, line {root.start_mark.line + 1}", expected="a list of phases", seen=_node_kind(root))
        return [_item_from_node(loader, node, file_name) for node in root.value]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise KjouleError(f"scenario {file_name}{line}", expected="YAML", seen=error.problem or str(error)) from error
    except yaml.YAMLError as error:
        raise KjouleError(f"scenario {file_name}", expected="YAML", seen=str(error)) from error
    finally:
        loader.dispose()


def _node_kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a dictionary"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _item_from_node(loader: yaml.SafeLoader, node: yaml.Node, file_name: str) -> Item:
    where = f"scenario {file_name}, line {node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        raise KjouleError(where, expected="a phase such as {name: idle, hold: 60}", seen=_node_kind(node))
    phase: dict[str, Any] = {}
    key_where: dict[str, str] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = f"scenario {file_name}, line {key_node.start_mark.line + 1}"
        if key in phase:
            raise KjouleError(line, expected=f"the key {key!r} once", seen="it twice in one phase")
        phase[key] = to_plain(loader.construct_object(value_node, deep=True), line)
        key_where[key] = line
    return Item(phase, where, key_where)


def items_from_list(phases: list[Any]) -> list[Item]:
    """Phases of an inline list; places are item numbers counted from 1."""
    items = []
    for number, phase in enumerate(phases, start=1):
        where = f"item {number} of the scenario"
        if not isinstance(phase, dict):
            raise KjouleError(where, expected="a phase such as {name: idle, hold: 60}", seen=repr(phase))
        items.append(Item(dict(phase), where))
    return items


def read_scenario(scenario: Any, base_dir: str | os.PathLike[str] | None = None) -> tuple[str, list[Item]]:
    """Name and phases of a shipped scenario, of a file or of an inline list.

    A relative path is looked for in ``base_dir`` (the folder of the playbook), then in the working directory.
    """
    scenario = to_plain(scenario, "scenario")
    if isinstance(scenario, list):
        return "inline", items_from_list(scenario)
    if not isinstance(scenario, str) or not scenario:
        raise KjouleError("scenario", expected="a name, a path or a list of phases", seen=repr(scenario))
    if scenario in shipped_names():
        return scenario, items_from_text((DATA / "scenarios" / f"{scenario}.yml").read_text(encoding="utf-8"), f"{scenario}.yml")
    if "/" not in scenario and not scenario.endswith((".yml", ".yaml")):
        raise KjouleError(
            f"scenario {scenario!r} is not known",
            expected="one of " + ", ".join(shipped_names()) + ", or a path to a YAML file",
            next_step="to use a file of your own, give its path with .yml at the end",
        )
    path = Path(scenario).expanduser()
    candidates = [path] if path.is_absolute() else [Path(base) / path for base in (base_dir, Path.cwd()) if base]
    for candidate in candidates:
        if candidate.is_file():
            try:
                return candidate.stem, items_from_text(candidate.read_text(encoding="utf-8"), str(scenario))
            except UnicodeDecodeError as error:
                raise KjouleError(f"scenario {scenario}", expected="a text file in UTF-8", seen=str(error)) from error
    raise KjouleError(f"scenario file {scenario}", expected="a file", seen="none at " + " or ".join(str(c) for c in candidates))


def hold_seconds(hold: Any, interval_seconds: float, where: str) -> float:
    """Seconds of ``60``, ``"60"``, ``"2 intervals"`` or ``"1.5 intervals"``."""
    expected = "seconds or a number of intervals, such as 60 or '2 intervals'"
    seconds = hold
    if isinstance(hold, str):
        match = _HOLD.fullmatch(hold.strip())
        if match:
            return float(match.group(1)) * interval_seconds
        try:
            seconds = float(hold)
        except ValueError:
            seconds = None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        raise KjouleError(f"{where}: hold", expected=expected, seen=repr(hold))
    return float(seconds)


def _count(item: Item, key: str) -> int:
    value = item.phase[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise KjouleError(f"{item.at(key)}: {key}", expected="a whole number of at least 1", seen=repr(value))
    return value


def _kind_and_name(item: Item) -> tuple[str, str]:
    phase = item.phase
    key = "kind" if "kind" in phase else "name"
    kind = phase.get(key)
    if kind is None:
        raise KjouleError(item.where, expected="a name, one of " + ", ".join(PHASE_KEYS), seen="a phase without a name")
    if not isinstance(kind, str) or kind not in PHASE_KEYS:
        close = difflib.get_close_matches(str(kind), PHASE_KEYS, 1)
        hint = f"write {close[0]!r}" if close else None
        if kind in IMPLICIT:
            hint = f"leave it out: every period has a phase {kind!r} anyway"
        elif key == "name" and not close:
            hint = "a phase with a name of its own needs kind: as well, for instance {kind: steady, name: night, hold: 60}"
        raise KjouleError(f"{item.at(key)}: unknown phase {kind!r}", expected="one of " + ", ".join(PHASE_KEYS), next_step=hint)
    name = phase.get("name", kind)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in IMPLICIT:
        raise KjouleError(
            f"{item.at('name')}: name", expected="lower-case letters, digits and hyphens, not baseline or install", seen=repr(name)
        )
    return kind, name


def resolve(items: list[Item], *, apps: int, interval_seconds: float, arms: list[str]) -> list[dict[str, Any]]:
    """Checked phases with ``kind``, ``name``, ``hold_seconds`` (0 if none) and their other keys.

    Raises KjouleError for whatever a period could not carry out or could not measure.
    """
    if not items:
        raise KjouleError("scenario", expected="at least one phase", seen="an empty list")
    resolved: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    revisions: dict[str, str] = {}
    deployed = False
    present = 0
    for item in items:
        kind, name = _kind_and_name(item)
        allowed = PHASE_KEYS[kind]
        for key in item.phase:
            if key not in allowed and key not in ("name", "kind"):
                close = difflib.get_close_matches(key, allowed, 1)
                raise KjouleError(
                    f"{item.at(key)}: unknown key {key!r} in phase {name!r}",
                    expected="one of " + ", ".join(["name", "kind", *allowed]),
                    next_step=f"write {close[0]!r}" if close else None,
                )
        for key, required in allowed.items():
            if required and item.phase.get(key) is None:
                raise KjouleError(f"{item.where}: phase {name!r}", expected=f"the key {key!r}", seen="none")
        if name in names:
            raise KjouleError(
                f"{item.where}: two phases are named {name!r}",
                seen=f"the first at {names[name]}",
                next_step=f"give each a name: {{kind: {kind}, name: {name}-2, ...}}",
            )
        names[name] = item.where
        phase: dict[str, Any] = {"kind": kind, "name": name}
        hold = item.phase.get("hold")
        seconds = 0.0 if hold is None else hold_seconds(hold, interval_seconds, item.at("hold"))
        if allowed["hold"] and seconds == 0:
            raise KjouleError(f"{item.at('hold')}: hold of phase {name!r}", expected="more than 0 seconds", seen="0")
        if kind in COUNTED and "flux" in arms and seconds < interval_seconds:
            raise KjouleError(
                f"{item.at('hold')}: hold of phase {name!r} is shorter than the reconcile interval",
                expected=f"at least {interval_seconds:g} s, so that reconciles can be counted",
                seen=f"{seconds:g} s",
                next_step="write hold: 1 interval, or shorten the interval",
            )
        phase["hold_seconds"] = to_plain(seconds)
        if kind == "deploy":
            phase["revision"] = item.phase.get("revision", "base")
            if phase["revision"] != "base":
                raise KjouleError(f"{item.at('revision')}: revision", expected="base", seen=repr(phase["revision"]))
            if phase["revision"] in revisions:
                raise KjouleError(
                    f"{item.where}: revision {phase['revision']!r} is deployed twice",
                    seen=f"the first time at {revisions[phase['revision']]}",
                    next_step="remove one of the two; changes after the first deployment are phases of kind update",
                )
            revisions[phase["revision"]] = item.where
            deployed, present = True, apps
        elif kind in ("steady", "update", "drift", "prune", "teardown") and not deployed:
            if kind == "teardown" and revisions:
                raise KjouleError(f"{item.where}: phase {name!r}", expected="one teardown", seen="the workload is gone already")
            raise KjouleError(
                f"{item.where}: phase {name!r} needs a deployed workload",
                expected="a deploy phase before it",
                seen="the workload torn down before" if revisions else "none",
                next_step="put {name: deploy, revision: base} before it",
            )
        if kind == "idle" and deployed:
            raise KjouleError(
                f"{item.where}: phase {name!r} means that nothing is deployed yet",
                expected="it before deploy",
                seen="it after",
                next_step="use kind steady to measure a deployed workload at rest",
            )
        for key in ("change", "edit"):
            if key in allowed:
                phase[key] = item.phase[key]
                if phase[key] not in CHANGES:
                    raise KjouleError(f"{item.at(key)}: {key}", expected="one of " + ", ".join(CHANGES), seen=repr(phase[key]))
        for key in ("apps", "times", "remove"):
            if key in allowed:
                phase[key] = _count(item, key)
        if phase.get("apps", 0) > present and kind in ("update", "drift"):
            raise KjouleError(
                f"{item.at('apps')}: apps of phase {name!r}", expected=f"at most {present}, what there is by then", seen=str(phase["apps"])
            )
        if kind == "prune":
            if phase["remove"] > present:
                raise KjouleError(
                    f"{item.at('remove')}: remove", expected=f"at most {present} apps, what there is by then", seen=str(phase["remove"])
                )
            present -= phase["remove"]
        if kind == "teardown":
            deployed, present = False, 0
        resolved.append(phase)
    return resolved
