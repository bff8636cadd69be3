"""Cells of CSV files, written so that a spreadsheet takes none of them for a formula.

The convention is that of OWASP ("CSV Injection"): a single quote before a value that a spreadsheet might calculate. Our
own reader takes exactly that quote off again, so that names survive being written and read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ezeep_async._wire.group_names import is_invisible


_FORMULA = frozenset("=+-@")
_BEGINS_ANEW = frozenset("\t\r\n\0")
"""Spreadsheets skip these, or begin another cell with them."""
_QUOTED = frozenset(',;\t\r\n"')
"""Characters for which a cell is put into double quotes: separators in one country or another, and line ends."""


def protected(text: str) -> str:
    """The text as a cell that is no formula: with a single quote in front, where it would be one.

    Also where there are single quotes in front already: `unprotected` takes one of them off.
    """
    return "'" + text if _is_formula(text.lstrip("'")) else text


def unprotected(cell: str) -> str:
    """The text that `protected` made the cell of."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def csv_line(cells: Iterable[object], line_end: str) -> str:
    """A line of CSV (RFC 4180). None is an empty cell; texts are protected."""
    return ",".join(map(_cell, cells)) + line_end


def _cell(value: object) -> str:
    text = "" if value is None else protected(value) if isinstance(value, str) else str(value)
    if text[:1].isspace() or not _QUOTED.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may calculate it: it begins with `=`, `+`, `-` or `@`, full-width ones and others too."""
    if text[:1] in _BEGINS_ANEW:
        return True
    for character in text:
        if not character.isspace() and not is_invisible(character):
            return unicodedata.normalize("NFKC", character)[0] in _FORMULA
    return False
