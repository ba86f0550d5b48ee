# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer is what a run ends with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.kjoule.bench.plugins.callback.progress import CallbackModule, answer_lines


class Screen:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, line: str, **_: Any) -> None:
        self.lines.append(line)


@pytest.fixture
def callback() -> CallbackModule:
    made = CallbackModule()
    made._display = Screen()
    return made


def finished(host: str, result: Any) -> Any:
    return SimpleNamespace(host=SimpleNamespace(get_name=lambda: host), result=result)


def test_the_answer_comes_last_and_only_there(callback):
    callback.v2_runner_on_ok(finished("local", {"changed": True, "kjoule_answer": ["Flux costs 3 mCPU.", "different"]}))
    assert callback._display.lines == []
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines == ["", "Flux costs 3 mCPU.", "different"]


def test_each_of_several_hosts_has_its_own_answer(callback):
    callback.v2_runner_on_ok(finished("b", {"kjoule_answer": ["two"]}))
    callback.v2_runner_on_ok(finished("a", {"kjoule_answer": ["one"]}))
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines == ["", "a:", "one", "", "b:", "two"]


def test_the_fleet_comes_after_its_hosts(callback):
    callback.v2_runner_on_ok(finished("a", {"kjoule_answer": ["one"]}))
    callback.v2_runner_on_ok(finished("a", {"kjoule_fleet_answer": ["both"]}))
    callback.v2_runner_on_ok(finished("b", {"kjoule_answer": ["two"]}))
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines == ["", "a:", "one", "", "b:", "two", "", "both"]


def test_the_last_answer_of_a_host_counts(callback):
    callback.v2_runner_on_ok(finished("local", {"kjoule_answer": ["old"]}))
    callback.v2_runner_on_ok(finished("local", {"kjoule_answer": ["new"]}))
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines == ["", "new"]


@pytest.mark.parametrize(
    "result", [None, {}, {"changed": False}, {"kjoule_answer": None}, {"kjoule_answer": []}, {"censored": "no_log"}, "text"]
)
def test_without_an_answer_nothing_is_printed(callback, result):
    callback.v2_runner_on_ok(finished("local", result))
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines == []


def test_text_is_taken_line_by_line():
    assert answer_lines({"kjoule_answer": "one\ntwo"}) == ["one", "two"]
