# SPDX-License-Identifier: GPL-3.0-or-later
"""An option that is wrong is named, with what was expected; one that is right gets its one form."""

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.options import FACTORS, OPTIONS


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("arms", ["flux"], "exactly two arms"),
        ("arms", ["flux", "argo"], "argo"),
        ("layout", "per-ap", "per-app"),
        ("repositories", 0, "at least 1"),
        ("sampling", "of", "write 'off'"),
        ("minikube", {"driver": "kvm"}, "write 'kvm2'"),
        ("flux", {"place": "pod"}, "one of host, cluster"),
        ("workload_images", ["a:1"], "at least two images"),
        ("existing", {"kubeconfg": "/etc/kubernetes/admin.conf"}, "write 'kubeconfig'"),
        ("lab", "kind", "expected one of kwok"),
        ("blocks", 0, "at least 1"),
        ("blocks", 2.5, "whole number"),
        ("blocks", True, "whole number"),
        ("apps", -1, "at least 1"),
        ("interval_seconds", 0, "above 0"),
        ("interval_seconds", "soon", "number above 0"),
        ("baseline_seconds", -1, "at least 0"),
        ("alpha", 1, "below 1"),
        ("margin_cpu", 0, "margin_cpu"),
        ("block_retries", -1, "block_retries"),
        ("inference", "maybe", "true or false"),
        ("ports", [1], "dictionary"),
        ("extra", "annotate", "dictionary"),
        ("extra", {"flux_triger": "poll"}, "write 'flux_trigger'"),
        ("extra", {"flux_trigger": "interval"}, "flux_trigger: expected one of poll, annotate, saw 'interval'"),
        ("extra", {"snowflake_prune": "remove"}, "snowflake_prune: expected one of none, delete"),
        ("factors", {"apps": [1]}, "at least two levels"),
        ("factors", {"apps": 10}, "a list of at least two levels"),
        ("factors", {"apps": [1, 1]}, "every level once"),
        ("factors", {"apps": [1, "many"]}, "factors.apps"),
        ("factors", {"app": [1, 2]}, "write 'apps'"),
        ("factors", {"layout": ["one", "two"]}, "factors.layout"),
        ("factors", [1, 2], "a dictionary"),
        ("stopping", {"max_hours": 0}, "stopping"),
        ("stopping", {"p_below": 0.05}, "stopping"),
        ("stopping", "3 hours", "stopping"),
    ],
)
def test_what_is_wrong_is_named(name, value, words):
    with pytest.raises(KjouleError) as error:
        OPTIONS[name](name, value)
    assert str(error.value).startswith("setting ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "form"),
    [
        ("blocks", "6", 6),
        ("interval_seconds", "4.50", 4.5),
        ("inference", "no", False),
        ("sampling", True, "on"),
        ("factors", {"apps": ["1", 10]}, {"apps": [1, 10]}),
        ("extra", {}, {"flux_trigger": "poll", "snowflake_prune": "none"}),
    ],
)
def test_what_is_right_gets_one_form(name, value, form):
    assert OPTIONS[name](name, value) == form
    assert OPTIONS[name](name, form) == form


def test_every_factor_varies_an_option():
    assert set(FACTORS.values()) <= set(OPTIONS)
