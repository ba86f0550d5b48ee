# SPDX-License-Identifier: GPL-3.0-or-later
"""The arms by name."""

from __future__ import annotations

from typing import Callable

from ..errors import KjouleError
from .base import Arm, Surroundings
from .flux import FluxArm
from .flux_cluster import FluxClusterArm
from .snowflake import SnowflakeArm

ARMS: dict[str, Callable[[Surroundings], Arm]] = {"snowflake": SnowflakeArm, "flux": FluxArm}


def make_arm(name: str, surroundings: Surroundings) -> Arm:
    """The arm of that name, not installed yet. Raises KjouleError for a name that is not known."""
    if name not in ARMS:
        raise KjouleError(f"arm {name!r} is not known", expected=" or ".join(ARMS), seen=name, next_step="set kjoule_arms")
    if name == "flux" and (surroundings.settings.get("flux") or {}).get("place") == "cluster":
        return FluxClusterArm(surroundings)
    return ARMS[name](surroundings)
