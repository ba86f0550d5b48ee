# SPDX-License-Identifier: GPL-3.0-or-later
"""The setting ``kjoule_prometheus``: which server, and what is read from it. Checked when the plan is made; nothing is asked."""

from __future__ import annotations

import difflib
from typing import Any, cast

from ..module_utils.energy.kepler import zones_option
from ..module_utils.energy.web import text_option
from ..module_utils.errors import KjouleError
from .plain import to_plain
from .promql import checked_unit, selectors

#: How a server is reached. url without /api; the files are on the controller.
SERVER_OPTIONS = ("url", "username", "password_file", "token_file", "ca_file", "timeout_seconds")
#: reader -> its own options
READERS: dict[str, tuple[str, ...]] = {
    "kepler": ("labels", "node", "zones"),
    "scaphandre": ("labels",),
    "promql": ("query", "unit", "type", "resolution"),
}
_COMMON = ("reader", "accuracy", "update_seconds")


def checked_setting(name: str, value: Any) -> dict[str, Any]:
    """``kjoule_prometheus``: ``{url, ..., sources: {name: {...}}}``, or nothing. Raises KjouleError for what is wrong; nothing is asked."""
    if value in (None, "", {}):
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("sources"), dict) or not value["sources"]:
        raise KjouleError(f"setting {name}", expected="a dictionary with url and sources", seen=repr(value)[:120])
    _known(f"setting {name}", value, (*SERVER_OPTIONS, "sources"))
    for source, options in value["sources"].items():
        options = options or {}
        reader = reader_of(source, options)
        _known(f"source {source} of {name}", options, (*READERS[reader], *_COMMON))
        if reader == "promql":
            checked_unit(options.get("unit"))
            selectors(text_option(options, "query", source))
        labels_of(options, source)
        zones_option(options.get("zones"))
    return cast("dict[str, Any]", to_plain(value, name))


def reader_of(source: str, options: Any) -> str:
    if not isinstance(options, dict):
        raise KjouleError(f"source {source} of kjoule_prometheus", expected="a dictionary", seen=repr(options)[:80])
    reader = options.get("reader") or ("promql" if "query" in options else source)
    if reader not in READERS:
        raise KjouleError(
            f"source {source} of kjoule_prometheus", expected="query and unit, or reader: " + " or ".join(READERS), seen=repr(options)[:80]
        )
    return str(reader)


def _known(where: str, given: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for key in given:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, 1)
            raise KjouleError(
                f"{where} has no option {key!r}", expected=", ".join(allowed), next_step=f"write {close[0]!r}" if close else None
            )


def labels_of(options: dict[str, Any], source: str) -> dict[str, str]:
    labels = options.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise KjouleError(
            f"option labels of source {source}", expected="label: value, such as instance: 'nuc1:28282'", seen=repr(labels)[:80]
        )
    return labels
