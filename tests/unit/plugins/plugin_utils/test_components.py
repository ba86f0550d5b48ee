"""Who used the CPU time of a phase, and what nobody claims."""

import pytest
from synthetic_analysis import analyse


def test_the_residual_is_what_nobody_claims():
    rows = analyse()["components"]
    steady = next(row for row in rows if row["phase"] == "steady" and row["label"] == "flux")
    assert steady["residual_seconds"] == pytest.approx(0.1 * 8)
    assert [row["phase"] for row in rows][:4] == ["baseline", "baseline", "install", "install"]
    assert {part["name"]: part["role"] for part in steady["components"]}["kustomize-controller"] == "arm"
