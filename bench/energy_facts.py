# SPDX-License-Identifier: GPL-3.0-or-later
"""How long ``energy_facts`` takes on a host where nothing can be read: the module alone, and as a task. Prints a Markdown table; run by
``make bench``."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible_collections.kjoule.bench.plugins.modules import energy_facts


def seconds_of(command: list[str], given: str, runs: int, has: str) -> list[float]:
    """How long a command took each time. Its output has to hold ``has``: that is what a host with nothing readable is told."""
    found = []
    for _run in range(runs):
        begin = time.monotonic()
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        found.append(time.monotonic() - begin)
        if has not in done.stdout:
            raise SystemExit(f"bench: {command[0]} said {done.stdout[-500:] or done.stderr[-500:]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="kjoule-bench-") as bare:
        # Nothing listens at the port of discard, and there is no sysfs in an empty folder.
        nowhere = {"url": "http://127.0.0.1:9"}
        sources = {
            "rapl": {"sysfs_root": bare},
            "hwmon": {"sysfs_root": bare},
            "ipmi": {"ipmitool": str(Path(bare) / "ipmitool")},
            "kepler": nowhere,
            "scaphandre": nowhere,
        }
        alone = [sys.executable, energy_facts.__file__]
        task = [shutil.which("ansible") or "ansible", "localhost", "-c", "local", "-m", "kjoule.bench.energy_facts", "-a"]
        told = "estimate: works, taken by auto"
        rows = {
            "the module alone": seconds_of(alone, json.dumps({"ANSIBLE_MODULE_ARGS": {"sources": sources}}), runs, told),
            "`ansible localhost -m kjoule.bench.energy_facts`": seconds_of([*task, json.dumps({"sources": sources})], "", runs, told),
        }
    print(f"\n| energy_facts where nothing can be read, {runs} times | median, s | most, s |\n|---|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
