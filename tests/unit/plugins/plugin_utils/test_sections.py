import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from ansible_collections.kjoule.bench.plugins.plugin_utils.sections import document
from synthetic_reports import CASES, make


def titles(report):
    return [section.title for section in document(report).sections]


def test_the_answer_comes_first_and_the_method_last():
    shown = document(make())
    assert shown.headline.startswith("Flux uses ")
    assert " more CPU than snowflake at rest: +4" in shown.headline
    assert shown.verdict == "different"
    assert titles(make())[0] == "What was measured, and how sure this is"
    assert titles(make())[-3:] == ["Left out", "Method", "Provenance"]


def test_without_a_valid_block_there_is_a_reason_and_no_figure():
    for case in ("no block", "all invalid"):
        shown = document(CASES[case]())
        assert shown.headline == "No answer yet: no block is valid"
        assert shown.verdict == "no answer"
        assert shown.tiles == []
        assert titles(CASES[case]()) == ["What was measured, and how sure this is", "Left out", "Method", "Provenance"]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("a against a", "cost the same at rest"),
        ("one block", "no verdict, 1 valid blocks, 6 needed"),
        ("idle only", "with nothing to deliver"),
    ],
)
def test_the_headline_says_what_kind_of_answer_it_is(case, words):
    assert words in document(CASES[case]()).headline


def test_kwok_is_called_control_plane_energy_in_the_title():
    assert document(make()).title.startswith("Control-plane energy: ")


def test_a_page_of_a_host_is_small_and_the_same_every_time():
    page = reports.to_html(make())
    assert page == reports.to_html(make())
    assert len(page) < 2_000_000
