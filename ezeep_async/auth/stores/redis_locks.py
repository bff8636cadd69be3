"""`RedisLocks`: locks for single users and names on a Redis server, shared by the processes of many machines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import cast

from ezeep_async.auth.stores.leased_locks import LEASE_S, RESERVATION_S, LeasedLocks, LockRequest
from ezeep_async.auth.stores.redis_server import RESPONSE_TIMEOUT_S, RedisServer


LOCKS_KEY = "{ezeep:locks}"
"""All keys begin with it. Its braces put them into one slot of a cluster: a script acts on several."""
RELEASED_S = 2.0 * RESPONSE_TIMEOUT_S
"""Seconds for which a release is remembered: longer than the client may repeat the command."""

# Three keys for each request: the lock, the reservation of its first waiter, and a record of its release.
# See `LeasedLocks._run` for what a request does.
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


class RedisLocks(LeasedLocks):
    """The shared locks of `RedisTokenStore`, for the token sets of all keys of the server's database."""

    def __init__(self, server: RedisServer, *, lease: float = LEASE_S) -> None:
        super().__init__(f"{server.lock_key}:turn:", lease)
        self._server = server

    def _connected(self) -> AbstractAsyncContextManager[object]:
        return self._server.connected()

    async def _run(self, batch: list[LockRequest]) -> Sequence[bool]:
        released = f"{self._server.lock_key}:released:"
        keys = [key for _, held, _ in batch for key in (held.key, f"{held.key}:next", released + held.owner)]
        items = [text for action, held, _ in batch for text in (action, held.owner)]
        times = (str(max(1, round(seconds * 1000))) for seconds in (self._lease, RESERVATION_S, RELEASED_S))
        results = cast("list[int]", await self._server.evaluate(_SCRIPT, keys, [*times, *items]))
        return [bool(result) for result in results]
