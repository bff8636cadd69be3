"""`SharedPace`: cool-downs after 429 responses, shared through a Redis server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ezeep_async._runtime.later_types import imported_later
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.stores.redis_server import RedisServer
from ezeep_async.auth.stores.threads import to_the_end
from ezeep_async.errors import TokenStoreCorrupt


if TYPE_CHECKING:
    from redis.asyncio import Redis

globals().update(imported_later("redis.asyncio", "Redis"))

ANNOUNCE_TIMEOUT_S = 2.0
"""Seconds for one announcement: a later one would be of little use."""
PING_AFTER_S = 15.0
"""Seconds without a message after which the connection is checked."""

# One sorted set for all hosts: the score is the end of the cool-down in milliseconds of the server's clock, so that the
# clocks of the workers do not matter. Published also if a longer one is stored, which listeners may have limited. A script
# may run twice, because the client repeats a command whose response was lost.
_ANNOUNCE = """
local ends, host, length = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('time')
local until_ = time[1] * 1000 + math.floor(time[2] / 1000) + length
if until_ > tonumber(redis.call('zscore', ends, host) or '0') then redis.call('zadd', ends, until_, host) end
if redis.call('pttl', ends) < length then redis.call('pexpire', ends, length) end
redis.call('publish', ends, length .. ' ' .. host)
return 1
"""
_IN_FORCE = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('zrangebyscore', KEYS[1], '(' .. now, '+inf', 'withscores')
for i = 2, #found, 2 do found[i] = string.format('%d', found[i] - now) end
return found
"""


class SharedPace:
    """Share the cool-downs after 429 responses between processes and machines: `Settings(shared_pace=SharedPace(...))`.

    A 429 that one process gets stops the requests of all of them to that host until `Retry-After` is over. After that
    each process begins with one request, up to a tenth of that time later. Each success then allows one more, up to the number
    that the server accepted before. The cool-down is measured by the clock of the Redis server.

    While the server refuses nothing, only the first request of an event loop waits for Redis, for 2 seconds at most. It waits
    for the cool-downs that are in force. One connection of each event loop receives what others announce.

    While Redis cannot be reached, the session logs one warning and makes its calls as without it. A process that runs
    alone does not need it: the sessions of a `SessionPool` share their limiter anyway.

    Use one `SharedPace` for all sessions of a process. It has no connection of its own: that belongs to the sessions,
    opens with the first of them on an event loop, and closes with the last. A forked child opens its own.

    Args:
        server: Address (`rediss://user:password@host:6379/0`), or a `redis.asyncio.Redis` to borrow. A borrowed client is
            never closed, and serves only the event loop that uses it first.
        key: Redis key, and name of the channel. Processes with the same key share their cool-downs. Use a key for each
            client id if ezeep limits your applications separately.

    Raises:
        ImportError: The extra `redis` is not installed.
        TypeError: `server` or `key` has another type.
        TokenStoreError: `server` is not the address of a Redis server.

    Note:
        docs/how-to/processes.md, docs/how-to/celery.md
    """

    @clears_locals
    def __init__(self, server: str | Redis, key: str = "ezeep:cool-downs") -> None:
        if not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        self._key = key
        self._server = RedisServer(server, f"the cool-downs {key!r}", (key, key))

    def __repr__(self) -> str:
        return f"<SharedPace: {self._server.where}>"

    async def announce(self, host: str, seconds: float, /) -> None:
        """Report a cool-down to all listeners. See `CoolDownChannel.announce`."""
        length = max(1, round(seconds * 1000))
        await to_the_end(
            self._server.evaluate(_ANNOUNCE, [self._key], [host, str(length)], ANNOUNCE_TIMEOUT_S)
        )

    @asynccontextmanager
    async def listen(self) -> AsyncGenerator[AsyncIterator[Mapping[str, float]]]:
        """Receive cool-downs. See `CoolDownChannel.listen`."""
        task = asyncio.current_task()
        cancellations = 0 if task is None else task.cancelling()
        async with self._server.connected() as client:
            subscription: Any = client.pubsub()
            try:
                await subscription.subscribe(self._key)
                yield self._messages(subscription, cancellations)
            finally:
                await to_the_end(subscription.aclose())

    async def _messages(self, subscription: Any, cancellations: int) -> AsyncIterator[Mapping[str, float]]:
        silent = False
        while True:
            task = asyncio.current_task()
            if task is not None and task.cancelling() > cancellations:
                raise asyncio.CancelledError  # redis swallows a cancellation while it connects
            message = await subscription.get_message(timeout=PING_AFTER_S)
            if message is None:
                if silent:
                    raise ConnectionError("the Redis server does not respond")
                silent = True
                await subscription.ping()
                continue
            silent = False
            if message["type"] == "subscribe":  # also after redis has connected again: messages may be lost
                try:
                    found: list[Any] = await self._server.run(_IN_FORCE, limit=ANNOUNCE_TIMEOUT_S)
                except TokenStoreCorrupt:  # a member that is no text
                    found = []
                yield _cool_downs(zip(found[1::2], found[::2], strict=True))
            elif message["type"] == "message":
                text = message["data"]
                length, _, host = (
                    text.decode(errors="replace") if isinstance(text, bytes) else text
                ).partition(" ")
                yield _cool_downs([(length, host)])


def _cool_downs(found: Iterable[tuple[str | int, str]]) -> dict[str, float]:
    """Convert milliseconds to seconds. What another program has written to the key or the channel is left out."""
    result: dict[str, float] = {}
    for length, host in found:
        with contextlib.suppress(ValueError, OverflowError):
            if (seconds := int(length) / 1000) > 0:
                result[host] = seconds
    return result
