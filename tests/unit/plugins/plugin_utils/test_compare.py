import copy

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.compare import compare, lines, obstacles
from synthetic_journal import FLUX, SNOWFLAKE, Recipe
from synthetic_reports import CASES, make

FIRST = make(Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}, noise_cpu=0.001, seed=1))
DEARER = {"snowflake": SNOWFLAKE, "flux": FLUX.__class__(**{**FLUX.__dict__, "idle": FLUX.idle + 0.02})}
SECOND = make(Recipe(DEARER, noise_cpu=0.001, seed=2))


def changed(report, *path, value):
    other = copy.deepcopy(report)
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return other


def test_the_difference_of_two_effects_is_what_was_put_in():
    rest = compare(FIRST, SECOND)[0]
    assert rest["metric"] == "rest"
    assert rest["low"] < 0.02 < rest["high"]
    assert rest["low"] > 0.01


def test_a_run_does_not_differ_from_itself():
    for row in compare(FIRST, FIRST):
        assert row["mean"] == 0
        assert row["low"] <= 0 <= row["high"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("host",), "web2", "the hosts differ: web1 and web2"),
        (("provenance", "host", "kernel"), "6.2.0", "kernel of the host differs"),
        (("settings", "apps"), 50, "the plans differ in apps: 5 and 50"),
        (("settings", "scenario"), [], "the plans differ in scenario"),
        (("energy", "scopes"), ["rapl:psys"], "the scopes of energy differ"),
        (("provenance", "binaries", 0, "sha256"), "00", "etcd is another binary"),
        (("provenance", "journal", "tool_version"), "9", "different versions of kjoule"),
    ],
)
def test_what_is_not_the_same_is_refused_by_name(path, value, message):
    with pytest.raises(KjouleError, match=message):
        compare(FIRST, changed(FIRST, *path, value=value))


def test_a_control_that_moved_is_refused():
    moved = {"snowflake": SNOWFLAKE.__class__(**{**SNOWFLAKE.__dict__, "idle": 0.09}), "flux": FLUX}
    with pytest.raises(KjouleError, match="the control itself moved: snowflake took"):
        compare(FIRST, make(Recipe(moved, noise_cpu=0.001)))


def test_a_run_without_an_answer_cannot_be_compared():
    assert any("no valid block" in reason for reason in obstacles(FIRST, CASES["all invalid"]()))


def test_another_version_of_flux_is_the_question_and_is_said():
    binaries = [{"name": "kustomize-controller", "version": "v2", "sha256": "11", "origin": "built"}]
    one = changed(FIRST, "provenance", "binaries", value=[{**binaries[0], "version": "v1", "sha256": "00"}])
    other = changed(SECOND, "provenance", "binaries", value=binaries)
    text = "\n".join(lines(one, other, compare(one, other)))
    assert "New in the second run: kustomize-controller v2" in text
    assert "clear of 0" in text
