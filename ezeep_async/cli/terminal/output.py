"""Standard output and standard error of a command: documents for programs, and lines for people.

Text from the server or from files may contain characters that control a terminal. They are replaced or escaped.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TextIO


HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that control a terminal, change the direction of text, or are invisible."""
FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that are drawn as nothing."""
FULL = frozenset(
    {errno.ENOSPC, errno.EFBIG, errno.EIO, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}
)
"""Errors of a write to a full disk or a file at its size limit."""
WENT_WELL = frozenset({0, 2})
"""Exit codes of success; 2 is a plan with pending changes."""
DEFAULT_WIDTH = 80
"""Columns of a terminal of unknown width."""
_QUOTES = "'\""


class Whole(str):
    """A text that people copy, such as an id, an address, a path or a command: never broken across lines."""

    __slots__ = ()


class _Characters(dict[int, str]):
    """A table for `str.translate` that replaces hidden characters. It fills itself on demand."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_hidden = unicodedata.category(character) in HIDDEN or character in FILLERS
        self[code] = self._replace(character) if is_hidden else character
        return self[code]


_for_people = _Characters(lambda _: "\N{REPLACEMENT CHARACTER}")
_in_json = _Characters(lambda character: character if character == "\n" else json.dumps(character)[1:-1])
_in_csv = _Characters(lambda character: character if character in "\n\t" else "\N{REPLACEMENT CHARACTER}")


def clean(value: object) -> str:
    """Return a value as one line, with hidden characters replaced."""
    return str(value).translate(_for_people)


def sentence(error: BaseException) -> str:
    """Return an error as one line for people."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return clean(f"{error.filename}: {error.strerror}")
    return clean(" ".join(str(error).split())) or type(error).__name__


def complain(text: str) -> None:
    """Write an error line to standard error. It is not wrapped, so that people can copy it and search for it."""
    write_error(f"ezeep: {clean(text)}\n")


def write_error(text: str) -> None:
    """Write clean text to standard error. Errors of the stream are ignored."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        forget(sys.stderr)


# --- for programs --------------------------------------------------------------------------------------------------


def write_document(content: str) -> None:
    """Write a document for programs, such as CSV, to standard output, always in UTF-8.

    On a terminal, hidden characters are replaced. Raises `OSError`.
    """
    if is_terminal(sys.stdout):
        content = content.replace("\r\n", "\n").translate(_in_csv)
    _write_bytes(content)


def write_json(content: str) -> None:
    """Write a JSON document to standard output, with hidden characters as JSON escapes. Raises `OSError`."""
    _write_bytes(content.translate(_in_json) + "\n")


def _write_bytes(content: str) -> None:
    sys.stdout.flush()
    # Paths may contain bytes that are not UTF-8: write them unchanged.
    sys.stdout.buffer.write(content.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


# --- the streams ---------------------------------------------------------------------------------------------------


def prepare_streams() -> None:
    """Set buffering and encoding of both streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream.buffer, io.RawIOBase):
            # PYTHONUNBUFFERED: a raw stream may write only a part of a text without an error.
            stream = io.TextIOWrapper(
                io.BufferedWriter(stream.buffer), encoding=stream.encoding, line_buffering=True
            )
            setattr(sys, name, stream)
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A terminal shows escapes for characters that its encoding does not have. Programs read UTF-8.
            encoding = stream.encoding if is_terminal(stream) else "utf-8"
            reconfigure(encoding=encoding, errors="backslashreplace")


def finished(code: int) -> int:
    """Flush standard output. Return `code`, or the exit code of a failed write if the command succeeded otherwise."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        forget(sys.stdout)
        return 141 if code in WENT_WELL else code
    except OSError as error:
        forget(sys.stdout)
        complain(incomplete(error))
        return 1 if code in WENT_WELL else code
    return code


def incomplete(error: OSError) -> str:
    """The message for an incomplete write to standard output."""
    return f"standard output cannot be written: {error.strerror}. What was written is incomplete"


def is_stuck(stream: TextIO) -> bool:
    """Whether the buffer of a stream cannot be flushed."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


def forget(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that the interpreter does not flush its buffer again at exit."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal, independent of colour settings."""
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def width_of(stream: TextIO) -> int:
    """Columns of the terminal behind a stream; 0 if it is not a terminal."""
    if not is_terminal(stream):
        return 0
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except (OSError, ValueError):
        return DEFAULT_WIDTH


# --- lines ---------------------------------------------------------------------------------------------------------


def wrapped(text: str, width: int, *more: str) -> Iterator[str]:
    """Wrap clean text between words into lines of at most `width` columns; 0 means one line.

    A `Whole`, quoted text, and a word longer than a line are not broken.
    """
    if not width or (not more and isinstance(text, Whole)):
        yield " ".join(clean(part) for part in (text, *more))
        return
    indent = " " * (len(text) - len(text.lstrip(" ")))
    line = ""
    for word in chain.from_iterable(
        _words(part) for part in (text.removeprefix(indent) if indent else text, *more) if part
    ):
        if not line:
            line = indent + word
        elif cells(line) + 1 + cells(word) <= width:
            line += f" {word}"
        else:
            yield line.rstrip()
            line = indent + word
    yield line.rstrip()


def _words(text: str) -> Iterator[str]:
    if isinstance(text, Whole):
        yield clean(text)
        return
    words = iter(clean(text).split(" "))
    for word in words:
        quote = word.lstrip("([")[:1]
        if not quote or quote not in _QUOTES or _ends_quote(word.lstrip("([")[1:], quote):
            yield word
            continue
        rest: list[str] = []
        for other in words:
            rest.append(other)
            if _ends_quote(other, quote):
                yield " ".join((word, *rest))
                break
        else:
            yield word
            yield from rest


def _ends_quote(word: str, quote: str) -> bool:
    return quote in word and not word.rpartition(quote)[2].strip(".,:;?!)]")


def cells(text: str) -> int:
    """Columns that a text occupies in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
