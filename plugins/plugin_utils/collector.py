# SPDX-License-Identifier: GPL-3.0-or-later
"""Python's search for cycles, and when it is in the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No search for cycles meanwhile; also a decorator.

    Records of a journal hold no cycles, and every search goes through all of them: with ten thousand periods that takes longer than
    what is to be done with them. Memory without cycles is freed as ever.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
