# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the analysis of a long run takes. Prints a Markdown table; run by ``make bench``.

python bench/analysis.py --periods 10000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit/plugins/plugin_utils"))

from ansible_collections.kjoule.bench.plugins.plugin_utils import effects, journal, report
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import Recipe, header, records
from synthetic_reports import TRUTHS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--periods", type=int, default=10000)
    count = parser.parse_args().periods
    plan = build_plan({"blocks": count // 2}, "bench", run_id="bench", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    recipe = Recipe(TRUTHS, noise_cpu=0.001)
    text = "".join(json.dumps(record) + "\n" for record in [header(plan), *records(plan, recipe)])
    begin = time.perf_counter()
    read = journal.parse(text, plan=plan)
    parsed = time.perf_counter()
    effects.analyse(plan, read.periods)
    analysed = time.perf_counter()
    whole = report.build_report(plan, read)
    built = time.perf_counter()
    pages = report.to_html(whole)
    rendered = time.perf_counter()
    print(f"| {count} periods, a journal of {len(text) / 1e6:.0f} MB | seconds |\n| --- | --- |")
    for what, seconds in (
        ("reading and checking the journal", parsed - begin),
        ("effects, intervals, verdicts, diagnostics, components, state", analysed - parsed),
        ("the whole report as data, the line above included", built - analysed),
        (f"its page of {len(pages) / 1e6:.1f} MB", rendered - built),
    ):
        print(f"| {what} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
