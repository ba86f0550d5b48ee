"""Reports of synthetic runs, by what is special about them. Building them goes the whole way from plan to report."""

from __future__ import annotations

from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.journal import Journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import FLUX, SNOWFLAKE, TRUTHS, Recipe, header, invalid, records

#: A host that takes 40 W at rest and 3 J for every CPU-second, as it was calibrated.
CALIBRATION = {
    "source": {"name": "rapl", "scope": "rapl:package+dram"},
    "measured_at": "2024-05-01T08:00:00Z",
    "points": 18,
    "accuracy_relative": None,
    "idle_watts": {"value": 40.0, "low": 39.0, "high": 41.0},
    "joules_per_cpu_second": {"value": 3.0, "low": 2.5, "high": 3.5},
    "low_load": None,
    "covariance": [[0.01, 0.0], [0.0, 0.01]],
    "t": 2.0,
}
NASTY = "we|b<1>_*`x`\n# [a](b)"


def make(recipe=None, blocks=None, host="web1", change=None, source=None, without=(), **options):
    """``change`` is done to the records; ``without`` are settings that the plan does not have."""
    plan = build_plan(options, host, run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
    for name in without:
        del plan["settings"][name]
    rows = records(plan, recipe or Recipe(TRUTHS, noise_cpu=0.001), blocks)
    if change:
        rows = change(rows)
    return reports.build_report(plan, Journal(header(plan, **(source or {})), rows))


CASES = {
    "a day": lambda: make(),
    "measured": lambda: make(Recipe(TRUTHS, noise_cpu=0.001, watts_idle=40.0), profile="full", interval_seconds=4, apps=5),
    "a against a": lambda: make(Recipe({"snowflake-1": SNOWFLAKE, "snowflake-2": SNOWFLAKE}, 0.001), arms=["snowflake", "snowflake"]),
    "flux against flux": lambda: make(Recipe({"flux-1": FLUX, "flux-2": FLUX}, 0.001), arms=["flux", "flux"]),
    "identical values": lambda: make(Recipe({"snowflake": SNOWFLAKE, "flux": SNOWFLAKE})),
    "zero variance": lambda: make(Recipe(TRUTHS)),
    "no margin": lambda: make(without=["margin_cpu"]),
    "no margin, a against a": lambda: make(Recipe({"flux-1": FLUX, "flux-2": FLUX}, 0.001), arms=["flux", "flux"], without=["margin_cpu"]),
    "one arm": lambda: make(change=lambda rows: [row for row in rows if row["label"] == "flux"]),
    "one block": lambda: make(blocks=1),
    "no block": lambda: make(blocks=0),
    "all invalid": lambda: make(change=lambda rows: [invalid(row, "reason " * 60) for row in rows]),
    "no inference": lambda: make(blocks=2, inference=False),
    "other state": lambda: make(Recipe(TRUTHS, hash_of={"flux": "other"})),
    "idle only": lambda: make(scenario=[{"name": "idle", "hold": 8}]),
    "long host": lambda: make(host="h" * 200),
    "nasty host": lambda: make(host=NASTY),
}
