"""`ThreadedSandbox`: a sandbox in its own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

import attrs

from ezeep_async.blocking.portal import Call, Portal
from ezeep_async.sandbox.behaviour import BehaviourOptions
from ezeep_async.sandbox.faults import Faults, Hold
from ezeep_async.sandbox.server import Sandbox


P = ParamSpec("P")
T = TypeVar("T")

CLEANUP_TIMEOUT_S = 2.0
"""Time for an interrupted call to clean up, and for the thread to end."""


class LoopThread(Portal):
    """A thread with its own event loop, as a context manager. Threads that run an event loop may wait for it too."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.usable:
            self._thread.join(CLEANUP_TIMEOUT_S)

    def begin(self, func: Callable[[], Awaitable[T]]) -> Call[T]:
        """Start the coroutine function in this thread."""
        self.check_running()
        call = Call(self, "sandbox", func)
        call.submit()
        return call

    def soon(self, func: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the function in this thread soon, without waiting for it."""
        if not self.usable:  # not started, ended, or forked
            func(*args, **kwargs)
            return
        self.loop.call_soon_threadsafe(lambda: func(*args, **kwargs))

    async def elsewhere(self, func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the coroutine function in this thread, and wait for it in the event loop of the caller."""

        async def work() -> T:
            return await func(*args, **kwargs)

        if not self.usable:
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self.loop))


@attrs.define(eq=False, kw_only=True)
class _Hold(Hold):
    """A hold for several threads: its futures belong to the event loop of the sandbox."""

    thread: LoopThread = attrs.field(repr=False)

    async def arrived(self, n: int = 1) -> None:
        await self.thread.elsewhere(super().arrived, n)

    def release(self, n: int | None = None) -> None:
        self.thread.soon(super().release, n)


class ThreadedSandbox(Sandbox):
    """Serve a `Sandbox` from its own thread, for blocking tests and tests with several event loops.

    Open it once: `with ThreadedSandbox(users=10) as sandbox`. It keeps running across any number of `asyncio.run`.

    Every thread may, during requests too: read what was recorded (`count`, `requests`, `printed`, `refreshes`...), use
    `tokens`, `approve`, `confirm`, `expire_access_tokens`, `end_logins`, `reset_counts`, `clock`, `printing.script` and
    `faults`, end or release a print job, set fields of `behaviour`, and await `hold.arrived()` in its own event loop. The
    records of `organization` and the printers are not thread-safe: change them before the requests, or with `call`.

    Args:
        users: Number of printing users, 0 or more.
        groups: Number of groups, 0 or more.
        printers: Number of printers, 0 or more.
        seed: Seed of all ids, names and memberships.
        **behaviour: Fields of `Behaviour`.
    """

    def __init__(
        self,
        *,
        users: int = 134,
        groups: int = 13,
        printers: int = 4,
        seed: int = 0,
        **behaviour: Unpack[BehaviourOptions],
    ) -> None:
        super().__init__(users=users, groups=groups, printers=printers, seed=seed, **behaviour)
        self._thread = LoopThread()
        self.faults = Faults(self._known_route, partial(_Hold, thread=self._thread))

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._thread.complete("sandbox", self.__aenter__, CLEANUP_TIMEOUT_S)
        except BaseException:
            self._thread.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._thread.usable:  # a forked child has nothing to close
                self._thread.complete(
                    "sandbox", partial(self.__aexit__, kind, error, trace), CLEANUP_TIMEOUT_S
                )
        finally:
            self._thread.__exit__(kind, error, trace)

    def call(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the sandbox's thread, between two requests, and wait for its result.

            sandbox.call(sandbox.organization.add_user, email="new@example.com")

        It blocks the event loop of the calling thread, if there is one.

        Args:
            func: The function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What the function returns.
        """

        async def work() -> T:
            return func(*args, **kwargs)

        return self._thread.complete("sandbox", work, CLEANUP_TIMEOUT_S)

    def expire_access_tokens(self) -> None:
        """Expire all access tokens that were issued so far: requests with them get a 401."""
        while True:
            try:
                return super().expire_access_tokens()
            except RuntimeError:
                continue  # a request got a token meanwhile: repeat with all tokens

    def end_logins(self) -> None:
        """End all logins that were made so far: their access tokens and refresh tokens are refused. A new login works."""
        while True:
            try:
                return super().end_logins()
            except RuntimeError:
                continue  # as above
