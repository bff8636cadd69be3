"""Lists and numbers in messages."""

from __future__ import annotations

from collections.abc import Sequence


NAMES_SHOWN = 10
"""Names in an error message. The attributes of the error have all of them."""


def some(names: Sequence[str], most: int = NAMES_SHOWN) -> str:
    """Join the first `most` names, and say how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun in singular or plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
