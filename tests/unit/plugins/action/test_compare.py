from ansible_collections.kjoule.bench.plugins.action.compare import ActionModule


def test_comparing_writes_nothing_and_so_can_be_checked():
    """What it does is tested beside the fleet, on the same reports (test_fleet.py)."""
    assert ActionModule._supports_check_mode
    assert not ActionModule.TRANSFERS_FILES
