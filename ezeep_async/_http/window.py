"""How many requests a server accepts at once: additive increase, multiplicative decrease."""

from __future__ import annotations

import asyncio


PROBE_AFTER_SUCCESSES = 20
"""Successes required before probing one more concurrent request."""
PROBE_AFTER_COOL_DOWNS = 10.0
"""A probe waits for this multiple of the last cool-down, so that at most a tenth of the time is lost to probing."""


class Window:
    """The number of requests that may be under way at once.

    A 429 halves the limit. The requests of that window that were not refused are the capacity of the server, as far as
    it is known. Up to it, each success raises the limit by one. Then one more request is probed. After a good probe the
    limit doubles with each window of successes, until the next 429.
    """

    def __init__(self, highest: int) -> None:
        self._highest = highest
        self.limit = highest
        self._halved = highest
        self._capacity = highest
        self._successes = 0
        self._doubling = False
        self._refused_at = 0.0
        self._active_then = 0
        self._refusals = 0
        self._no_probe_before = 0.0

    def succeeded(self) -> bool:
        """Count a request that was not refused. Returns whether the limit was raised."""
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
        """Count a 429 to a request that started at `started`. Requests that were under way together halve once."""
        self._no_probe_before = max(self._no_probe_before, now + PROBE_AFTER_COOL_DOWNS * cool_down)
        if started >= self._refused_at:
            self._refused_at, self._active_then, self._refusals = now, active, 0
            self._successes, self._doubling = 0, False
            self._halved = max(1, self.limit // 2)
        self._refusals += 1
        accepted = self._active_then - self._refusals
        # If all were refused, the server limits the rate and not the concurrency.
        self._capacity = accepted if accepted > 0 else self._halved
        self.limit = min(self._halved, self._capacity)
