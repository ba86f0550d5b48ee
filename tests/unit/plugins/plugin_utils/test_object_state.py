"""What a side left over is counted, and sides that hold different objects are flagged."""

from synthetic_analysis import analyse
from synthetic_journal import TRUTHS, Recipe


def test_what_was_left_is_counted_per_block():
    left = analyse()["state"]["left"]
    assert left["drifted"]["snowflake"] == {"mean": 2.0, "values": [2] * 6}
    assert left["orphans"]["flux"]["mean"] == 0


def test_different_state_is_flagged():
    assert analyse()["state"]["equal"]
    state = analyse(Recipe(TRUTHS, hash_of={"flux": "other"}))["state"]
    assert not state["equal"]
    assert len(state["flags"]) == state["compared"] == 18
