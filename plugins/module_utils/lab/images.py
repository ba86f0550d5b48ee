# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that a node cannot get: waiting does not bring them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import KjouleError

#: Reasons of a waiting container, as the kubelet gives them.
_NOT_TO_BE_HAD = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")


def waiting_containers(pods: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name of the pod, status of the container, and why it waits, of every container that does."""
    for pod in pods:
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (container.get("state") or {}).get("waiting")
            if waiting:
                yield pod["metadata"]["name"], container, waiting


def refuse_missing_images(pods: Iterable[dict[str, Any]], next_step: str) -> None:
    """Raises KjouleError for the first container among these pods whose image is not to be had."""
    for name, container, waiting in waiting_containers(pods):
        if waiting.get("reason") in _NOT_TO_BE_HAD:
            raise KjouleError(
                f"the image {container.get('image')} is not to be had",
                expected="one that the node has, or can pull",
                seen=f"{name}: {waiting['reason']} {waiting.get('message') or ''}".strip()[:400],
                next_step=next_step,
            )
