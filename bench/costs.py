# SPDX-License-Identifier: GPL-3.0-or-later
"""Marginal costs and deployments by number of apps, fitted over the phases of several runs together. Prints Markdown tables.

A factor is crossed with every other, so one plan cannot give a thousand apps a longer interval than ten; several plans can. The runs have
to be of one host and one version, and differ in sizes only.

PYTHONPATH=collections python bench/costs.py reports/apps-50-200 reports/apps-1000
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ansible_collections.kjoule.bench.plugins.plugin_utils import document, journal, sizes
from ansible_collections.kjoule.bench.plugins.plugin_utils.costs import costs, observations
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import read_plan, run_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, as below reports/")
    parser.add_argument("--host", default="local")
    options = parser.parse_args()
    rows, plans, hosts = [], [], set()
    for run in options.runs:
        paths = run_files(run.absolute().parent, run.name, options.host)
        plan = read_plan(paths["plan"])
        if plan is None:
            parser.error(f"{run} has no plan of {options.host}")
        read = journal.read(paths["journal"], plan)
        header = read.header or {}
        hosts.add((plan["host"], header.get("tool_version"), (header.get("host") or {}).get("cpu_model")))
        plans.append(plan)
        rows += observations(plan, read.periods)
    if len(hosts) > 1:
        parser.error(f"runs of one host and one version: expected one, saw {sorted(map(str, hosts))}")
    found = costs(plans[0], rows)
    if found is None:
        parser.error("these runs have too few phases for a fit")
    for block in sizes.fitted(found):
        named = [document.Heading(block.what), block] if isinstance(block, document.Table) else [block]
        print(document.blocks_to_markdown(named))


if __name__ == "__main__":
    main()
