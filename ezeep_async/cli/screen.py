"""Where the commands write: tables and a progress bar for a terminal, plain lines for everything else."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import attrs
import segno
from rich.box import HEAVY, SIMPLE_HEAD
from rich.console import Console, Group
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


PLAIN_STEPS = 4
"""How often the plain output tells how far a run is."""
LINES_AT_ONCE = 200
"""How many styled lines are laid out together."""


def clean(value: object) -> str:
    """A value as one line that a terminal does not take for commands."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in {"Cc", "Cs"} else character
        for character in str(value)
    )


def sentence(error: BaseException) -> str:
    """An error in one line, for people."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return clean(f"{error.filename}: {error.strerror}")
    return clean(" ".join(str(error).split())) or type(error).__name__


def complain(text: str) -> None:
    """One line on standard error, in the form that `main` has for errors."""
    sys.stderr.write(f"ezeep: {clean(text)}\n")


def write_document(content: str) -> None:
    """What another program reads, on standard output: UTF-8, whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content.encode())


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


def _qr_code(text: str) -> str:
    lines = io.StringIO()
    segno.make_qr(text, error="l").terminal(out=lines, border=2, compact=True)
    return lines.getvalue().rstrip("\n")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `main`, which knows what to do about it."""
        raise BrokenPipeError


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
        self._task = None if bar is None else bar.add_task("", total=total, note="")

    def done(self, done: int, failed: int = 0) -> None:
        """So many steps are done, and so many of them in vain."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
            if failed:
                self.last_note(f"{failed} failed")
        elif done * PLAIN_STEPS // self._total != (done - 1) * PLAIN_STEPS // self._total:
            self._screen.say(f"   {done} of {self._total} changes" + (f", {failed} failed" if failed else ""))

    def note(self, text: str) -> None:
        """Something worth knowing happened."""
        if self._bar is None:
            self._screen.say(f"   {text}")
        else:
            self.last_note(text)

    def last_note(self, text: str) -> None:
        """What stays beside the bar. Not told in the plain output, which has it in what follows."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)


class Screen:
    """Standard output, as it suits who reads it.

    With `beside`, standard output is for a document, and people are told on standard error, if that is a terminal.
    """

    def __init__(self, *, plain: bool = False, beside: bool = False) -> None:
        self._console = _Console(highlight=False, stderr=beside)
        self._beside = beside
        self.plain = plain or not self._console.is_terminal

    def say(self, text: str) -> None:
        """One line."""
        if self.plain:
            self.raw(clean(text))
        else:
            self._console.print(Text(clean(text)), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Text as it is, with a line end."""
        if not self._beside:
            sys.stdout.write(text + "\n")
        elif not self.plain:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        """Show now what was written. A pipe or a file would get it when there is more."""
        sys.stdout.flush()

    def styled(self, lines: Iterable[tuple[str, str]]) -> None:
        """Lines, each with its style."""
        if self.plain:
            for line, _ in lines:
                self.raw(clean(line))
            return
        waiting = iter(lines)
        while some := list(islice(waiting, LINES_AT_ONCE)):
            self._console.print(
                Text("\n").join(Text(clean(line), style=style) for line, style in some), soft_wrap=True
            )

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table. Plain: a line for each row, tabs between its values."""
        if self.plain:
            for row in rows:
                self.raw("\t".join(clean(value) for value in row))
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(
                *(Text(clean(value), justify="right" if isinstance(value, int) else "left") for value in row)
            )
        self._console.print(table)

    def facts(self, facts: Mapping[str, object]) -> None:
        """Names and values. Plain: a line for each."""
        if self.plain:
            for name, value in facts.items():
                self.raw(f"{name}: {clean(value)}")
            return
        grid = Table(box=None, show_header=False, padding=(0, 2))
        for name, value in facts.items():
            grid.add_row(Text(name, style="dim"), Text(clean(value), overflow="fold"))
        self._console.print(grid)

    def pairing(self, code: str, address: str) -> None:
        """A code and an address for somebody at another machine; in a terminal large, and to be scanned."""
        if self.plain:
            self.facts({"code": code, "address": address})
            return
        self._console.print(
            Panel(
                Group(
                    Text(" ".join(clean(code)), style="bold", justify="center"),
                    Text(),
                    Text(clean(address), justify="center", overflow="fold"),
                ),
                title="Open this address and confirm the code",
                box=HEAVY,
                padding=(1, 4),
                expand=False,
            )
        )
        if (self._console.encoding or "").lower().startswith("utf"):
            # White on black whatever the theme: many readers see nothing in an inverted code.
            self._console.print(Text(_qr_code(address), style="bright_white on black", no_wrap=True))

    @contextmanager
    def steps(self, total: int) -> Generator[Steps]:
        """Show how `total` steps are made. Plain: in a few lines."""
        if self.plain:
            yield Steps(self, total, None)
            return
        columns: tuple[Any, ...] = (
            TextColumn("  "),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="yellow"),
        )
        with Progress(*columns, console=self._console) as bar:
            yield Steps(self, total, bar)
