"""A run without a valid block is analysed as well."""

from synthetic_analysis import analyse


def test_no_valid_block_gives_empty_tables():
    result = analyse(blocks=0)
    assert result["metrics"] == {}
    assert result["components"] == []
    assert result["measured_energy"] == []
