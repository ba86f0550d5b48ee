import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import pictures
from ansible_collections.kjoule.bench.plugins.plugin_utils.timeline import timeline
from synthetic_reports import make

SECOND = 10**9


def record(**changes):
    phase = {
        "name": "steady", "kind": "steady", "start_ns": 10 * SECOND, "end_ns": 14 * SECOND, "seconds": 4.0,
        "cpu_seconds": {"etcd": 0.4, "kjoule": 0.2}, "components": {"etcd": "cluster", "kjoule": "tool", "kustomize-controller": "arm"},
        "energy": [{"kind": "measured", "scope": "rapl:package", "valid": True, "joules": 80.0}],
    }  # fmt: skip
    samples = {
        "t_ns": [(10 + index) * SECOND for index in range(5)],
        "cpu_ns": {
            "etcd": [index * SECOND // 10 + 1 for index in range(5)],
            "kjoule": [index * SECOND // 20 for index in range(5)],
            "kustomize-controller": [0, 0, SECOND, SECOND + SECOND // 2, 2 * SECOND],
        },
    }
    return {"label": "flux", "block": 3, "phases": [phase], "samples": samples, **changes}


def test_cpu_over_time_is_the_slope_of_the_clocks():
    shown = timeline(record(), "rapl:package")
    assert shown["seconds"] == [1, 2, 3, 4]
    assert shown["cpu"]["cluster"] == pytest.approx([0.1] * 4)
    assert shown["phases"] == [{"name": "steady", "start": 0, "end": 4, "cpu": 0.4 / 4, "watts": 20.0}]


def test_what_a_component_used_before_it_was_first_seen_is_not_a_peak():
    assert timeline(record(), None)["cpu"]["arm"] == pytest.approx([0, 0, 0.5, 0.5])


def test_the_tool_is_not_part_of_the_picture():
    assert "tool" not in timeline(record(), None)["cpu"]


def test_without_samples_there_is_no_picture():
    assert timeline(record(samples={}), None) is None
    assert timeline(record(phases=[]), None) is None


def test_a_long_period_is_thinned_and_keeps_its_sum():
    count = 5000
    samples = {"t_ns": [index * SECOND for index in range(count)], "cpu_ns": {"etcd": [index * SECOND // 4 + 1 for index in range(count)]}}
    shown = timeline(record(samples=samples), None)
    assert len(shown["seconds"]) < 400
    assert shown["cpu"]["cluster"] == pytest.approx([0.25] * len(shown["seconds"]))


def with_samples(rows):
    for row in rows:
        start = 0
        for phase in row["phases"]:
            phase["start_ns"], phase["end_ns"] = start, start + int(phase["seconds"] * SECOND)
            start = phase["end_ns"]
        times = list(range(0, start, SECOND // 2))
        row["samples"] = {"t_ns": times, "cpu_ns": {"etcd": [time // 20 + 1 for time in times]}}
    return rows


def test_the_report_shows_both_sides_of_the_block_with_the_median_difference():
    report = make(change=with_samples)
    sides = report["timeline"]
    assert [side["label"] for side in sides] == ["snowflake", "flux"]
    assert sides[0]["block"] == sides[1]["block"]
    differences = report["metrics"]["rest"]["effect"]["differences"]
    assert sorted(differences).index(differences[sides[0]["block"] - 1]) == 2
    assert [picture.title for picture in pictures.timelines(report)] == ["One period over time: snowflake", "One period over time: flux"]
