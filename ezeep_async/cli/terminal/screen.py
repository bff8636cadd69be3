"""Output for people: styled text, tables and a progress bar in a terminal, plain lines everywhere else."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
from rich.box import HEAVY, SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ezeep_async.cli.options import options
from ezeep_async.cli.terminal.output import clean, is_terminal, make_way, width_of


if TYPE_CHECKING:
    from rich.progress import Progress


PLAIN_STEPS = 4
"""Lines of progress in plain output."""
LINES_AT_ONCE = 200
"""Styled lines that are rendered together."""
WIDEST = 100_000
"""Columns: more than any table has."""
QR_BORDER = 2
DUMB_HEIGHT = 25
PANEL_MARGIN = 10
"""Columns of a panel around its text."""

_QUOTED = re.compile(r"""(?<![^\s(\[])(["']).*?\1(?=[.,:;?!)\]]*(?:\s|$))""")
_KEPT_SPACE = "\N{BRAILLE PATTERN BLANK}"
"""Stands for a space at which a line is not broken: `clean` leaves none of these in a text."""


class Whole(str):
    """A text that people copy, such as an id, an address, a path or a command: never broken across lines."""

    __slots__ = ()


def wrapped(text: str, width: int, *more: str) -> list[str]:
    """Wrap clean text between words into lines of at most `width` columns; 0 means one line.

    A `Whole`, quoted text, and a word longer than a line are not broken.
    """
    text = " ".join(_with_kept_spaces(part) for part in (text, *more) if part)
    indent = " " * (len(text) - len(text.lstrip(" ")))
    lines: list[str] = []
    for word in text[len(indent) :].split(" "):
        if lines and (not width or cell_len(f"{indent}{lines[-1]} {word}") <= width):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [(indent + line).rstrip().replace(_KEPT_SPACE, " ") for line in lines]


def _with_kept_spaces(text: str) -> str:
    if isinstance(text, Whole):
        return clean(text).replace(" ", _KEPT_SPACE)
    return _QUOTED.sub(lambda quoted: quoted[0].replace(" ", _KEPT_SPACE), clean(text))


def to_json(value: object) -> str:
    """Return records, and lists of them, as JSON with the names of the wire."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain_value)


def _plain_value(value: object) -> object:
    kind = type(value)
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


def _qr_code(text: str, width: int) -> str:
    """The picture, empty if the terminal is too narrow or the text too long for it."""
    import segno  # slow to import, and only a pairing needs it

    try:
        code = segno.make_qr(text, error="l")
    except segno.DataOverflowError:
        return ""
    lines = io.StringIO()
    code.terminal(out=lines, border=QR_BORDER, compact=True)
    return lines.getvalue().rstrip("\n") if code.symbol_size(border=QR_BORDER)[0] <= width else ""


class PipeConsole(Console):
    """A console that makes way for other output, and that raises for a closed pipe, where rich's own ends the process with exit code 1."""

    def print(self, *objects: Any, **arguments: Any) -> None:
        """Print, as rich does."""
        make_way()
        super().print(*objects, **arguments)

    def on_broken_pipe(self) -> None:
        """Leave it to `main`."""
        raise BrokenPipeError


class Steps:
    """The progress of a run, as a bar or in a few lines."""

    def __init__(self, screen: Screen, total: int, bar: Progress | None) -> None:
        self._screen = screen
        self._total = total
        self._bar = bar
        self._task = None if bar is None else bar.add_task("", total=total, failed="")

    def done(self, done: int, failed: int = 0) -> None:
        """Show the number of finished steps, and how many of them failed."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, failed=f"{failed} failed" if failed else "")
        elif done * PLAIN_STEPS // self._total != (done - 1) * PLAIN_STEPS // self._total:
            self._screen.note(
                f"   {done} of {self._total} changes" + (f", {failed} failed" if failed else "")
            )

    def note(self, text: str) -> None:
        """Show a sentence among the steps."""
        self._screen.note(f"   {text}")


class Screen:
    """Standard output, for a terminal or in plain lines.

    With `stderr=True`, standard output is for a document, and people read standard error, if that is a terminal.
    """

    def __init__(self, *, plain: bool = False, stderr: bool = False) -> None:
        self._stream = sys.stderr if stderr else sys.stdout
        self._width = width_of(self._stream)
        # Colors, which the environment forces or forbids, do not decide whether it is a terminal.
        self._console = PipeConsole(
            file=self._stream, highlight=False, force_terminal=is_terminal(self._stream), force_jupyter=False
        )
        if self._console.is_dumb_terminal:
            self._console.size = ConsoleDimensions(self._width, DUMB_HEIGHT)  # rich assumes 80 columns
        self._is_for_document = stderr
        self.plain = plain or not self._width

    def say(self, text: str, *more: str) -> None:
        """Show a sentence at once. A `Whole` in it stays in one piece."""
        self._lines([(wrapped(text, 0 if self.plain else self._width, *more), "")])
        self.flush()

    def note(self, text: str, *more: str) -> None:
        """Show a sentence that is no result: what was done, or what can be done next. Nothing with `--quiet`."""
        if not options().quiet:
            self.say(text, *more)

    def styled(self, lines: Iterable[tuple[str, str]]) -> None:
        """Show lines, each with its style."""
        width = 0 if self.plain else self._width
        self._lines(
            ([clean(line)] if isinstance(line, Whole) else wrapped(line, width), style)
            for line, style in lines
        )

    def _lines(self, paragraphs: Iterable[tuple[Sequence[str], str]]) -> None:
        """Show clean lines, each paragraph with its style."""
        if self.plain:
            make_way()
            for lines, _ in paragraphs:
                if not self._is_for_document:
                    self._stream.write("\n".join(lines) + "\n")
            return
        waiting = iter(paragraphs)
        while some := list(islice(waiting, LINES_AT_ONCE)):
            text = Text("\n").join(Text("\n".join(lines), style=style) for lines, style in some)
            self._console.print(text, soft_wrap=True)

    def flush(self) -> None:
        """Write what a pipe or a file would get later."""
        self._stream.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show a table. Plain: a line for each row, tabs between its values.

        In a terminal that is too narrow: the first value of a row in a line, the others below it.
        """
        if self.plain:
            self._lines((["\t".join(map(clean, row))], "") for row in rows)
            return
        rows = list(rows)
        table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(
                *(Text(clean(value), justify="right" if isinstance(value, int) else "left") for value in row)
            )
        unlimited = self._console.options.update(max_width=WIDEST)
        if self._console.measure(table, options=unlimited).maximum <= self._width:
            self._console.print(table)
            return
        for first, *others in rows:
            values = [
                f"{value} {name.removesuffix('s') if value == 1 else name}"
                if isinstance(value, int)
                else str(value)
                for name, value in zip(columns[1:], others, strict=True)
            ]
            lines = wrapped("  ", self._width, *(Whole(f"{each} ") for each in values if each))
            self._console.print(Text.assemble((clean(first), "bold"), "\n", "\n".join(lines)), soft_wrap=True)

    def facts(self, facts: Mapping[str, object]) -> None:
        """Show names and values. Plain: a line for each."""
        if self.plain:
            self._lines(([f"{name}: {clean(value)}"], "") for name, value in facts.items())
            return
        longest = max(map(len, facts), default=0)
        for name, value in facts.items():
            label = f"  {name:{longest}}  "
            text = value if isinstance(value, str) else str(value)
            lines = wrapped(text, max(1, self._width - len(label)))
            gap = "\n" + " " * len(label)
            if len(label) + max(map(cell_len, lines)) > self._width:
                # Below its name, and as long as it is.
                label, gap, lines = f"  {name}\n", "\n", wrapped(text, self._width)
            self._console.print(Text.assemble((label, "dim"), gap.join(lines)), soft_wrap=True)

    def pairing(self, code: str, address: str) -> None:
        """Show the code and the address of a pairing; in a terminal large, and as a QR code."""
        if self.plain:
            self.facts({"code": code, "address": address})
            self.flush()
            return
        self.say("Open this address and confirm the code:")
        self.say(Whole(address))
        large = " ".join(clean(code))
        if cell_len(large) + PANEL_MARGIN > self._width:
            self.say(Whole(code))
        else:
            self._console.print(
                Panel(Text(large, style="bold", justify="center"), box=HEAVY, padding=(1, 4), expand=False)
            )
        if (self._console.encoding or "").lower().startswith("utf"):
            # White on black in every theme: many readers do not recognize an inverted code.
            picture = _qr_code(address, self._width)
            self._console.print(Text(picture, style="bright_white on black", no_wrap=True))

    @contextmanager
    def steps(self, total: int) -> Generator[Steps]:
        """Show the progress of `total` steps. Plain: in a few lines."""
        if self.plain or self._console.is_dumb_terminal or options().quiet:
            yield Steps(self, total, None)
            return
        from ezeep_async.cli.terminal.bar import progress_bar

        with progress_bar(self._console, self._width) as bar:
            yield Steps(self, total, bar)

    @contextmanager
    def document_bars(self) -> Generator[Progress | None]:
        """Show a line for each document in work, with the field `state`. None, and nothing, in plain output."""
        if self.plain or self._console.is_dumb_terminal or options().quiet:
            yield None
            return
        from ezeep_async.cli.terminal.bar import document_bars

        with document_bars(self._console, self._width) as bars:
            yield bars
