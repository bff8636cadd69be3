"""Time limits that count running time: the time in which the event loop ran.

When a stopped process (SIGSTOP, a paused container, a migrated virtual machine) continues, all its timers are due, and
responses that arrived meanwhile are unread. An ordinary timeout then discards such a response. These do not.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self


SLICE_S = 0.25
"""Seconds that a stop of any length counts, at most."""
FINAL_PASSES = 100
"""Iterations of the event loop between the end of a limit and its effect. Each reads up to 256 KiB that have arrived."""


class _Clock:
    """The running time of one event loop, and the limits that end in it. One timer serves all of them."""

    __slots__ = ("__weakref__", "_seen", "_time", "_timers", "limits", "loop", "next_tick")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.limits: set[_Limit] = set()
        self.next_tick = float("inf")
        self._time = 0.0
        self._seen = loop.time()
        self._timers: tuple[asyncio.TimerHandle, ...] = ()

    def now(self) -> float:
        """Seconds of running time."""
        seen = self.loop.time()
        passed = seen - self._seen
        self._time += min(SLICE_S, passed)
        self._seen = seen
        return self._time

    def tick_in(self, seconds: float) -> None:
        """Check the limits in so many seconds, at most a slice."""
        seconds = min(seconds, SLICE_S)
        old, call_later = self._timers, self.loop.call_later
        # The second one takes over if a signal handler of the caller raises inside the tick.
        self._timers = call_later(seconds, self._tick), call_later(seconds + SLICE_S, self._tick)
        self.next_tick = self._time + seconds
        for timer in old:
            timer.cancel()

    def _tick(self) -> None:
        now = self.now()
        if not self.limits:
            self.next_tick = float("inf")
            return
        self.tick_in(max(0.0, min(limit.end for limit in self.limits) - now))
        for limit in [limit for limit in self.limits if limit.end <= now]:
            limit.passes -= 1
            if limit.passes <= 0:
                limit.expire()
                self.limits.discard(limit)


_of_thread = threading.local()
"""`clock` refers to the clock that the thread used last. Limits and timers keep that alive."""


def _running_clock() -> _Clock:
    """The clock of the running event loop."""
    loop = asyncio.get_running_loop()
    latest: weakref.ref[_Clock] | None = getattr(_of_thread, "clock", None)
    clock = None if latest is None else latest()
    if clock is None or clock.loop is not loop:
        clock = _Clock(loop)
        _of_thread.clock = weakref.ref(clock)
    return clock


class _Limit:
    """Calls `expire` from a callback of the event loop when its running time is over."""

    __slots__ = ("_clock", "end", "passes")

    _clock: _Clock
    end: float
    passes: int

    def start(self, seconds: float) -> None:
        """Start, or start again, with `seconds` of running time."""
        now = self._clock.now()
        self.end_at(now + seconds, now)

    def end_at(self, end: float, now: float) -> None:
        """Start, or start again, with an end in running time."""
        self.end = end
        self.passes = FINAL_PASSES
        self._clock.limits.add(self)
        if end < self._clock.next_tick:
            self._clock.tick_in(end - now)

    def stop(self) -> float:
        """Stop it, and return the seconds that were left: 0 or less if it had ended."""
        self._clock.limits.discard(self)
        return self.end - self._clock.now()

    def expire(self) -> None:
        raise NotImplementedError


class RunningTimeout(_Limit):
    """`asyncio.timeout` in running time, used with `with`: raises `TimeoutError` after `seconds`.

    With `started=False` it counts from the first `restart()`.
    """

    __slots__ = ("_began", "_cancelling", "_expired", "_seconds", "_started", "_task")

    def __init__(self, seconds: float, *, started: bool = True) -> None:
        self._clock = _running_clock()
        self._seconds = seconds
        self._started = started
        self._expired = False
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task(self._clock.loop)
        assert task is not None  # noqa: S101  # a coroutine of the SDK runs in a task
        self._cancelling = task.cancelling()
        self._began = now = self._clock.now()
        if self._started:
            self.end_at(now + self._seconds, now)
        return self

    @property
    def used(self) -> float:
        """Seconds of running time since the block began."""
        return self._clock.now() - self._began

    def restart(self) -> None:
        """Start again, with the full time."""
        self._started = True
        self.start(self._seconds)

    def expire(self) -> None:
        if self._task is not None and not self._expired:
            self._expired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Break the reference cycle with the task: what is in a cycle is finalized late.
        task, self._task = self._task, None
        self._clock.limits.discard(self)
        # As in asyncio.timeout: if others cancelled the task too, it stays cancelled.
        expired = self._expired and task is not None and task.uncancel() <= self._cancelling
        task = None
        if expired and kind is asyncio.CancelledError:
            raise TimeoutError from error


class _Alarm(_Limit):
    """Ends a future when its time is over."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self._clock = _running_clock()
        self.over: asyncio.Future[Any] = self._clock.loop.create_future()

    def expire(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class RunningLimit:
    """A budget of running time that several waits share."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        """Seconds left; 0 or less when the budget is used up."""

    async def wait(self, future: asyncio.Future[Any], at_most: float | None = None) -> bool:
        """Wait for `future` for the rest of the budget, or `at_most` seconds of it. Return whether it is done.

        Never cancels `future`.
        """
        seconds = self.left if at_most is None else min(self.left, at_most)
        alarm = _Alarm()
        alarm.start(seconds)
        try:
            await asyncio.wait({future, alarm.over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.left -= seconds - alarm.stop()
        return future.done()

    async def wait_for_progress(self, futures: Iterable[asyncio.Future[Any]]) -> bool:
        """Wait until all of them are done or the budget is used up. Return whether at least one is done."""
        return any([await self.wait(future) for future in futures])

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of the budget."""
        await self.wait(asyncio.get_running_loop().create_future(), seconds)


def wait_in_thread(wait: Callable[[float], bool], seconds: float) -> bool:
    """Block this thread until `wait(timeout)` returns true, for at most `seconds` of running time. Return its result."""
    while True:
        part, begun = max(0.0, min(seconds, SLICE_S)), time.monotonic()
        if wait(part):
            return True
        seconds -= min(part, time.monotonic() - begun)
        if part <= 0:
            return False
