"""What a store that can be written promises of its lock: it keeps others out."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from ezeep_async.auth.tokens import TokenStore
from ezeep_async.blocking.portal import Call
from ezeep_async.testing.base import MOMENTS, MakeStore, StoreTests, belongs_to_no_loop, rounds
from ezeep_async.testing.elsewhere import ENTERED, TRIES, Elsewhere
from ezeep_async.testing.threaded import LoopThread


STARTING = 30.0
"""Seconds that another process has to start."""
OPPORTUNITY = 0.5
"""Seconds for which it may try to break in."""


class LockingTests(StoreTests):
    """Its lock. A renewal spends a token that works once: whoever may renew has to wait for it."""

    @pytest.fixture
    def make_store_elsewhere(self) -> MakeStore | None:
        """What `make_store` gives, for another process: it is pickled, such as `functools.partial(MyStore, path)`.

        None, where no other process can share the login, or it cannot be tried.
        """
        return None

    def test_the_lock_keeps_another_task_out(self, make_store: MakeStore) -> None:
        """Two sessions of one event loop may share one store object."""
        store = make_store()
        self._run(lambda: self._keeps_out(store, store))

    def test_the_lock_keeps_another_store_object_out(self, make_store: MakeStore) -> None:
        """Two store objects on one login have one lock, as it is for two processes."""
        store, other = self._pair(make_store)
        self._run(lambda: self._keeps_out(store, other))

    def test_the_lock_keeps_another_process_out(
        self, make_store: MakeStore, make_store_elsewhere: MakeStore | None
    ) -> None:
        """A process that is spawned tries to take the lock while it is held here, and has it afterwards."""
        if make_store_elsewhere is None:
            pytest.skip(
                "there is no fixture make_store_elsewhere: nothing is known of the lock between processes"
            )
        store = make_store()
        process = Elsewhere(make_store_elsewhere)

        async def scenario() -> None:
            async with self._taken(store, "though it was free"):
                await process.start()
                told = await process.hears(STARTING)
                assert told == TRIES, f"another process could not make its store: {told}"
                told = await process.hears(OPPORTUNITY)
                assert told != ENTERED, "the lock was had in another process while it was held in this one"
                assert told is None, f"another process waited for the lock, and {told}"
            told = await process.hears(self.patience)
            assert told == ENTERED, (
                f"the lock that was given back could not be had in another process: {told}"
            )

        try:
            anyio.run(scenario)
        finally:
            process.end()

    def test_never_two_are_inside_the_lock(self, make_store: MakeStore) -> None:
        """Six tasks on two store objects, twice each; everybody has a turn."""
        self._run(lambda: self._crowd([*self._pair(make_store)] * 3, []))

    def test_a_waiter_that_is_cancelled_leaves_no_trace(self, make_store: MakeStore) -> None:
        """The holder still holds the lock, and the next one has it after that."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            for moment in (*MOMENTS, None):
                order: list[str] = []
                async with self._taken(store, "after a waiter was cancelled"):
                    waiting = asyncio.create_task(self._stay(other))
                    await (self._look_around(store) if moment is None else rounds(moment))
                    await self._cancel(waiting)
                    later = asyncio.create_task(self._enter(other, order))
                    await self._look_around(store)
                    order.append("out")
                await self._within(later, "nobody has the lock any more after a waiter was cancelled")
                assert order == ["out", "in"], (
                    "a waiter that was cancelled gave back the lock that somebody else held"
                )

        self._run(scenario)

    def test_a_waiter_that_is_cancelled_when_its_turn_comes_passes_the_lock_on(
        self, make_store: MakeStore
    ) -> None:
        """The lock is given back and its waiter cancelled, one right after the other: nobody else is kept waiting."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            for moment in MOMENTS:
                async with self._taken(store, "after a waiter was cancelled as its turn came"):
                    waiting = asyncio.create_task(self._stay(other))
                    await self._look_around(store)
                await rounds(moment)
                await self._cancel(waiting)
                async with self._taken(other, "after a waiter was cancelled as its turn came"):
                    pass

        self._run(scenario)

    def test_the_lock_keeps_apart_the_event_loops_of_two_threads(self, make_store: MakeStore) -> None:
        """An application on its own event loop and a `run_sync` session in the same process share a store object."""
        store = make_store()
        order: list[str] = []
        holds = threading.Event()
        leave: list[asyncio.Event] = []
        inside: list[TokenStore] = []

        async def hold() -> None:
            async with self._taken(store, "in another thread"):
                leave.append(asyncio.Event())
                holds.set()
                await leave[0].wait()
                await self._look_around(store)
                order.append("out")

        async def wait() -> None:
            entering = asyncio.create_task(self._enter(store, order))
            await rounds(10)
            one.soon(leave[0].set)
            await self._within(entering, "a lock that was given back in another thread could not be had")

        async def crowd() -> None:
            await self._crowd([store] * 2, inside)

        # Both in threads: a task that was woken up from the wrong one can never be ended, nor can its event loop.
        with (
            LoopThread() as one,
            LoopThread() as two,
            belongs_to_no_loop("the event loops of two threads cannot share the store"),
        ):
            holding = self._begin(one, hold)
            assert holds.wait(self.patience), "the lock could not be had in another thread"
            self._finish(self._begin(two, wait))
            self._finish(holding)
            assert order == ["out", "in"], "a lock that is held in one thread was had in another"
            for crowding in [self._begin(thread, crowd) for thread in (one, two)]:
                self._finish(crowding)

    def _begin(self, thread: LoopThread, scenario: Callable[[], Coroutine[Any, Any, None]]) -> Call[None]:
        async def in_debug_mode() -> None:
            asyncio.get_running_loop().set_debug(True)
            await self._limited(scenario)

        return thread.begin(in_debug_mode)

    def _finish(self, call: Call[None]) -> None:
        assert call.done.acquire(timeout=4 * self.patience), self._stuck
        call.outcome()

    async def _keeps_out(self, holder: TokenStore, other: TokenStore) -> None:
        order: list[str] = []
        async with self._taken(holder, "though it was free"):
            entering = asyncio.create_task(self._enter(other, order))
            await self._look_around(holder)
            order.append("out")
        await self._within(entering, "the lock could not be had after it was given back")
        assert order == ["out", "in"], "the lock was had while somebody else held it"

    async def _enter(self, store: TokenStore, order: list[str]) -> None:
        async with store.lock():
            order.append("in")
