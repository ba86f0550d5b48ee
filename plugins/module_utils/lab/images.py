# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that a node cannot get: waiting does not bring them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import KjouleError

#: Reasons of a waiting container, as the kubelet gives them.
_NOT_TO_BE_HAD = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")


def refuse_missing_images(pods: Iterable[dict[str, Any]], next_step: str) -> None:
    """Raises KjouleError for the first container among these pods whose image is not to be had."""
    for pod in pods:
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _NOT_TO_BE_HAD:
                raise KjouleError(
                    f"the image {status.get('image')} is not to be had",
                    seen=f"{pod['metadata']['name']}: {waiting['reason']} {waiting.get('message') or ''}".strip()[:400],
                    next_step=next_step,
                )
