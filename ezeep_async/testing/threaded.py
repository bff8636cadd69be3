"""`ThreadedSandbox`: a sandbox in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

import attrs

from ezeep_async.blocking.portal import Call, Portal
from ezeep_async.sandbox.behaviour import BehaviourOptions
from ezeep_async.sandbox.faults import Condition, Fault, Faults, Hold, Waits
from ezeep_async.sandbox.server import Sandbox


P = ParamSpec("P")
T = TypeVar("T")

CLEANUP_WAIT = 2.0
"""Seconds that an interrupted call has to clean up, and the thread to end."""


class LoopThread(Portal):
    """A thread with an event loop of its own, for the time of a `with`.

    The portal of the blocking calls refuses to be waited for on a thread that runs an event loop. This one does not:
    nothing in here ever waits for that loop.
    """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.usable:
            self._thread.join(CLEANUP_WAIT)

    def begin(self, func: Callable[[], Awaitable[T]]) -> Call[T]:
        """Start the coroutine function here. `wait()`, and then `outcome()`, of what it gives.

        `done.acquire(timeout=...)` waits for at most so long.
        """
        call = Call(self, getattr(func, "__qualname__", "a call"), func)
        call.submit(self._running_loop())
        return call

    def complete(self, func: Callable[[], Awaitable[T]]) -> T:
        """Run the coroutine function here, and wait for it."""
        call = self.begin(func)
        try:
            call.wait()
        except BaseException:
            call.stop(self._running_loop(), CLEANUP_WAIT)
            raise
        return call.outcome()

    def soon(self, func: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the function here, before whatever arrives from now on, and do not wait for that."""
        if (
            not self.usable
        ):  # not started, or ended, or on the other side of a fork: there is nobody to disturb
            func(*args, **kwargs)
            return
        self._running_loop().call_soon_threadsafe(lambda: func(*args, **kwargs))

    async def elsewhere(self, func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the coroutine function here, and wait for it on the event loop of the caller."""

        async def work() -> T:
            return await func(*args, **kwargs)

        if not self.usable:
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self._running_loop()))


@attrs.define(eq=False, kw_only=True)
class _Hold(Hold):
    """Futures belong to the event loop that they were made on, so both ends of a hold go through the thread."""

    thread: LoopThread = attrs.field(repr=False)

    async def arrived(self, n: int = 1) -> None:
        await self.thread.elsewhere(super().arrived, n)

    def release(self, n: int | None = None) -> None:
        self.thread.soon(super().release, n)


class _FaultList(list[Fault]):
    """Gone through as it is when that begins: one that is removed meanwhile must not hide the next one."""

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.copy())


class _Faults(Faults):
    """May be changed in any thread, and makes holds that may be waited for and released in any thread."""

    def __init__(self, waits: Waits, check_route: Callable[[str], str], thread: LoopThread) -> None:
        super().__init__(waits, check_route)
        self._faults = _FaultList()
        self._thread = thread

    def hold(
        self,
        route: str,
        *,
        after: bool = False,
        times: int | None = None,
        when: Condition | None = None,
    ) -> Hold:
        hold = _Hold(
            route=self._check_route(route),
            after=after,
            times=times,
            when=when,
            forget=self._forget,
            thread=self._thread,
        )
        self._holds.append(hold)
        return hold

    def _forget(self, hold: Hold) -> None:
        if hold in self._holds:
            self._holds.remove(hold)


class ThreadedSandbox(Sandbox):
    """A `Sandbox` for tests without an event loop, or with several: `with ThreadedSandbox(users=10) as sandbox`.

    It is served from a thread with an event loop of its own, so that it lives through any number of `asyncio.run`.

    What a test does with it is safe in every thread, while requests are under way too, and inside a running event loop:
    reading what happened (`count`, `requests`, `refreshes`, ...), `tokens`, `expire_access_tokens`, `reset_counts`,
    `clock.advance`, assigning to the fields of `behaviour`, and everything in `faults`: `await hold.arrived()` on the
    test's own loop, `hold.release()` anywhere. Only the records of `organization` are not guarded: change them before
    the requests that are to see it, or with `call`.
    """

    def __init__(
        self, *, users: int = 134, groups: int = 13, seed: int = 0, **behaviour: Unpack[BehaviourOptions]
    ) -> None:
        super().__init__(users=users, groups=groups, seed=seed, **behaviour)
        self._thread = LoopThread()
        self.faults = _Faults(self._waits, self._known_route, self._thread)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._thread.complete(self.__aenter__)
        except BaseException:
            self._thread.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._thread.usable:  # a forked child has nothing to close
                self._thread.complete(self.aclose)
        finally:
            self._thread.__exit__(kind, error, trace)

    def call(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function between two requests, in the sandbox's thread, and wait for it. Gives what it returns.

            sandbox.call(sandbox.organization.add_user, email="new@example.com")

        On a thread that runs an event loop this blocks that loop, for the moment that it takes.
        """

        async def work() -> T:
            return func(*args, **kwargs)

        return self._thread.complete(work)

    def expire_access_tokens(self) -> None:
        """Let every access token that was issued so far be answered 401 from now on."""
        while True:
            try:
                return super().expire_access_tokens()
            except RuntimeError:
                continue  # a request was given a token in the middle of it: once more, with all that there are now
