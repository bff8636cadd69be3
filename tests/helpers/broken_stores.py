"""Token stores that break the contract, in one way each."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import attrs
from helpers.other_stores import Shelf, ShelfLocks, Vault

from ezeep_async import (
    FileTokenStore,
    TokenPersistError,
    TokenSet,
    TokenStoreError,
)


class LacksAMethod(Shelf):
    check_writable = None


class AwaitsItsLock(Shelf):
    async def lock(self):
        return super().lock()


class NeverGivesBack(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        yield


class HasNoFinally(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        yield
        self.place.lock.release()


class SwallowsErrors(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        except Exception:
            pass
        finally:
            self.place.lock.release()


class LeaksWhenCancelled(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        except Exception:
            self.place.lock.release()
            raise
        self.place.lock.release()


class GoesOnWhenCancelled(Shelf):
    async def acquire(self) -> None:
        cancelled = False
        while not self.place.lock.acquire(blocking=False):
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                if cancelled:
                    raise
                cancelled = True


class HasNoLock(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        yield


class HasALockOfItsOwn(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        mine = self.__dict__.setdefault("mine", threading.Lock())
        while not mine.acquire(blocking=False):
            await asyncio.sleep(0.001)
        try:
            yield
        finally:
            mine.release()


class GivesBackWhatItDoesNotHold(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        try:
            await self.acquire()
            yield
        finally:
            if self.place.lock.locked():
                self.place.lock.release()


class HandsOverToTheDead(Shelf):
    """A fair lock. Its release makes the first waiter the holder, cancelled or not."""

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        if self.place.held:
            turn = asyncio.get_running_loop().create_future()
            self.place.queue.append(turn)
            await turn
        self.place.held = True
        try:
            yield
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        if self.place.queue:
            turn = self.place.queue.popleft()
            if not turn.done():
                turn.set_result(None)
        else:
            self.place.held = False


class KeepsTheTurnOfTheCancelled(HandsOverToTheDead):
    """As above, but it skips waiters that were cancelled before their turn."""

    def hand_over(self) -> None:
        while self.place.queue:
            turn = self.place.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.place.held = False


class HasAnAsyncioLock(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        if not isinstance(self.place.lock, asyncio.Lock):
            self.place.lock = asyncio.Lock()
        async with self.place.lock:
            yield


class ShowsItsTokens(Shelf):
    def __repr__(self) -> str:
        return f"<{self.place.text}>"


class GivesAnEmptyLogin(Shelf):
    async def load(self) -> TokenSet | None:
        return await super().load() or TokenSet("", "", datetime.now(UTC))


class LosesExpiresIn(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, expires_in=None))


class SavesMinutes(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, expires_at=tokens.expires_at.replace(second=0)))


class ForgetsTheZone(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        naive = datetime.fromisoformat(tokens.expires_at.isoformat()).replace(tzinfo=None)
        ahead = naive.replace(tzinfo=UTC) + timedelta(hours=1)
        await super().save(attrs.evolve(tokens, expires_at=ahead))


class HasAShortField(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, access_token=tokens.access_token[:4096]))


class QuotesByHand(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, access_token=tokens.access_token.replace("\\", "")))


class TakesNothingForTheDefault(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, scope=tokens.scope or "printing"))


class Merges(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        old = await self.load()
        if old is not None and tokens.expires_in is None:
            tokens = attrs.evolve(tokens, expires_in=old.expires_in)
        await super().save(tokens)


class MergesTheScope(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        old = await self.load()
        await super().save(tokens if old is None else attrs.evolve(tokens, scope=tokens.scope or old.scope))


class ShowsWhatItLoaded(Shelf):
    async def load(self) -> TokenSet | None:
        self.loaded = await super().load()
        return self.loaded

    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(tokens)
        self.loaded = None

    def __repr__(self) -> str:
        loaded = getattr(self, "loaded", None)
        return f"<{loaded.access_token}>" if loaded is not None else "<>"


class RemembersWhatItLoaded(Shelf):
    seen: TokenSet | None = None

    async def load(self) -> TokenSet | None:
        if self.seen is None:
            self.seen = await super().load()
        return self.seen

    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(tokens)
        self.seen = tokens

    async def clear(self) -> None:
        await super().clear()
        self.seen = None


class ClearsNothing(Shelf):
    async def clear(self) -> None:
        pass


class ClearsOnce(Shelf):
    async def clear(self) -> None:
        if self.place.text is None:
            raise KeyError("login")
        await super().clear()


class CannotBeUsedAfterClearing(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        if not hasattr(self.place, "cleared"):
            await super().save(tokens)

    async def clear(self) -> None:
        await super().clear()
        self.place.cleared = True


class ProbesWithALogin(Shelf):
    async def check_writable(self) -> None:
        if self.place.text is None:
            await self.save(TokenSet("probe", "", datetime.now(UTC)))


class SavesOnTheLoop(FileTokenStore):
    async def save(self, tokens: TokenSet, /) -> None:
        time.sleep(0.3)
        await super().save(tokens)


class TakesItsOwnWriteForThatOfAnother(FileTokenStore):
    """It compares with what it knows, which is too old after a lost response."""

    loses: ClassVar[list[bool]] = []
    is_stale = False

    async def save(self, tokens: TokenSet, /) -> None:
        if self.is_stale:
            raise TokenPersistError("another process has written")
        await super().save(tokens)
        if self.loses:
            self.loses.clear()
            self.is_stale = True
            raise TokenPersistError("no response")


class ProbesNothing(FileTokenStore):
    async def check_writable(self) -> None:
        pass


class LocksInItsProcessOnly(FileTokenStore):
    locks: ClassVar[dict[str, threading.Lock]] = {}

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        mine = self.locks.setdefault(str(self.path), threading.Lock())
        while not mine.acquire(blocking=False):
            await asyncio.sleep(0.001)
        try:
            yield
        finally:
            mine.release()


class ProbesByRemoving(Shelf):
    async def check_writable(self) -> None:
        self.place.text = None


class IsBoundOnce(Shelf):
    def bind(self, client_id: str, account: str) -> None:
        if self.owner is not None:
            raise TokenStoreError("bound already")
        self.owner = client_id, account


class IsBoundByAnybody(Shelf):
    def bind(self, client_id: str, account: str) -> None:
        self.owner = client_id, account


class IsBoundByTheAccountOnly(Shelf):
    def bind(self, client_id: str, account: str) -> None:
        super().bind("", account)


class TellsWhoseItIs(Shelf):
    async def load(self) -> TokenSet | None:
        try:
            return await super().load()
        except TokenStoreError as error:
            raise TokenStoreError(self.place.text) from error


class ForgetsWhoseItIs(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(tokens)
        self.place.owner = None


class KeepsTheFirst(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        if self.place.text is None:
            await super().save(tokens)


class KeepsTheFirstRefreshToken(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        old = await self.load()
        await super().save(tokens if old is None else attrs.evolve(tokens, refresh_token=old.refresh_token))


class Logs(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        logging.getLogger("shelf").debug("storing %s", tokens.access_token)
        await super().save(tokens)


class GivesNothing(Vault):
    async def load(self) -> TokenSet | None:
        return None


class GivesTheFirst(Vault):
    async def load(self) -> TokenSet | None:
        return self.box[0]


class ShowsItsBox(Vault):
    def __repr__(self) -> str:
        return f"Vault({self.box[-1].access_token})"


class SaysNothing(Vault):
    async def check_writable(self) -> None:
        pass


class MarksWithoutAnEnd(Shelf):
    async def begin_refresh(self) -> None:
        """A mark that its release removes."""


class ReleasesItsMark(MarksWithoutAnEnd):
    async def end_refresh(self) -> None:
        pass


class SavesNothing(Vault):
    async def save(self, tokens: TokenSet, /) -> None:
        pass


class ShowsWhatItRefuses(Vault):
    async def save(self, tokens: TokenSet, /) -> None:
        raise TokenPersistError(f"read-only: {tokens.access_token}")


class SavesAllTheSame(Vault):
    async def save(self, tokens: TokenSet, /) -> None:
        self.box.append(tokens)
        raise TokenPersistError("read-only")


class LendsLocksToOne(Shelf):
    """Each session has locks of its own."""

    def shared_locks(self) -> ShelfLocks:
        return ShelfLocks(set())


class _SlowLocks(ShelfLocks):
    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncIterator[None]:
        await asyncio.sleep(0.02)
        yield


class LendsSlowLocksThatExcludeNone(Shelf):
    def shared_locks(self) -> ShelfLocks:
        return _SlowLocks(self.place.names)


class _LocksThatWaitersRelease(ShelfLocks):
    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncIterator[None]:
        try:
            async with super().hold(name):
                yield
        except asyncio.CancelledError:
            self.names.discard(name)
            raise


class LendsLocksThatWaitersRelease(Shelf):
    def shared_locks(self) -> ShelfLocks:
        return _LocksThatWaitersRelease(self.place.names)


class _LeakingLocks(ShelfLocks):
    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncIterator[None]:
        while name in self.names:
            await asyncio.sleep(0.001)
        self.names.add(name)
        yield
        self.names.discard(name)


class LendsLocksThatLeak(Shelf):
    def shared_locks(self) -> ShelfLocks:
        return _LeakingLocks(self.place.names)


class _OneForAll(ShelfLocks):
    def hold(self, name: str, /) -> AbstractAsyncContextManager[None]:
        return super().hold("all" if name else name)


class LendsOneLock(Shelf):
    def shared_locks(self) -> ShelfLocks:
        return _OneForAll(self.place.names)


class LendsItsOwnLock(Shelf):
    """The lock of the token set: a refresh would wait for its own caller."""

    def shared_locks(self) -> ShelfLocks:
        return _OwnLock(self)


class _OwnLock(ShelfLocks):
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def hold(self, name: str, /) -> AbstractAsyncContextManager[None]:
        return self.shelf.lock()


class _TiedToItsTask(ShelfLocks):
    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncIterator[None]:
        async with asyncio.timeout(60), super().hold(name):
            task = asyncio.current_task()
            yield
            if asyncio.current_task() is not task:
                raise RuntimeError("another task")


class LendsLocksTiedToATask(Shelf):
    def shared_locks(self) -> ShelfLocks:
        return _TiedToItsTask(self.place.names)


class LendsLocksInItsProcessOnly(FileTokenStore):
    names: ClassVar[set[str]] = set()

    def shared_locks(self) -> ShelfLocks:
        return ShelfLocks(self.names)
