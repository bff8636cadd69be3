"""`LeasedDocumentStore`: what stores share whose lock has a lease and whose token set has a generation.

The lock is owned under a random name, and expires `lease` seconds after its owner has stopped to extend it. A save replaces
only the generation that its owner has loaded. So an owner that lost the lock, for example because it was suspended, cannot
overwrite the token set of a later owner.

A refresh token works once, and the lock alone does not ensure that: it expires while its owner is suspended, or after its owner
has died with the token sent. So `begin_refresh` marks the loaded generation with the owner before the token is sent. The mark
is removed by a save, and by `end_refresh` if the refresh has failed; otherwise it ends after a time. The release keeps it: if
the save has failed, the stored token is used up, and its owner saves the next token set under a later lock. A later owner that finds the mark of another
one does not send the token, until the next token set is stored, the mark has ended, or its owner is known to be dead.
(`Exchanger.refresh` waits for that.) Then it sends the token, because that is the only way to know whether it was used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Literal
from weakref import WeakKeyDictionary

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.cleaning import checked_seconds
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.stores.document import DocumentStore, as_text
from ezeep_async.auth.stores.encryption import Cipher
from ezeep_async.auth.stores.threads import to_the_end
from ezeep_async.auth.tasks import start_self_timed
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


logger = logging.getLogger("ezeep_async.auth.stores")

LEASE_S = 90.0
"""Seconds. Longer than a refresh and its replay take, so that the lock outlasts them even if it is never extended.

It does not follow `refresh_timeout`: with more than about 40 s, pass a longer `lease`.
"""
LOCK_TIMEOUT_S = 120.0
"""Seconds. Longer than the lease, so that a waiter outlasts a holder that was killed."""
SUSPENDED_S = 900.0
"""Seconds during which other processes do not use the refresh token of a holder that was suspended in a refresh."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.25
"""Seconds between two attempts at a lock that is held."""
RELEASE_TIMEOUT_S = 5.0
"""Seconds for the release of the lock. It expires by itself."""

Outcome = Literal["done", "lapsed", "superseded"]
"""The result of a change: it was made, the lock is another owner's, or another generation is stored than was loaded."""


class StoreUnusable(TokenStoreError):
    """The server of a store cannot be reached or refuses a command. `reason` is that part of the message."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


@attrs.define(eq=False)
class Hold:
    """One holding of the lock."""

    store: LeasedDocumentStore
    owner: str = attrs.field(factory=lambda: secrets.token_hex(16))
    pid: int = attrs.field(factory=os.getpid)
    generation: str | None = None
    """The generation that was loaded or stored under it. None before that, "" if nothing has been stored yet."""
    is_empty: bool = True
    """Whether nothing is stored, as far as is known."""
    active: bool = True


_holds: ContextVar[tuple[Hold, ...]] = ContextVar("ezeep_held_stores", default=())
"""The locks that the running task holds. Two holds of one store can exist, if the lease of the first has lapsed."""


_queues: dict[tuple[int, int, str], list[Hold]] = {}
"""The waiters for a lock, by process, event loop and `_queue` of the store. Only the first one sends commands to the server."""


@contextlib.contextmanager
def _queued(queue_name: str, hold: Hold) -> Generator[Callable[[], bool]]:
    """Wait in the queue of this event loop. Gives a function that returns whether it is the turn of `hold`."""
    name = hold.pid, id(asyncio.get_running_loop()), queue_name
    queue = _queues.setdefault(name, [])
    queue.append(hold)
    try:
        yield lambda: queue[0] is hold
    finally:
        queue.remove(hold)
        if not queue and hold.pid == os.getpid():
            del _queues[name]


class LeasedDocumentStore(DocumentStore, ABC):
    """A document store on a server. The abstract methods are its commands; each may run twice with the same arguments."""

    _queue = ""
    """Stores with the same one have the same lock. `_place` if it is empty."""

    def __init__(self, cipher: Cipher | None, lease: float, lock_timeout: float) -> None:
        if not checked_seconds(lease, "lease"):
            raise ValueError("lease must be a number of seconds above 0")
        self._cipher = cipher
        self._lease = lease
        self._lock_timeout = checked_seconds(lock_timeout, "lock_timeout")
        # Token sets that could not be stored, with the generation that each replaces and its own generation.
        self._unsaved: WeakKeyDictionary[TokenSet, tuple[str, str]] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._place}>"

    @clears_locals
    async def load(self) -> TokenSet | None:
        """Return the stored token set, None if there is none. See `TokenStore.load`."""
        _, tokens = await self._load()
        return tokens

    @clears_locals
    async def save(self, tokens: TokenSet, /) -> None:
        """Store the token set, unless another one was stored since the last `load` under this lock.

        A token set that could not be stored may be saved again under a later lock. Without a `load` under that lock, it still
        replaces only the one that it was made from. Acquires the lock if it is not held. Unknown keys of the document are kept.
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
        self._saving(base, tokens)
        try:
            _, document = await self._read()
            text = self._encoded(as_text(document or {}, tokens, self._owner))
            outcome = await self._write(hold.owner, base, generation, text)
        except StoreUnusable as error:
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
        self._saved()
        hold.generation, hold.is_empty = generation, False

    @clears_locals
    async def clear(self) -> None:
        """Remove the token set. Acquires the lock if it is not held."""
        hold = self._hold()
        if hold is None:
            async with self.lock():
                await self.clear()
            return
        await self._read()  # what belongs to another owner is not removed
        generation = secrets.token_hex(16)
        if await self._remove(hold.owner, generation) == "lapsed":
            raise TokenStoreError(f"{self._place} was not removed: the lock was lost while it was held")
        self._saved()
        hold.generation, hold.is_empty = generation, True

    @clears_locals
    async def check_writable(self) -> None:
        """Check that a token set could be stored, by writing something else. See `TokenStore.check_writable`."""
        hold = self._hold()
        try:
            outcome = await self._probe("" if hold is None else hold.owner)
        except StoreUnusable as error:
            raise TokenPersistError(
                f"{self._place} cannot be written, so it is not refreshed: {error.reason}"
            ) from error.__cause__
        if outcome == "lapsed":
            raise self._not_refreshed()

    async def is_still_locked(self) -> bool:
        """Return whether the lock is still held; True if the server cannot be reached."""
        with contextlib.suppress(StoreUnusable):
            hold = self._hold()
            return hold is not None and await self._extend(hold.owner)
        return True

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Hold the lock that all processes with this token set share, and extend it meanwhile."""
        hold = Hold(self)
        async with self._connected():
            try:
                await self._acquire(hold)
            except BaseException:
                if hold.pid == os.getpid():
                    await to_the_end(self._unlock(hold))  # only the response may have been lost
                raise
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            extending = start_self_timed(self._extend_until(hold, over), "ezeep-lease")
            _holds.set((*_holds.get(), hold))
            try:
                yield
            finally:
                if hold.pid == os.getpid():  # a forked child would release the lock of its parent
                    hold.active = False
                    _holds.set(tuple(each for each in _holds.get() if each.active))
                    over.set_result(None)
                    await to_the_end(self._unlock(hold, extending))

    # --- the commands of a server ------------------------------------------------------------------------------------

    @abstractmethod
    def _connected(self) -> AbstractAsyncContextManager[object]:
        """Keep connections of this event loop open for further commands."""

    @abstractmethod
    async def _try_lock(self, owner: str, *, again: bool) -> bool:
        """Acquire the lock if it is free, expired, or already the owner's. `again` after an attempt that did not succeed."""

    @abstractmethod
    async def _extend(self, owner: str, limit: float | None = None) -> bool:
        """Extend the lock, within `limit` seconds. Return whether it is still the owner's."""

    @abstractmethod
    async def _release(self, hold: Hold, limit: float) -> None:
        """Release the lock, within `limit` seconds. A mark of `begin_refresh` stays."""

    @abstractmethod
    async def _fetch(self) -> tuple[str, str, bool]:
        """Return the generation, "" if there is none, the stored text, and whether a blank text is an empty store."""

    @abstractmethod
    async def _write(self, owner: str, base: str, new: str, text: str) -> Outcome:
        """Store the text as generation `new`, if the generation `base` is stored; "*" replaces every one."""

    @abstractmethod
    async def _remove(self, owner: str, new: str) -> Outcome:
        """Remove the text. What is left has the generation `new`."""

    @abstractmethod
    async def _probe(self, owner: str) -> Outcome:
        """Check that the server can be written, and unless `owner` is empty that the lock is the owner's."""

    def _saving(self, base: str, tokens: TokenSet) -> None:
        """Called before a token set is stored."""

    def _saved(self) -> None:
        """Called after one was stored or removed."""

    # --- the lock --------------------------------------------------------------------------------------------------

    def _hold(self) -> Hold | None:
        """Return the lock that the running task holds. A forked child holds none of its parent's locks."""
        for hold in reversed(_holds.get()):
            if hold.store is self and hold.active and hold.pid == os.getpid():
                return hold
        return None

    def _not_refreshed(self) -> TokenPersistError:
        return TokenPersistError(f"{self._place} is not refreshed: the lock was lost while it was held")

    async def _acquire(self, hold: Hold) -> None:
        limit = RunningLimit(self._lock_timeout)
        pause, again = FIRST_PAUSE_S, False
        with _queued(self._queue or self._place, hold) as is_first:
            while True:
                if is_first():
                    if await self._try_lock(hold.owner, again=again):
                        return
                    pause, again = min(pause * 1.5, LONGEST_PAUSE_S), True
                if limit.left <= 0:
                    busy = TokenStoreError(
                        f"{self._place} is busy: in use by another process for more than {self._lock_timeout:g} s"
                    )
                    busy.retryable = True
                    raise busy
                await limit.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret

    async def _extend_until(self, hold: Hold, over: asyncio.Future[None]) -> None:
        while True:
            await asyncio.wait({over}, timeout=self._lease / 3)
            if over.done():
                return
            try:
                held = await self._extend(hold.owner, self._lease / 3)
            except TokenStoreError as error:
                logger.warning("the lock was not extended: %s", error)
                continue
            if not held and not over.done():
                logger.warning("%s: the lock was lost while it was held", self._place)
                return

    async def _unlock(self, hold: Hold, extending: asyncio.Task[None] | None = None) -> None:
        try:
            await self._release(hold, RELEASE_TIMEOUT_S)
        except TokenStoreError as error:
            logger.warning("the lock was not released, and expires within %g s: %s", self._lease, error)
        if extending is not None:
            await asyncio.wait({extending})

    # --- the stored document -----------------------------------------------------------------------------------------

    async def _load(self) -> tuple[str, TokenSet | None]:
        generation, document = await self._read()
        if (hold := self._hold()) is not None:
            hold.generation, hold.is_empty = generation, document is None
        return generation, self._tokens(document)

    async def _read(self) -> tuple[str, dict[str, object] | None]:
        """Return the generation, "" if nothing has been stored yet, and the document. Raises if it belongs to another owner."""
        generation, text, may_be_empty = await self._fetch()
        if may_be_empty and is_blank(text):
            return generation, None
        if not generation:
            raise TokenStoreCorrupt(f"{self._place} is not a stored token set: move it away and log in again")
        return generation, self._decoded(text)
