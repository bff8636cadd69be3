"""Concurrency, request rate and the shared cool-down of one host."""

from __future__ import annotations

import asyncio
from collections import deque

from ezeep_async._http.window import Window


BACKGROUND_EVERY_NTH_SLOT = 8
"""While calls of both kinds wait, every eighth slot goes to a background call."""
NEWEST_EVERY_NTH_SLOT = 4
"""Every fourth slot goes to the newest waiter: a single call does not wait behind all the calls of a large job."""
CANCELLED_WAITERS_KEPT = 100
"""Cancelled waiters in the queues, beyond the number of live ones, before the queues are rebuilt."""

Queue = deque[asyncio.Future[None]]


class Limiter:
    """A semaphore whose size adapts to the server. First come, first served, except for every fourth slot.

    Args:
        limit: Highest number of requests at once.
        per_second: Highest number of starts per second, evenly spaced; unused starts are not saved up. None: no limit.

    Use it on one event loop only.
    """

    def __init__(self, limit: int, per_second: float | None = None) -> None:
        self._window = Window(limit)
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._not_before = 0.0
        self._waiters: Queue = deque()
        self._background: Queue = deque()
        self._served = 0
        self._timer: asyncio.TimerHandle | None = None
        self.active = 0
        """Requests under way."""
        self.waiting = 0
        """Calls that wait for a slot."""

    @property
    def limit(self) -> int:
        """How many requests may be under way at once."""
        return self._window.limit

    async def acquire(self, *, first: bool = False, background: bool = False) -> None:
        """Wait for a slot. `first` is for retries: it puts the call at the head of its queue."""
        if not self.waiting and self.active < self._window.limit and self._is_time():
            self._start()
            return
        waiter = asyncio.get_running_loop().create_future()
        queue = self._background if background else self._waiters
        if first:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self.waiting += 1
        self._dispatch()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the slot was assigned just before the cancellation
            else:
                self.waiting -= 1
                self._drop_cancelled()
            raise

    def release(self) -> None:
        """Return the slot."""
        self.active -= 1
        if self.waiting:
            self._dispatch()

    def succeeded(self) -> None:
        """Count a response that was not a 429."""
        if self._window.succeeded():
            self._dispatch()

    def throttled(self, cool_down: float, started: float) -> None:
        """Count a 429 to a request that started at `started` (loop time). No request starts for `cool_down` seconds."""
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + cool_down)
        self._window.throttled(now, started, self.active, cool_down)

    def _is_time(self) -> bool:
        return not self._not_before or asyncio.get_running_loop().time() >= self._not_before

    def _start(self) -> None:
        self.active += 1
        if self._interval:
            self._not_before = max(self._not_before, asyncio.get_running_loop().time()) + self._interval

    def _dispatch(self) -> None:
        # A cancelled waiter is counted until its task has run, so the queues may be empty while `waiting` is not 0.
        while (self._waiters or self._background) and self.active < self._window.limit:
            if not self._is_time():
                self._wake_later()
                return
            waiter = self._next()
            if not waiter.done():
                self._served += 1
                self.waiting -= 1
                self._start()
                waiter.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        number = self._served + 1
        if self._background and (not self._waiters or number % BACKGROUND_EVERY_NTH_SLOT == 0):
            return self._background.popleft()
        return self._waiters.pop() if number % NEWEST_EVERY_NTH_SLOT == 0 else self._waiters.popleft()

    def _drop_cancelled(self) -> None:
        # Removing each one when it is cancelled would be quadratic.
        if len(self._waiters) + len(self._background) > 2 * self.waiting + CANCELLED_WAITERS_KEPT:
            for queue in (self._waiters, self._background):
                live = [waiter for waiter in queue if not waiter.done()]
                queue.clear()
                queue.extend(live)

    def _wake_later(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.cancelled() or self._timer.when() <= loop.time():
            self._timer = loop.call_at(self._not_before, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._dispatch()
