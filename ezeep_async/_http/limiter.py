"""Concurrency, request rate and the shared cool-down of one host."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


BACKGROUND_EVERY_NTH_SLOT = 8
"""While calls of both kinds wait, every eighth slot goes to a background call."""
NEWEST_EVERY_NTH_SLOT = 4
"""Every fourth slot goes to the newest waiter: a single call does not wait behind all the calls of a large job."""
PROBE_AFTER_SUCCESSES = 20
"""Successes required before probing one more concurrent request."""
PROBE_AFTER_COOL_DOWNS = 10.0
"""A probe waits for this multiple of the last cool-down, so that at most a tenth of the time is lost to probing."""


class Window:
    """The number of requests that may be under way at once. It adapts to the server's 429 responses.

    The first 429 among overlapping requests halves the limit. The capacity is the number of those requests that got no
    429; if all got one, it is half of the limit. Below the capacity each success raises the limit by one. At it,
    `PROBE_AFTER_SUCCESSES` successes allow one more request. If that is accepted, the limit doubles with each full window
    of successes, until the next 429.
    """

    def __init__(self, highest: int) -> None:
        self._highest = self._capacity = self.limit = highest
        self._halved = highest
        """Half of the limit at the first 429 of the overlapping requests: the others do not halve it again."""
        self._accepted = 0
        """Of the requests that overlapped with the last 429, those that were not refused until now."""
        self._refused_at = 0.0
        """Loop time of that first 429. A later request belongs to the next window."""
        self._successes = 0
        self._doubling = False
        self._no_probe_before = 0.0

    def not_refused(self) -> bool:
        """Count a request that was not throttled: also a 4xx. Returns whether the limit was raised."""
        if self.limit >= self._highest:
            return False
        if self.limit < self._capacity:
            self.limit += 1
            return True
        self._successes += 1
        required = self.limit if self._doubling else max(self.limit, PROBE_AFTER_SUCCESSES)
        if self._successes < required or asyncio.get_running_loop().time() < self._no_probe_before:
            return False
        self.limit = min(self._highest, 2 * self.limit if self._doubling else self.limit + 1)
        self._capacity, self._successes, self._doubling = self.limit, 0, True
        return True

    def throttled(self, now: float, started: float, active: int, cool_down: float) -> None:
        """Count a 429 to a request that started at `started`. Overlapping requests halve the limit once.

        `active` counts the requests under way, this one included.
        """
        self._no_probe_before = max(self._no_probe_before, now + PROBE_AFTER_COOL_DOWNS * cool_down)
        if started >= self._refused_at:
            self._refused_at, self._accepted = now, active
            self._successes, self._doubling = 0, False
            self._halved = max(1, self.limit // 2)
        self._accepted -= 1
        # If all were refused, the server limits the rate and not the concurrency.
        self._capacity = self._accepted if self._accepted > 0 else self._halved
        self.limit = min(self._halved, self._capacity)


class Limiter:
    """A semaphore whose size adapts to the server, for one event loop. First come, first served, but for every fourth slot."""

    def __init__(self, limit: int, per_second: float | None = None) -> None:
        self._window = Window(limit)
        self._interval = 0.0 if per_second is None else 1.0 / per_second  # unused starts are not saved up
        self._not_before = 0.0
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._background: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._served = self.active = 0

    @property
    def limit(self) -> int:
        return self._window.limit

    @property
    def waiting(self) -> int:
        return len(self._waiters) + len(self._background)

    def acquire_at_once(self) -> bool:
        """Take a slot if no wait is needed. Returns whether it did."""
        if self._waiters or self._background or self.active >= self._window.limit or self._seconds_to_wait():
            return False
        self._start()
        return True

    async def acquire(self, *, at_head: bool = False, background: bool = False) -> None:
        """Wait for a slot. `at_head` is for retries: it puts the call at the head of its queue."""
        if self.acquire_at_once():
            return
        waiter = asyncio.get_running_loop().create_future()
        queue = self._background if background else self._waiters
        queue[waiter] = None
        if at_head:
            queue.move_to_end(waiter, last=False)
        self._dispatch()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the slot was assigned just before the cancellation
            queue.pop(waiter, None)
            raise

    def release(self) -> None:
        self.active -= 1
        if self._waiters or self._background:
            self._dispatch()

    def not_refused(self, started: float) -> None:  # noqa: ARG002  # for `SharedLimiter`
        """Count a request that was not throttled, and that started at `started` (loop time)."""
        if self._window.not_refused():
            self._dispatch()

    def throttled(self, cool_down: float, started: float) -> None:
        """Count a 429 to a request that started at `started` (loop time). No request starts for `cool_down` seconds.

        Call it before `release()`: `active` must still count the refused request.
        """
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + cool_down)
        self._window.throttled(now, started, self.active, cool_down)

    def _seconds_to_wait(self) -> float:
        return self._not_before and max(0.0, self._not_before - asyncio.get_running_loop().time())

    def _start(self) -> None:
        self.active += 1
        if self._interval:
            self._not_before = max(self._not_before, asyncio.get_running_loop().time()) + self._interval

    def _dispatch(self) -> None:
        while (self._waiters or self._background) and self.active < self._window.limit:
            if seconds := self._seconds_to_wait():
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_later(seconds, self._dispatch)
                return
            waiter = self._next()
            if not waiter.done():  # a cancelled waiter stays in its queue until its task runs
                self._served += 1
                self._start()
                waiter.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        number = self._served + 1
        if self._background and (not self._waiters or number % BACKGROUND_EVERY_NTH_SLOT == 0):
            return self._background.popitem(last=False)[0]
        return self._waiters.popitem(last=number % NEWEST_EVERY_NTH_SLOT == 0)[0]
