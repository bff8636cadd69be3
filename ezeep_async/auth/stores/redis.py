"""`RedisTokenStore`: a token set on a Redis server that the processes of several hosts share."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, cast

from ezeep_async._runtime.later_types import imported_later
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.stores.encryption import Cipher, EncryptionKey
from ezeep_async.auth.stores.leased import (
    LEASE_S,
    LOCK_TIMEOUT_S,
    SUSPENDED_S,
    Hold,
    LeasedDocumentStore,
    Outcome,
)
from ezeep_async.auth.stores.leased_locks import LentLocks
from ezeep_async.auth.stores.redis_locks import LOCKS_KEY, RedisLocks
from ezeep_async.auth.stores.redis_server import RESPONSE_TIMEOUT_S, RedisServer
from ezeep_async.auth.tokens import EarlierHolder, TokenSet


if TYPE_CHECKING:
    from redis.asyncio import Redis

globals().update(imported_later("redis.asyncio", "Redis"))

logger = logging.getLogger("ezeep_async.auth.stores")


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
# A mark that is left was not followed by a save. Its owner lives and may save later, without this connection.
_RELEASE = _script("""
local owner = ARGV[1]
if redis.call('hget', mark, 'owner') == owner then redis.call('hset', mark, 'connection', '') end
if redis.call('get', lock) == owner then return redis.call('del', lock) end
return 0
""")
_END = _script("""
local owner = ARGV[1]
if redis.call('hget', mark, 'owner') == owner then return redis.call('del', mark) end
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


class RedisTokenStore(LeasedDocumentStore):
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
        encryption_key: EncryptionKey | None = None,
        lease: float = LEASE_S,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        if not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        # The hash tag puts all keys of a token set into one slot of a cluster.
        stem = key if "{" in key else f"{{{key}}}"
        others = (f"{stem}:{each}" for each in ("lock", "probe", "refresh"))
        self._server = RedisServer(server, f"the token set {key!r}", (key, *others))
        self._place = self._server.where
        cipher = None if encryption_key is None else Cipher(encryption_key, "redis")
        super().__init__(cipher, lease, lock_timeout)
        # The last token set that could not be stored, with its process and the generation that it replaces.
        self._left_over: tuple[int, str, TokenSet] | None = None

    @clears_locals
    async def load(self) -> TokenSet | None:
        """Return the stored token set, None if there is none. See `TokenStore.load`.

        Under the lock, a token set that this process could not store is stored again if the server has lost its data.
        """
        generation, tokens = await self._load()
        newest = self._newest_unsaved(generation)
        if tokens is None and not generation and newest is not None and self._hold() is not None:
            logger.warning(
                "%s is gone: the server lost its data. The newest token set is stored again", self._place
            )
            await self.save(newest)
            return newest
        return tokens

    async def begin_refresh(self) -> EarlierHolder | None:
        """Mark the loaded token set as being refreshed by this holder of the lock.

        An earlier holder counts as suspended while it is connected to the server, or the server does not report it.
        """
        hold = self._hold() or Hold(self)
        connection = await self._server.connection()
        mark_s = SUSPENDED_S if connection else 2 * self._lease
        passed_over, earlier = "", cast("EarlierHolder | None", None)
        while True:
            mark = (hold.owner, hold.generation or "", connection, str(round(1000 * mark_s)), passed_over)
            other, its_connection = await self._server.run(_BEGIN, *mark)
            if other == "lapsed":
                raise self._not_refreshed()
            if not other:
                return earlier
            if not its_connection or (
                its_connection != connection and await self._server.is_connected(its_connection)
            ):
                return "suspended"
            passed_over, earlier = other, "gone"

    async def end_refresh(self) -> None:
        """Remove the mark of this holder: its refresh has failed."""
        if (hold := self._hold()) is not None:
            await self._server.run(_END, hold.owner)

    def shared_locks(self) -> LentLocks:
        """Return locks for single users and for creating groups, in Redis keys that begin with `{ezeep:locks}:`.

        All token sets of the database share them: two logins of one organization change the same users. No I/O.

        Returns:
            The locks of one session, which closes them.
        """
        server, lease = self._server, self._lease

        def make() -> RedisLocks:
            return RedisLocks(server.with_keys("the shared locks", (LOCKS_KEY, LOCKS_KEY)), lease=lease)

        return LentLocks((server.identity, lease), make)

    async def aclose(self) -> None:
        """Close the connection of this event loop. Between uses there is none."""
        await self._server.aclose()

    # --- commands ----------------------------------------------------------------------------------------------------

    def _connected(self) -> AbstractAsyncContextManager[object]:
        return self._server.connected()

    async def _try_lock(self, owner: str, *, again: bool) -> bool:  # noqa: ARG002  # an attempt costs nothing
        return bool(await self._server.run(_ACQUIRE, owner, self._lease_ms))

    async def _extend(self, owner: str, limit: float | None = None) -> bool:
        limit = RESPONSE_TIMEOUT_S if limit is None else limit
        return bool(await self._server.run(_EXTEND, owner, self._lease_ms, limit=limit))

    async def _release(self, hold: Hold, limit: float) -> None:
        await self._server.run(_RELEASE, hold.owner, limit=limit)

    async def _fetch(self) -> tuple[str, str, bool]:
        generation, text, may_be_empty = await self._server.run(_LOAD)
        return generation, text, bool(may_be_empty)

    async def _write(self, owner: str, base: str, new: str, text: str) -> Outcome:
        return cast("Outcome", await self._server.run(_SAVE, owner, base, new, text))

    async def _remove(self, owner: str, new: str) -> Outcome:
        return cast("Outcome", await self._server.run(_CLEAR, owner, new))

    async def _probe(self, owner: str) -> Outcome:
        return cast("Outcome", await self._server.run(_PROBE, owner))

    @property
    def _lease_ms(self) -> str:
        return str(max(1, round(self._lease * 1000)))

    # --- a server that lost its data -----------------------------------------------------------------------------------

    def _saving(self, base: str, tokens: TokenSet) -> None:
        self._left_over = os.getpid(), base, tokens

    def _saved(self) -> None:
        self._left_over = None

    def _newest_unsaved(self, generation: str) -> TokenSet | None:
        """Return the token set that could not be stored, if no other process stored or removed one since.

        A forked child cannot know that.
        """
        pid, base, tokens = self._left_over or (0, "", None)
        if generation not in {"", base}:
            self._left_over = tokens = None
        return tokens if pid == os.getpid() else None
