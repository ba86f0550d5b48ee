# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a lab takes, and what measuring costs. Prints a Markdown table; run by ``make bench``.

python bench/lab.py --rounds 10
"""

from __future__ import annotations

import argparse
import glob
import os
import statistics
import tempfile
import time

from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.energy.meter import Meter
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.period import tool_clocks
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab


def binaries(cache: str) -> dict[str, str]:
    """The newest cached binary of each name."""
    found = {}
    for name in BINARIES:
        paths = glob.glob(os.path.join(cache, "artifacts", f"{name}-v*", name))
        if not paths:
            raise SystemExit(f"bench: no {name} below {cache}. Next: make answer ARGS='--tags prepare,lab,stack'")
        found[name] = max(paths, key=os.path.getmtime)
    return found


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the window for the cost of sampling")
    parser.add_argument("--cache", default=os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kjoule"))
    arguments = parser.parse_args()
    paths = binaries(arguments.cache)
    fresh, discard, sampling, cluster = [], [], 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="kjoule-bench-") as state:
        for number in range(arguments.rounds):
            lab = KwokLab(paths, state, lab_id=f"bench-{number}")
            try:
                fresh.append(lab.fresh().ready_seconds)
                if number == arguments.rounds - 1:
                    meter = Meter(tool_clocks()[:1] + [ProcessClock(*item) for item in lab.components().items()], None, 1.0, lambda: None)
                    meter.start()
                    start = meter.edge()
                    meter.hold(arguments.seconds)
                    window = meter.window(start, meter.edge())
                    meter.stop()
                    sampling = window["cpu_seconds"].pop("kjoule") / window["seconds"]
                    cluster = sum(window["cpu_seconds"].values()) / window["seconds"]
            finally:
                begin = time.monotonic()
                lab.discard()
                discard.append(time.monotonic() - begin)
    print(f"| what ({arguments.rounds} rounds) | median | least | most |\n|---|---|---|---|")
    print(f"| a fresh lab is ready, s | {spread(fresh)} |\n| it is discarded, s | {spread(discard)} |")
    print(
        f"\nSampling six processes once a second: {1000 * sampling:.2f} mCPU, "
        f"{100 * sampling / cluster:.1f} % of the idle cluster that it watches."
    )


if __name__ == "__main__":
    main()
