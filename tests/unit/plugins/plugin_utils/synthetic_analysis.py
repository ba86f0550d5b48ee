"""Synthetic runs, analysed: from the options of a plan and an injected truth to everything that the records give."""

from __future__ import annotations

from typing import Any

from ansible_collections.kjoule.bench.plugins.plugin_utils import analysis
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import TRUTHS, Recipe, records


def plan_of(**options: Any) -> dict[str, Any]:
    """A plan that is the same each time; reconciles every 4 s unless the options say otherwise."""
    return build_plan({"interval_seconds": 4, **options}, "web1", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)


def analyse(recipe: Recipe | None = None, blocks: int | None = None, **options: Any) -> dict[str, Any]:
    """The analysis of the first ``blocks`` blocks (all without it) of such a plan; the truth is ``TRUTHS`` without noise by default."""
    plan = plan_of(**options)
    return analysis.analyse(plan, records(plan, recipe or Recipe(TRUTHS), blocks))
