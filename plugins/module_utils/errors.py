# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that kjoule raises for anything a person can act on."""

from __future__ import annotations


class KjouleError(Exception):
    """An error in four parts: what is wrong, what was expected, what was seen, what to do next.

    ``what`` names the thing. The other parts are optional, but a message without ``next_step``
    should be rare: the reader is standing in front of a terminal.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        seen: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.seen = seen
        self.next_step = next_step
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.what.rstrip(".")
        details = []
        if self.expected:
            details.append(f"expected {self.expected}")
        if self.seen:
            details.append(f"saw {self.seen}")
        if details:
            text += ": " + ", ".join(details)
        if self.next_step:
            text += f". Next: {self.next_step}"
        return text


class PeriodInvalid(KjouleError):
    """A period that cannot count, with the reason; what was measured so far is kept in its record."""
