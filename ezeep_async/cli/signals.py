"""SIGTERM and SIGHUP of a command: it ends in order, as with Ctrl-C, and with an exit code of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

import attrs


SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class Terminated(KeyboardInterrupt):
    """A signal came while no task of the command had anything at stake."""


@attrs.define(eq=False)
class Ending:
    """What ends the command of this process, if a signal does."""

    number: int = 0
    """The first signal that came; 0 for none."""
    task: asyncio.Task[object] | None = None
    """The task that is cancelled for it: closing its session waits for a token exchange."""

    def __call__(self, number: int, _: FrameType | None) -> None:
        """The handler. What comes after the first signal changes nothing: it would cut off the closing."""
        if self.number:
            return
        self.number = number
        if self.task is None:
            raise Terminated
        with contextlib.suppress(
            RuntimeError
        ):  # the loop is closed: the command has ended but for its last words
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)


_ending = Ending()


@contextlib.contextmanager
def signals_end() -> Generator[Ending]:
    """Let SIGTERM and SIGHUP end what runs in the block. Those that are ignored stay so, as under `nohup`."""
    global _ending  # noqa: PLW0603  # a process has one set of signal handlers
    _ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield _ending
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    for number in taken:
        signal.signal(number, _ending)
    try:
        yield _ending
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def ended_by(number: int) -> None:
    """A signal was handled elsewhere, and decides on the exit code."""
    _ending.number = _ending.number or number


def cancel_on_signals() -> None:
    """From here on, let a signal cancel the running task, and not interrupt the event loop anywhere."""
    _ending.task = asyncio.current_task()
