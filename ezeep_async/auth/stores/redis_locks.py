"""`RedisLocks`: locks for single users and names on a Redis server, shared by the processes of many machines."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import random
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Literal, cast

import attrs

from ezeep_async.auth.stores.redis_server import RESPONSE_TIMEOUT_S, RedisServer
from ezeep_async.auth.stores.threads import completed
from ezeep_async.auth.tasks import start_self_timed
from ezeep_async.errors import TokenStoreError


logger = logging.getLogger("ezeep_async.auth.stores")

LEASE_S = 30.0
"""Seconds until the lock of a killed holder ends. A live holder extends its lock every `LEASE_S / 3`."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.003, 0.1
"""Seconds between two attempts at a lock that is held."""
RESERVATION_S = 2.0
"""Seconds for which the next lock stays reserved for the first waiter: much longer than a pause between its attempts."""
RELEASED_S = 2.0 * RESPONSE_TIMEOUT_S
"""Seconds for which a release is remembered: longer than the client may repeat the command."""
BATCH = 64
"""Requests in one command, at most."""

# Three keys for each request: the lock, the reservation of its first waiter, and a record of its release. Without the
# reservation, a holder that releases a lock and wants it back would win against the waiter's next attempt every time.
# The client repeats a command whose response was lost, so each request must give the same result when it runs twice.
# The first line that applies to a request:
#
#   action           lock                           result
#   release          ours                           deleted, 1
#   release          otherwise                      1 if this is the second run, 0 if the lock was lost
#   acquire, extend  ours                           extended, 1
#   extend           otherwise                      0: the lock was lost
#   acquire          held, or reserved for another  0; reserved for us unless it is for another
#   acquire          otherwise                      acquired, 1
_SCRIPT = """
local lease, reservation_time, released_time = ARGV[1], ARGV[2], ARGV[3]
local out = {}
for i = 1, #KEYS / 3 do
  local lock, reservation, released = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local action, me = ARGV[2 * i + 2], ARGV[2 * i + 3]
  local holder, first = redis.call('get', lock), redis.call('get', reservation)
  out[i] = 0
  if action == 'release' then
    if first == me then redis.call('del', reservation) end
    if holder == me then
      redis.call('del', lock)
      redis.call('set', released, '', 'PX', released_time)
      out[i] = 1
    else
      out[i] = redis.call('exists', released)
    end
  elseif holder == me then
    out[i] = redis.call('pexpire', lock, lease)
  elseif action == 'acquire' then
    if holder or (first and first ~= me) then
      if not first or first == me then redis.call('set', reservation, me, 'PX', reservation_time) end
    else
      redis.call('set', lock, me, 'PX', lease)
      redis.call('del', reservation)
      out[i] = 1
    end
  end
end
return out
"""

Action = Literal["acquire", "extend", "release"]


def _clock() -> float:
    """Seconds that also count while the machine is suspended, on systems with such a clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


@attrs.define(eq=False)
class _Held:
    """A lock that is held, or that is being acquired."""

    key: str
    owner: str = attrs.field(factory=lambda: secrets.token_hex(16))
    pid: int = attrs.field(factory=os.getpid)
    until: float = float("inf")
    """End of the lease, by `_clock`."""
    ended_early: bool = False

    @property
    def lost(self) -> bool:
        """See `HeldLock.lost`."""
        return self.ended_early or _clock() >= self.until


_Request = tuple[Action, _Held, "asyncio.Future[bool]"]


class RedisLocks:
    """The `SharedLocks` of `RedisTokenStore`. The server's keys contain hashes of the names.

    One command is under way at a time. Requests that arrive meanwhile share the next one, so many writers need few
    commands. One connection stays open from the first lock until `aclose()`.

    A holder that was suspended for longer than the lease reads again before it writes. If the suspension came during the
    write, the session raises `ConcurrentModification`. While Redis cannot be reached, `hold` raises `TokenStoreError`:
    the session logs a warning and writes without these locks for 30 seconds.
    """

    def __init__(self, server: RedisServer, *, lease: float = LEASE_S) -> None:
        self._server = server
        self._lease = min(lease, LEASE_S)
        self._requests: list[_Request] = []
        self._sender: asyncio.Task[None] | None = None
        self._held: set[_Held] = set()
        self._extending: asyncio.TimerHandle | None = None
        self._connection: AbstractAsyncContextManager[object] | None = None
        self._closed = False

    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncGenerator[_Held, None]:
        """See `SharedLocks.hold`. `lost` is true for a holder that was suspended for longer than the lease."""
        held = _Held(f"{self._server.lock_key}:turn:{hashlib.sha256(name.encode()).hexdigest()[:32]}")
        try:
            await self._acquire(held)
        except TokenStoreError:
            raise
        except BaseException:
            await self._release(held)
            raise
        self._held.add(held)
        self._extend_later()
        try:
            yield held
        finally:
            self._held.discard(held)
            await self._release(held)

    async def aclose(self) -> None:
        """Wait for the requests that are under way, and close the connection."""
        self._closed = True
        if self._extending is not None:
            self._extending.cancel()
        while self._sender is not None:
            await asyncio.wait({self._sender})
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.__aexit__(None, None, None)

    async def _acquire(self, held: _Held) -> None:
        pause = FIRST_PAUSE_S
        while not await self._request("acquire", held):
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    async def _release(self, held: _Held) -> None:
        """Release the lock. A cancellation takes effect after that."""
        if held.pid == os.getpid():  # in a forked child, the parent holds the lock
            released = self._request("release", held)
            released.add_done_callback(partial(_note_outcome, held))
            with contextlib.suppress(TokenStoreError):
                await completed(released)

    def _extend_later(self) -> None:
        if self._extending is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._extending = loop.call_later(self._lease / 3, self._extend)

    def _extend(self) -> None:
        self._extending = None
        for held in self._held:
            self._request("extend", held).add_done_callback(partial(_note_outcome, held))
        if self._held:
            self._extend_later()

    def _request(self, action: Action, held: _Held) -> asyncio.Future[bool]:
        result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._requests.append((action, held, result))
        if self._sender is None:
            self._start_sender()
        return result

    def _start_sender(self) -> None:
        self._sender = start_self_timed(self._send_all(), "ezeep-redis-locks")
        self._sender.add_done_callback(self._sender_ended)

    def _sender_ended(self, _: asyncio.Task[None]) -> None:
        self._sender = None
        # A callback of the event loop may cancel the task before its first step. The waiters of a release decline to be
        # cancelled, so the requests must be sent all the same.
        if self._requests:
            self._start_sender()

    async def _send_all(self) -> None:
        while self._requests:
            batch, self._requests = self._requests[:BATCH], self._requests[BATCH:]
            sent = _clock()
            try:
                results = await self._send(batch)
            except BaseException as error:
                _fail(batch, error)
                if isinstance(error, Exception):
                    continue
                _fail(self._requests, error)
                self._requests = []
                raise
            for (action, held, future), succeeded in zip(batch, results, strict=True):
                if succeeded and action != "release":
                    held.until = sent + self._lease
                if not future.done():
                    future.set_result(bool(succeeded))

    async def _send(self, batch: list[_Request]) -> list[int]:
        if self._connection is None and not self._closed:
            connection = self._server.connected()
            await connection.__aenter__()
            self._connection = connection
        released = f"{self._server.lock_key}:released:"
        keys = [key for _, held, _ in batch for key in (held.key, f"{held.key}:next", released + held.owner)]
        items = [text for action, held, _ in batch for text in (action, held.owner)]
        times = (str(max(1, round(seconds * 1000))) for seconds in (self._lease, RESERVATION_S, RELEASED_S))
        return cast("list[int]", await self._server.evaluate(_SCRIPT, keys, [*times, *items]))


def _fail(requests: list[_Request], error: BaseException) -> None:
    for _, _, future in requests:
        if not future.done():  # one exception for each waiter, or their tracebacks would be mixed up
            future.set_exception(TokenStoreError(str(error) or type(error).__name__))


def _note_outcome(held: _Held, outcome: asyncio.Future[bool]) -> None:
    if outcome.cancelled():
        return
    if (error := outcome.exception()) is not None:
        logger.warning("a shared lock was not extended or released, and ends with its lease: %s", error)
    elif not outcome.result():
        held.ended_early = True
