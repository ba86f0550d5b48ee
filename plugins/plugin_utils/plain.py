# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain JSON values, canonical JSON, hashes and atomic files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..module_utils.errors import KjouleError


def to_plain(value: Any, where: str = "value") -> Any:
    """Plain dict, list, str, int, float, bool or None, however Ansible has tagged or wrapped it.

    Integral floats become integers, so that ``4`` and ``4.0`` hash alike. Raises KjouleError for anything
    that has no JSON form, NaN and infinity included.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        number = float.__float__(value)
        if not math.isfinite(number):
            raise KjouleError(where, expected="a finite number", seen=str(number))
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if isinstance(value, Mapping):
        return {str.__str__(str(key)): to_plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise KjouleError(where, expected="text, number, list or dictionary", seen=type(value).__name__)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hex sha256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_if_different(path: str | Path, content: bytes) -> bool:
    """Put ``content`` at ``path`` in one step (temporary file, fsync, rename); True if the bytes on disk changed."""
    path = Path(path)
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
