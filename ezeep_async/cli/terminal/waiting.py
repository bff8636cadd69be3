"""The line that says what a command waits for, on standard error of a terminal, while the server does not respond.

It disappears before anything else is written. Without a terminal, `--debug` writes the same as log lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from ezeep_async import EzeepError
from ezeep_async.cli.options import options
from ezeep_async.cli.terminal.output import before_output, clean, is_terminal


if TYPE_CHECKING:
    from rich.live import Live

    from ezeep_async import Endpoints, EzeepSession


SHOWN_AFTER_S = 1.0
"""Seconds of waiting before the line appears. A retry shows it at once."""
REDRAWN_EVERY_S = 0.1
RETRY_SHOWN_S = 2.0
"""Seconds for which the reason of a retry stays, after it was sent."""
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_IN_ASCII = "-\\|/"

logger = logging.getLogger("ezeep_async.http")


class _Retries(logging.Handler):
    """Remembers the last retry that the send loop has logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.text = ""
        self.due = 0.0
        """The time of the event loop at which it is sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Read the line `GET /path/: attempt 1 failed (reason), next in 0.50 s`."""
        match record.args:
            case (str(), int() as attempt, EzeepError() as failure, float() as delay, *_):
                from ezeep_async import RateLimited, Settings

                due = asyncio.get_running_loop().time() + delay
                if due < self.due:  # of several retries the last one is waited for
                    return
                # After a 429 there are more retries than for other failures.
                of = "" if isinstance(failure, RateLimited) else f" of {Settings().retries}"
                self.text = f"retry {attempt}{of}{{}}: {' '.join(str(failure).split())}"
                self.due = due
            case _:
                pass


class _Line:
    """The line of one command."""

    def __init__(self) -> None:
        self.session: EzeepSession | None = None
        self.endpoints: Endpoints | None = None
        self.pauses = 0
        self.retries = _Retries()
        self._since: float | None = None
        """When the command began to wait, or last wrote something."""
        self._live: Live | None = None
        self._frame = 0

    async def run(self) -> None:
        """Show the line whenever the command waits, until it is cancelled."""
        while True:
            await asyncio.sleep(REDRAWN_EVERY_S)
            text = "" if self.pauses else self._text(asyncio.get_running_loop().time())
            if text:
                self._show(text)
            else:
                self._stop()

    def hide(self) -> None:
        """Remove the line. It appears again if the wait lasts."""
        self._since = None
        self._stop()

    def _text(self, now: float) -> str:
        """What the command waits for; empty if nothing needs to be shown."""
        if self.session is None or self.endpoints is None:
            return ""
        hosts = self.session.stats.hosts
        is_retried = now < self.retries.due
        if not hosts and not is_retried:
            self._since = None
            return ""
        self._since = self._since or now
        if is_retried:
            return self.retries.text.format(f" in {math.ceil(self.retries.due - now)} s")
        if now < self.retries.due + RETRY_SHOWN_S:
            return self.retries.text.format("")
        if now < self._since + SHOWN_AFTER_S:
            return ""
        from yarl import URL

        names = dict.fromkeys(str(URL(getattr(self.endpoints, host)).host) for host in hosts)
        return f"waiting for {' and '.join(names)} ({now - self._since:.0f} s)"

    def _show(self, text: str) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        frames = FRAMES if (sys.stderr.encoding or "").lower().startswith("utf") else FRAMES_IN_ASCII
        self._frame = (self._frame + 1) % len(frames)
        line = Text(f"{frames[self._frame]} {clean(text)}", style="dim", no_wrap=True, overflow="ellipsis")
        with contextlib.suppress(OSError):  # the terminal was closed
            if self._live is None:
                console = Console(stderr=True, highlight=False)
                self._live = Live(
                    line,
                    console=console,
                    auto_refresh=False,  # its thread would write in the middle of other output
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start(refresh=True)
            else:
                self._live.update(line, refresh=True)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError):
                live.stop()


_line: _Line | None = None


@asynccontextmanager
async def shown_while_waiting() -> AsyncGenerator[None]:
    """Show the line inside, for the sessions that `watch` names. Not with `--quiet` and `--debug`."""
    global _line  # noqa: PLW0603  # a process has one standard error
    if not _is_shown():
        yield
        return
    _line = line = _Line()
    level = logger.level
    before_output.append(line.hide)
    logger.addHandler(line.retries)
    logger.setLevel(logging.INFO)
    task = asyncio.create_task(line.run())
    try:
        yield
    finally:
        task.cancel()
        before_output.remove(line.hide)
        logger.removeHandler(line.retries)
        logger.setLevel(level)
        line.hide()
        _line = None


def _is_shown() -> bool:
    is_plain = options().quiet or options().debug or os.environ.get("TERM") in {"dumb", "unknown"}
    return not is_plain and is_terminal(sys.stderr)


def watch(session: EzeepSession, endpoints: Endpoints) -> None:
    """Show what this session waits for."""
    if _line is not None:
        _line.session, _line.endpoints = session, endpoints


@contextmanager
def paused() -> Generator[None]:
    """Show no line inside, because something else occupies the terminal."""
    line = _line
    if line is None:
        yield
        return
    line.pauses += 1
    line.hide()
    try:
        yield
    finally:
        line.pauses -= 1
