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

from ezeep_async.auth.stores.redis_server import ANSWER_TIMEOUT, RedisServer
from ezeep_async.auth.tasks import start_self_timed
from ezeep_async.errors import TokenStoreError


logger = logging.getLogger("ezeep_async.auth.stores")

LEASE_S = 30.0
"""Seconds for which a lock outlives a holder that was killed. A holder that lives extends it at every third of this."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.003, 0.1
"""Between two attempts at a lock that is taken."""
MARK_S = 2.0
"""Seconds for which the first waiter keeps its place without an attempt: much longer than a pause."""
MOST_AT_ONCE = 64
"""How many attempts are sent together."""

# For each name there are two keys: the lock, and the mark of the first waiter. Who has just given a lock back would
# otherwise have it again before a waiter's next attempt, every time. Each item may be run twice, as happens when the
# response to the first run is lost.
_SCRIPT = """
local out = {}
for i = 1, #KEYS / 2 do
  local lock, mark, act, me = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i + 1], ARGV[2 * i + 2]
  local holder = redis.call('get', lock)
  out[i] = 0
  if act == 'give' then
    if redis.call('get', mark) == me then redis.call('del', mark) end
    if holder == me then out[i] = redis.call('del', lock) end
  elseif holder == me then
    out[i] = redis.call('pexpire', lock, ARGV[1])
  elseif act == 'take' then
    local first = redis.call('get', mark)
    if holder or (first and first ~= me) then
      if not first or first == me then redis.call('set', mark, me, 'PX', ARGV[2]) end
    else
      redis.call('set', lock, me, 'PX', ARGV[1])
      redis.call('del', mark)
      out[i] = 1
    end
  end
end
return out
"""

Act = Literal["take", "keep", "give"]


def _clock() -> float:
    """Seconds that also count while the machine is suspended, where the system has such a clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


@attrs.define(eq=False)
class _Held:
    """One holding of a lock, or one attempt at it."""

    key: str
    owner: str = attrs.field(factory=lambda: secrets.token_hex(16))
    pid: int = attrs.field(factory=os.getpid)
    until: float = float("inf")
    ended_early: bool = False

    @property
    def lost(self) -> bool:
        """See `HeldLock.lost`."""
        return self.ended_early or _clock() >= self.until


_Asked = tuple[Act, _Held, "asyncio.Future[bool]"]


class RedisLocks:
    """The `SharedLocks` of `RedisTokenStore`. The names in the server's keys are hashes.

    Attempts that come while a command is under way go together in the next one, so that many writers cost few commands.
    One connection is kept from the first lock until `aclose()`.

    A holder that was suspended for longer than the lease reads again before it writes; where it was in the middle of its
    write, it raises `ConcurrentModification`. While Redis cannot be reached, `hold` raises `TokenStoreError`: the session
    logs a warning, and writes without these locks for 30 seconds.
    """

    def __init__(self, server: RedisServer, *, lease: float = LEASE_S) -> None:
        self._server = server
        self._lease = min(lease, LEASE_S)
        self._asked: list[_Asked] = []
        self._talking: asyncio.Task[None] | None = None
        self._held: set[_Held] = set()
        self._extending: asyncio.TimerHandle | None = None
        self._connection: AbstractAsyncContextManager[object] | None = None
        self._closed = False

    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncGenerator[_Held, None]:
        """See `SharedLocks.hold`. A holder that was suspended for longer than the lease is told that it lost the lock."""
        held = _Held(f"{self._server.lock_key}:turn:{hashlib.sha256(name.encode()).hexdigest()[:32]}")
        try:
            await self._take(held)
        except TokenStoreError:
            raise
        except BaseException:
            await self._give(held)
            raise
        self._held.add(held)
        self._extend_later()
        try:
            yield held
        finally:
            self._held.discard(held)
            await self._give(held)

    async def aclose(self) -> None:
        """Send what is left to send, and close the connection."""
        self._closed = True
        if self._extending is not None:
            self._extending.cancel()
        if self._talking is not None:
            await asyncio.wait({self._talking})
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.__aexit__(None, None, None)

    async def _take(self, held: _Held) -> None:
        pause = FIRST_PAUSE_S
        while not await self._ask("take", held):
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # not a secret
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    async def _give(self, held: _Held) -> None:
        """Give it back, also where the caller is cancelled meanwhile; then the caller is."""
        if held.pid != os.getpid():  # a forked child would end the lock of its parent
            return
        answer = self._ask("give", held)
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError:
            while not answer.done() and held.pid == os.getpid():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({answer})
            if answer.done():
                self._note_given(held, answer)
            raise
        except TokenStoreError:
            pass
        self._note_given(held, answer)

    def _note_given(self, held: _Held, answer: asyncio.Future[bool]) -> None:
        if (error := answer.exception()) is not None:
            logger.warning(
                "a lock that processes share was not given back, and ends within %g s: %s", self._lease, error
            )
        elif not answer.result():
            held.ended_early = True

    def _extend_later(self) -> None:
        if self._extending is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._extending = loop.call_later(self._lease / 3, self._extend)

    def _extend(self) -> None:
        self._extending = None
        for held in self._held:
            self._ask("keep", held).add_done_callback(partial(_note, held))
        if self._held:
            self._extend_later()

    def _ask(self, act: Act, held: _Held) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.append((act, held, answer))
        if self._talking is None or self._talking.done():
            self._talking = start_self_timed(self._talk(), "ezeep-redis-locks")
        return answer

    async def _talk(self) -> None:
        while self._asked:
            asked, self._asked = self._asked[:MOST_AT_ONCE], self._asked[MOST_AT_ONCE:]
            sent = _clock()
            try:
                answers = await self._run(asked)
            except BaseException as error:
                self._fail(asked, error)
                if isinstance(error, Exception):
                    continue
                self._fail(self._asked, error)
                self._asked = []
                raise
            for (act, held, answer), ours in zip(asked, answers, strict=True):
                if ours and act != "give":
                    held.until = sent + self._lease
                if not answer.done():
                    answer.set_result(bool(ours))

    def _fail(self, asked: list[_Asked], error: BaseException) -> None:
        for _, _, answer in asked:
            if not answer.done():  # one for each, or their tracebacks would be mixed up
                answer.set_exception(TokenStoreError(str(error) or type(error).__name__))

    async def _run(self, asked: list[_Asked]) -> list[int]:
        if self._connection is None and not self._closed:
            connection = self._server.connected()
            await connection.__aenter__()
            self._connection = connection
        keys = [key for _, held, _ in asked for key in (held.key, f"{held.key}:next")]
        items = [text for act, held, _ in asked for text in (act, held.owner)]
        lease, mark = (str(max(1, round(seconds * 1000))) for seconds in (self._lease, MARK_S))
        # Not `run`, which would begin a task of its own for what is in one already.
        return cast(
            "list[int]",
            await self._server._run(_SCRIPT, lease, mark, *items, limit=ANSWER_TIMEOUT, keys=keys),  # pyright: ignore[reportPrivateUsage]
        )


def _note(held: _Held, answer: asyncio.Future[bool]) -> None:
    if answer.cancelled():
        return
    if (error := answer.exception()) is not None:
        logger.warning("a lock that processes share was not extended: %s", error)
    elif not answer.result():
        held.ended_early = True
