"""Timeouts that count running time: the time in which the event loop ran.

When a stopped process (SIGSTOP, a paused container, a migrated virtual machine) continues, all its timers are due, and
responses that arrived meanwhile are unread. An ordinary timeout then discards such a response. These do not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar


T = TypeVar("T")

SLICE_S = 0.25
"""Seconds that a stop of any length counts, at most."""
FINAL_PASSES = 100
"""Iterations of the event loop between the end of a timeout and its effect. Each reads up to 256 KiB that have arrived."""


class RunningTimer:
    """Calls `on_end` once, from a callback of the event loop, when the running time given to `restart` is over."""

    __slots__ = ("_begun", "_handle", "_left", "_loop", "_on_end", "_passes", "_slice")

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._left = self._slice = self._begun = 0.0
        self._passes = 0
        self._handle: asyncio.Handle | None = None

    def restart(self, seconds: float) -> None:
        """Start, or start again, with `seconds` of running time."""
        if self._handle is not None:
            if self._slice and seconds > SLICE_S:
                # Keep the timer of the current slice: restart() is called for each chunk of a response.
                self._left = seconds + self._passed()
                return
            self._handle.cancel()
        self._left = seconds
        self._passes = FINAL_PASSES
        self._next_slice()

    def stop(self) -> float:
        """Stop it, and return the seconds that were left: 0 or less if it had ended."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._left -= self._passed()
        return self._left

    def _passed(self) -> float:
        return min(max(0.0, self._loop.time() - self._begun), self._slice)

    def _next_slice(self) -> None:
        self._slice = max(0.0, min(self._left, SLICE_S))
        self._begun = self._loop.time()
        self._handle = self._loop.call_at(self._begun + self._slice, self._on_slice)

    def _on_slice(self) -> None:
        self._left -= self._slice
        self._slice = 0.0
        if self._left > 0:
            self._next_slice()
        elif self._passes:
            self._passes -= 1
            self._handle = self._loop.call_soon(self._on_slice)
        else:
            self._handle = None
            self._on_end()


class RunningTimeout:
    """`asyncio.timeout` in running time, used with `with`: raises `TimeoutError` after `seconds`.

    With `started=False` it counts from the first `restart()`.
    """

    __slots__ = ("_cancelling", "_expired", "_seconds", "_started", "_task", "_timer", "used")

    def __init__(self, seconds: float, *, started: bool = True) -> None:
        self._seconds = seconds
        self._started = started
        self._expired = False
        self._task: asyncio.Task[Any] | None = None
        self._timer: RunningTimer | None = None
        self.used = 0.0
        """Seconds of running time that the block took. Set when it has ended."""

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("RunningTimeout works in an asyncio task only: there is no current task")
        self._cancelling = self._task.cancelling()
        self._timer = RunningTimer(self._expire)
        if self._started:
            self.restart()
        return self

    def restart(self) -> None:
        """Start again, with the full time."""
        self._started = True
        if self._timer is not None:
            self._timer.restart(self._seconds)

    def _expire(self) -> None:
        if self._task is not None:
            self._expired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Break the reference cycles of the task and of the timer with this object: what is in a cycle is finalized late.
        task, self._task = self._task, None
        timer, self._timer = self._timer, None
        if timer is not None and self._started:
            self.used = self._seconds - timer.stop()
        # As in asyncio.timeout: if others cancelled the task too, it stays cancelled.
        expired = self._expired and task is not None and task.uncancel() <= self._cancelling
        task = None
        if expired and kind is asyncio.CancelledError:
            raise TimeoutError from error


class RunningLimit:
    """A budget of running time that several waits share."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        """Seconds left; 0 or less when the budget is used up."""

    async def wait(self, future: asyncio.Future[T], at_most: float | None = None) -> bool:
        """Wait for `future` for the rest of the budget, or `at_most` seconds of it. Return whether it is done.

        Never cancels `future`.
        """
        seconds = self.left if at_most is None else min(self.left, at_most)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        futures: set[asyncio.Future[Any]] = {future, over}
        timer = RunningTimer(partial(over.set_result, None))
        timer.restart(seconds)
        try:
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.left -= seconds - timer.stop()
        return future.done()

    async def wait_all(self, futures: Iterable[asyncio.Future[Any]]) -> bool:
        """Wait for each of them. Return whether at least one is done."""
        return any([await self.wait(future) for future in futures])

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of the budget."""
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.wait(never, seconds)


def wait_in_thread(wait: Callable[[float], bool], seconds: float) -> bool:
    """Block this thread until `wait(timeout)` returns true, for at most `seconds` of running time. Return its result."""
    while True:
        part, begun = max(0.0, min(seconds, SLICE_S)), time.monotonic()
        if wait(part):
            return True
        seconds -= min(part, time.monotonic() - begun)
        if part <= 0:
            return False
