"""`RedisTokenStore`: a token set on a Redis server that the processes of several hosts share."""

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
from ezeep_async.auth.stores.document import DocumentStore, as_text
from ezeep_async.auth.stores.redis_locks import RedisLocks
from ezeep_async.auth.stores.redis_server import RedisServer, RedisUnusable, to_the_end
from ezeep_async.auth.tasks import start_self_timed
from ezeep_async.auth.tokens import EarlierHolder, TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet
    from redis.asyncio import Redis

logger = logging.getLogger("ezeep_async.auth.stores")

LEASE_S = 90.0
"""Seconds. Longer than a refresh and its replay take, so that the lock outlasts them even if it is never extended.

It does not follow `refresh_timeout`: with more than about 40 s, pass a longer `lease`.
"""
LOCK_TIMEOUT_S = 120.0
"""Seconds. Longer than the lease, so that a waiter outlasts a holder that was killed."""
SUSPENDED_S = 900.0
"""Seconds during which other processes do not use the refresh token of a holder that was suspended in a refresh."""


# The keys, in the order of RedisTokenStore.__init__:
#
#   token_set  a hash: `login` is the document, `generation` a random name for this state of it
#   lock       the token of its owner; expires after the lease
#   probe      written and removed by `check_writable`
#   mark       a hash: which `owner` refreshes which `generation`, on which `connection`. It outlives the lock, because
#              the owner may too, with a response that it has not read.
#
# What `token_set` means:
#
#   generation  login
#   -           -      empty: never used, or the server has lost its data. A blank string instead of the hash, such as a
#                      placeholder of a deployment, is empty too. Every other value is refused.
#   set         -      removed within the last day, not lost: no older token set replaces it
#   set         set    a token set
#
# `base` is the generation that the owner of the lock has loaded, "" for an empty store. Each script may run twice with
# the same arguments, because the client repeats a command whose response was lost.
def _script(body: str) -> str:
    """Give names to the keys of a script."""
    return f"local token_set, lock, probe, mark = KEYS[1], KEYS[2], KEYS[3], KEYS[4]{body}"


_ACQUIRE = _script("""
local owner, lease = ARGV[1], ARGV[2]
if redis.call('set', lock, owner, 'NX', 'PX', lease) then return 1 end
if redis.call('get', lock) == owner then return redis.call('pexpire', lock, lease) end
return 0
""")
# Checks that the server can be written, with a key that is removed again.
_PROBE = _script("""
local owner = ARGV[1]
if owner ~= '' and redis.call('get', lock) ~= owner then return 'lapsed' end
redis.call('set', probe, string.rep('0', 8192), 'PX', 1000)
redis.call('del', probe)
return 'done'
""")
_EXTEND = _script("""
local owner, lease = ARGV[1], ARGV[2]
if redis.call('get', lock) == owner then return redis.call('pexpire', lock, lease) end
return 0
""")
_RELEASE = _script("""
local owner = ARGV[1]
if redis.call('hget', mark, 'owner') == owner then redis.call('del', mark) end
if redis.call('get', lock) == owner then return redis.call('del', lock) end
return 0
""")
# The first line that applies:
#
#   the lock is not ours                                      lapsed
#   the stored generation is not `base`                       moved (for the caller like "suspended": it loads again)
#   the mark is of another owner than `gone`, and for `base`  that owner and its connection; nothing is marked
#   otherwise                                                 marked
_BEGIN = _script("""
local owner, base, connection, lifetime, gone = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('get', lock) ~= owner then return {'lapsed', ''} end
if (redis.call('hget', token_set, 'generation') or '') ~= base then return {'moved', ''} end
local found = redis.call('hmget', mark, 'owner', 'generation', 'connection')
if found[1] and found[1] ~= owner and found[2] == base and found[1] ~= gone then return {found[1], found[3]} end
redis.call('hset', mark, 'owner', owner, 'generation', base, 'connection', connection)
redis.call('pexpire', mark, lifetime)
return {'', ''}
""")
_LOAD = _script("""
local found = redis.pcall('hmget', token_set, 'generation', 'login')
if found.err then
  local text = redis.pcall('get', token_set)
  return {'', '', type(text) == 'string' and not string.find(text, '%S')}
end
local may_be_empty = found[1] or found[2] or redis.call('exists', token_set) == 0
return {found[1] or '', found[2] or '', may_be_empty and 1 or 0}
""")
# The first line that applies:
#
#   the stored generation is `new`                       done: this is the second run
#   the lock is not ours, and none of these holds:       lapsed
#     - there is neither `token_set` nor `lock`: the server was restarted without its data
#     - the mark is ours and the stored generation is `base`: no other holder has taken over the refresh
#   a generation is stored that is not `base`            superseded (`base` "*" replaces every one)
#   otherwise                                            done: stored, and the mark is removed
_SAVE = _script("""
local owner, base, new, document = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local generation = redis.pcall('hget', token_set, 'generation')
local placeholder = false
if type(generation) == 'table' then
  local text = redis.pcall('get', token_set)
  if type(text) ~= 'string' or string.find(text, '%S') then return generation end
  generation, placeholder = false, true
end
if generation == new then return 'done' end
if redis.call('get', lock) ~= owner and redis.call('exists', token_set, lock) > 0
   and (redis.call('hget', mark, 'owner') ~= owner or generation ~= base) then return 'lapsed' end
if generation and base ~= '*' and generation ~= base then return 'superseded' end
if placeholder then redis.call('del', token_set) end
redis.call('hset', token_set, 'generation', new, 'login', document)
redis.call('persist', token_set)
redis.call('del', mark)
return 'done'
""")
_CLEAR = _script("""
local owner, new = ARGV[1], ARGV[2]
if redis.call('get', lock) ~= owner then return 'lapsed' end
redis.call('del', token_set)
redis.call('hset', token_set, 'generation', new)
redis.call('expire', token_set, 86400)
return 'done'
""")


@attrs.define(eq=False)
class _Hold:
    """One holding of the lock. `generation` is the state of the token set that was loaded under it."""

    store: RedisTokenStore
    owner: str = attrs.field(factory=lambda: secrets.token_hex(16))
    pid: int = attrs.field(factory=os.getpid)
    generation: str | None = None
    active: bool = True


_holds: ContextVar[tuple[_Hold, ...]] = ContextVar("ezeep_redis_holds", default=())
"""The locks that the running task holds. Two holds of one store can exist, if the lease of the first has lapsed."""


class RedisTokenStore(DocumentStore):
    """Keep the token set on a Redis server, so that the processes of several hosts share it.

    The lock expires `lease` seconds after its holder died, and is extended while the holder runs. A holder whose lease
    lapsed, for example because it was suspended, can save only while the token set that it refreshed is still stored.
    Until then, for 15 minutes at most, other processes do not use that refresh token and raise `TransientAuthError`.
    (Without `CLIENT LIST`, as before Redis 6.2: for twice the lease, also if the holder was killed.)

    The server must not evict keys (`maxmemory-policy noeviction` or `volatile-*`), and must persist (`appendonly yes`) to
    keep the token set over a restart. If it restarts without its data during a refresh, the process with the new token set
    stores it again, at the latest under its next lock.

    Without `encryption_key` the server sees the tokens, and with `redis://` they cross the network unencrypted.

    Args:
        server: Address (`rediss://user:password@host:6379/0`), or a `redis.asyncio.Redis` to borrow. With an address, the
            store serves any number of event loops and forked processes, and is connected only while it is used. A
            borrowed client is never closed, and serves only the event loop that uses it first.
        key: Redis key of the token set. Each token set needs its own.
        encryption_key: Key made by `cryptography.fernet.Fernet.generate_key()`, or several. The first one encrypts, all of
            them decrypt. None stores the token set unencrypted.
        lease: Seconds after which the lock of a dead holder expires. Greater than 0; more than twice
            `Settings.refresh_timeout`, so that a refresh never outlasts it.
        lock_timeout: Seconds to wait for the lock. Not negative, and longer than `lease`.

    Raises:
        ImportError: The extra `redis` is not installed.
        TypeError: `server` or `key` has another type.
        ValueError: `lease`, `lock_timeout` or `encryption_key` has an unusable value.
        TokenStoreError: `server` is not the address of a Redis server.

    Note:
        The methods raise `TokenStoreCorrupt` if the key is not a stored token set or cannot be decrypted (it is not
        changed), `TokenPersistError` if it cannot be written, and `TokenStoreError` if Redis cannot be reached, if the
        token set belongs to another client id or account address, or if the lock times out.
    """

    @clears_locals
    def __init__(
        self,
        server: str | Redis,
        key: str = "ezeep:login",
        *,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        lease: float = LEASE_S,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        if not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        if not checked_seconds(lease, "lease"):
            raise ValueError("lease must be a number of seconds above 0")
        # The hash tag puts all keys of a token set into one slot of a cluster.
        stem = key if "{" in key else f"{{{key}}}"
        others = (f"{stem}:{each}" for each in ("lock", "probe", "refresh"))
        self._server = RedisServer(server, f"the token set {key!r}", (key, *others))
        self._place = self._server.where
        self._cipher = None if encryption_key is None else _cipher(encryption_key)
        self._lease = lease
        self._lock_timeout = checked_seconds(lock_timeout, "lock_timeout")
        # Token sets that could not be stored, with the generation that each replaces and its own generation.
        self._unsaved: WeakKeyDictionary[TokenSet, tuple[str, str]] = WeakKeyDictionary()
        # The last of them: the process that has it, the generation that it replaces, and the token set.
        self._left_over: tuple[int, str, TokenSet] | None = None

    def __repr__(self) -> str:
        return f"<RedisTokenStore: {self._place}>"

    @clears_locals
    async def load(self) -> TokenSet | None:
        """Return the stored token set, None if there is none. See `TokenStore.load`.

        Under the lock, a token set that this process could not store is stored again if the server has lost its data.
        """
        generation, document = await self._read()
        if (hold := self._hold()) is not None:
            hold.generation = generation
        newest = self._newest_unsaved(generation)
        if document is None and not generation and hold is not None and newest is not None:
            logger.warning(
                "%s is gone: the server lost its data. The newest token set is stored again", self._place
            )
            await self.save(newest)
            return newest
        return self._tokens(document)

    @clears_locals
    async def save(self, tokens: TokenSet, /) -> None:
        """Store the token set, unless another one was stored since the last `load` under this lock.

        A token set that could not be stored may be saved again under a later lock: it still replaces only the one that it
        was made from. Acquires the lock if it is not held. Unknown keys of the document are kept.
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
            raise TokenPersistError(f"{self._place} cannot be written: {error.reason}") from error.__cause__
        if outcome == "lapsed":
            raise TokenPersistError(
                f"{self._place} was not written: the lock was lost while it was held (lease of {self._lease:g} s, or a "
                "server that lost its data), and another process may be refreshing the token"
            )
        if outcome == "superseded":
            raise TokenPersistError(
                f"{self._place} was not written: another process stored or removed a token set in the meantime"
            )
        self._unsaved.pop(tokens, None)
        self._left_over = None
        hold.generation = generation

    @clears_locals
    async def clear(self) -> None:
        """Remove the token set. Acquires the lock if it is not held."""
        hold = self._hold()
        if hold is None:
            async with self.lock():
                await self.clear()
            return
        await self._read()  # a key of another owner is not removed
        generation = secrets.token_hex(16)
        if await self._server.run(_CLEAR, hold.owner, generation) == "lapsed":
            raise TokenStoreError(f"{self._place} was not removed: the lock was lost while it was held")
        self._left_over = None
        hold.generation = generation

    @clears_locals
    async def check_writable(self) -> None:
        """Check that a token set could be stored, by writing and removing another key."""
        hold = self._hold()
        try:
            outcome = await self._server.run(_PROBE, "" if hold is None else hold.owner)
        except RedisUnusable as error:
            raise TokenPersistError(
                f"{self._place} cannot be written, so it is not refreshed: {error.reason}"
            ) from error.__cause__
        if outcome == "lapsed":
            raise TokenPersistError(f"{self._place} is not refreshed: the lock was lost while it was held")

    async def begin_refresh(self) -> EarlierHolder | None:
        """Mark the loaded token set as being refreshed by this holder of the lock. See `LeasedStore.begin_refresh`.

        An earlier holder counts as suspended while it is connected to the server, or the server does not report it.
        """
        hold = self._hold() or _Hold(self)
        connection = await self._server.connection()
        mark_s = SUSPENDED_S if connection else 2 * self._lease
        passed_over, earlier = "", cast("EarlierHolder | None", None)
        while True:
            mark = (hold.owner, hold.generation or "", connection, str(round(1000 * mark_s)), passed_over)
            other, its_connection = await self._server.run(_BEGIN, *mark)
            if other == "lapsed":
                raise TokenPersistError(
                    f"{self._place} is not refreshed: the lock was lost while it was held"
                )
            if not other:
                return earlier
            if not its_connection or (
                its_connection != connection and await self._server.is_connected(its_connection)
            ):
                return "suspended"
            passed_over, earlier = other, "gone"

    async def is_still_locked(self) -> bool:
        """Return whether the lock is still held; True if the server cannot be reached."""
        with contextlib.suppress(RedisUnusable):
            hold = self._hold()
            return hold is not None and bool(await self._server.run(_EXTEND, hold.owner, self._lease_ms))
        return True

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Hold the lock that all processes with this key share, and extend it meanwhile."""
        hold = _Hold(self)
        async with self._server.connected():
            try:
                await self._acquire(hold)
            except BaseException:
                if hold.pid == os.getpid():
                    await to_the_end(self._release(hold))  # only the response may have been lost
                raise
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            extending = start_self_timed(self._extend(hold, over), "ezeep-redis-lease")
            _holds.set((*_holds.get(), hold))
            try:
                yield
            finally:
                if hold.pid == os.getpid():  # a forked child would release the lock of its parent
                    hold.active = False
                    _holds.set(tuple(each for each in _holds.get() if each.active))
                    over.set_result(None)
                    await to_the_end(self._release(hold, extending))

    def shared_locks(self) -> RedisLocks:
        """Return locks for single users and for creating groups, in keys that begin like that of the lock."""
        return RedisLocks(self._server, lease=self._lease)

    async def aclose(self) -> None:
        """Close the connection of this event loop. Between uses there is none."""
        await self._server.aclose()

    # --- the lock --------------------------------------------------------------------------------------------------

    def _hold(self) -> _Hold | None:
        """Return the lock that the running task holds. A forked child holds none of its parent's locks."""
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
                    f"{self._place} is busy: in use by another process for more than {self._lock_timeout:g} s"
                )
            await limit.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 1.5, 0.25)

    async def _extend(self, hold: _Hold, over: asyncio.Future[None]) -> None:
        while True:
            await asyncio.wait({over}, timeout=self._lease / 3)
            if over.done():
                return
            try:
                held = await self._server.run(_EXTEND, hold.owner, self._lease_ms, limit=self._lease / 3)
            except TokenStoreError as error:
                logger.warning("the lock was not extended: %s", error)
                continue
            if not held and not over.done():
                logger.warning("%s: the lock was lost while it was held", self._place)
                return

    async def _release(self, hold: _Hold, extending: asyncio.Task[None] | None = None) -> None:
        try:
            await self._server.run(_RELEASE, hold.owner, limit=5.0)
        except TokenStoreError as error:
            logger.warning("the lock was not released, and expires within %g s: %s", self._lease, error)
        if extending is not None:
            await asyncio.wait({extending})

    @property
    def _lease_ms(self) -> str:
        return str(max(1, round(self._lease * 1000)))

    def _newest_unsaved(self, generation: str) -> TokenSet | None:
        """Return the token set that could not be stored, if no other process stored or removed one since.

        A forked child cannot know that.
        """
        pid, base, tokens = self._left_over or (0, "", None)
        if generation not in {"", base}:
            self._left_over = tokens = None
        return tokens if pid == os.getpid() else None

    # --- the stored document -----------------------------------------------------------------------------------------

    async def _read(self) -> tuple[str, dict[str, object] | None]:
        """Return the generation ("" for an empty store) and the document. Raises if it belongs to another owner."""
        generation, text, may_be_empty = await self._server.run(_LOAD)
        if is_blank(text) and may_be_empty:
            return generation, None
        if not generation:
            raise TokenStoreCorrupt(f"{self._place} is not a stored token set: move it away and log in again")
        if self._cipher is not None:
            from cryptography.fernet import InvalidToken

            try:
                text = self._cipher.decrypt(text.encode()).decode()
            except (InvalidToken, ValueError):
                raise TokenStoreCorrupt(
                    f"{self._place} cannot be decrypted: it was stored with another encryption_key, without one, or is "
                    "damaged. Pass its key too, or move it away and log in again"
                ) from None
        return generation, self._decoded(text)


def _cipher(keys: str | bytes | Sequence[str | bytes]) -> MultiFernet:
    """Return a cipher that encrypts with the first key and decrypts with any. Raises `ValueError`, `ImportError`."""
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ImportError(
            "encryption_key needs the package cryptography: pip install 'ezeep_async[redis]'"
        ) from error
    try:
        return MultiFernet([Fernet(key) for key in ([keys] if isinstance(keys, str | bytes) else keys)])
    except ValueError:
        raise ValueError(
            "encryption_key is not a Fernet key: create one with cryptography.fernet.Fernet.generate_key()"
        ) from None
