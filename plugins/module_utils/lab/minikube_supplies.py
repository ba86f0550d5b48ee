# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and images that minikube is given instead of a network, each compared with its checksum."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass

from ..artifact.files import hash_file
from ..errors import KjouleError


@dataclass(frozen=True)
class Image:
    """A docker archive on the host, with its sha256 and the names of the image in it."""

    archive: str
    sha256: str
    names: tuple[str, ...]


def verify(files: list[dict[str, str]], images: list[Image]) -> None:
    """Raises KjouleError for the first of them that is not what its checksum says, or cannot be read."""
    for item in files:
        _verify(item["path"], item["sha256"])
    for image in images:
        _verify(image.archive, image.sha256)


def place_files(cache: str, files: list[dict[str, str]]) -> None:
    """Put files where minikube looks for what it has downloaded. It takes what lies there as it is, unchecked."""
    for item in files:
        target = os.path.join(cache, item["cache"])
        if os.path.exists(target) and hash_file(target) == item["sha256"]:
            continue
        _copy(item["path"], target, 0o755)


def place_images(cache: str, images: list[Image]) -> None:
    """Put images where minikube keeps those that it has downloaded, by the names that it gives them."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for image in images:
        for name in image.names:
            target = os.path.join(cache, "images", machine, name.replace(":", "_"))
            if not os.path.exists(target) or hash_file(target) != image.sha256:
                _copy(image.archive, target, 0o644)


def _verify(path: str, expected: str) -> None:
    try:
        seen = hash_file(path)
    except OSError as error:
        raise KjouleError(f"the file {path} cannot be read", seen=error.strerror, next_step="put it there, or correct its path") from error
    if seen != expected.lower():
        raise KjouleError(
            f"the file {path} is not the one that was named",
            expected=f"sha256 {expected}",
            seen=f"sha256 {seen}",
            next_step="get it again, or correct its checksum",
        )


def _copy(source: str, target: str, mode: int) -> None:
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".kjoule-", dir=os.path.dirname(target))
    try:
        with os.fdopen(handle, "wb") as stream, open(source, "rb") as content:
            shutil.copyfileobj(content, stream, 1 << 20)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
