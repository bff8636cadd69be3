"""How lists and numbers are put into sentences."""

from __future__ import annotations

from collections.abc import Sequence


NAMES_SHOWN = 10
"""How many names the message of an error spells out. Its attributes have all of them."""


def some(names: Sequence[str], most: int = NAMES_SHOWN) -> str:
    """The first of them, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
