"""The injected cost of a reconcile comes out again."""

import pytest
from synthetic_analysis import analyse


def test_a_reconcile_costs_what_was_put_in():
    result = analyse()
    assert result["reconcile"]["flux"]["mean"] == pytest.approx(0.02)
    assert result["reconcile"]["flux"]["reconciles"] == 60
