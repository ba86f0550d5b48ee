"""Who used the CPU of a phase is told by the roles of its components."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils.phases import cpu_of
from synthetic_analysis import analyse
from synthetic_journal import TRUTHS, Recipe


def test_the_tool_and_the_actor_are_not_on_the_cluster_side_and_the_simulator_is():
    plain = analyse()["metrics"]["rest"]["sides"]["flux"]["mean"]
    assert analyse(Recipe(TRUTHS, tool=0.5))["metrics"]["rest"]["sides"]["flux"]["mean"] == pytest.approx(plain)
    phase = {
        "cpu_seconds": {"etcd": 1.0, "kwok-controller": 0.5, "kjoule": 9.0, "git-server": 0.25},
        "components": {"etcd": "cluster", "kwok-controller": "simulator", "kjoule": "tool", "git-server": "arm"},
    }
    assert cpu_of(phase) == 1.75
