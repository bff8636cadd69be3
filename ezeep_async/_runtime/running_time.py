"""Time limits that count the time in which the event loop ran, for what must survive a suspended process.

A process that is stopped (SIGSTOP, a paused container, a virtual machine that is moved) finds all its timers due when it
runs again, and with them the responses that arrived meanwhile. An ordinary time limit then discards a response that is
there to be read.
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
"""A stop counts for at most this long, however long it was."""
FINAL_PASSES = 100
"""Passes of the event loop between the end of a limit and acting on it. Each reads up to 256 KiB of what has arrived."""


class RunningTimer:
    """Calls `on_end` once after `seconds` of running time, from a callback of the event loop. `restart` begins it."""

    __slots__ = ("_begun", "_handle", "_left", "_loop", "_on_end", "_passes", "_slice")

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._left = self._slice = self._begun = 0.0
        self._passes = 0
        self._handle: asyncio.Handle | None = None

    def restart(self, seconds: float) -> None:
        """Begin, or begin again, with `seconds` to go."""
        if self._handle is not None:
            if self._slice and seconds > SLICE_S:
                # The slice that is under way ends soon enough: no new timer for each piece of a response.
                self._left = seconds + self._passed()
                return
            self._handle.cancel()
        self._left = seconds
        self._passes = FINAL_PASSES
        self._next_slice()

    def stop(self) -> float:
        """End it. Returns the seconds that were left, 0 or less after its end."""
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
    """`asyncio.timeout`, counted in running time, as `with`: raises `TimeoutError` after `seconds` of it.

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
        """Seconds of running time that were used, once the block has ended."""

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a time limit is used in a task")
        self._cancelling = self._task.cancelling()
        self._timer = RunningTimer(self._expire)
        if self._started:
            self.restart()
        return self

    def restart(self) -> None:
        """Begin again, with all of the time."""
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
        # Both refer back to this, and the frames of an error do: what is in a cycle is not finalized in order.
        task, self._task = self._task, None
        timer, self._timer = self._timer, None
        if timer is not None and self._started:
            self.used = self._seconds - timer.stop()
        # As asyncio.timeout does it: a task that others cancelled too is cancelled.
        expired = self._expired and task is not None and task.uncancel() <= self._cancelling
        task = None
        if expired and kind is asyncio.CancelledError:
            raise TimeoutError from error


class RunningLimit:
    """A number of seconds of running time that several waits share."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        """Seconds; 0 or less when it is used up."""

    async def wait(self, future: asyncio.Future[T], at_most: float | None = None) -> bool:
        """Wait for `future`, which is left alone, for the seconds that are left, or `at_most`. Whether it is done."""
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
        """Wait for all of them, one after the other. Whether at least one is done."""
        return any([await self.wait(future) for future in futures])

    async def sleep(self, seconds: float) -> None:
        """Let that much of it pass."""
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.wait(never, seconds)


def wait_in_thread(wait: Callable[[float], bool], seconds: float) -> bool:
    """Block this thread until `wait(timeout)` is true, for `seconds` of running time at most. Whether it is."""
    while True:
        part, begun = max(0.0, min(seconds, SLICE_S)), time.monotonic()
        if wait(part):
            return True
        seconds -= min(part, time.monotonic() - begun)
        if part <= 0:
            return False
