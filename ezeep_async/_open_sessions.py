"""The sessions that a `SessionPool` has open: which one is used, which one is closed.

A session has users from `take` to `release`. Only sessions without users are in `idle`, and `_make_room` closes only those. It
leaves out the ones that are busy without a user (`Core.is_busy`): with a call that outlasts its block, with a lock that such a call
holds or waits for, with a `KeepAlive`, with a token refresh, or with a token set that is not stored. While there are more than
`max_open`, a timer checks those again, so that they are closed soon after they are not busy any more. All steps between two awaits
run on one event loop, so no user can appear between the check and the removal.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, NoReturn

import aiohttp
import attrs

from ezeep_async._core import Connections, Core
from ezeep_async._runtime import forks
from ezeep_async._runtime.syntax import Asynchronous
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.refresher import TokenHook
from ezeep_async.auth.tasks import ShieldedTask, start_uncancellable, wait_shielded
from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import OPENED_BEFORE_FORK, SessionClosed
from ezeep_async.session import EzeepSession, check_store
from ezeep_async.settings import Endpoints, Settings


logger = logging.getLogger("ezeep_async.pool")

EXAMINED_PER_USE, EXAMINED_PER_CHECK = 16, 1000
"""Sessions without users that one use of the pool, or one check, examines at most. All of them may be busy: a use must not take
longer because thousands are kept alive."""
CHECK_BUSY_S = 1.0
"""Seconds after which sessions beyond `max_open` that were busy are checked again. A timer and no callbacks: the last thing that
ends may be a call, a lock, a refresh, a hook, a repeated save or a `KeepAlive`."""

PoolTokenHook = Callable[[str, TokenSet | None, TokenSet], Awaitable[None] | None]
"""Called as `hook(key, old, new)` after each rotation, with the lock released."""


class PooledSession(EzeepSession):
    """A session that a pool opens and closes. `aclose()` and `async with` do not close it."""

    def __init__(self, core: Core) -> None:
        self._use(core)

    async def aclose(self) -> None:
        """Do nothing: the pool closes the session when it needs the room, at `drop(key)`, and at its own end."""

    def again(self) -> NoReturn:
        """Raise an error: another event loop or process needs another pool.

        Raises:
            ValueError: Always.
        """
        raise ValueError("this session belongs to a SessionPool: ask that pool, or make another one")


@attrs.define(eq=False)
class Entry:
    """One session of the pool, and its users."""

    key: str
    core: Core
    session: PooledSession
    users: int = 0
    """Blocks and calls of the pool between `take` and `release`."""
    dropping: ShieldedTask[None] | None = None
    """The task of `drop(key)`, until it has ended."""


@attrs.frozen(eq=False, repr=False)
class Blueprint:
    """What all sessions of a pool have in common."""

    app: OAuthApp
    store: Callable[[str], TokenStore]
    endpoints: Endpoints
    settings: Settings
    http: aiohttp.ClientSession | None
    hook: PoolTokenHook | None
    clock: Clock

    def make_connections(self) -> Connections:
        return Connections.to(self.endpoints, self.settings, self.http, is_shared=True)

    def make_core(self, key: str, connections: Connections) -> Core:
        """Make the inside of the session of a key. Raises what `store(key)` raises."""
        store = self.store(key)
        if inspect.iscoroutine(store):
            store.close()  # otherwise Python warns that it was not awaited
            raise TypeError("store must be a plain function that returns a token store, not `async def`")
        check_store(store)
        hook: TokenHook | None = None if self.hook is None else partial(self.hook, key)
        return Core(self.app, store, None, self.endpoints, self.settings, connections, hook, self.clock)


class SessionBlock(Asynchronous):
    """The block of `SessionPool.session(key)`. A session in use is not closed to make room."""

    # Not an `AbstractAsyncContextManager`: type checkers assume of that one that it may swallow exceptions.

    def __init__(self, sessions: OpenSessions, key: str) -> None:
        self._sessions = sessions
        self._key = key
        self._entry: Entry | None = None

    async def __aenter__(self) -> EzeepSession:
        self.check_new()
        entry = self._entry = await self._sessions.acquire(self._key)
        try:
            await entry.core.open()
        except BaseException:
            self.release()
            raise
        return entry.session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def check_new(self) -> None:
        """Raise `RuntimeError` for a second entry at the same time: one exit would end both."""
        if self._entry is not None:
            raise RuntimeError(
                "this block of SessionPool.session(key) is entered already: call session(key) again"
            )

    async def aclose(self) -> None:
        """`release`, for another thread."""
        self.release()

    def release(self) -> None:
        """End the use of the session, once. On the event loop of the pool."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._sessions.release(entry)


class OpenSessions:
    """The sessions of one pool. Bound to the event loop of the first use."""

    def __init__(self, blueprint: Blueprint, max_open: int) -> None:
        self.blueprint = blueprint
        self.max_open = max_open
        self.connections = blueprint.make_connections()
        self.entries: dict[str, Entry] = {}
        self.idle: OrderedDict[str, Entry] = OrderedDict()
        """Those without users, also busy ones; the least recently used first. One that was found busy is behind the others."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_inherited = False
        self.closing: ShieldedTask[None] | None = None
        self.opened = self.hits = 0
        self._tasks: set[ShieldedTask[None]] = set()
        """Sessions that are being closed, and keys that are being dropped."""
        self._is_check_due = False
        """Whether a timer will call `check_busy`."""

    def disown(self) -> None:
        """Leave everything to the parent process: after a fork, in the child."""
        self.is_inherited = True
        self.connections.transport.disown()

    def is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether this was opened on that event loop, in this process, and not closed."""
        return self.closing is None and not self.is_inherited and self.loop is loop

    async def drop(self, key: str) -> None:
        """Empty the store of the key, and close its session."""
        entry = self.take(key)
        if (task := entry.dropping) is None:
            # Not cancellable: a session without a stored login must not stay in the pool.
            task = entry.dropping = self._start(self._drop(entry, asyncio.current_task()), "ezeep-drop")
        else:
            self.release(entry)
        await wait_shielded(task)

    async def aclose(self) -> None:
        """Close all sessions and their connections."""
        if self.is_inherited or (self.closing is not None and self.closing.done()):
            return
        loop = self.loop
        if loop is not None and loop is not asyncio.get_running_loop() and not loop.is_closed():
            raise RuntimeError("this SessionPool was opened on another event loop: close it there")
        if self.closing is None or self.closing.get_loop().is_closed():
            self.closing = start_uncancellable(self._close(asyncio.current_task()), "ezeep-close-pool")
        await asyncio.shield(self.closing)

    async def acquire(self, key: str) -> Entry:
        """Return the session of the key, in use. `release` must follow. Waits while the key is being dropped."""
        while (entry := self.take(key)).dropping is not None:
            try:
                await asyncio.wait({entry.dropping})
            finally:
                self.release(entry)
        return entry

    def release(self, entry: Entry) -> None:
        """End one use of the session."""
        entry.users -= 1
        if not entry.users and self.entries.get(entry.key) is entry:
            self.idle[entry.key] = entry
        self._make_room()

    def take(self, key: str) -> Entry:
        """Return the session of the key, in use, also while the key is being dropped. `release` must follow."""
        self.check_usable()
        entry = self.entries.get(key)
        if entry is None:
            core = self.blueprint.make_core(key, self.connections)
            entry = self.entries[key] = Entry(key, core, PooledSession(core))
            self.opened += 1
        else:
            self.hits += 1
            self.idle.pop(key, None)
        entry.users += 1
        self._make_room()
        return entry

    def check_usable(self) -> None:
        if self.is_inherited:
            raise SessionClosed(OPENED_BEFORE_FORK)
        if self.closing is not None:
            raise SessionClosed("this SessionPool is closed")
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
            forks.watch(self, loop)
        elif self.loop is not loop:
            raise RuntimeError("this SessionPool was opened on another event loop: make one for each loop")

    def _make_room(self, examined: int = EXAMINED_PER_USE) -> None:
        """Close sessions without users that are not busy, in the background, while there are more than `max_open`.

        Each use of the pool calls it. What that leaves open, because it is busy or was not examined, is left to `check_busy`.
        """
        excess = len(self.entries) - self.max_open
        if excess <= 0:
            return
        for _ in range(min(len(self.idle), examined)):
            key, entry = self.idle.popitem(last=False)
            if entry.core.is_busy:
                self.idle[key] = entry  # at the end: the next step examines others
                entry.core.refresher.save_if_due()
                continue
            del self.entries[key]
            self._start(entry.core.aclose(), "ezeep-close-idle")
            excess -= 1
            if not excess:
                return
        if self.idle and not self._is_check_due and self.loop is not None:
            self._is_check_due = True
            # A weak reference: a pool that was not closed must be collected, and warn.
            pool: weakref.ref[OpenSessions] = weakref.ref(self)
            self.loop.call_later(CHECK_BUSY_S, _check_busy, pool)

    def check_busy(self) -> None:
        """Close sessions that were busy and have become idle, while there are more than `max_open`."""
        self._is_check_due = False
        if not self.is_inherited:
            self._make_room(EXAMINED_PER_CHECK)

    async def _drop(self, entry: Entry, caller: asyncio.Task[object] | None) -> None:
        try:
            await entry.core.open()
            await entry.core.refresher.forget()
            if self.entries.get(entry.key) is entry:  # not while the pool closes
                del self.entries[entry.key]
            await entry.core.aclose(caller)
        finally:
            entry.dropping = None
            self.release(entry)

    async def _close(self, caller: asyncio.Task[object] | None) -> None:
        entries, loop = list(self.entries.values()), asyncio.get_running_loop()
        self.entries.clear()
        self.idle.clear()
        try:
            closing = {self._start(entry.core.aclose(caller), "ezeep-close") for entry in entries}
            # Tasks of a closed loop never end.
            while pending := {task for task in self._tasks if task.get_loop() is loop}:
                await asyncio.wait(pending)
            for task in closing:
                if (error := task.exception()) is not None:
                    raise error
        finally:
            await self.connections.transport.aclose()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> ShieldedTask[None]:
        task = start_uncancellable(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: ShieldedTask[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a session of the pool was closed with an error: %s", error)

    # A default argument, as the module's globals are gone when it is collected at the end of the interpreter.
    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        connections: Connections | None = getattr(self, "connections", None)
        if connections is not None and connections.transport.is_open:
            refreshers = [entry.core.refresher for entry in self.entries.values()]
            connections.transport.abandon({task for each in refreshers for task in each.under_way()})
            # Last, as a filter may make it an exception.
            _warn(
                "a SessionPool was not closed: use `async with`, or await its aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


def _check_busy(sessions: weakref.ref[OpenSessions]) -> None:
    if (found := sessions()) is not None:
        found.check_busy()
