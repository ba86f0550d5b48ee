# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a Prometheus, with the standard library only."""

from __future__ import annotations

import http.client
import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import KjouleError
from .remote_write import unreachable

Found = TypeVar("Found")


def ask(url: str, path: str, parameters: dict[str, Any], read: Callable[[Any], Found], timeout: float = 30.0) -> Found:
    """What ``read`` finds in the data of the answer. Raises KjouleError when Prometheus cannot be reached, or what answers is none."""
    query = urllib.parse.urlencode(parameters, doseq=True)
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/{path}?{query}", timeout=timeout) as response:
            answer = json.load(response)
        return read(answer["data"])
    except (ValueError, http.client.HTTPException, KeyError, TypeError, AttributeError, IndexError) as error:
        raise KjouleError(
            f"what answers at {url} is no Prometheus",
            expected=f"its answer to /api/v1/{path}",
            seen=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step="give the address of Prometheus, or end what has its port; the journal is not touched",
        ) from error
    except OSError as error:
        raise unreachable(url, error) from error


def result(url: str, expression: str, at: float | None = None) -> list[dict[str, Any]]:
    """The series that an expression gives at a moment (seconds of the epoch), or now. Raises KjouleError as ``ask`` does."""
    return ask(url, "query", {"query": expression, **({} if at is None else {"time": f"{at:.3f}"})}, lambda data: list(data["result"]))
