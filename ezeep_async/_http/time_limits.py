"""The time limits of a session's requests, in running time. One timer serves all of them: a timer is what costs."""

from __future__ import annotations

import asyncio
from math import inf
from types import TracebackType
from typing import Any, Self

from ezeep_async._runtime.running_time import FINAL_PASSES, SLICE_S
from ezeep_async._wire.requests import Phase


class TimeLimits:
    """The attempts under way, and the timer that ends those which take too long. For one event loop."""

    def __init__(self) -> None:
        self._attempts: set[Attempt] = set()
        self._due: list[Attempt] = []
        self._passes = 0
        self._elapsed = 0.0
        """Running time until the current slice."""
        self._slice_began = 0.0
        self._slice = 0.0
        self._handle: asyncio.Handle | None = None

    def now(self) -> float:
        return self._elapsed + min(max(0.0, self._loop.time() - self._slice_began), SLICE_S)

    def add(self, attempt: Attempt) -> float:
        """Watch an attempt. Returns the running time."""
        self._attempts.add(attempt)
        if self._handle is None:
            self._loop = asyncio.get_running_loop()
            self._start_slice()
        return self.now()

    def remove(self, attempt: Attempt) -> float:
        self._attempts.discard(attempt)
        return self.now()

    def shorten(self, end: float) -> None:
        """Wake up at `end`, which may be within the current slice."""
        if end < self._elapsed + self._slice and self._handle is not None and not self._due:
            self._handle.cancel()
            self._elapsed = self.now()
            self._start_slice()

    def _start_slice(self) -> None:
        soonest = min(attempt.end for attempt in self._attempts)
        self._slice = max(0.0, min(soonest - self._elapsed, SLICE_S))
        self._slice_began = self._loop.time()
        self._handle = self._loop.call_at(self._slice_began + self._slice, self._on_slice)

    def _on_slice(self) -> None:
        self._elapsed = self.now()
        self._slice_began = self._loop.time()
        if not self._due:
            self._due = [attempt for attempt in self._attempts if attempt.end <= self._elapsed]
            self._passes = FINAL_PASSES
        if self._due and self._passes:
            self._passes -= 1
            self._handle = self._loop.call_soon(self._on_slice)
            return
        for attempt in self._due:
            if attempt in self._attempts and attempt.end <= self._elapsed:
                attempt.expire()
        self._due = []
        self._handle = None
        if self._attempts:
            self._start_slice()


class Attempt(Phase):
    """One request with its token, used with `with`: raises `TimeoutError` when a time limit is over."""

    def __init__(self, limits: TimeLimits, seconds: float, read_timeout: float) -> None:
        super().__init__()
        self._limits = limits
        self._seconds = seconds
        self._read_timeout = read_timeout
        self._task: asyncio.Task[Any] | None = None
        self._expired = False
        self.end = inf
        """When it expires, in running time."""
        self.used = 0.0
        """Seconds of running time that the block took. Set when it has ended."""

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101  # a coroutine of aiohttp runs in a task
        self._cancelling = self._task.cancelling()
        self._began = self._limits.add(self)
        self.end = self._last_end = self._began + self._seconds
        self._limits.shorten(self.end)
        return self

    @property
    def limit(self) -> str:
        """The name of the time limit that is the next to end."""
        return "deadline" if self.end == self._last_end else "read_timeout"

    def progressed(self) -> None:
        """Start the time limit for the next part of the response."""
        self.sent = True
        self.end = min(self._limits.now() + self._read_timeout, self._last_end)
        self._limits.shorten(self.end)

    def expire(self) -> None:
        if self._task is not None and not self._expired:
            self._expired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.used = self._limits.remove(self) - self._began
        # Break the reference cycle of the task with this object: what is in a cycle is finalized late.
        task, self._task = self._task, None
        # As in asyncio.timeout: a task that others cancelled too stays cancelled.
        expired = self._expired and task is not None and task.uncancel() <= self._cancelling
        task = None
        if expired and kind is asyncio.CancelledError:
            raise TimeoutError from error
