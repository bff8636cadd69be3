"""Progress bars of a run, and of documents. Imported when one is shown: rich's progress bars are slow to import."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO, TypedDict, cast

from rich import progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

from ezeep_async.cli.terminal.output import is_terminal
from ezeep_async.cli.terminal.waiting import paused


WIDTH_FOR_RATE = 60
"""Columns of a terminal that shows a bar, the rate and the remaining time."""


class _Unfailing:
    """A terminal that may be closed while it shows a bar: the run goes on, and has its report."""

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


class _Rate(progress.ProgressColumn):
    """Steps per second."""

    def render(self, task: progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.{0 if speed >= 10 else 1}f}/s", style="dim")


@contextmanager
def progress_bar(console: Console, width: int) -> Generator[progress.Progress]:
    """Show a bar on the console of a terminal of that width. Its tasks have the field `failed`."""
    columns: list[progress.ProgressColumn] = [progress.TextColumn("  "), progress.MofNCompleteColumn()]
    if width >= WIDTH_FOR_RATE:
        columns.insert(1, progress.BarColumn(min(40, width - WIDTH_FOR_RATE + 10)))
        columns += [_Rate(), progress.TimeRemainingColumn(elapsed_when_finished=True)]
    columns.append(progress.TextColumn("{task.fields[failed]}", style="yellow", markup=False))
    with _shown(console, progress.Progress(*columns, console=console, **_streams())) as bar:
        yield bar


@contextmanager
def document_bars(console: Console, width: int) -> Generator[progress.Progress]:
    """Show a line for each document in work, which disappears in the end. Its tasks have the field `state`."""
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 3))
    state = Column(no_wrap=True, overflow="ellipsis")
    columns: list[progress.ProgressColumn] = [
        progress.TextColumn("{task.description}", markup=False, table_column=name),
        progress.TextColumn("{task.fields[state]}", style="dim", markup=False, table_column=state),
    ]
    if width >= WIDTH_FOR_RATE:
        columns.insert(1, progress.BarColumn(min(30, width - WIDTH_FOR_RATE + 10)))
    bars = progress.Progress(*columns, console=console, transient=True, **_streams())
    with _shown(console, bars):
        yield bars


class _Streams(TypedDict):
    redirect_stdout: bool
    redirect_stderr: bool


def _streams() -> _Streams:
    # Output to a file goes there also while a bar is shown.
    return {"redirect_stdout": False, "redirect_stderr": is_terminal(sys.stderr)}


@contextmanager
def _shown(console: Console, bar: progress.Progress) -> Generator[progress.Progress]:
    stream = console.file
    console.file = cast("TextIO", _Unfailing(cast("TextIO", stream)))
    try:
        with paused(), bar:
            yield bar
    finally:
        console.file = stream
