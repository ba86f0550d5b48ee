# SPDX-License-Identifier: GPL-3.0-or-later
"""Tuning a host and putting it back as it was, also after a crash or a reboot.

What was found is written to a file on the host before the first knob is turned, and kept until it is restored. Tuning again keeps the first
state of all, so that a run after a crashed one does not take the tuned state for the original.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from ..errors import KjouleError
from .knobs import NAMES, Refused, make_knobs

SCHEMA = "kjoule.tuning/1"
FILE = "tuning.json"

#: knob -> item -> {"before": value, "set": value}
Saved = dict[str, dict[str, dict[str, str]]]


def show(knobs: list[Any]) -> list[dict[str, Any]]:
    """What each knob is now: ``{knob, found: {item: value}, changed: [], refused: [], note, gain}``."""
    return [_row(knob, *_items_of(knob)) for knob in knobs]


def tune(knobs: list[Any], save_dir: str, check_mode: bool = False) -> list[dict[str, Any]]:
    """Set every item to what its knob wants. Rows as of ``show``, with ``changed: [{item, before, after}]`` and ``refused: [why]``.

    Raises KjouleError when the state of before cannot be saved; nothing is changed then.
    """
    path = os.path.join(save_dir, FILE)
    saved = _load(path)
    rows, wanted = [], []
    for knob in knobs:
        found, refused = _items_of(knob)
        row = _row(knob, found, refused)
        rows.append(row)
        for item, value in found.items():
            want = knob.wanted(item, value)
            if want != value:
                wanted.append((knob, row, item, value, want))
    if check_mode or not wanted:
        for _knob, row, item, value, want in wanted:
            row["changed"].append({"item": item, "before": value, "after": want})
        return rows
    before = json.loads(json.dumps(saved))
    for knob, _row_of, item, value, want in wanted:
        first = saved.get(knob.name, {}).get(item, {}).get("before", value)
        saved.setdefault(knob.name, {})[item] = {"before": first, "set": want}
    _store(path, saved)
    for knob, row, item, value, want in wanted:
        try:
            knob.set(item, want)
        except Refused as refused_because:
            row["refused"].append(str(refused_because))
            _forget(saved, before, knob.name, item)
        else:
            row["changed"].append({"item": item, "before": value, "after": want})
    _store(path, saved)
    return rows


def restore(save_dir: str, check_mode: bool = False, **where: Any) -> list[dict[str, Any]]:
    """Put everything back that was set: rows as of ``tune``. What somebody has changed since is left, and said; what is gone is forgotten.

    ``where`` is handed to ``make_knobs``. Raises KjouleError when something could not be put back; it stays in the file for the next try.
    """
    path = os.path.join(save_dir, FILE)
    saved = _load(path)
    rows, left, failed = [], json.loads(json.dumps(saved)), []
    for knob in reversed(make_knobs([name for name in saved if name in NAMES], **where)):
        row = _row(knob, {}, [])
        row["note"] = ""
        rows.append(row)
        for item, values in saved[knob.name].items():
            try:
                now = knob.read(item)
                row["found"][item] = now if now is not None else "gone"
                if now == values["set"]:
                    if not check_mode:
                        knob.set(item, values["before"])
                    row["changed"].append({"item": item, "before": now, "after": values["before"]})
                elif now is not None and now != values["before"]:
                    row["note"] = f"{item} was changed to {now} since it was tuned, and is left so"
                del left[knob.name][item]
            except Refused as refused:
                row["refused"].append(str(refused))
                failed.append(str(refused))
    if not check_mode:
        _store(path, left)
    if failed:
        raise KjouleError(
            "the host is not as it was before it was tuned",
            seen="; ".join(failed),
            next_step=f"mend that and restore again; {path} is kept",
        )
    return rows


def _items_of(knob: Any) -> tuple[dict[str, str], list[str]]:
    try:
        return knob.items(), []
    except Refused as refused:
        return {}, [str(refused)]


def _row(knob: Any, found: dict[str, str], refused: list[str]) -> dict[str, Any]:
    note = "" if refused else knob.note(found)
    return {"knob": knob.name, "found": dict(found), "changed": [], "refused": list(refused), "note": note, "gain": knob.gain}


def _forget(saved: Saved, before: Saved, knob: str, item: str) -> None:
    """Take the entry of an item that could not be set back to what it was."""
    if item in before.get(knob, {}):
        saved[knob][item] = before[knob][item]
    else:
        del saved[knob][item]


def _load(path: str) -> Saved:
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        return {
            str(knob): {str(item): {key: str(values[key]) for key in ("before", "set")} for item, values in items.items()}
            for knob, items in content["knobs"].items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KjouleError(
            f"{path} holds what this host was before it was tuned, and cannot be read",
            expected=f"schema {SCHEMA}",
            seen=str(error),
            next_step="read it, set the host back by hand (a reboot does most of it), then remove the file",
        ) from error


def _store(path: str, saved: Saved) -> None:
    """Write the file in one step and to the disk; without any entry, remove it."""
    content = {knob: items for knob, items in saved.items() if items}
    directory = os.path.dirname(path)
    try:
        if not content:
            if os.path.exists(path):
                os.unlink(path)
                if not os.listdir(directory):
                    os.rmdir(directory)
            return
        os.makedirs(directory, mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=f".{FILE}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"schema": SCHEMA, "knobs": content}, stream, indent=1, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise KjouleError(
            f"the state of the host before tuning cannot be kept in {path}",
            seen=str(error),
            next_step="run as root (tuning_become), or set tuning_save_dir",
        ) from error
