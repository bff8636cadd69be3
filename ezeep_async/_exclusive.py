"""One writer at a time for one user, or the new groups of one organisation: in this process always, beyond it where the token store can."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs

from ezeep_async.auth.shared_locks import HeldLock, SharedLocks
from ezeep_async.auth.tokens import TokenStore
from ezeep_async.errors import ConcurrentModification, SessionClosed


logger = logging.getLogger("ezeep_async.resources")

RETRY_AFTER_FAILURE_S = 30.0
"""Seconds without shared locks after they could not be used: an unreachable server must not delay every write."""
CHECK_CLOSED_LOOPS_S = 5.0
"""Seconds between two checks whether the event loop of the caller ahead was closed while it held the lock."""

Name = tuple[str, ...]
Lost = Callable[[], bool]


@attrs.define(eq=False)
class _Caller:
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]


class _Queues:
    """For each name in use the callers of this process, whatever their sessions, event loops and threads. First is the holder."""

    def __init__(self) -> None:
        # Held for a few dictionary operations, never over an await: callers may be on several threads.
        self._guard = threading.Lock()
        self._callers: dict[Name, deque[_Caller]] = {}

    def __len__(self) -> int:
        return len(self._callers)

    async def enter(self, name: Name) -> _Caller:
        """Wait for the turn of this caller."""
        loop = asyncio.get_running_loop()
        caller = _Caller(loop, loop.create_future())
        with self._guard:
            self._callers.setdefault(name, deque()).append(caller)
        try:
            while self._first(name) is not caller:
                await asyncio.wait({caller.turn}, timeout=CHECK_CLOSED_LOOPS_S)
        except BaseException:
            self.leave(name, caller)
            raise
        return caller

    def leave(self, name: Name, caller: _Caller) -> None:
        """End the turn of this caller, or its waiting."""
        with self._guard:
            callers = self._callers.get(name)
            if callers is None or caller not in callers:  # in a forked child, whose queues are its own
                return
            callers.remove(caller)
        while (first := self._first(name)) is not None:
            try:
                first.loop.call_soon_threadsafe(_give_turn, first)
            except RuntimeError:  # its loop was closed just now
                continue
            return

    def _first(self, name: Name) -> _Caller | None:
        with self._guard:
            callers = self._callers.get(name)
            while callers and callers[0].loop.is_closed():
                callers.popleft()  # it can neither work nor give the lock back any more
            if not callers:
                self._callers.pop(name, None)
                return None
            return callers[0]


def _give_turn(caller: _Caller) -> None:
    if not caller.turn.done():
        caller.turn.set_result(None)


queues = _Queues()


def _forget_the_parent() -> None:
    global queues  # noqa: PLW0603  # its guard may be held by a thread that a forked child does not have
    queues = _Queues()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_the_parent)


class Exclusive:
    """Lends one session the locks under which it changes what other sessions and processes change too."""

    def __init__(self, store: TokenStore, api: str, *, patience: float, shared: bool) -> None:
        self._store = store
        self._api = api
        self._patience = patience
        self._shared = shared
        self._locks: SharedLocks | None = None
        self._not_before = float("-inf")
        self._warned = False
        self._closed = False
        self._waiting: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def hold(self, *name: str) -> AsyncGenerator[Lost, None]:
        """Hold the lock of `name` at this API host. Gives a function that says whether the lock was lost since.

        Callers of one process queue in it, and only the first of them takes the lock that processes share. Raises
        `ConcurrentModification` when another process keeps that for longer than one call may take, `SessionClosed`.
        """
        place = (self._api, *name)
        caller = await queues.enter(place)
        try:
            taken = await self._take(place)
            try:
                yield lambda: taken is not None and taken[1] is not None and taken[1].lost
            finally:
                if taken is not None:
                    await self._give(taken[0])
        finally:
            queues.leave(place, caller)  # in a forked child these are others, which do not know the caller

    async def aclose(self) -> None:
        """End all waiting, and close what the locks have open."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._waiting:
            with contextlib.suppress(RuntimeError):  # it expires at this moment
                limit.reschedule(now)
        locks, self._locks = self._locks, None
        if locks is not None:
            try:
                await locks.aclose()
            except Exception:
                logger.warning("the shared locks of the token store could not be closed", exc_info=True)

    async def _take(
        self, place: Name
    ) -> tuple[AbstractAsyncContextManager[HeldLock | None], HeldLock | None] | None:
        """The lock that processes share, None where there is none."""
        limit = asyncio.timeout(self._patience)
        try:
            if (locks := self._usable_locks()) is None:
                return None
            manager = locks.hold(json.dumps(place))
            self._waiting.add(limit)
            async with limit:
                held = await manager.__aenter__()
        except Exception as error:  # noqa: BLE001  # a store of another project raises what it likes
            if not limit.expired():
                self._do_without(error)
                return None
        else:
            self._warned = False
            return manager, held
        finally:
            self._waiting.discard(limit)
        if self._closed:
            raise SessionClosed("the session was closed while it waited for another process")
        raise ConcurrentModification(
            f"{place[1]} {place[-1]}: another process has held its lock for more than {self._patience:g} s. Nothing was "
            "written: check whether that process is suspended, and try again"
        )

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

    def _do_without(self, error: Exception) -> None:
        if isinstance(error, SessionClosed):
            raise error
        self._not_before = time.monotonic() + RETRY_AFTER_FAILURE_S
        if not self._warned:
            self._warned = True
            logger.warning(
                "writing without the locks that processes share: %s. Another process that changes the same user or "
                "creates the same group at the same time may undo a change",
                error or type(error).__name__,
            )

    async def _give(self, manager: AbstractAsyncContextManager[object]) -> None:
        try:
            await manager.__aexit__(None, None, None)
        except Exception:
            # What was written is written, and is reported as such.
            logger.warning("a lock that processes share could not be given back", exc_info=True)
