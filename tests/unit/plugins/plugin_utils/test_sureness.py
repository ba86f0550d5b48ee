"""What the report says about how sure the answer is."""

from ansible_collections.kjoule.bench.plugins.plugin_utils.document import Table
from ansible_collections.kjoule.bench.plugins.plugin_utils.journal import Journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from ansible_collections.kjoule.bench.plugins.plugin_utils.report import build_report
from ansible_collections.kjoule.bench.plugins.plugin_utils.sureness import sureness
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, invalid, records


def lines(spoil=False, **options):
    plan = build_plan(options, "h", run_id="r", created_at="2024-01-01T00:00:00Z", drawn_seed=4)
    truths = dict(zip(plan["settings"]["labels"], (SNOWFLAKE, FLUX)))
    periods = records(plan, Recipe(truths, noise_cpu=0.001))
    if spoil:
        periods[0] = invalid(periods[0])
    blocks = sureness(build_report(plan, Journal(header(plan), periods)))
    return "\n".join(str(cell) for block in blocks if isinstance(block, Table) for row in block.rows for cell in row)


def test_companions_power_and_diagnostics_stand_beside_the_answer():
    text = lines(blocks=8)
    for words in (
        "inverting the sign-flip test",
        "Hodges-Lehmann",
        "log scale",
        "two one-sided tests",
        "power 0.8",
        "Ljung-Box",
        "Pitman-Morgan",
    ):
        assert words in text


def test_what_the_checks_left_out_is_shown_with_it():
    assert "as first measured" not in lines(blocks=8)
    assert "8 blocks as first measured" in lines(spoil=True, blocks=8)


def test_nothing_measured_says_nothing():
    plan = build_plan({}, "h", run_id="r", created_at="2024-01-01T00:00:00Z", drawn_seed=4)
    assert sureness(build_report(plan, Journal(header(plan), []))) == []
