"""Where the commands write: tables and a progress bar for a terminal, plain lines for everything else."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import TextIO, cast
from uuid import UUID

import attrs
import segno
from rich.box import HEAVY, SIMPLE_HEAD
from rich.console import Console, ConsoleDimensions
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ezeep_async.cli.terminal.output import (
    Whole,
    cells,
    clean,
    complain,
    is_terminal,
    sentence,
    width_of,
    wrapped,
    write_document,
    write_json,
)


__all__ = ["Screen", "Steps", "clean", "complain", "sentence", "to_json", "write_document", "write_json"]

PLAIN_STEPS = 4
"""How often the plain output tells how far a run is."""
LINES_AT_ONCE = 200
"""How many styled lines are laid out together."""
WIDEST = 100_000
"""Columns: more than any table has."""
QR_BORDER = 2
DUMB_HEIGHT = 25
PANEL_MARGIN = 10
"""Columns that a panel takes beside its text."""
ROOM_FOR_BAR = 60
"""Columns of a terminal that has room for a bar, and for how long it takes."""


def to_json(value: object) -> str:
    """Records, and lists of them, as JSON with the names of the wire."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain_value)


def _plain_value(value: object) -> object:
    kind = type(value)
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _qr_code(text: str, width: int) -> str:
    """The picture, empty where a terminal of that width has no room for it."""
    try:
        code = segno.make_qr(text, error="l")
    except segno.DataOverflowError:
        return ""
    lines = io.StringIO()
    code.terminal(out=lines, border=QR_BORDER, compact=True)
    return lines.getvalue().rstrip("\n") if code.symbol_size(border=QR_BORDER)[0] <= width else ""


class TellingConsole(Console):
    """One that tells of a closed pipe, where rich's own ends the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        """Leave it to `main`, which knows what to do about it."""
        raise BrokenPipeError


class _Unfailing:
    """A terminal that may be closed while a bar is shown: the run that it shows goes on, and has its report."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _Rate(ProgressColumn):
    """How many steps are made in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            "" if speed is None else f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="dim"
        )


class Steps:
    """A run's progress, shown as a bar or told in a few lines."""

    def __init__(self, screen: Screen, total: int, bar: Progress | None) -> None:
        self._screen = screen
        self._total = total
        self._bar = bar
        self._task = None if bar is None else bar.add_task("", total=total, failed="")

    def done(self, done: int, failed: int = 0) -> None:
        """So many steps are done, and so many of them in vain."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, failed=f"{failed} failed" if failed else "")
        elif done * PLAIN_STEPS // self._total != (done - 1) * PLAIN_STEPS // self._total:
            self._screen.say(f"   {done} of {self._total} changes" + (f", {failed} failed" if failed else ""))

    def note(self, text: str) -> None:
        """Something worth knowing happened."""
        self._screen.say(f"   {text}")


class Screen:
    """Standard output, as it suits who reads it.

    With `beside`, standard output is for a document, and people are told on standard error, if that is a terminal.
    """

    def __init__(self, *, plain: bool = False, beside: bool = False) -> None:
        self._stream = sys.stderr if beside else sys.stdout
        self._width = width_of(self._stream)
        # Whether it is a terminal is not a question of colours, which the environment forces or forbids.
        self._console = TellingConsole(
            file=self._stream, highlight=False, force_terminal=is_terminal(self._stream), force_jupyter=False
        )
        if self._console.is_dumb_terminal:
            self._console.size = ConsoleDimensions(self._width, DUMB_HEIGHT)  # else 80, whatever it has
        self._beside = beside
        self.plain = plain or not self._width

    def say(self, text: str, *more: str) -> None:
        """A sentence, at once. What is `Whole` in it stays in one piece."""
        if self.plain:
            self._line(" ".join(clean(part) for part in (text, *more)))
        else:
            self._console.print(Text("\n".join(wrapped(text, self._width, *more))), soft_wrap=True)
        self.flush()

    def _line(self, text: str) -> None:
        """Clean text, with a line end."""
        if not self._beside:
            self._stream.write(text + "\n")

    def flush(self) -> None:
        """Show now what was written. A pipe or a file would get it when there is more."""
        self._stream.flush()

    def styled(self, lines: Iterable[tuple[str, str]]) -> None:
        """Lines, each with its style."""
        if self.plain:
            for line, _ in lines:
                self._line(clean(line))
            return
        waiting = iter(lines)
        while some := list(islice(waiting, LINES_AT_ONCE)):
            self._console.print(
                Text("\n").join(
                    Text("\n".join(wrapped(line, self._width)), style=style) for line, style in some
                ),
                soft_wrap=True,
            )

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table. Plain: a line for each row, tabs between its values.

        In a terminal that has no room for it: the first value of a row in a line, the others below it.
        """
        if self.plain:
            for row in rows:
                self._line("\t".join(clean(value) for value in row))
            return
        rows = list(rows)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(Text(column))
        for row in rows:
            table.add_row(
                *(Text(clean(value), justify="right" if isinstance(value, int) else "left") for value in row)
            )
        if self._fits(table):
            self._console.print(table)
            return
        for first, *others in rows:
            told = [
                f"{value} {name.removesuffix('s') if value == 1 else name}"
                if isinstance(value, int)
                else str(value)
                for name, value in zip(columns[1:], others, strict=True)
            ]
            lines = wrapped("  ", self._width, *(Whole(f"{each} ") for each in told if each))
            self._console.print(Text.assemble((clean(first), "bold"), "\n", "\n".join(lines)), soft_wrap=True)

    def _fits(self, table: Table) -> bool:
        boundless = self._console.options.update(max_width=WIDEST)
        return self._console.measure(table, options=boundless).maximum <= self._width

    def facts(self, facts: Mapping[str, object]) -> None:
        """Names and values. Plain: a line for each."""
        if self.plain:
            for name, value in facts.items():
                self._line(f"{name}: {clean(value)}")
            return
        longest = max(map(len, facts), default=0)
        for name, value in facts.items():
            label = f"  {name:{longest}}  "
            text = value if isinstance(value, str) else str(value)
            lines = list(wrapped(text, max(1, self._width - len(label))))
            gap = "\n" + " " * len(label)
            if len(label) + max(map(cells, lines)) > self._width:
                # Below its name, and as long as it is.
                label, gap, lines = f"  {name}\n", "\n", list(wrapped(text, self._width))
            self._console.print(Text.assemble((label, "dim"), gap.join(lines)), soft_wrap=True)

    def pairing(self, code: str, address: str) -> None:
        """A code and an address for somebody at another machine; in a terminal large, and to be scanned."""
        if self.plain:
            self.facts({"code": code, "address": address})
            self.flush()
            return
        self.say("Open this address and confirm the code:")
        self.say(Whole(address))
        large = " ".join(clean(code))
        if cells(large) + PANEL_MARGIN > self._width:
            self.say(Whole(code))
        else:
            self._console.print(
                Panel(Text(large, style="bold", justify="center"), box=HEAVY, padding=(1, 4), expand=False)
            )
        if (self._console.encoding or "").lower().startswith("utf"):
            # White on black whatever the theme: many readers see nothing in an inverted code.
            picture = _qr_code(address, self._width)
            self._console.print(Text(picture, style="bright_white on black", no_wrap=True))

    @contextmanager
    def steps(self, total: int) -> Generator[Steps]:
        """Show how `total` steps are made. Plain: in a few lines."""
        if self.plain or self._console.is_dumb_terminal:
            yield Steps(self, total, None)
            return
        columns: list[ProgressColumn] = [TextColumn("  "), MofNCompleteColumn()]
        if self._width >= ROOM_FOR_BAR:
            columns.insert(1, BarColumn(min(40, self._width - ROOM_FOR_BAR + 10)))
            columns += [_Rate(), TimeRemainingColumn(elapsed_when_finished=True)]
        columns.append(TextColumn("{task.fields[failed]}", style="yellow", markup=False))
        self._console.file = cast("TextIO", _Unfailing(self._stream))
        # What goes to a file goes there also while a bar is shown.
        to_bar = is_terminal(sys.stderr)
        try:
            with Progress(
                *columns, console=self._console, redirect_stdout=False, redirect_stderr=to_bar
            ) as bar:
                yield Steps(self, total, bar)
        finally:
            self._console.file = self._stream
