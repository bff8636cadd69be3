"""`RedisTokenStore`: one login on a Redis server, shared by the processes of many machines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.cleaning import checked_seconds
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.presenting import EarlierHolder
from ezeep_async.auth.stores.cipher import cipher
from ezeep_async.auth.stores.document import BoundStore, as_text, stored_document, tokens_in
from ezeep_async.auth.stores.redis_locks import RedisLocks
from ezeep_async.auth.stores.redis_server import PROBE, RedisServer, RedisUnusable, to_the_end
from ezeep_async.auth.tasks import start_self_timed
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger("ezeep_async.auth.stores")

LEASE = 90.0
"""Seconds: longer than an exchange and its replay may take, so that it holds even if it could never be extended."""
LOCK_TIMEOUT = 120.0
"""Seconds: longer than the lease, so that a waiter outlasts a holder that was killed."""
SUSPENDED_S = 900.0
"""Seconds that a holder of the lock may be suspended in a refresh before others present its refresh token."""

# The lock is a key of its own that holds its owner's token and ends by itself. The login is a hash: `login` is the
# document, `generation` a name for this state of it. Each script may be run twice with the same arguments, as happens
# when the answer to the first run is lost.

_ACQUIRE = """
if redis.call('set', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('get', KEYS[2]) == ARGV[1] then return redis.call('pexpire', KEYS[2], ARGV[2]) end
return 0
"""
_EXTEND = """
if redis.call('get', KEYS[2]) == ARGV[1] then return redis.call('pexpire', KEYS[2], ARGV[2]) end
return 0
"""
_RELEASE = """
if redis.call('hget', KEYS[4], 'owner') == ARGV[1] then redis.call('del', KEYS[4]) end
if redis.call('get', KEYS[2]) == ARGV[1] then return redis.call('del', KEYS[2]) end
return 0
"""
# Who refreshes which state, on which connection: it outlives the lock, as may the holder, with a response that is unread.
_BEGIN = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return {'lapsed', ''} end
if (redis.call('hget', KEYS[1], 'generation') or '') ~= ARGV[2] then return {'moved', ''} end
local mark = redis.call('hmget', KEYS[4], 'owner', 'generation', 'connection')
if mark[1] and mark[1] ~= ARGV[1] and mark[2] == ARGV[2] and mark[1] ~= ARGV[5] then return {mark[1], mark[3]} end
redis.call('hset', KEYS[4], 'owner', ARGV[1], 'generation', ARGV[2], 'connection', ARGV[3])
redis.call('pexpire', KEYS[4], ARGV[4])
return {'', ''}
"""
# A key that holds an empty text, such as a placeholder of a deployment, holds no login. Any other text is not ours.
_LOAD = """
local found = redis.pcall('hmget', KEYS[1], 'generation', 'login')
if found.err then
  local text = redis.pcall('get', KEYS[1])
  if type(text) == 'string' and not string.find(text, '%S') then return {'', '', 0} end
  return found
end
return {found[1] or '', found[2] or '', redis.call('exists', KEYS[1]), found[2] and 1 or 0}
"""
# A lock that lapsed does not matter to a server that has nothing at all, neither a login nor the mark of a removed one
# nor anybody's lock: it was restarted and has forgotten everything. Nor to a refresh that was not taken over: see _BEGIN.
_SAVE = """
local generation = redis.pcall('hget', KEYS[1], 'generation')
local placeholder = false
if type(generation) == 'table' then
  local text = redis.pcall('get', KEYS[1])
  if type(text) ~= 'string' or string.find(text, '%S') then return generation end
  generation, placeholder = false, true
end
if generation == ARGV[3] then return 'done' end
if redis.call('get', KEYS[2]) ~= ARGV[1] and redis.call('exists', KEYS[1], KEYS[2]) > 0
   and (redis.call('hget', KEYS[4], 'owner') ~= ARGV[1] or generation ~= ARGV[2]) then return 'lapsed' end
if generation and ARGV[2] ~= '*' and generation ~= ARGV[2] then return 'superseded' end
if placeholder then redis.call('del', KEYS[1]) end
redis.call('hset', KEYS[1], 'generation', ARGV[3], 'login', ARGV[4])
redis.call('persist', KEYS[1])
redis.call('del', KEYS[4])
return 'done'
"""
# What is left behind says for a day that the login was removed, and not lost: nothing older takes its place.
_CLEAR = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 'lapsed' end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], 'generation', ARGV[2])
redis.call('expire', KEYS[1], 86400)
return 'done'
"""


@attrs.define(eq=False)
class _Hold:
    """One holding of the lock. `generation` is the state of the login that was loaded under it."""

    store: RedisTokenStore
    owner: str = attrs.field(factory=lambda: secrets.token_hex(16))
    pid: int = attrs.field(factory=os.getpid)
    generation: str | None = None
    active: bool = True


_holds: ContextVar[tuple[_Hold, ...]] = ContextVar("ezeep_redis_holds", default=())
"""What the running task holds. A holder whose lease lapsed and the next one may be in one store at the same time."""


class RedisTokenStore(BoundStore):
    """Keeps the login on a Redis server, so that processes on many machines share it.

    `server` is an address (`rediss://user:password@host:6379/0`) or a `redis.asyncio.Redis` to borrow, which is never
    closed here and belongs to the event loop that first uses it. With an address the store serves any number of event
    loops and forked processes; it is connected only while it is used, so that there is nothing to close. `key` names
    the login: one for each.

    With `encryption_key`, made by `cryptography.fernet.Fernet.generate_key()`, the server sees nothing of the login. Of
    several keys the first one encrypts and all of them decrypt. Without one, and with `redis://`, it crosses the network
    in clear.

    The lock ends by itself `lease` seconds after its holder died; while the holder lives it is extended. A waiter gives
    up after `lock_timeout` seconds. A holder whose lease ran out all the same, because it was suspended for example,
    cannot overwrite anything any more: it stores its token set only while the one that it refreshed is still there. Until
    then, for 15 minutes at most, others do not present the refresh token that it may have used, and raise
    `TransientAuthError`. (Without `CLIENT LIST`, as before Redis 6.2: for twice the lease, also if it was killed.)

    The server must not evict keys (`maxmemory-policy noeviction` or `volatile-*`), and keeps the login over a restart
    only if it is set up to persist (`appendonly yes`). Of one that is not, the login survives a restart in the middle
    of a renewal: the process that has the new login stores it again, at the latest under its next lock.

    Raises `TokenStoreCorrupt` for what cannot be understood or decrypted (it is left as it is), `TokenStoreError` for a
    login of another client id or account host, or when Redis cannot be reached, `TokenPersistError` when the login
    cannot be written. `ImportError` when the extra `redis` is not installed.
    """

    @clears_locals
    def __init__(
        self,
        server: str | Redis,
        key: str = "ezeep:login",
        *,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        lease: float = LEASE,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"key is a str, not {type(key).__name__}")
        if not checked_seconds(lease, "lease"):
            raise ValueError("lease is a number of seconds above 0")
        # Keys of one login are in one slot of a cluster.
        stem = key if "{" in key else f"{{{key}}}"
        others = (f"{stem}:{each}" for each in ("lock", "probe", "refresh"))
        self._server = RedisServer(server, f"the login {key!r}", (key, *others))
        self._where = self._server.where
        self._cipher = None if encryption_key is None else cipher(encryption_key)
        self._lease = lease
        self._lock_timeout = checked_seconds(lock_timeout, "lock_timeout")
        # Logins that could not be stored: the generation that they follow, and the one that they were to be.
        self._unsaved: WeakKeyDictionary[TokenSet, tuple[str, str]] = WeakKeyDictionary()
        # The last of them: the process that has it, what it follows, and the login.
        self._left_over: tuple[int, str, TokenSet] | None = None

    def __repr__(self) -> str:
        return f"<RedisTokenStore: {self._where}>"

    @clears_locals
    async def load(self) -> TokenSet | None:
        """The stored login. Under the lock, also one that could not be stored before the server forgot everything."""
        generation, document = await self._read()
        if (hold := self._hold()) is not None:
            hold.generation = generation
        newest = self._newest_of_all(generation)
        if document is None and not generation and hold is not None and newest is not None:
            logger.warning("%s is gone: the server has forgotten it. The newest is stored again", self._where)
            await self.save(newest)
            return newest
        return None if document is None else tokens_in(document, self._where)

    @clears_locals
    async def save(self, tokens: TokenSet, /) -> None:
        """Store the login, unless another one was stored since the last `load` under this lock, or the lock is lost.

        A login that could not be stored may be saved again under a later lock: it still replaces only the one that it
        was made from. Takes the lock where it is not held.
        """
        hold = self._hold()
        if hold is None:
            async with self.lock():
                await self.save(tokens)
            return
        base, generation = self._unsaved.get(tokens, ("*", secrets.token_hex(16)))
        if hold.generation is not None:
            base = hold.generation
        self._unsaved[tokens] = base, generation
        self._left_over = os.getpid(), base, tokens
        try:
            _, document = await self._read()
            text = as_text(document or {}, tokens, self._owner)
            if self._cipher is not None:
                text = self._cipher.encrypt(text.encode()).decode()
            outcome = await self._server.run(_SAVE, hold.owner, base, generation, text)
        except RedisUnusable as error:
            raise TokenPersistError(f"{self._where} cannot be written: {error.reason}") from error.__cause__
        if outcome == "lapsed":
            raise TokenPersistError(
                f"{self._where} was not written: the lock was lost while it was held (a lease of "
                f"{self._lease:g} s, or a server that forgot it), and another process may be renewing the login"
            )
        if outcome == "superseded":
            raise TokenPersistError(
                f"{self._where} was not written: another process stored or removed a login in the meantime"
            )
        self._unsaved.pop(tokens, None)
        self._left_over = None
        hold.generation = generation

    @clears_locals
    async def clear(self) -> None:
        """Forget the login. Takes the lock where it is not held."""
        hold = self._hold()
        if hold is None:
            async with self.lock():
                await self.clear()
            return
        await self._read()  # a key that is not ours is not removed
        generation = secrets.token_hex(16)
        if await self._server.run(_CLEAR, hold.owner, generation) == "lapsed":
            raise TokenStoreError(f"{self._where} was not removed: the lock was lost while it was held")
        self._left_over = None
        hold.generation = generation

    @clears_locals
    async def check_writable(self) -> None:
        """Write something else, and remove it: fails on a read-only replica, and on a server that is full."""
        hold = self._hold()
        try:
            outcome = await self._server.run(PROBE, "" if hold is None else hold.owner)
        except RedisUnusable as error:
            raise TokenPersistError(
                f"{self._where} cannot be written, so it is not renewed: {error.reason}"
            ) from error.__cause__
        if outcome == "lapsed":
            raise TokenPersistError(f"{self._where} is not renewed: the lock was lost while it was held")

    async def begin_refresh(self) -> EarlierHolder | None:
        """See `LeasedStore`. An earlier holder is suspended while it is connected, or not known not to be."""
        hold = self._hold() or _Hold(self)
        keep = str(
            round(1000 * (SUSPENDED_S if (mine := await self._server.connection()) else 2 * self._lease))
        )
        passed_over, earlier = "", cast("EarlierHolder | None", None)
        while True:
            mark = (hold.owner, hold.generation or "", mine, keep, passed_over)
            owner, connection = await self._server.run(_BEGIN, *mark)
            if owner == "lapsed":
                raise TokenPersistError(f"{self._where} is not renewed: the lock was lost while it was held")
            if not owner:
                return earlier
            if not connection or (connection != mine and await self._server.is_connected(connection)):
                return "suspended"
            passed_over, earlier = owner, "gone"

    async def is_still_locked(self) -> bool:
        """Whether the lock is still held, as far as is known."""
        with contextlib.suppress(RedisUnusable):
            hold = self._hold()
            return hold is not None and bool(await self._server.run(_EXTEND, hold.owner, self._lease_ms))
        return True

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        hold = _Hold(self)
        async with self._server.connected():
            try:
                await self._acquire(hold)
            except BaseException:
                if hold.pid == os.getpid():
                    await to_the_end(self._release(hold))  # the answer may be what was missing
                raise
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            extending = start_self_timed(self._extend(hold, over), "ezeep-redis-lease")
            _holds.set((*_holds.get(), hold))
            try:
                yield
            finally:
                if hold.pid == os.getpid():  # a forked child would end the lock of its parent
                    hold.active = False
                    _holds.set(tuple(each for each in _holds.get() if each.active))
                    over.set_result(None)
                    await to_the_end(self._release(hold, extending))

    def shared_locks(self) -> RedisLocks:
        """Locks for single users and names, in keys beside that of the login: see `TokenStore`."""
        return RedisLocks(self._server, lease=self._lease)

    async def aclose(self) -> None:
        """Break off what this event loop has under way with the server. Between uses nothing is open."""
        await self._server.aclose()

    # --- the lock --------------------------------------------------------------------------------------------------

    def _hold(self) -> _Hold | None:
        """The lock as the running task holds it. A forked child holds nothing of what its parent holds."""
        for hold in reversed(_holds.get()):
            if hold.store is self and hold.active and hold.pid == os.getpid():
                return hold
        return None

    async def _acquire(self, hold: _Hold) -> None:
        limit = RunningLimit(self._lock_timeout)
        pause = 0.01
        while not await self._server.run(_ACQUIRE, hold.owner, self._lease_ms):
            if limit.left <= 0:
                raise TokenStoreError(
                    f"{self._where} is busy: in use by another process for more than {self._lock_timeout:g} s"
                )
            await limit.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret
            pause = min(pause * 1.5, 0.25)

    async def _extend(self, hold: _Hold, over: asyncio.Future[None]) -> None:
        while True:
            await asyncio.wait({over}, timeout=self._lease / 3)
            if over.done():
                return
            try:
                ours = await self._server.run(_EXTEND, hold.owner, self._lease_ms, limit=self._lease / 3)
            except TokenStoreError as error:
                logger.warning("the lock was not extended: %s", error)
                continue
            if not ours and not over.done():
                logger.warning("%s: the lock was lost while it was held", self._where)
                return

    async def _release(self, hold: _Hold, extending: asyncio.Task[None] | None = None) -> None:
        try:
            await self._server.run(_RELEASE, hold.owner, limit=5.0)
        except TokenStoreError as error:
            logger.warning("the lock was not released, and ends within %g s: %s", self._lease, error)
        if extending is not None:
            await asyncio.wait({extending})

    @property
    def _lease_ms(self) -> str:
        return str(max(1, round(self._lease * 1000)))

    def _newest_of_all(self, generation: str) -> TokenSet | None:
        """The login that could not be stored, while it must be the newest: the one that it follows is spent.

        It is not when somebody else stored or removed one in the meantime, and a forked child cannot know that.
        """
        pid, base, tokens = self._left_over or (0, "", None)
        if generation not in {"", base}:
            self._left_over = tokens = None
        return tokens if pid == os.getpid() else None

    # --- what is stored ------------------------------------------------------------------------------------------------

    async def _read(self) -> tuple[str, dict[str, object] | None]:
        """The generation ("" for nothing at all) and the document. Raises when it is not ours."""
        found = cast("tuple[str, str, int, int]", await self._server.run(_LOAD))
        generation, login, exists, *is_ours = found
        if is_blank(login) and (generation or not exists or any(is_ours)):
            return generation, None
        if not generation:
            raise TokenStoreCorrupt(f"{self._where} is not a stored token set: move it away and log in again")
        if self._cipher is not None:
            from cryptography.fernet import InvalidToken

            try:
                login = self._cipher.decrypt(login.encode()).decode()
            except (InvalidToken, ValueError):
                raise TokenStoreCorrupt(
                    f"{self._where} cannot be decrypted: it was stored with another encryption_key, without one, or is "
                    "damaged"
                ) from None
        return generation, stored_document(login, self._owner, self._where)
