"""What orphaned and drifted pods burn, on journals in which every pod's CPU time is known, through to the texts that people read."""

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import pictures
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from synthetic_journal import FLUX, LATE_SECONDS, Recipe
from synthetic_reports import CALIBRATION, TRUTHS, make

#: CPU of a pod by its state.
PODS = {"desired": 0.002, "drifted": 0.004, "orphan": 0.008}
#: What Flux adds at rest with 5 apps each 3 s: 0.010 idle, and 0.02 for each of 5 / 3 reconciles a second.
FLUX_CPU = 0.010 + 0.02 * 5 / 3
#: The same each hour, if none of the idle part gets rarer.
FLUX_CPU_AN_HOUR_AT_MOST = 0.010 + 0.02 * 5 / 3600
#: The default estimate of a CPU-second, in joules.
ESTIMATE = {"value": 2.76, "low": 1.0, "high": 10.0}


def on_pods(recipe=None, **options):
    options = {"lab": "existing", "existing": {"kubeconfig": "/k", "confirm": "c"}, **options}
    return make(recipe or Recipe(TRUTHS, pods=PODS), **options)


def at(report, seconds=3):
    return next(point for point in report["savings"]["break_even"] if point["interval_seconds"] == seconds)


def flat(value):
    return pytest.approx({"value": value, "low": value, "high": value})


@pytest.mark.parametrize(
    ("name", "cpu", "pods", "seconds"),
    [
        # Two apps of two pods each were removed; 2 replicas were added by hand, a second into the window, and are the same two pods in
        # the phase after it; 5 apps of 2 pods on two sides.
        ("orphans", 0.008, 6 * 4, 3.0),
        ("drifted", 0.004, 6 * 2, 4.5 - LATE_SECONDS + 3.0),
        ("asleep", 0.002, 6 * 2 * 10, 6.0),
    ],
)
def test_every_kind_of_pod_has_the_cpu_time_that_was_put_in(name, cpu, pods, seconds):
    row = on_pods()["pods"][name]
    assert (row["pods"], row["blocks"], row["source"], row["method"]) == (pods, 6, "cgroup v2", "estimated")
    assert row["seconds"] == pytest.approx(seconds)
    assert row["cpu"] == flat(cpu)
    assert row["cpu_seconds"] == flat(cpu * seconds)
    assert row["watts"] == pytest.approx({end: cpu * joules for end, joules in ESTIMATE.items()})
    assert row["joules"] == pytest.approx({end: cpu * seconds * joules for end, joules in ESTIMATE.items()})


def test_the_break_even_is_a_quotient_of_cpu_times_where_one_coefficient_stands_on_both_sides():
    point = at(on_pods())
    assert point["basis"] == "measured"
    assert point["pods"] == flat(FLUX_CPU / 0.008)
    assert point["pods_stated"] == pytest.approx(
        {"value": FLUX_CPU * 2.76 / 0.074, "low": FLUX_CPU * 1.0 / 0.35, "high": FLUX_CPU * 10.0 / 0.014}
    )
    # Noticed after 24 h, with bounds of 1 and 168.
    assert point["drift_events_a_day"] == pytest.approx(
        {"value": FLUX_CPU / 0.004, "low": FLUX_CPU * 24 / 168 / 0.004, "high": FLUX_CPU * 24 / 0.004}
    )
    assert point["sleeping_environments"]["value"] == pytest.approx(FLUX_CPU / (10 * 0.002 * 0.70))


def test_joules_are_those_of_the_hosts_calibration_where_its_scope_was_measured():
    report = on_pods(Recipe(TRUTHS, pods=PODS, watts_idle=40.0), energy_calibration=CALIBRATION)
    row = report["pods"]["orphans"]
    assert row["method"] == "marginal"
    assert row["watts"] == pytest.approx({"value": 0.008 * 3.0, "low": 0.008 * 2.5, "high": 0.008 * 3.5})
    point = at(report)
    assert (point["energy"], point["kind"]) == ("measured", "measured")
    # Host joules of the truth: 3 J per CPU-second, against pods of 3 (2.5 to 3.5) J per CPU-second.
    assert point["pods"]["value"] == pytest.approx(FLUX_CPU / 0.008, rel=1e-6)
    assert point["pods"]["low"] == pytest.approx(FLUX_CPU / 0.008 * 3 / 3.5, rel=1e-6)
    # At other intervals Flux is estimated, by the same calibration: there it goes out of the quotient.
    assert at(report, 3600)["energy"] == "estimated"
    assert at(report, 3600)["pods"]["high"] == pytest.approx(FLUX_CPU_AN_HOUR_AT_MOST / 0.008)


def test_without_a_calibration_measured_energy_is_split_by_cpu_time():
    """Active energy as Kepler takes it, energy x busy / capacity, by busy time: a CPU-second has the phase's power by its 8 CPUs."""
    report = on_pods(Recipe(TRUTHS, pods=PODS, watts_idle=40.0))
    row = report["pods"]["orphans"]
    assert row["method"] == "share"
    phase = next(one for one in report["components"] if one["phase"] == "prune" and one["label"] == "snowflake")
    cpu = phase["cluster_side_cpu_seconds"] + sum(part["cpu_seconds"] for part in phase["components"] if part["role"] == "workload")
    watts_of_host = 40.0 + 3.0 * cpu / phase["seconds"]
    assert row["joules_per_cpu_second"]["value"] == pytest.approx(watts_of_host / 8)
    assert row["joules_per_cpu_second"]["low"] < row["joules_per_cpu_second"]["value"] < row["joules_per_cpu_second"]["high"]


def test_blocks_that_differ_make_a_band_and_it_goes_into_the_break_even():
    def change(rows):
        for row in rows:
            for phase in row["phases"]:
                for pod in phase["pods"]["pods"]:
                    if pod["state"] == "orphan":
                        pod["cpu_seconds"] *= 0.5 if row["block"] % 2 else 1.5
        return rows

    report = on_pods(change=change)
    cpu = report["pods"]["orphans"]["cpu"]
    # Six values of 0.004 and 0.012: sd 0.004382, t of 5 degrees of freedom at 97.5 % is 2.5706.
    half = 2.5706 * 0.0043818 / 6**0.5
    assert cpu == pytest.approx({"value": 0.008, "low": 0.008 - half, "high": 0.008 + half}, rel=1e-4)
    assert at(report)["pods"] == pytest.approx({end: FLUX_CPU / cpu[other] for end, other in _TURNED}, rel=1e-9)


_TURNED = (("value", "value"), ("low", "high"), ("high", "low"))


def test_a_hand_edit_is_followed_into_the_phase_after_it():
    """Its pods have only begun when the phase of the edit ends: what they use is in the next."""

    def change(rows):
        for row in rows:
            for phase in row["phases"]:
                for pod in phase["pods"]["pods"]:
                    if pod["state"] == "drifted" and phase["kind"] == "drift":
                        pod["seconds"], pod["cpu_seconds"] = 0.5, 0.0
        return rows

    row = on_pods(change=change)["pods"]["drifted"]
    assert (row["phases"], row["pods"], row["seconds"]) == (["drift", "prune"], 6 * 2, pytest.approx(3.5))
    assert row["cpu_seconds"] == flat(0.004 * 3.0)
    assert row["cpu"] == flat(0.004 * 3.0 / 3.5)


def test_only_the_phases_in_which_such_pods_were_seen_are_named():
    def change(rows):
        for row in rows:
            for phase in row["phases"]:
                if phase["kind"] == "prune":
                    phase["pods"]["pods"] = [pod for pod in phase["pods"]["pods"] if pod["state"] != "drifted"]
        return rows

    row = on_pods(change=change)["pods"]["drifted"]
    assert (row["phases"], row["pods"], row["seconds"]) == (["drift"], 6 * 2, pytest.approx(4.5 - LATE_SECONDS))


def test_an_invalid_phase_is_no_observation():
    def change(rows):
        for row in rows:
            for phase in row["phases"]:
                if phase["kind"] == "prune" and row["block"] == 1:
                    phase["valid"] = False
                    phase["pods"]["pods"] = [{**pod, "cpu_seconds": 99.0} for pod in phase["pods"]["pods"]]
        return rows

    row = on_pods(change=change)["pods"]["orphans"]
    assert row["blocks"] == 5
    assert row["cpu"] == flat(0.008)


def test_what_was_not_seen_is_stated_and_said_to_be():
    """No app was ever removed: orphans are stated, drifted pods measured."""
    truths = {name: truth.__class__(**{**truth.__dict__, "orphans": 0}) for name, truth in TRUTHS.items()}
    report = on_pods(Recipe(truths, pods=PODS))
    assert set(report["pods"]) == {"drifted", "asleep"}
    assert {row["name"]: row["basis"] for row in report["savings"]["benefits"]} == {"drifted": "measured", "asleep": "measured"}
    assert at(report)["basis"] == "stated"
    assert at(report)["pods"] == at(report)["pods_stated"]


def test_an_edit_that_leaves_no_more_pods_saves_none():
    scenario = [
        {"name": "idle", "hold": 6},
        {"name": "deploy"},
        {"name": "steady", "hold": 6},
        {"name": "drift", "edit": "image", "apps": 2, "hold": 6},
    ]
    report = on_pods(scenario=scenario)
    drifted = next(row for row in report["savings"]["benefits"] if row["name"] == "drifted")
    assert drifted["pods"] == 0
    assert drifted["joules"] == {"value": 0, "low": 0, "high": 0}
    assert at(report)["drift_events_a_day"] is None


def test_pods_that_use_nothing_save_nothing():
    report = on_pods(Recipe(TRUTHS, pods=dict.fromkeys(PODS, 0.0)))
    assert at(report)["pods"] is None
    assert pictures.break_even(report) is None


def test_a_journal_of_before_pods_had_seconds_of_their_own_counts_the_windows():
    def change(rows):
        for row in rows:
            for phase in row["phases"]:
                for pod in phase["pods"]["pods"]:
                    del pod["seconds"]
        return rows

    row = on_pods(change=change)["pods"]["drifted"]
    assert row["seconds"] == pytest.approx(4.5 + 3.0)
    assert row["cpu"] == flat(0.004 * (4.5 - LATE_SECONDS + 3.0) / (4.5 + 3.0))


@pytest.mark.parametrize("write", [reports.to_markdown, reports.to_html])
def test_the_report_says_which_figure_it_used_and_shows_both(write):
    text = write(on_pods()).decode()
    for said in (
        "What pods used",
        "a pod of a removed app",
        "24 in 6 blocks, prune",
        "8.00 (8.00 to 8.00) mCPU",
        "burn was measured",
        "stands in the place of the stated watts per pod",
        "the bounds of that coefficient are not in it",
        "orphaned pods by stated watts",
        "orphaned pods, measured",
    ):
        assert said in text, said
    stated = write(make(Recipe(TRUTHS))).decode()
    for said in ("was not measured", "kjoule_watts_per_pod", "orphaned pods, stated"):
        assert said in stated.replace("\\_", "_"), said
    assert "What pods used" not in stated


def test_two_sides_of_one_kind_show_their_pods_and_save_nothing():
    truths = {"flux-1": FLUX, "flux-2": FLUX}
    report = on_pods(Recipe(truths, pods=PODS), arms=["flux", "flux"])
    assert set(report["pods"]) == {"asleep"}
    assert report["savings"] is None
