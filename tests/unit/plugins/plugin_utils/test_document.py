import re
from html.parser import HTMLParser

from ansible_collections.kjoule.bench.plugins.plugin_utils.document import (
    Document,
    Heading,
    Items,
    Picture,
    Section,
    Table,
    Text,
    Tile,
    to_html,
    to_markdown,
)

NASTY = "</title><script>alert(1)</script>|x"
TABLE = Table("sizes & more", ["what", "size"], [[NASTY, 3.5], ["b", "-"]])


def everything(word):
    return Document(
        title=word,
        scope=word,
        headline=word,
        verdict=word,
        tiles=[Tile(word, word, word)],
        statements=[word],
        warnings=[word],
        sections=[
            Section(
                word,
                [Text(word, strong=True), Items([word]), Heading(word), TABLE, Picture(word, word, lambda: "<svg></svg>", TABLE)],
            )
        ],
        footer=word,
    )


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.seen = ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.seen += data


def test_nothing_that_is_shown_becomes_markup():
    page = Page(to_html(everything(NASTY)))
    assert "script" not in [tag for tag, _attributes in page.tags]
    assert page.seen.count(NASTY) >= 12
    text = to_markdown(everything(NASTY)).decode()
    assert "<script>" not in text
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (0, 3, 4) for line in text.splitlines())


def test_a_page_fetches_nothing_and_runs_nothing():
    page = Page(to_html(everything("word")))
    assert {tag for tag, _attributes in page.tags} & {"script", "img", "iframe", "object", "embed"} == set()
    links = [attributes for _tag, attributes in page.tags if {"src", "href"} & set(attributes)]
    assert all((attributes.get("href") or attributes.get("src") or "").startswith(("#", "data:")) for attributes in links)
    assert "url(http" not in to_html(everything("word")).decode()
    assert any("default-src 'none'" in (attributes.get("content") or "") for _tag, attributes in page.tags)


def test_every_section_can_be_jumped_to_and_every_table_has_a_name():
    page = Page(to_html(everything("A word, and more")))
    targets = {attributes["id"] for _tag, attributes in page.tags if "id" in attributes}
    jumps = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert {jump[1:] for jump in jumps} <= targets
    assert "a-word-and-more" in targets
    assert (
        len([tag for tag, _attributes in page.tags if tag == "caption"])
        == len([tag for tag, _attributes in page.tags if tag == "table"])
        == 2
    )


def test_both_texts_say_the_same():
    page, text = Page(to_html(everything("word"))), to_markdown(everything("word")).decode()
    assert page.seen.count("sizes & more") == 2
    assert "3.5" in page.seen
    assert text.count("3.5") == 2
    assert text.startswith("# word\n")
