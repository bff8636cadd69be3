"""How many requests one host gets at once. The server decides: a 429 pauses everyone and halves the number."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque


class Limiter:
    """A first-come semaphore whose size follows the server (additive increase, multiplicative decrease).

    `limit` is the highest number of requests at once, `per_second` an optional ceiling on how many start.
    One event loop only: that of the session.
    """

    def __init__(self, limit: int, per_second: float | None = None) -> None:
        self._highest = limit
        self._limit = limit
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._active = 0
        self._not_before = 0.0
        self._clean = 0
        self._cut_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return self._limit

    @property
    def active(self) -> int:
        """How many requests are under way now."""
        return self._active

    async def acquire(self, *, first: bool = False) -> None:
        """Wait for a slot. `first` puts a call that was sent back by the server ahead of those that never went."""
        if not self._waiters and self._active < self._limit and self._is_time():
            self._start()
            return
        waiter = asyncio.get_running_loop().create_future()
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._dispatch()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the slot was given just before the cancellation: hand it on
            else:
                with contextlib.suppress(ValueError):  # a dispatch in between has dropped it already
                    self._waiters.remove(waiter)
            raise

    def release(self) -> None:
        """Give the slot back."""
        self._active -= 1
        if self._waiters:
            self._dispatch()

    def succeeded(self) -> None:
        """An answer that was not a refusal. After a clean window of them the limit grows by one."""
        if self._limit < self._highest:
            self._clean += 1
            if self._clean >= self._limit:
                self._clean = 0
                self._limit += 1
                self._dispatch()

    def throttled(self, pause: float, started: float) -> None:
        """A 429 to a request that started at `started` (loop time): nobody starts for `pause` seconds.

        The limit is halved once for all the requests that were under way together, not once for each of them.
        """
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + pause)
        if started >= self._cut_at:
            self._cut_at = now
            self._clean = 0
            self._limit = max(1, self._limit // 2)

    def _is_time(self) -> bool:
        return not self._not_before or asyncio.get_running_loop().time() >= self._not_before

    def _start(self) -> None:
        self._active += 1
        if self._interval:
            now = asyncio.get_running_loop().time()
            self._not_before = max(self._not_before, now) + self._interval

    def _dispatch(self) -> None:
        while self._waiters and self._active < self._limit:
            if not self._is_time():
                self._wake_later()
                return
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._start()
                waiter.set_result(None)

    def _wake_later(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.cancelled() or self._timer.when() <= loop.time():
            self._timer = loop.call_at(self._not_before, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._dispatch()
