# SPDX-License-Identifier: GPL-3.0-or-later
"""The text format is read as its definition has it, and what is something else is called so."""

from __future__ import annotations

import math

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.exposition import Sample, parse
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


def test_samples_with_labels_times_and_odd_values_are_read():
    text = """# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
nothing{} NaN

spaced{ a = "1" , b="2", } 1.458255915e9
"""
    samples = parse(text, "it")
    assert samples[0] == Sample("http_requests_total", {"method": "post", "code": "200"}, 1027.0, 1395066363000)
    assert samples[1] == Sample("metric_without_timestamp_and_labels", {}, 12.47, None)
    assert samples[2] == Sample("something_weird", {"problem": "division by zero"}, math.inf, -3982045)
    assert math.isnan(samples[3].value)
    assert samples[4] == Sample("spaced", {"a": "1", "b": "2"}, 1.458255915e9, None)


def test_escapes_braces_and_commas_in_labels_mean_themselves():
    text = 'm{path="C:\\\\DIR\\\\F.TXT",error="no \\"such\\" file\\nat all",x="a,b}c{d"} 1\n'
    assert parse(text, "it")[0].labels == {"path": "C:\\DIR\\F.TXT", "error": 'no "such" file\nat all', "x": "a,b}c{d"}


def test_only_the_wanted_metrics_are_kept():
    assert [s.name for s in parse("a_x 1\nb_x 2\na_y 3\n", "it", ("a_",))] == ["a_x", "a_y"]


@pytest.mark.parametrize("text", ["<html>", '{"json": true}', "metric", "metric{a=b} 1", 'metric{a="b" 1', "metric one", "metric 1 soon"])
def test_what_is_no_metric_is_named_with_its_line(text):
    with pytest.raises(KjouleError, match=r"did not answer with metrics.*line 2"):
        parse("fine 1\n" + text + "\n", "it")
