# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the analysis of a long run takes. Prints a Markdown table; run by ``make bench``.

python bench/analysis.py --periods 10000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit/plugins/plugin_utils"))

from ansible_collections.kjoule.bench.plugins.plugin_utils import analysis, collector, journal, report
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import Recipe, header, records
from synthetic_reports import TRUTHS

T = TypeVar("T")


# As the action that makes reports does.
@collector.paused()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--periods", type=int, default=10000)
    count = parser.parse_args().periods
    plan = build_plan({"blocks": count // 2}, "bench", run_id="bench", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    recipe = Recipe(TRUTHS, noise_cpu=0.001)
    text = "".join(json.dumps(record) + "\n" for record in [header(plan), *records(plan, recipe)])
    print(f"| {count} periods, a journal of {len(text) / 1e6:.0f} MB | seconds | CPU-seconds |\n| --- | --- | --- |")
    read = timed("reading and checking the journal", lambda: journal.parse(text, plan=plan))
    timed("effects, intervals, verdicts, diagnostics, components, state", lambda: analysis.analyse(plan, read.periods))
    whole = timed("the whole report as data, the line above included", lambda: report.build_report(plan, read))
    page = timed("its page", lambda: report.to_html(whole))
    print(f"\nThe page has {len(page) / 1e6:.1f} MB.")


def timed(what: str, work: Callable[[], T]) -> T:
    """What ``work`` returns; prints the row of how long it took."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"| {what} | {time.perf_counter() - begin:.1f} | {time.process_time() - begin_cpu:.1f} |")
    return result


if __name__ == "__main__":
    main()
