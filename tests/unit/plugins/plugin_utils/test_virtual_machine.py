"""From a virtual machine's energy on the host to its pods, on records in which every part is known. No machine runs: the kubelet's answer
and the process of qemu are injected where the module utils would have read them."""

import math

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils import virtual_machine
from synthetic_journal import Recipe
from synthetic_reports import CALIBRATION, TRUTHS, make

PODS = {"desired": 0.002, "drifted": 0.004, "orphan": 0.008}
#: CPU of the guest outside of pods, and of the process beyond the guest.
GUEST, OVERHEAD = 0.030, 0.012
#: CPU of the node's own pod (etcd) in every phase.
ETCD = 0.5
PART_OF = {
    "drifted pods": 2 * 0.004,
    "orphaned pods": 4 * 0.008,
    "workload": 6 * 0.002,
    "other pods": ETCD,
    "pods that ended": 0.0,
    "guest": GUEST,
    "overhead": OVERHEAD,
}


def inside_a_machine(rows, read=True):
    """The same periods as the host of a virtual machine would have seen them."""
    for row in rows:
        for phase in row["phases"]:
            seconds, pods = phase["seconds"], phase["pods"]
            guest = pods["cpu_seconds"] + GUEST * seconds
            pods["machine"] = {"component": "virtual-machine", "cpu_seconds": guest, "read_seconds": seconds if read else 0.0}
            tools = {name: used for name, used in phase["cpu_seconds"].items() if phase["components"][name] == "tool"}
            before = math.fsum(phase["cpu_seconds"].values())
            phase["cpu_seconds"] = {**tools, "virtual-machine": guest + OVERHEAD * seconds}
            phase["components"] = {**{name: "tool" for name in tools}, "virtual-machine": "cluster"}
            more = math.fsum(phase["cpu_seconds"].values()) - before
            phase["machine"]["busy_seconds"] += more
            for window in phase["energy"]:
                window["joules"] += 3.0 * more
    return rows


def report(**options):
    recipe = options.pop("recipe", Recipe(TRUTHS, pods=PODS))
    change = options.pop("change", inside_a_machine)
    return make(recipe, change=change, lab="minikube", minikube={"driver": "kvm2"}, **options)


def row_of(found, phase="prune", label="snowflake"):
    return next(row for row in found["virtual_machine"] if (row["phase"], row["label"]) == (phase, label))


def test_every_part_has_the_cpu_time_that_was_put_in_and_all_of_them_are_the_machine():
    row = row_of(report())
    seconds = 3.0
    parts = {part["name"]: part for part in row["parts"]}
    assert {name: part["cpu_seconds"] for name, part in parts.items()} == pytest.approx(
        {name: rate * seconds for name, rate in PART_OF.items()}
    )
    assert math.fsum(part["cpu_seconds"] for part in row["parts"]) == pytest.approx(row["cpu_seconds"], rel=1e-9)
    assert row["method"] == "estimated"
    assert parts["orphaned pods"]["joules"] == pytest.approx(4 * 0.008 * seconds * 2.76)
    assert math.fsum(part["joules"] for part in row["parts"]) == pytest.approx(row["joules"], rel=1e-9)


def test_by_calibration_the_machine_has_three_joules_a_cpu_second_and_so_have_its_pods():
    found = report(recipe=Recipe(TRUTHS, pods=PODS, watts_idle=40.0), energy_calibration=CALIBRATION)
    row = row_of(found)
    assert row["method"] == "marginal"
    assert {part["name"]: part["joules"] for part in row["parts"]} == pytest.approx(
        {name: rate * 3.0 * 3.0 for name, rate in PART_OF.items()}
    )
    assert found["pods"]["orphans"]["watts"]["value"] == pytest.approx(0.008 * 3.0)


def test_flux_leaves_no_orphans_and_so_no_energy_of_them():
    flux = {part["name"]: part["joules"] for part in row_of(report(), label="flux")["parts"]}
    assert flux["orphaned pods"] == 0.0
    assert flux["workload"] > 0


def test_by_share_the_pods_of_a_machine_have_what_a_cpu_second_of_its_process_has():
    found = report(recipe=Recipe(TRUTHS, pods=PODS, watts_idle=40.0))
    row = row_of(found)
    assert (row["method"], found["pods"]["orphans"]["method"]) == ("share", "share")
    assert found["pods"]["orphans"]["joules_per_cpu_second"]["value"] == pytest.approx(row["joules"] / row["cpu_seconds"])


def test_where_the_kubelet_was_read_twice_at_one_moment_nothing_is_said():
    found = report(change=lambda rows: inside_a_machine(rows, read=False))
    assert found["virtual_machine"] == []
    assert not found["pods"]
    assert {row["basis"] for row in found["savings"]["benefits"]} == {"stated"}


def test_a_guest_that_counts_more_than_its_process_shows_as_a_negative_overhead():
    phase = {
        "cpu_seconds": {"virtual-machine": 2.0},
        "pods": {
            "pods": [],
            "ended_cpu_seconds": 0.0,
            "machine": {"component": "virtual-machine", "cpu_seconds": 2.5, "read_seconds": 10.0},
        },
    }
    parts = virtual_machine.split(phase)
    assert (parts["guest"], parts["overhead"]) == (2.5, -0.5)
    assert math.fsum(parts.values()) == 2.0


def test_a_lab_without_a_machine_has_no_such_table():
    assert make(Recipe(TRUTHS))["virtual_machine"] == []


def test_the_report_states_the_rule_and_the_residual():
    text = reports.to_markdown(report()).decode()
    assert "From the host to the virtual machine to its pods" in text
    assert "every pod gets the part of that energy that its CPU time is of the machine's" in text
    assert "machine | workload | orphaned pods | drifted pods | other pods | pods that ended | guest | overhead" in text
