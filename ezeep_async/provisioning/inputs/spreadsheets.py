"""Files of spreadsheet programs: workbooks, which are not read, and encodings other than UTF-8."""

from __future__ import annotations

import codecs
import contextlib
from typing import TYPE_CHECKING

from ezeep_async._text.text_files import ADVICE, UTF8_BOM, NotText, without_bom


if TYPE_CHECKING:
    from ezeep_async.provisioning.inputs.problems import Collector


WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"})
"""File name suffixes of workbooks."""
SAVE_AS = (
    'In Excel: File, Save As, "CSV UTF-8 (Comma delimited)"; in LibreOffice: "Text CSV" with Unicode (UTF-8)'
)
NAME_ENCODING = f'{SAVE_AS}. Or name its encoding, such as --encoding cp1252 (in Python: encoding="cp1252")'
"""Advice for a file that is not UTF-8."""
NAME_UTF16 = f'{SAVE_AS}. Or name its encoding: --encoding {{0}} (in Python: encoding="{{0}}")'
"""Advice for a file that is UTF-16."""

_WORKBOOK_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""First bytes of ZIP archives (.xlsx, .ods, .numbers) and of compound files (.xls)."""
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


def checked_encoding(name: object) -> str:
    """Return the normalized name of a text encoding. Raises `ValueError` if there is none of that name."""
    try:
        if isinstance(name, str):
            found = codecs.lookup(name).name
            with contextlib.suppress(UnicodeDecodeError):
                b"text".decode(
                    found
                )  # raises LookupError for codecs such as zip, which are no encodings of text
            return found
    except (LookupError, UnicodeError, ValueError):  # ValueError: a null character
        pass
    raise ValueError(
        f"encoding must be an encoding that Python has, such as 'utf-8' or 'cp1252', not {name!r}"
    )


def is_workbook(content: bytes) -> bool:
    """Whether the content is a workbook, whatever the name of its file."""
    return content.startswith(_WORKBOOK_STARTS)


def utf16_name(content: bytes) -> str:
    """Name the encoding of a content that begins as UTF-16 does. Empty for another content."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # As in `without_bom`: an ASCII character has one zero byte.
    if content[:2].count(0) != 1:
        return ""
    return "utf-16-le" if content[0] else "utf-16-be"


def as_utf8(content: bytes, encoding: str, collector: Collector) -> bytes:
    """Return the content in UTF-8, without a byte order mark. `encoding` is of `checked_encoding`.

    A byte order mark of UTF-8 comes before `encoding`: it leaves no doubt. Each line that has other bytes than those of the
    encoding is a problem.

    Raises:
        NotText: The content is UTF-16 or UTF-8, and `encoding` is another one.
    """
    if encoding == "utf-8" or content.startswith(UTF8_BOM):
        return without_bom(content)
    if encoding.startswith(("utf-16", "utf-32")):
        _refuse_other(content, encoding)
    elif not encoding.startswith("utf"):
        without_bom(content)
        if not content.isascii() and _is_utf8(content):
            raise NotText(f"this is UTF-8, not {encoding}: leave out the encoding")
    try:
        text = content.decode(encoding)
    except UnicodeError:
        text = content.decode(encoding, "replace")
        for number, line in enumerate(text.encode().splitlines(), 1):
            if _UNREADABLE.encode() in line:
                collector.note_problem(number, f"some of its bytes are not {encoding}: {ADVICE}")
    return text.removeprefix("\ufeff").encode("utf-8", "replace")


def _refuse_other(content: bytes, encoding: str) -> None:
    """Raise `NotText` for a content without the zero bytes of UTF-16, and for one without its byte order."""
    if content and 0 not in content:
        if _is_utf8(content):
            raise NotText(f"this is UTF-8, not {encoding}: leave out the encoding")
        raise NotText(f"this is not {encoding}: leave out the encoding")
    if encoding == "utf-16" and utf16_name(content) == "utf-16-be":
        raise NotText("this is utf-16-be, not utf-16: it has no byte order mark")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
