# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs by name."""

from __future__ import annotations

from typing import Any, Callable

from ..errors import KjouleError
from .kwok import KwokLab

PROVIDERS: dict[str, Callable[..., KwokLab]] = {"kwok": KwokLab}
PLANNED = ("minikube", "existing")


def make_lab(provider: str, *args: Any, **kwargs: Any) -> KwokLab:
    """The lab of that provider; the other arguments go to it (see ``KwokLab``). It is not started yet.

    Raises KjouleError for a provider that is not known, or not there yet.
    """
    if provider in PROVIDERS:
        return PROVIDERS[provider](*args, **kwargs)
    raise KjouleError(
        f"the lab provider {provider} is {'planned, but not available yet' if provider in PLANNED else 'not known'}",
        expected=f"{', '.join(PROVIDERS)} (planned: {', '.join(PLANNED)})",
        seen=str(provider),
        next_step="set kjoule_lab to kwok",
    )
