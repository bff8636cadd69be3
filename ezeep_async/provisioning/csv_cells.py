"""CSV cells that a spreadsheet does not read as formulas.

As OWASP recommends ("CSV Injection"), a single quote precedes a value that a spreadsheet might calculate. The reader of
this package removes that quote, so names round-trip.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ezeep_async._wire.group_names import is_invisible


_FORMULA = frozenset("=+-@")
_CELL_START = frozenset("\t\r\n\0")
"""Spreadsheets skip these characters, or start a new cell at them."""
_QUOTED = frozenset(',;\t\r\n"')
"""Characters that need a quoted cell: separators of any locale, quotes and line ends."""


def protected(text: str) -> str:
    """Return the cell for a text: with a single quote in front if it would be a formula.

    A text that already begins with single quotes gets one more: `unprotected` removes one.
    """
    return "'" + text if _is_formula(text.lstrip("'")) else text


def unprotected(cell: str) -> str:
    """Return the text of a cell that `protected` wrote."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def csv_line(cells: Iterable[object], line_end: str, delimiter: str = ",") -> str:
    """Format a line of CSV (RFC 4180). None is an empty cell; texts are protected."""
    return delimiter.join(map(_cell, cells)) + line_end


def _cell(value: object) -> str:
    text = "" if value is None else protected(value) if isinstance(value, str) else str(value)
    if text[:1].isspace() or not _QUOTED.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may calculate the text: it begins with `=`, `+`, `-`, `@` or a full-width form of these."""
    if text[:1] in _CELL_START:
        return True
    for character in text:
        if not character.isspace() and not is_invisible(character):
            return unicodedata.normalize("NFKC", character)[0] in _FORMULA
    return False
