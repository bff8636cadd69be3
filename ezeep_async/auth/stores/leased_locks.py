"""`LeasedLocks`: locks for single users and names on a server, shared by the processes of many machines."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import random
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Literal
from weakref import WeakSet, WeakValueDictionary

import attrs

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
BATCH = 64
"""Requests in one command, at most."""

Action = Literal["acquire", "extend", "release"]


def _clock() -> float:
    """Seconds that also count while the machine is suspended, on systems with such a clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


@attrs.define(eq=False)
class HeldLease:
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


LockRequest = tuple[Action, HeldLease, "asyncio.Future[bool]"]


class LentLocks:
    """The `SharedLocks` of one session: the `LeasedLocks` that all sessions of an event loop on one server use.

    So the sessions of a pool need one connection for their locks, and one timer that extends leases.
    """

    def __init__(self, server: Hashable, make: Callable[[], LeasedLocks]) -> None:
        self._server = server
        self._make = make
        self._locks: LeasedLocks | None = None

    def hold(self, name: str, /) -> AbstractAsyncContextManager[HeldLease]:
        """See `SharedLocks.hold`."""
        return self._common().hold(name)

    async def aclose(self) -> None:
        """Close the connection, if no other session uses these locks."""
        locks, self._locks = self._locks, None
        if locks is not None:
            locks.users.discard(self)
            if not locks.users:
                await locks.aclose()

    def _common(self) -> LeasedLocks:
        if self._locks is None:
            place = os.getpid(), asyncio.get_running_loop(), self._server
            locks = _open.get(place)
            if locks is None or locks.is_closed:
                locks = _open[place] = self._make()
            locks.users.add(self)
            self._locks = locks
        return self._locks


class LeasedLocks(ABC):
    """Locks on a server, which has hashes of the names.

    One command is under way at a time. Requests that arrive meanwhile share the next one, so many writers need few
    commands. One connection stays open from the first lock until `aclose()`.

    A holder that was suspended for longer than the lease reads again before it writes. If the suspension came during the
    write, the session raises `ConcurrentModification`. While the server cannot be reached, `hold` raises `TokenStoreError`:
    the session logs a warning and writes without these locks for 30 seconds.
    """

    def __init__(self, prefix: str, lease: float) -> None:
        self._prefix = prefix
        self._lease = min(lease, LEASE_S)
        self._requests: list[LockRequest] = []
        self._sender: asyncio.Task[None] | None = None
        self._held: set[HeldLease] = set()
        self._extending: asyncio.TimerHandle | None = None
        self._connection: AbstractAsyncContextManager[object] | None = None
        self.is_closed = False
        self.users = WeakSet[LentLocks]()
        """The sessions that use these locks. Weak: one that was not closed must not keep the connection."""

    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncGenerator[HeldLease, None]:
        """See `SharedLocks.hold`. `lost` is true for a holder that was suspended for longer than the lease."""
        held = HeldLease(self._prefix + hashlib.sha256(name.encode()).hexdigest()[:32])
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
        self.is_closed = True
        if self._extending is not None:
            self._extending.cancel()
        while self._sender is not None:
            await asyncio.wait({self._sender})
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.__aexit__(None, None, None)

    async def _acquire(self, held: HeldLease) -> None:
        pause = FIRST_PAUSE_S
        while not await self._request("acquire", held):
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    async def _release(self, held: HeldLease) -> None:
        """Release the lock. A cancellation takes effect after that."""
        if held.pid == os.getpid():  # in a forked child, the parent holds the lock
            released = self._request("release", held)
            released.add_done_callback(partial(_note_outcome, held))
            with contextlib.suppress(TokenStoreError):
                await completed(released)

    def _extend_later(self) -> None:
        if self._extending is None and not self.is_closed:
            loop = asyncio.get_running_loop()
            self._extending = loop.call_later(self._lease / 3, self._extend)

    def _extend(self) -> None:
        self._extending = None
        for held in self._held:
            self._request("extend", held).add_done_callback(partial(_note_outcome, held))
        if self._held:
            self._extend_later()

    def _request(self, action: Action, held: HeldLease) -> asyncio.Future[bool]:
        result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._requests.append((action, held, result))
        if self._sender is None:
            self._start_sender()
        return result

    def _start_sender(self) -> None:
        self._sender = start_self_timed(self._send_all(), "ezeep-shared-locks")
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
                # Those that waited for this batch would wait as long again, and after that those behind them. A release is
                # tried, because a lock that is not released stops others until its lease ends.
                tried_again = [each for each in self._requests if each[0] == "release"]
                _fail([*batch, *(each for each in self._requests if each[0] != "release")], error)
                self._requests = tried_again
                if isinstance(error, Exception):
                    continue
                _fail(self._requests, error)
                self._requests = []
                raise
            for (action, held, future), succeeded in zip(batch, results, strict=True):
                if succeeded and action != "release":
                    held.until = sent + self._lease
                if not future.done():
                    future.set_result(succeeded)

    async def _send(self, batch: list[LockRequest]) -> Sequence[bool]:
        if self._connection is None and not self.is_closed:
            connection = self._connected()
            await connection.__aenter__()
            self._connection = connection
        return await self._run(batch)

    @abstractmethod
    def _connected(self) -> AbstractAsyncContextManager[object]:
        """Keep connections of this event loop open for further commands."""

    @abstractmethod
    async def _run(self, batch: list[LockRequest]) -> Sequence[bool]:
        """Return whether each request succeeded. A batch may run twice, if its response was lost.

        The first line that applies to a request:

            action           lock                           result
            release          ours                           removed, True
            release          otherwise                      True if this is the second run, False if the lock was lost
            acquire, extend  ours                           extended, True
            extend           otherwise                      False: the lock was lost
            acquire          held, or reserved for another  False; reserved for us unless it is for another
            acquire          otherwise                      acquired, True

        Without the reservation, an owner that releases a lock and wants it back would win against the waiter's next attempt
        every time.
        """


_open: WeakValueDictionary[tuple[int, asyncio.AbstractEventLoop, Hashable], LeasedLocks] = (
    WeakValueDictionary()
)
"""The locks of each process, event loop and server. The sessions keep them alive."""


def _fail(requests: list[LockRequest], error: BaseException) -> None:
    for _, _, future in requests:
        if not future.done():  # one exception for each waiter, or their tracebacks would be mixed up
            future.set_exception(TokenStoreError(str(error) or type(error).__name__))


def _note_outcome(held: HeldLease, outcome: asyncio.Future[bool]) -> None:
    if outcome.cancelled():
        return
    if (error := outcome.exception()) is not None:
        logger.warning("a shared lock was not extended or released, and ends with its lease: %s", error)
    elif not outcome.result():
        held.ended_early = True
