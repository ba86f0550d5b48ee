# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pickle

from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError, PeriodInvalid


def test_an_error_tells_what_was_expected_what_was_seen_and_what_to_do():
    error = KjouleError("the port is taken", expected="a free port", seen="etcd", next_step="end it")
    assert str(error) == "the port is taken: expected a free port, saw etcd. Next: end it"


def test_parts_that_are_not_given_leave_no_gap():
    assert str(KjouleError("the lab is gone.")) == "the lab is gone"
    assert str(KjouleError("the lab is gone", seen="nothing")) == "the lab is gone: saw nothing"
    assert str(KjouleError("the lab is gone.", next_step="make one")) == "the lab is gone. Next: make one"


def test_an_invalid_period_is_an_error_with_the_same_parts():
    error = PeriodInvalid("etcd ended", seen="no such process")
    assert isinstance(error, KjouleError)
    assert (error.what, error.seen, error.expected, error.next_step) == ("etcd ended", "no such process", None, None)
    assert str(pickle.loads(pickle.dumps(error))).startswith("etcd ended: saw no such process")
