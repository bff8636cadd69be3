"""SIGTERM and SIGHUP end a command as Ctrl-C does: its session is closed first. Each has its own exit code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import attrs

from ezeep_async._runtime.ending_signals import ENDING_SIGNALS


if TYPE_CHECKING:
    import asyncio


T = TypeVar("T")

TIMED_OUT = 124
"""The exit code of a command that took longer than `--timeout`: that of the command `timeout`."""


class Terminated(KeyboardInterrupt):
    """A signal arrived while there was no task to cancel (see `cancel_on_signals`)."""


@attrs.define(eq=False)
class Ending:
    """The signal handler of one command."""

    number: int = 0
    """The first signal that arrived; 0 for none."""
    timed_out: bool = False
    """Whether the command took longer than `--timeout`, which sends itself SIGTERM."""
    task: asyncio.Task[object] | None = None
    """The task that the first signal cancels. Closing its session then waits for a token exchange."""
    stop: Callable[[], object] | None = None
    """Called for each signal, instead of cancelling the task."""

    @property
    def code(self) -> int:
        """The exit code of a command that a signal has ended."""
        return TIMED_OUT if self.timed_out else 128 + self.number

    def time_out(self) -> None:
        """End the command, unless a signal has begun to."""
        if not self.number:
            self.timed_out = True
            self(signal.SIGTERM, None)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Handle a signal. Later ones are ignored without `stop`: they would interrupt the closing of the session."""
        is_first, self.number = not self.number, self.number or number
        if not is_first and self.stop is None:
            return
        if self.task is None:
            raise Terminated
        # RuntimeError: the loop is closed, and only the last output is left to write.
        with contextlib.suppress(RuntimeError):
            self.task.get_loop().call_soon_threadsafe(self.stop or self.task.cancel)


_ending = Ending()


@contextlib.contextmanager
def signals_end() -> Generator[Ending]:
    """Let SIGTERM and SIGHUP end the block. Ignored signals stay ignored, as under `nohup`."""
    global _ending  # noqa: PLW0603  # a process has one set of signal handlers
    before, _ending = _ending, Ending()
    try:
        with _handling(*(number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_DFL)):
            yield _ending
    finally:
        _ending = before  # a signal ends one command, and not the next one in this process


def end_reason() -> str:
    """Why the command ends before its work is done, for people."""
    return "the command took longer than --timeout" if _ending.timed_out else "interrupted"


def cancel_on_signals() -> None:
    """From now on, let a signal cancel the running task instead of raising `Terminated` in the event loop."""
    import asyncio  # slow to import, and `ezeep --help` does without

    _ending.task = task = asyncio.current_task()
    # Python drops an exception that a handler raises inside a finalizer, such as one of an import.
    if _ending.number and task is not None:
        task.cancel()


async def limited(command: Coroutine[object, object, T], seconds: float) -> T:
    """Run a command, and end it after so many seconds as SIGTERM does."""
    import asyncio

    cancel_on_signals()
    timer = asyncio.get_running_loop().call_later(seconds, _ending.time_out)
    try:
        return await command
    finally:
        timer.cancel()


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Generator[Ending]:
    """Within the block, let each signal call `stop` in the event loop, also Ctrl-C, and cancel nothing."""
    _ending.stop = stop
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    try:
        with _handling(*([] if is_ignored else [signal.SIGINT])):
            yield _ending
    finally:
        _ending.stop = None


@contextlib.contextmanager
def _handling(*numbers: int) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        numbers = ()  # Python does not allow it elsewhere
    before = {number: signal.signal(number, _ending) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
