# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the report of a fleet takes and how large it is. Prints a Markdown table; run by ``make bench``.

python bench/fleet.py --hosts 1000
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit/plugins/plugin_utils"))

from ansible_collections.kjoule.bench.plugins.plugin_utils import document as documents
from ansible_collections.kjoule.bench.plugins.plugin_utils import fleet, report
from synthetic_reports import make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    count = parser.parse_args().hosts
    generator = random.Random(3)
    begin = time.perf_counter()
    base = make()
    page = report.to_html(base)
    one_host = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            base["host"] = f"host-{number:04d}.example.org"
            effect, shift = base["metrics"]["rest"]["effect"], generator.gauss(0, 0.01)
            effect.update({end: effect[end] + shift for end in ("mean", "low", "high")})
            (Path(folder) / f"{number}.json").write_bytes(report.to_json(base))
        begin = time.perf_counter()
        reports = [report.read_report(Path(folder) / f"{number}.json") for number in range(count)]
        data = fleet.build_fleet("bench", [item for item in reports if item], [])
        shown = fleet.document(json.loads(fleet.to_json(data)))
        written = [fleet.to_json(data), documents.to_markdown(shown), documents.to_html(shown)]
        whole_fleet = time.perf_counter() - begin
    print("| what | seconds | MB |\n| --- | --- | --- |")
    print(f"| report and page of one host | {one_host:.1f} | {len(page) / 1e6:.2f} |")
    print(f"| fleet of {count} hosts, from their reports | {whole_fleet:.1f} | {sum(map(len, written)) / 1e6:.2f} |")


if __name__ == "__main__":
    main()
