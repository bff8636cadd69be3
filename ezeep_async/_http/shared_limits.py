"""Limiters that follow the cool-downs of other processes, for `Settings.shared_pace`.

What happens after a 429:

1. `SharedLimiter.throttled` starts no request until the cool-down ends, and `Link.announce` sends the cool-down to the channel.
2. The listener of each process receives it (`Link._listen`). `SharedLimiter.follow_cool_down` does the same there.
3. After the cool-down, and up to a tenth of it later, each process begins with one request at a time. Each success while the
   window is full allows one more, up to the number that was accepted before (`SharedWindow`).

The window changes only by responses to this process and by cool-downs. The processes exchange nothing else.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from yarl import URL

from ezeep_async._http.limiter import PROBE_AFTER_SUCCESSES, Limiter, Window
from ezeep_async._runtime import forks
from ezeep_async._wire.requests import Host
from ezeep_async.settings import CoolDownChannel, Settings


logger = logging.getLogger("ezeep_async.http")

JOIN_TIMEOUT_S = 2.0
"""Longest wait, in seconds, of the first request for the cool-downs that are in force."""
SHARED_PROBE_AFTER_COOL_DOWNS = 20.0
"""A probe waits for this multiple of the last cool-down, and up to twice as long. Without a channel the multiple is smaller
(`limiter.PROBE_AFTER_COOL_DOWNS`): here all processes pay for a probe that is refused."""
RAISE_INTERVAL_S = 0.25
"""Seconds between two raises of the limit beyond what was accepted. A server that limits the rate refuses some time later."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 30.0
"""Seconds between two attempts to listen, while the channel cannot be used."""
LAST_ANNOUNCEMENT_S = 2.0
"""Seconds for the announcements that are under way when the last session closes."""
CANCEL_AGAIN_S, CANCEL_TIMES = 0.25, 20
"""Seconds between two cancellations of the listener, and their number."""
START_SPREAD = 0.5
"""Share of the duration of a request over which the requests of a window start."""
LONGEST_GAP_S = 0.05
"""Longest time, in seconds, between two such starts: longer than an announcement takes. One slow response must not delay the
next calls."""
RESTART_SPREAD = 0.1
"""Share of a cool-down over which the processes start again: not all of them at the same moment."""
SAME_COOL_DOWN = 0.1
"""Share of a cool-down by which it must end later than the known one to count as another one, which is announced."""


class SharedWindow(Window):
    """The number of requests that one of several processes may have under way at once. For one event loop.

    It begins with one request, and allows one more after each full window of successes. So at most one request of each
    process is more than the server has just accepted. The first cool-down ends that: what was accepted is the capacity.
    From then on the window begins with one request after each cool-down, and each success allows one more, up to the
    capacity. Beyond it, one more is tried after `PROBE_AFTER_SUCCESSES` successes.
    """

    def __init__(self, highest: int, rng: Callable[[], float] = random.random) -> None:
        super().__init__(highest)
        self.limit = 1
        self._before = highest
        """The capacity before the last cool-down. The 429 responses that follow it do not halve the capacity again."""
        self._raised_at = float("-inf")
        self.random = rng
        self.cool_until = 0.0
        """Loop time at which the last cool-down ends."""

    def not_refused(self, is_full: bool = True) -> bool:
        """Count a request that was not throttled, while the window `is_full`. Returns whether the limit was raised."""
        if not is_full or self.limit >= self._highest:
            return False
        self._successes += 1
        is_learnt = bool(self._refused_at)
        if not is_learnt or self.limit >= self._capacity:
            needed = max(self.limit, PROBE_AFTER_SUCCESSES if is_learnt else 0)
            now = asyncio.get_running_loop().time()
            if self._successes < needed or now < max(
                self._no_probe_before, self._raised_at + RAISE_INTERVAL_S
            ):
                return False
            self._raised_at = now
        self.limit, self._successes = self.limit + 1, 0
        self._capacity = max(self._capacity, self.limit)
        return True

    def throttled(self, now: float, started: float, active: int, cool_down: float) -> None:
        """Count a 429 to a request of this process that started at `started`."""
        if started >= self._refused_at:
            self.begin_cool_down(now, active, cool_down)
        self._accepted -= 1
        # Half of it at least: a server that limits the rate refuses everything for a while.
        self._capacity = max(1, self._before // 2, min(self._before, self._accepted))

    def begin_cool_down(self, now: float, active: int, cool_down: float) -> None:
        """Begin again with one request after a cool-down. `active` counts the requests under way."""
        # Not all processes probe at the same moment.
        no_probe_s = SHARED_PROBE_AFTER_COOL_DOWNS * cool_down * (1.0 + self.random())
        self._no_probe_before = max(self._no_probe_before, now + no_probe_s)
        if not self._refused_at:
            # The last raise may be one too many, until a full window of successes has confirmed it.
            is_confirmed = self._successes >= self.limit
            self._capacity = max(1, self.limit - (not is_confirmed))
        self._refused_at, self._accepted, self._before = now, max(active, self.limit), self._capacity
        self._successes, self.limit = 0, 1


class SharedLimiter(Limiter):
    """The limiter of one host for all sessions of an event loop that have the same channel and limits."""

    def __init__(self, link: Link, origin: str, settings: Settings, window: SharedWindow) -> None:
        super().__init__(settings.concurrency, settings.requests_per_second)
        self._window = self._shared_window = window
        self._not_before = window.cool_until
        self._shortest_interval: float = self._interval
        """Seconds between two starts that `Settings.requests_per_second` asks for; 0 without it."""
        self._link = link
        self._max_cool_down = settings.max_retry_after
        self.origin = origin

    def acquire_at_once(self) -> bool:
        """Take a slot if no wait is needed. Returns whether it did."""
        return self._link.is_ready and super().acquire_at_once()

    async def acquire(self, *, at_head: bool = False, background: bool = False) -> None:
        """Wait for a slot, the first time also for the cool-downs that are in force."""
        if not self._link.is_ready:
            await self._link.ready()
        await super().acquire(at_head=at_head, background=background)

    def not_refused(self, started: float) -> None:
        """Count a request that was not throttled, and that started at `started` (loop time)."""
        # Not during a cool-down: a request that was sent before it proves nothing about the time after it.
        window, now = self._shared_window, asyncio.get_running_loop().time()
        # One after the other, not in bursts: when the server begins to refuse, few are on their way.
        gap = min(LONGEST_GAP_S, START_SPREAD * (now - started) / window.limit)
        self._interval = max(self._shortest_interval, gap)
        if now >= window.cool_until and window.not_refused(self.active >= window.limit):
            self._dispatch()

    def throttled(self, cool_down: float, started: float) -> None:
        """Count a 429, and announce the cool-down to the other processes."""
        now, known_until = asyncio.get_running_loop().time(), self._shared_window.cool_until
        super().throttled(cool_down, started)
        self._wait_until(now, cool_down)
        if cool_down and now + cool_down > known_until + SAME_COOL_DOWN * cool_down:
            self._link.announce(self.origin, cool_down)

    def follow_cool_down(self, cool_down: float) -> None:
        """Start no request for `cool_down` seconds, `Settings.max_retry_after` at most: another process got a 429."""
        cool_down, now = min(cool_down, self._max_cool_down), asyncio.get_running_loop().time()
        is_later = now + cool_down > self._shared_window.cool_until + SAME_COOL_DOWN * cool_down
        if cool_down > 0 and is_later:  # a channel of a third party may say anything, also nan
            self._shared_window.begin_cool_down(now, self.active, cool_down)
            self._wait_until(now, cool_down)

    def _wait_until(self, now: float, cool_down: float) -> None:
        window = self._shared_window
        window.cool_until = max(window.cool_until, now + cool_down)
        self._not_before = max(
            self._not_before, window.cool_until + RESTART_SPREAD * cool_down * window.random()
        )


_Limits = tuple[str, int, float | None]
"""The base URL of a host, `Settings.concurrency` and `Settings.requests_per_second`."""


class Link:
    """What the sessions of one event loop share of one channel: a listener and the limiters."""

    def __init__(self, channel: CoolDownChannel, rng: Callable[[], float] = random.random) -> None:
        self._channel = channel
        self._random = rng
        self._users = 0
        self._limiters: dict[_Limits, SharedLimiter] = {}
        self._listener: asyncio.Task[None] | None = None
        self._announcing: set[asyncio.Task[None]] = set()
        self._known: asyncio.Event = asyncio.Event()
        """Set when the cool-downs in force were received, or could not be."""
        self.is_ready = channel in _failing
        """Whether the cool-downs in force are known, or no request waits for them any more."""

    def join(self, origins: Mapping[Host, URL], settings: Settings) -> dict[Host, Limiter]:
        """Return the limiters of a session, and listen until it leaves."""
        self._users += 1
        if self._listener is None or self._listener.done():
            self._listener = _start(self._listen(), "ezeep-cool-downs")
        return {host: self._limiter(str(origin), settings) for host, origin in origins.items()}

    async def leave(self) -> None:
        """Stop listening when the last session has left."""
        self._users -= 1
        if self._users or self._listener is None:
            return
        listener, self._listener = self._listener, None
        self._known.clear()
        self.is_ready = self._channel in _failing
        if (
            listener.get_loop() is asyncio.get_running_loop()
        ):  # else its loop has ended, and all tasks with it
            announcing = self._announcing.copy()
            if announcing:
                await asyncio.wait(announcing, timeout=LAST_ANNOUNCEMENT_S)
            await _cancel({listener, *announcing})

    async def ready(self) -> None:
        """Wait until the cool-downs in force are known, for `JOIN_TIMEOUT_S` at most."""
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await self._known.wait()
        except TimeoutError:
            self._warn("no response")
        self.is_ready = True

    def announce(self, origin: str, cool_down: float) -> None:
        """Announce a cool-down to the other processes, in a background task."""
        self._follow(origin, cool_down)
        task = _start(self._announce(origin, cool_down), "ezeep-announce-cool-down")
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    def _limiter(self, origin: str, settings: Settings) -> SharedLimiter:
        limits = origin, settings.concurrency, settings.requests_per_second
        limiter = self._limiters.get(limits)
        if limiter is None:
            learnt = _windows.setdefault(self._channel, {})
            known = learnt.get(limits)
            # A copy: an event loop in another thread may use that one, and a window has no lock.
            window = SharedWindow(settings.concurrency, self._random) if known is None else copy.copy(known)
            learnt[limits] = window
            limiter = self._limiters[limits] = SharedLimiter(self, origin, settings, window)
        return limiter

    def _follow(self, origin: str, cool_down: float) -> None:
        for limiter in self._limiters.values():
            if limiter.origin == origin:
                limiter.follow_cool_down(cool_down)

    async def _announce(self, origin: str, cool_down: float) -> None:
        try:
            await self._channel.announce(origin, cool_down)
        except Exception as error:  # noqa: BLE001  # a channel of a third party may raise anything
            self._warn(error)

    async def _listen(self) -> None:
        retry_in = FIRST_RETRY_S
        while True:
            try:
                async with self._channel.listen() as cool_downs:
                    async for each in cool_downs:
                        for origin, seconds in each.items():
                            self._follow(origin, seconds)
                        self._known.set()
                        _failing.discard(self._channel)
                        retry_in = FIRST_RETRY_S
                reason: object = "the channel has ended"
            except Exception as error:  # noqa: BLE001  # see above
                reason = error
            self._warn(reason)
            self._known.set()
            await asyncio.sleep(retry_in * (1.0 - 0.5 * self._random()))
            retry_in = min(2.0 * retry_in, LONGEST_RETRY_S)

    def _warn(self, reason: object) -> None:
        if self._channel not in _failing:
            logger.warning(
                "cool-downs are not shared with other processes now: %s. Calls go on without that",
                reason or type(reason).__name__,
            )
        _failing.add(self._channel)


def _start(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task in a context of its own: it outlives the call that starts it."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name, context=Context())
    forks.watch_task(task)
    return task


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end, for `CANCEL_TIMES * CANCEL_AGAIN_S` at most.

    More than once: redis swallows a cancellation while it connects, as other libraries may.
    """
    for _ in range(CANCEL_TIMES):
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
        if not tasks:
            return


_windows: WeakKeyDictionary[CoolDownChannel, dict[_Limits, SharedWindow]] = WeakKeyDictionary()
"""The windows that were made last, by channel: the next event loop of this process begins with what they learnt."""
_failing: WeakSet[CoolDownChannel] = WeakSet()
"""Channels that could not be used when they were last tried: no request waits for them, and there is no second warning."""
_links: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, CoolDownChannel], Link] = WeakValueDictionary()
"""The sessions keep them alive."""


def link_of(channel: CoolDownChannel) -> Link:
    """Return the link that the sessions of the running event loop share."""
    place = asyncio.get_running_loop(), channel
    link = _links.get(place)
    if link is None:
        link = _links[place] = Link(channel)
    return link
