# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as a list of sections, and its two texts: Markdown, and one HTML page that needs nothing else. Pure.

Both are made from the same sections, so that they say the same. Whatever comes from a host, an inventory or a manifest is escaped in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import jinja2
from markupsafe import Markup

from .words import markdown

TEMPLATES = Path(__file__).parent / "data" / "page"
#: Rows of a table that somebody may still read. A longer one would only make the page large; the report's JSON has them all.
MOST_ROWS = 1000
_NUMBER = re.compile(r"[+-]?\d[\d.]*( %)?")


@dataclass(frozen=True)
class Text:
    """A paragraph; ``strong`` for what has to be read before the figures."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: list[str]
    strong: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; ``what`` names it. A ``folded`` one is opened by who wants to see it."""

    what: str
    head: list[str]
    rows: list[list[Any]]
    folded: bool = False

    @property
    def shown(self) -> list[list[Any]]:
        """The rows that a text shows."""
        return self.rows[:MOST_ROWS]

    @property
    def unshown(self) -> str:
        """What is said about the others; empty where there are none."""
        left = len(self.rows) - MOST_ROWS
        return f"{left} more rows are in the report's JSON." if left > 0 else ""


@dataclass(frozen=True)
class Picture:
    """A picture, the same in words, and its numbers. ``svg`` draws it; its markup is trusted: it comes from ``pictures``, which escapes."""

    title: str
    alt: str
    svg: Callable[[], str]
    numbers: Table


Block = Union[Text, Items, Heading, Table, Picture]


@dataclass(frozen=True)
class Tile:
    """One figure of the first screen: what it is, the figure, how sure."""

    what: str
    figure: str
    note: str


@dataclass(frozen=True)
class Section:
    title: str
    blocks: list[Block]

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """``title``, what it is about (``scope``), the answer in one sentence (``headline``), its verdict, tiles, statements, sections."""

    title: str
    scope: str
    headline: str
    verdict: str
    tiles: list[Tile]
    statements: list[str]
    warnings: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    footer: str = ""


# --- Markdown ----------------------------------------------------------------------------------------------------------------------


def _markdown_table(table: Table) -> list[str]:
    lines = ["| " + " | ".join(markdown(cell) for cell in table.head) + " |", "|" + " --- |" * len(table.head)]
    return [
        *lines,
        *("| " + " | ".join(markdown(cell) for cell in row) + " |" for row in table.shown),
        "",
        *([table.unshown, ""] if table.unshown else []),
    ]


def _markdown_block(block: Block) -> list[str]:
    if isinstance(block, Heading):
        return [f"### {markdown(block.text)}", ""]
    if isinstance(block, Table):
        return _markdown_table(block)
    if isinstance(block, Picture):
        return [f"### {markdown(block.title)}", "", markdown(block.alt), "", *_markdown_table(block.numbers)]
    mark = "**" if block.strong else ""
    if isinstance(block, Items):
        return [*(f"- {mark}{markdown(item)}{mark}" for item in block.items), ""]
    return [f"{mark}{markdown(block.text)}{mark}", ""]


def blocks_to_markdown(blocks: list[Block]) -> str:
    """Blocks alone, without a document around them."""
    return "\n".join(line for block in blocks for line in _markdown_block(block))


def to_markdown(document: Document) -> bytes:
    """The document for people who read text."""
    lines = [f"# {markdown(document.title)}", "", f"{markdown(document.scope)}.", "", f"**{markdown(document.headline)}.**", ""]
    if document.warnings:
        lines += _markdown_block(Items(document.warnings, strong=True))
    if document.tiles:
        tiles = [[tile.what, tile.figure, tile.note] for tile in document.tiles]
        lines += _markdown_table(Table("At a glance", ["what", "figure", "how sure"], tiles))
    lines += _markdown_block(Items(document.statements))
    for section in document.sections:
        lines += [f"## {markdown(section.title)}", ""]
        for block in section.blocks:
            lines += _markdown_block(block)
    lines += [markdown(document.footer)] if document.footer else []
    return ("\n".join(lines).rstrip("\n") + "\n").encode()


# --- HTML --------------------------------------------------------------------------------------------------------------------------


def _is_number(cell: Any) -> bool:
    return _NUMBER.fullmatch(str(cell).strip()) is not None


def to_html(document: Document) -> bytes:
    """The document as one HTML page: style and pictures inside, no script, nothing fetched."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.tests["number"] = _is_number
    style = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))  # ours, not from a host
    page = environment.get_template("page.html.j2").render(document=document, style=style)
    return (page.rstrip("\n") + "\n").encode()
