"""SIGTERM and SIGHUP end a command as Ctrl-C does: its session is closed first. Each has its own exit code."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

import attrs

from ezeep_async._runtime.signals import ENDING_SIGNALS


class Terminated(KeyboardInterrupt):
    """A signal arrived while no task was to be cancelled for it (see `cancel_on_signals`)."""


@attrs.define(eq=False)
class Ending:
    """The handler of both signals during one command."""

    number: int = 0
    """The first signal that arrived; 0 for none."""
    task: asyncio.Task[object] | None = None
    """The task that a signal cancels. Closing its session then waits for a token exchange."""

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Handle the first signal. Later ones are ignored: they would interrupt the closing of the session."""
        if self.number:
            return
        self.number = number
        if self.task is None:
            raise Terminated
        # RuntimeError: the loop is closed, and only the last output is left to write.
        with contextlib.suppress(RuntimeError):
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)


_ending = Ending()


@contextlib.contextmanager
def signals_end() -> Generator[Ending]:
    """Let SIGTERM and SIGHUP end the block. Ignored signals stay ignored, as under `nohup`."""
    global _ending  # noqa: PLW0603  # a process has one set of signal handlers
    _ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield _ending
        return
    handled = [number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, _ending)
    try:
        yield _ending
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def ended_by(number: int) -> None:
    """Record a signal that other code handled: it decides the exit code."""
    _ending.number = _ending.number or number


def cancel_on_signals() -> None:
    """From now on, let a signal cancel the running task instead of raising `Terminated` in the event loop."""
    _ending.task = asyncio.current_task()
