import json

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal as journals
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from synthetic_journal import FLUX, SNOWFLAKE, Recipe, header, records

PLAN = build_plan({}, "web1", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7)
HEADER = header(PLAN)
OTHER_HEADER = header(build_plan({}, "web2", run_id="r1", created_at="2024-05-01T09:00:00Z", drawn_seed=7))
PERIODS = records(PLAN, Recipe({"snowflake": SNOWFLAKE, "flux": FLUX}), 2)


def text(*items):
    return "".join(json.dumps(item) + "\n" for item in items)


def phase_with(**changed):
    """The first period, one phase of which is not as it should be."""
    first, *others = PERIODS[0]["phases"]
    return {**PERIODS[0], "phases": [{**first, **changed}, *others]}


def test_a_whole_journal_is_read():
    journal = journals.parse(text(HEADER, *PERIODS), plan=PLAN)
    assert journal.header == HEADER
    assert journal.periods == PERIODS
    assert journal.torn is None


def test_no_journal_yet_is_an_empty_one(tmp_path):
    assert journals.read(tmp_path / "none.jsonl", PLAN).periods == []


@pytest.mark.parametrize("cut", [1, 10, 500])
def test_a_torn_last_line_is_set_aside_at_any_byte(tmp_path, cut):
    path = tmp_path / "j.jsonl"
    whole = text(HEADER, *PERIODS).encode()
    path.write_bytes(whole[:-cut])
    journal = journals.read(path, PLAN)
    assert journal.periods == PERIODS[:-1]
    assert journal.torn
    journals.append_record(path, PERIODS[-1])
    assert journals.read(path, PLAN).periods == PERIODS


def test_a_cut_within_a_character_is_a_torn_line_too(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(text(HEADER).encode() + '{"kind": "ü'.encode()[:-1])
    assert journals.read(path, PLAN).torn


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (text({**HEADER, "schema": "kjoule.journal/9"}), 1, "kjoule.journal/1"),
        (text({**HEADER, "schema": "kjoule.journal/0"}), 1, "read it with the version that wrote it"),
        (text({key: value for key, value in HEADER.items() if key != "schema"}), 1, "saw None"),
        (text({**HEADER, "run_id": "other"}), 1, "another plan"),
        (text({**HEADER, "plan_hash": "0" * 64}), 1, "another plan"),
        (text(PERIODS[0]), 1, "header"),
        (text(HEADER, HEADER), 2, "second header"),
        (text(HEADER, PERIODS[0], PERIODS[0]), 3, "line 2"),
        (text(HEADER, PERIODS[0], {**PERIODS[0], "period_id": "x"}), 3, "line 2"),
        (text(OTHER_HEADER, *PERIODS), 1, "another plan"),
        (text(HEADER) + text(PERIODS[0])[:500] + "\n" + text(PERIODS[1]), 2, "one JSON record"),
        (text(HEADER, PERIODS[0]) + text(PERIODS[1])[500:], 3, "one JSON record"),
        (text(HEADER) + "not json\n", 2, "JSON"),
        (text(HEADER) + "\n", 2, "JSON"),
        (text(HEADER, {**PERIODS[0], "seconds": float("nan")}), 2, "NaN"),
        (text(HEADER, {**PERIODS[0], "seconds": float("inf")}), 2, "Infinity"),
        (text(HEADER, PERIODS[0]).replace('"seconds": 30.0', '"seconds": 1e999'), 2, "1e999"),
        (text(HEADER, phase_with(seconds="NaN")), 2, "seconds of a phase, saw 'NaN'"),
        (text(HEADER, phase_with(seconds=None)), 2, "seconds of a phase, saw None"),
        (text(HEADER, phase_with(cpu_seconds={"etcd": "NaN"})), 2, "CPU-seconds of etcd, saw 'NaN'"),
        (text(HEADER, {**PERIODS[0], "phases": [{"name": "idle"}]}), 2, "no kind, seconds, cpu_seconds"),
        (text(HEADER, {**PERIODS[0], "phases": ["idle"]}), 2, "a whole phase record, saw str"),
        (text(HEADER, {**PERIODS[0], "phases": None}), 2, "phases of a period, saw None"),
        (text(HEADER, {**PERIODS[0], "block": [1]}), 2, "block of a period, saw [1]"),
        (text(HEADER, {**PERIODS[0], "position": "1"}), 2, "position of a period, saw '1'"),
        (text(HEADER, {**PERIODS[0], "arm": "argo"}), 2, "arm argo"),
        (text(HEADER, [1]), 2, "list"),
        (text(HEADER, {"kind": "note"}), 2, "note"),
        (text(HEADER, {"kind": "period", "block": 1}), 2, "no period_id"),
        (text(HEADER, {**PERIODS[0], "block": 99}), 2, "from 1 to 6"),
        (text(HEADER, {**PERIODS[0], "position": 3 - PERIODS[0]["position"]}), 2, "order of block"),
    ],
)
def test_the_line_that_is_wrong_is_named(content, line, words):
    with pytest.raises(KjouleError) as error:
        journals.parse(content, "j.jsonl", PLAN)
    assert f"j.jsonl, line {line}" in str(error.value)
    assert words in str(error.value)


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        journals.append_record(tmp_path / "j.jsonl", {"a": float("nan")})
    assert not (tmp_path / "j.jsonl").exists()


def test_the_copy_catches_up_with_the_host():
    host = journals.Journal(HEADER, PERIODS)
    assert journals.merge(journals.Journal(), host) == [HEADER, *PERIODS]
    assert journals.merge(journals.Journal(HEADER, PERIODS[:1]), host) == PERIODS[1:]
    assert journals.merge(host, journals.Journal()) == []


def test_copies_that_contradict_each_other_are_refused():
    changed = [{**PERIODS[0], "seconds": 1.0}]
    with pytest.raises(KjouleError, match="differ"):
        journals.merge(journals.Journal(HEADER, changed), journals.Journal(HEADER, PERIODS))
    with pytest.raises(KjouleError, match="another plan"):
        journals.merge(journals.Journal({**HEADER, "plan_hash": "0"}, []), journals.Journal(HEADER, PERIODS))


def energy_of(record, name="kepler", joules=42.0):
    """What the controller reads of a period through Prometheus."""
    windows = [
        {"index": phase["index"], "name": phase["name"], "energy": [{"scope": "prometheus:kepler:package", "joules": joules}]}
        for phase in record["phases"]
    ]
    return {"kind": "energy", "period_id": record["period_id"], "source": {"name": name}, "phases": windows}


class TestEnergyThatTheControllerRead:
    def test_is_kept_beside_the_periods_and_put_into_their_phases_on_request(self):
        journal = journals.parse(text(HEADER, PERIODS[0], energy_of(PERIODS[0]), PERIODS[1]), plan=PLAN)
        assert journal.periods == PERIODS[:2]
        joined = journals.with_energy(journal)
        for before, after in zip(PERIODS[0]["phases"], joined.periods[0]["phases"]):
            assert after["energy"] == [*before["energy"], {"scope": "prometheus:kepler:package", "joules": 42.0}]
        assert joined.periods[1] == PERIODS[1]
        assert journal.periods == PERIODS[:2]

    def test_does_not_make_host_and_controller_differ(self):
        copy = journals.parse(text(HEADER, PERIODS[0], energy_of(PERIODS[0])), plan=PLAN)
        host = journals.parse(text(HEADER, *PERIODS[:2]), plan=PLAN)
        assert journals.merge(copy, host) == [PERIODS[1]]

    def test_of_no_period_or_twice_or_in_part_is_refused(self):
        one = energy_of(PERIODS[0])
        for lines, said in (
            ((HEADER, one), "energy of a period above it"),
            ((HEADER, PERIODS[0], one, one), "once"),
            ((HEADER, PERIODS[0], {"kind": "energy", "period_id": "x"}), "a whole energy record"),
        ):
            with pytest.raises(KjouleError, match=said):
                journals.parse(text(*lines), plan=PLAN)
        two = energy_of(PERIODS[0], "pdu")
        assert len(journals.parse(text(HEADER, PERIODS[0], one, two), plan=PLAN).energy) == 2
