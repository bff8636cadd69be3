"""Four processes that share their cool-downs, on a simulated server and clock: what is refused, and how soon they are done."""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from ezeep_async import Settings
from ezeep_async._http.shared_limits import Link, SharedLimiter


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

PROCESSES, REQUESTS, AT_ONCE, RETRY_AFTER_S = 4, 4000, 50, 1.0
NETWORK_S, REDIS_S = 0.003, 0.006


class Clock(selectors.SelectSelector):
    """Does not wait: its time goes on instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def now() -> float:
    return asyncio.get_running_loop().time()


class Channel:
    """Of one process."""

    def __init__(self, network: Network) -> None:
        self.network = network

    async def announce(self, host: str, seconds: float, /) -> None:
        await self.network.travel(REDIS_S)
        for queue in self.network.queues:
            queue.put_nowait({host: seconds})

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[Mapping[str, float]]]:
        queue: asyncio.Queue[Mapping[str, float]] = asyncio.Queue()
        queue.put_nowait({})
        self.network.queues.add(queue)

        async def received() -> AsyncIterator[Mapping[str, float]]:
            while True:
                yield await queue.get()

        yield received()


class Network:
    """The server with its limits, and the queues of the channels."""

    def __init__(self, latency: float, at_once: int | None, in_a_second: int | None) -> None:
        self.latency, self.at_once, self.in_a_second = latency, at_once, in_a_second
        self.random = random.Random(1)
        self.active = 0
        self.recent: deque[float] = deque()
        self.refused: list[tuple[float, int]] = []
        self.queues: set[asyncio.Queue[Mapping[str, float]]] = set()

    async def travel(self, seconds: float) -> None:
        await asyncio.sleep(seconds * (0.5 + self.random.random()))

    def admits(self) -> bool:
        while self.recent and self.recent[0] <= now() - 1.0:
            self.recent.popleft()
        full = self.at_once is not None and self.active >= self.at_once
        if full or (self.in_a_second is not None and len(self.recent) >= self.in_a_second):
            return False
        self.recent.append(now())
        self.active += 1
        return True

    async def request(self, limiter: SharedLimiter, process: int) -> None:
        """As the send loop does it."""
        attempt = 0
        while True:
            await limiter.acquire(at_head=attempt > 0)
            attempt, started = attempt + 1, now()
            try:
                await self.travel(NETWORK_S)
                if self.admits():
                    await asyncio.sleep(self.latency)
                    self.active -= 1
                    await self.travel(NETWORK_S)
                    return limiter.not_refused(started)
                self.refused.append((now(), process))
                await self.travel(NETWORK_S)
                limiter.throttled(RETRY_AFTER_S, started)
            finally:
                limiter.release()

    async def run(self) -> float:
        """All processes with all requests. Returns the requests of a second."""
        tasks = [AT_ONCE] * (REQUESTS // AT_ONCE)

        async def process(number: int) -> None:
            link = Link(Channel(self), self.random.random)
            link.join({}, Settings())
            limiter = link._limiter("https://api", Settings())
            while tasks:
                await asyncio.gather(*(self.request(limiter, number) for _ in range(tasks.pop())))
            await link.leave()

        begun = now()
        await asyncio.gather(*(process(number) for number in range(PROCESSES)))
        return REQUESTS / (now() - begun)

    def most_refused(self) -> int:
        """The most refused requests of one process in one cool-down."""
        cool_downs: list[tuple[float, Counter[int]]] = []
        for arrived, process in self.refused:
            if not cool_downs or arrived >= cool_downs[-1][0] + RETRY_AFTER_S:
                cool_downs.append((arrived, Counter()))
            cool_downs[-1][1][process] += 1
        return max(max(counts.values()) for _, counts in cool_downs)


@pytest.mark.parametrize(
    ("at_once", "in_a_second", "possible"), [(20, None, 189), (8, None, 75), (None, 100, 100)]
)
def test_6_7_few_are_refused_and_most_of_the_limit_is_used(
    at_once: int | None, in_a_second: int | None, possible: int
) -> None:
    network = Network(0.1, at_once, in_a_second)
    clock = Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]  # the clock of the simulation
    try:
        rate = loop.run_until_complete(network.run())
    finally:
        loop.close()
    assert network.most_refused() == 1
    assert rate > 0.7 * possible
