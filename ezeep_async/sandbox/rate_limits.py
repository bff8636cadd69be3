"""`RateLimits`: which requests the hosts refuse with a 429."""

from __future__ import annotations

import time
from collections import Counter, deque

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.records import Host


_LIMITED: tuple[Host, ...] = ("api", "print")


class RateLimits:
    """The requests under way, and those of the last second."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._recent: dict[Host, deque[float]] = {host: deque() for host in _LIMITED}
        self.parallel = Counter[Host]()
        self.peaks = Counter[Host]()

    def admit(self, host: Host) -> bool:
        """Count a request that begins, unless it is one too many. Returns whether it may."""
        if host in self._recent:
            at_once, in_a_second = self._behaviour.max_parallel, self._behaviour.max_per_second
            if at_once is not None and self.parallel[host] >= at_once:
                return False
            if in_a_second is not None:
                recent, now = self._recent[host], time.monotonic()
                while recent and recent[0] <= now - 1.0:
                    recent.popleft()
                if len(recent) >= in_a_second:
                    return False
                recent.append(now)
        self.parallel[host] += 1
        self.peaks[host] = max(self.peaks[host], self.parallel[host])
        return True

    def finished(self, host: Host) -> None:
        """Count the end of a request that was admitted."""
        self.parallel[host] -= 1
