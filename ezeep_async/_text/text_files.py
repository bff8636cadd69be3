"""Decodes files that people edit: inputs, settings, secrets, logs."""

from __future__ import annotations

import re
from collections.abc import Iterator


UTF8_BOM = b"\xef\xbb\xbf"
ADVICE = "save it as UTF-8"
"""Advice for a file in another encoding."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class NotText(ValueError):
    """The content is not UTF-8. The message contains nothing of it. `line` counts from 1; None means the whole file."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.reason = message
        self.line = line


def without_bom(content: bytes) -> bytes:
    """Return the content without a byte order mark. Raises `NotText` for UTF-16, with a mark or without."""
    # Every format here begins with an ASCII character, which has one zero byte in UTF-16.
    if content.startswith(_UTF16_BOMS) or (len(content) > 1 and content[:2].count(0) == 1):
        raise NotText(f"this is UTF-16: {ADVICE}")
    return content.removeprefix(UTF8_BOM)


def is_blank(content: str | bytes) -> bool:
    """Whether the content is empty, apart from white space and a byte order mark."""
    if isinstance(content, str):
        return not content.removeprefix("\ufeff").strip()
    return not content.removeprefix(UTF8_BOM).strip()


def lines_of(content: bytes) -> Iterator[tuple[int, bytes]]:
    r"""Yield lines with their numbers. They end with `\n`, `\r\n` or `\r`."""
    number, start = 1, 0
    for end in _LINE_END.finditer(content):
        yield number, content[start : end.start()]
        number, start = number + 1, end.end()
    yield number, content[start:]


def line_of(content: bytes, number: int | None = None) -> str:
    """Decode one line. Raises `NotText`."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is not UTF-8: {ADVICE}"
    # Raised outside the except block: the decoder's error contains the content and must not be chained.
    raise NotText(reason, number)


def text_of(content: str | bytes) -> str:
    r"""Decode the whole text, without a byte order mark and with `\n` as line ends. Raises `NotText`."""
    if isinstance(content, str):
        return content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line_of(line, number) for number, line in lines_of(without_bom(content)))
