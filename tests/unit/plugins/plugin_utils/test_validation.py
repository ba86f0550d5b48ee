"""The simulation in small, and that it finds what is wrong with a design that is wrong."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import validation


@pytest.mark.parametrize("noise", ["independent", "autocorrelated", "drifting", "warm-up"])
def test_six_blocks_err_no_more_than_they_may_under_any_noise(noise):
    rates = validation.cell(noise, 6, 2000, seed=1)
    assert validation.misses(rates) == []
    assert rates["permutation_coverage"] >= 0.935


def test_the_error_that_an_exact_test_attains_is_known_from_counting():
    assert [validation.attainable(blocks) for blocks in (5, 6, 8, 12)] == [0, 1 / 32, 6 / 128, 102 / 2048]


def test_always_the_same_order_under_drift_is_found_out(monkeypatch):
    monkeypatch.setattr(validation, "DRIFT_IN_SD", 30.0)
    assert validation.cell("drifting", 12, 500, seed=1)["false_positives"] < 0.08, "random order copes with it"
    monkeypatch.setattr(validation, "draw_blocks", lambda labels, blocks, *_rest: [{"order": list(labels)}] * blocks)
    rates = validation.cell("drifting", 12, 500, seed=1)
    assert rates["false_positives"] > 0.1
    assert "false positives above 6.5 %" in validation.misses(rates)


def test_the_same_seed_gives_the_same_table():
    cells = [validation.cell("independent", 6, 200, seed=4) for _twice in range(2)]
    assert cells[0] == cells[1]
    assert cells[0] != validation.cell("independent", 6, 200, seed=5)
    text = validation.to_markdown([{**cells[0], "misses": ["too bold"]}], seed=4)
    assert "| independent | 6 |" in text
    assert "too bold" in text
