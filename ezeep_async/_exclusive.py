"""Locks for one user, for one printer, or for creating groups in one organization.

They always hold in this process. If the token store has shared locks, they hold between processes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
from contextlib import AbstractAsyncContextManager

import attrs

from ezeep_async.auth.shared_locks import HeldLock, SharedLocks
from ezeep_async.auth.tokens import TokenStore
from ezeep_async.errors import ConcurrentModification, SessionClosed


logger = logging.getLogger("ezeep_async.resources")

RETRY_AFTER_FAILURE_S = 30.0
"""Seconds without shared locks after a failure: an unreachable server must not delay every write."""
CHECK_CLOSED_LOOPS_S = 5.0
"""Seconds between two checks whether the holder's event loop was closed: such a holder never releases the lock."""

Name = tuple[str, ...]
QueuePlace = asyncio.Future[None]
"""Done when its owner is first in the queue, which means that it holds the lock."""


class _Queues:
    """For each name, the holder of its lock in this process and the waiters behind it, of all event loops and threads."""

    def __init__(self) -> None:
        # Held for a few dictionary operations, never over an await: callers may be on several threads.
        self._guard = threading.Lock()
        self._queues: dict[Name, list[QueuePlace]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    async def enter(self, name: Name) -> QueuePlace:
        """Wait for the lock. `leave` must follow."""
        place: QueuePlace = asyncio.get_running_loop().create_future()
        with self._guard:
            queue = self._queues.setdefault(name, [])
            queue.append(place)
            if queue[0] is place:
                return place
        try:
            while self._first(name) is not place:
                await asyncio.wait({place}, timeout=CHECK_CLOSED_LOOPS_S)
        except BaseException:
            self.leave(name, place)
            raise
        return place

    def leave(self, name: Name, place: QueuePlace) -> None:
        """Release the lock, or stop waiting for it."""
        with self._guard:
            queue = self._queues.get(name)
            if queue is None or place not in queue:  # a forked child has queues of its own
                return
            queue.remove(place)
            if not queue:
                del self._queues[name]
                return
        while (first := self._first(name)) is not None:
            with contextlib.suppress(RuntimeError):  # its loop was closed just now: `_first` drops it
                first.get_loop().call_soon_threadsafe(_give, first)
                return

    def _first(self, name: Name) -> QueuePlace | None:
        with self._guard:
            queue = self._queues.get(name)
            while queue and queue[0].get_loop().is_closed():
                queue.pop(0)
            if queue:
                return queue[0]
            self._queues.pop(name, None)
            return None


def _give(place: QueuePlace) -> None:
    if not place.done():
        place.set_result(None)


queues = _Queues()


def _replace_queues() -> None:
    global queues  # noqa: PLW0603  # a thread that the forked child does not have may hold the guard
    queues = _Queues()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_queues)


@attrs.define(eq=False, repr=False)
class Held:
    """A lock that the caller holds. Not a context manager: each write would pay for its generator."""

    _owner: Exclusive
    _name: Name
    _place: QueuePlace
    _manager: AbstractAsyncContextManager[HeldLock | None] | None = None
    """Releases the shared lock. None without one."""
    _shared: HeldLock | None = None

    def lost(self) -> bool:
        """Whether the shared lock was lost since."""
        return self._shared is not None and self._shared.lost

    async def release(self) -> None:
        """Release the lock. Call it once, whatever happened while it was held."""
        try:
            if self._manager is not None:
                await self._manager.__aexit__(None, None, None)
        except Exception:
            # No error: the write succeeded, and its caller must learn that.
            logger.warning("a shared lock could not be released", exc_info=True)
        finally:
            self._owner.leave(self._name, self._place)


@attrs.define(eq=False, repr=False)
class Exclusive:
    """The locks of one session."""

    _store: TokenStore
    _api: str
    _patience: float
    _shared: bool
    _locks: SharedLocks | None = None
    _not_before: float = float("-inf")
    _warned: bool = False
    _closed: bool = False
    in_use: int = attrs.field(init=False, default=0)
    """Locks that calls hold or wait for."""
    _waiting: set[asyncio.Timeout] = attrs.field(init=False, factory=set[asyncio.Timeout])

    async def acquire(self, *name: str, patience: float | None = None) -> Held:
        """Acquire the lock of `name` at this API host. The caller must release it.

        Callers of one process wait in a queue, and only the first of them acquires the shared lock. `patience` replaces that
        of the session.

        Raises:
            ConcurrentModification: Another process held the shared lock for longer than `patience`.
            SessionClosed: The session was closed.
        """
        full_name = (self._api, *name)
        self.in_use += 1
        try:
            place = await queues.enter(full_name)
        except BaseException:
            self.in_use -= 1
            raise
        if not self._shared:
            return Held(self, full_name, place)
        try:
            return Held(self, full_name, place, *await self._acquire_shared(full_name, patience))
        except BaseException:
            self.leave(full_name, place)
            raise

    def leave(self, name: Name, place: QueuePlace) -> None:
        """Release the lock in this process."""
        self.in_use -= 1
        queues.leave(name, place)

    async def aclose(self) -> None:
        """End waits for shared locks with `SessionClosed`, and close these locks."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._waiting:
            with contextlib.suppress(RuntimeError):  # it has just expired
                limit.reschedule(now)
        locks, self._locks = self._locks, None
        if locks is not None:
            try:
                await locks.aclose()
            except Exception:
                logger.warning("the shared locks of the token store could not be closed", exc_info=True)

    async def _acquire_shared(
        self, name: Name, patience: float | None
    ) -> tuple[AbstractAsyncContextManager[HeldLock | None] | None, HeldLock | None]:
        """Acquire the shared lock. No manager if the store has no shared locks, or they cannot be used now."""
        patience = self._patience if patience is None else patience
        limit = asyncio.timeout(patience)
        try:
            if (locks := self._usable_locks()) is None:
                return None, None
            manager = locks.hold(json.dumps(name))
            self._waiting.add(limit)
            async with limit:
                held = await manager.__aenter__()
        except SessionClosed:
            raise
        except Exception as error:  # noqa: BLE001  # a third-party store may raise anything
            if limit.expired():
                if self._closed:
                    raise SessionClosed(
                        "the session was closed while it waited for another process"
                    ) from None
                raise ConcurrentModification(
                    f"{name[1]} {name[-1]}: another process has held its lock for more than {patience:g} s. "
                    "Nothing was written: check whether that process is suspended, and try again"
                ) from None
            self._not_before = time.monotonic() + RETRY_AFTER_FAILURE_S
            if not self._warned:
                logger.warning(
                    "writing without shared locks: %s. Another process that changes the same user or creates the same "
                    "group at the same time may undo a change",
                    error or type(error).__name__,
                )
            self._warned = True
            return None, None
        finally:
            self._waiting.discard(limit)
        self._warned = False
        return manager, held

    def _usable_locks(self) -> SharedLocks | None:
        if not self._shared or time.monotonic() < self._not_before:
            return None
        if self._closed:
            raise SessionClosed("this EzeepSession is closed")
        if self._locks is None:
            make = getattr(self._store, "shared_locks", None)
            self._locks = None if make is None else make()
            self._shared = self._locks is not None
        return self._locks
