# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the statistics on simulated truth and writes docs/validation.md. Ends with 1 if they do not do what is wanted of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ansible_collections.kjoule.bench.plugins.plugin_utils.validation import to_markdown, validate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="simulated runs a cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "validation.md")
    options = parser.parse_args()
    cells = validate(options.runs, options.seed)
    text = to_markdown(cells, options.seed)
    options.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return int(any(rates["misses"] for rates in cells))


if __name__ == "__main__":
    sys.exit(main())
