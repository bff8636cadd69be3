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
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from ezeep_async._wire.group_names import is_invisible
from ezeep_async.provisioning.wording import counted


if TYPE_CHECKING:
    from ezeep_async import InvalidInput


FULL = frozenset(
    {errno.ENOSPC, errno.EFBIG, errno.EIO, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}
)
"""Errors of a write to a full disk or a file at its size limit."""
SUCCESS_CODES = frozenset({0, 2})
"""Exit codes of success; 2 is a plan with pending changes."""
PROBLEMS_SHOWN = 20
"""Problems of an input."""
DEFAULT_WIDTH = 80
"""Columns of a terminal of unknown width."""


before_output: list[Callable[[], object]] = []
"""Called before anything is written: they remove what is on the terminal only for a while."""


def make_way() -> None:
    """Call `before_output`. What writes to a terminal past this module calls it first."""
    for each in before_output:
        each()


class _Characters(dict[int, str]):
    """A table for `str.translate` that replaces hidden characters. It fills itself on demand."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        # Invisible marks, such as the selector of an emoji, belong to the character before them.
        is_hidden = category == "Cf" or (category != "Mn" and is_invisible(character))
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


def problem_lines(error: InvalidInput) -> list[str]:
    """The problems of an input, one in a line, with their columns as spreadsheets name them. One problem is one line."""
    lines = [
        f"{problem} (column {_letters(problem.column)})" if problem.column is not None else str(problem)
        for problem in error.problems[:PROBLEMS_SHOWN]
    ]
    if (more := error.count - len(lines)) > 0:
        lines.append(f"and {counted(more, 'more problem')}")
    if error.count > 1:
        lines.insert(0, f"the input has {error.count} problems:")
    return [*lines, *error.advice]


def _letters(column: int) -> str:
    """The name of a column in a spreadsheet: A to Z, AA, AB."""
    above, letter = divmod(column - 1, 26)
    return (_letters(above) if above else "") + chr(ord("A") + letter)


def complain(text: str, *more: str) -> None:
    """Write an error line to standard error, and indented lines. They are not wrapped, so that people can copy them."""
    write_error(f"ezeep: {clean(text)}\n" + "".join(f"  {clean(line)}\n" for line in more))


def write_error(text: str) -> None:
    """Write clean text to standard error. Errors of the stream are ignored."""
    make_way()
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
        content = content.removeprefix("\ufeff").replace("\r\n", "\n").translate(_in_csv)
    _write_bytes(content)


def write_json(content: str) -> None:
    """Write a JSON document to standard output, with hidden characters as JSON escapes. Raises `OSError`."""
    _write_bytes(content.translate(_in_json) + "\n")


def _write_bytes(content: str) -> None:
    make_way()
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
    except OSError as error:
        forget(sys.stdout)
        if isinstance(error, BrokenPipeError):
            failure = 141
        else:
            failure = 1
            complain(incomplete(error))
        return failure if code in SUCCESS_CODES else code
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
    """Whether a stream is a terminal, independent of color settings."""
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
