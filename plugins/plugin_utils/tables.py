# SPDX-License-Identifier: GPL-3.0-or-later
"""The YAML tables that come with the collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"


def read_table(name: str) -> Any:
    """A YAML table that comes with the collection."""
    return yaml.safe_load((DATA / name).read_text(encoding="utf-8"))
