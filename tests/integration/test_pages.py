# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages as a browser shows them: Chromium, headless, driven by Playwright, and axe-core for who cannot see or point.

Needs Chromium: the one that KJOULE_CHROMIUM names, or one on the PATH (``make test-programs`` installs Debian's, as root). Without it the
tests are reported as not run.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.plugin_utils import document as documents
from ansible_collections.kjoule.bench.plugins.plugin_utils import fleet
from ansible_collections.kjoule.bench.plugins.plugin_utils import report as reports
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/plugins/plugin_utils"))

from synthetic_reports import CASES, make
from test_fleet import host
from test_timeline import with_samples

CHROMIUM = (
    os.environ.get("KJOULE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="not run: no Chromium here; make test-programs as root, or set KJOULE_CHROMIUM"),
]

PAGES = {
    "a day": lambda: reports.to_html(make(change=with_samples)),
    "nasty host": lambda: reports.to_html(CASES["nasty host"]()),
    "long host": lambda: reports.to_html(CASES["long host"]()),
    "all invalid": lambda: reports.to_html(CASES["all invalid"]()),
    "fleet": lambda: documents.to_html(fleet.document(fleet.build_fleet("r1", [host(f"host-{number}") for number in range(12)], ["gone"]))),
}
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1200, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # Chromium's own sandbox cannot be set up by root; the pages are ours.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield running
        running.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    paths = {}
    for name, make_page in PAGES.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.html"
        paths[name].write_bytes(make_page())
    return paths


@pytest.fixture
def opened(browser, written):
    """Opens a page and keeps what the browser complains about and what it asks for."""
    contexts = []

    def open_page(name, **options):
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(written[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_and_the_browser_has_nothing_to_complain_about(opened, written, name):
    page = opened(name)
    page.wait_for_load_state("networkidle")
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [written[name].as_uri()]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_accessible_in_light_and_in_dark(opened, name, scheme):
    found = Axe().run(opened(name, color_scheme=scheme))
    wrong = [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found.response["violations"]]
    assert wrong == []
    assert "color-contrast" in [rule["id"] for rule in found.response["passes"]]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(opened, name):
    page = opened(name, viewport=PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_answer_is_on_the_first_screen_of_a_phone_too(opened):
    page = opened("a day", viewport=PHONE)
    for shown in ("h1", ".verdict", ".tiles .figure"):
        box = page.locator(shown).first.bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"], shown


def test_the_text_of_page_and_pictures_can_be_selected(opened):
    page = opened("a day")
    pictures = "[...document.querySelectorAll('figure svg')]"
    page.evaluate(f"getSelection().selectAllChildren({pictures}.find(picture => picture.textContent.includes('difference, mCPU')))")
    assert "difference, mCPU" in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    assert "Flux uses" in page.evaluate("getSelection().toString()")


def test_the_letters_of_a_picture_follow_the_colours_of_the_page(opened):
    def colours(scheme):
        page = opened("a day", color_scheme=scheme)
        ink = page.evaluate("getComputedStyle(document.body).color")
        return ink, page.evaluate("[...document.querySelectorAll('figure svg text')].map(item => getComputedStyle(item).fill)")

    light, dark = colours("light"), colours("dark")
    assert light[0] != dark[0]
    assert set(light[1]) & set(dark[1]) == set()
    assert "rgb(0, 0, 0)" not in dark[1]


def test_everything_can_be_reached_with_the_keyboard(opened):
    page = opened("a day")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached = set()
    for _step in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert {"A", "SUMMARY", "DIV"} <= reached


def test_print_opens_what_is_folded_and_is_black_on_white(opened):
    page = opened("a day", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("figure table").first.bounding_box()["height"] > 20
    assert not page.locator("nav").is_visible()
