# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a run: its settings, the seeded order of its blocks, and the hashes that tell plans apart. Pure, as its settings are."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

from .plain import sha256_of, to_plain
from .run_settings import build_settings

SCHEMA = "kjoule.plan/1"


def arm_of(plan: dict[str, Any], label: str) -> str:
    """The arm behind a label of this plan."""
    settings = plan["settings"]
    return settings["arms"][settings["labels"].index(label)]


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
