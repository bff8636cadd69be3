"""How many requests one host gets at once. The server decides: a 429 pauses everyone and halves the number."""

from __future__ import annotations

import asyncio
from collections import deque


CAUTION = 20
"""How many successes, at least, before more is tried than the server is known to take: a refusal for twenty of them."""
WORTH = 10.0
"""How many times as long as the last pause was, at least, until more is tried: a tenth of the time at most is lost to it."""
BACKGROUND_SHARE = 8
"""While calls of both kinds wait, every eighth slot goes to the background: slow, and never stopped."""
NEWEST_SHARE = 4
"""Every fourth slot goes to the call that came last: a single one does not wait behind all the calls of a large job."""
MOST_CANCELLED = 100
"""More cancelled calls than that are not kept in the queues, unless even more wait there."""

Queue = deque[asyncio.Future[None]]


class Limiter:
    """A semaphore whose size follows the server: first come first served, but for every fourth slot.

    `limit` is the highest number of requests at once, `per_second` an optional ceiling on how many start: evenly, with
    nothing saved up for a burst. Calls of the background let the others go first. One event loop only: that of the session.

    A refusal halves the limit. How many of the requests under way were not refused is how many the server is known to
    take: up to that number the limit comes back by one with each success. Then one more is tried, once in twenty
    successes and in ten times the pause that the last refusal cost. Where that goes well, the limit doubles with each
    window of successes (as many as may be under way) until the next refusal: the server takes more than it did.
    """

    def __init__(self, limit: int, per_second: float | None = None) -> None:
        self._highest = limit
        self._limit = limit
        self._half = limit
        self._known = limit
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._active = 0
        self._not_before = 0.0
        self._clean = 0
        self._growing = False
        self._cut_at = 0.0
        self._cut_active = 0
        self._refused = 0
        self._no_risk_before = 0.0
        self._waiters: Queue = deque()
        self._background: Queue = deque()
        self._waiting = 0
        self._served = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return self._limit

    @property
    def active(self) -> int:
        """How many requests are under way now."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot."""
        return self._waiting

    # --- slots -----------------------------------------------------------------------------------------------------

    async def acquire(self, *, first: bool = False, background: bool = False) -> None:
        """Wait for a slot. `first` puts a call that was sent back by the server ahead of those that never went."""
        if not self._waiting and self._active < self._limit and self._is_time():
            self._start()
            return
        waiter = asyncio.get_running_loop().create_future()
        queue = self._background if background else self._waiters
        if first:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self._waiting += 1
        self._dispatch()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the slot was given just before the cancellation: hand it on
            else:
                self._waiting -= 1
                self._tidy()
            raise

    def release(self) -> None:
        """Give the slot back."""
        self._active -= 1
        if self._waiting:
            self._dispatch()

    # --- what the server says --------------------------------------------------------------------------------------

    def succeeded(self) -> None:
        """An answer that was not a refusal."""
        if self._limit >= self._highest:
            return
        if self._limit < self._known:
            self._raise_by(1)
            return
        self._clean += 1
        enough = self._limit if self._growing else max(self._limit, CAUTION)
        if self._clean >= enough and self._now() >= self._no_risk_before:
            self._clean = 0
            self._raise_by(self._limit if self._growing else 1)
            self._known = self._limit
            self._growing = True

    def throttled(self, pause: float, started: float) -> None:
        """A 429 to a request that started at `started` (loop time): nobody starts for `pause` seconds.

        The limit is halved once for all the requests that were under way together, not once for each of them.
        """
        now = self._now()
        self._not_before = max(self._not_before, now + pause)
        self._no_risk_before = max(self._no_risk_before, now + WORTH * pause)
        if started >= self._cut_at:
            self._cut_at, self._cut_active, self._refused = now, self._active, 0
            self._clean, self._growing = 0, False
            self._half = max(1, self._limit // 2)
        self._refused += 1
        taken = self._cut_active - self._refused
        # Where all of them were refused, it is no matter of how many at once.
        self._known = taken if taken > 0 else self._half
        self._limit = min(self._half, self._known)

    def _raise_by(self, number: int) -> None:
        self._limit = min(self._highest, self._limit + number)
        self._dispatch()

    # --- the queues ------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _is_time(self) -> bool:
        return not self._not_before or self._now() >= self._not_before

    def _start(self) -> None:
        self._active += 1
        if self._interval:
            self._not_before = max(self._not_before, self._now()) + self._interval

    def _dispatch(self) -> None:
        # A call that was cancelled a moment ago is counted until its task has run: then the queues may be empty.
        while (self._waiters or self._background) and self._active < self._limit:
            if not self._is_time():
                self._wake_later()
                return
            waiter = self._next()
            if not waiter.done():
                self._served += 1
                self._waiting -= 1
                self._start()
                waiter.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        number = self._served + 1
        if self._background and (not self._waiters or number % BACKGROUND_SHARE == 0):
            return self._background.popleft()
        return self._waiters.pop() if number % NEWEST_SHARE == 0 else self._waiters.popleft()

    def _tidy(self) -> None:
        # Cancelled ones stay in the queues until their turn, or until most are: to look for each would be quadratic.
        if len(self._waiters) + len(self._background) > 2 * self._waiting + MOST_CANCELLED:
            for queue in (self._waiters, self._background):
                left = [waiter for waiter in queue if not waiter.done()]
                queue.clear()
                queue.extend(left)

    def _wake_later(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.cancelled() or self._timer.when() <= loop.time():
            self._timer = loop.call_at(self._not_before, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._dispatch()
