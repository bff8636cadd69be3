"""What a token store owes with its locks, as tests: the lock of the token set, and the shared locks."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from ezeep_async.auth.shared_locks import SharedLocks
from ezeep_async.auth.tokens import TokenStore
from ezeep_async.testing.store_checks import (
    CANCEL_AFTER_LOOP_ROUNDS,
    PROCESS_ATTEMPT_S,
    Lock,
    MakeStore,
    Scenario,
    StoreChecks,
    explain_bound_locks,
    loop_rounds,
    with_stores,
)
from ezeep_async.testing.threaded import LoopThread


NAME = "a user"
OTHER_NAMES = [f"user {number}" for number in range(8)]
"""Two names may share a lock, but not all of these one with `NAME`."""


class FreeLockContract(StoreChecks):
    """The lock of any store can be acquired again after every kind of use."""

    @with_stores
    async def test_the_lock_is_free_after_use(self, store: TokenStore, other: TokenStore) -> None:
        """After its release, this store and another one can acquire it."""
        for each in (store, other, store):
            async with self._acquired(each.lock, "after its release"):
                pass

    @with_stores
    async def test_the_lock_is_free_after_an_exception(self, store: TokenStore, other: TokenStore) -> None:
        """An exception inside the lock propagates, and the lock is free."""
        await self._assert_freed_by_exception(store.lock, other.lock)

    @with_stores
    async def test_the_lock_is_free_after_a_cancellation(self, store: TokenStore, other: TokenStore) -> None:
        """A task that is cancelled while it holds the lock, or while it acquires it, leaves it free."""
        await self._assert_freed_by_cancellation(store.lock, other.lock)
        for number in CANCEL_AFTER_LOOP_ROUNDS:
            acquiring = asyncio.create_task(self._hold(store.lock))
            await loop_rounds(number)
            await self._cancel(acquiring)
            async with self._acquired(other.lock, "after a task was cancelled while it acquired it"):
                pass

    def test_it_works_in_one_event_loop_after_another(self, make_store: MakeStore) -> None:
        """A store at module level is used by several tasks in each of two `asyncio.run`."""
        store = make_store()
        with explain_bound_locks("a second event loop cannot use the store"):
            for _ in range(2):
                self._run(lambda: self._crowd([store] * 3, [], exclusive=False))


class LockContract(StoreChecks):
    """The lock of a writable store excludes others, and so do its shared locks."""

    @pytest.fixture
    def make_store_elsewhere(self) -> MakeStore | None:
        """A `make_store` that can be pickled, for another process; None skips its tests."""
        return None

    # --- the lock: a refresh token works once, so one task at a time may refresh

    @with_stores
    async def test_the_lock_excludes_another_task(self, store: TokenStore) -> None:
        """Two sessions in one event loop may share a store object."""
        await self._assert_excludes(store.lock, store.lock, lambda: self._yield_to_others(store))

    @with_stores
    async def test_the_lock_excludes_another_store_object(self, store: TokenStore, other: TokenStore) -> None:
        """Two store objects with one token set have one lock."""
        await self._assert_excludes(store.lock, other.lock, lambda: self._yield_to_others(store))

    def test_the_lock_excludes_another_process(
        self, make_store: MakeStore, make_store_elsewhere: MakeStore | None
    ) -> None:
        """A spawned process acquires the lock only after its release here."""
        store = make_store()

        @asynccontextmanager
        async def lock() -> AsyncGenerator[Lock, None]:
            yield store.lock

        self._assert_excludes_process(lock, make_store_elsewhere)

    @with_stores
    async def test_one_task_at_a_time_holds_the_lock(self, store: TokenStore, other: TokenStore) -> None:
        """Six tasks on two store objects acquire it twice each."""
        await self._crowd([store, other] * 3, [])

    @with_stores
    async def test_a_cancelled_waiter_does_not_release_the_lock(
        self, store: TokenStore, other: TokenStore
    ) -> None:
        """The holder keeps the lock, and the next waiter acquires it afterwards."""
        for number in (*CANCEL_AFTER_LOOP_ROUNDS, None):
            order: list[str] = []
            async with self._acquired(store.lock, "after a waiter was cancelled"):
                waiting = asyncio.create_task(self._hold(other.lock))
                await (self._yield_to_others(store) if number is None else loop_rounds(number))
                await self._cancel(waiting)
                later = asyncio.create_task(self._enter(other.lock, order))
                await self._yield_to_others(store)
                order.append("out")
            await self._within(later, "the lock is not acquired any more after a waiter was cancelled")
            assert order == ["out", "in"], "a cancelled waiter released the lock of another task"

    @with_stores
    async def test_a_waiter_cancelled_on_its_turn_passes_the_lock_on(
        self, store: TokenStore, other: TokenStore
    ) -> None:
        """The lock is released and its waiter cancelled right after: the next waiter acquires it."""
        for number in CANCEL_AFTER_LOOP_ROUNDS:
            async with self._acquired(store.lock, "after a waiter was cancelled on its turn"):
                waiting = asyncio.create_task(self._hold(other.lock))
                await self._yield_to_others(store)
            await loop_rounds(number)
            await self._cancel(waiting)
            async with self._acquired(other.lock, "after a waiter was cancelled on its turn"):
                pass

    def test_the_lock_excludes_event_loops_in_other_threads(self, make_store: MakeStore) -> None:
        """An asynchronous session and a `run_sync` session of one process may share a store object."""
        store = make_store()
        order: list[str] = []
        held = threading.Event()
        leave: list[asyncio.Event] = []
        inside: list[TokenStore] = []

        async def hold() -> None:
            async with self._acquired(store.lock, "in another thread"):
                leave.append(asyncio.Event())
                held.set()
                await leave[0].wait()
                await self._yield_to_others(store)
                order.append("out")

        async def wait() -> None:
            entering = asyncio.create_task(self._enter(store.lock, order))
            await loop_rounds(10)
            one.soon(leave[0].set)
            await self._within(entering, "the lock was not acquired after its release in another thread")

        # A task that is woken up from the wrong thread never ends, and neither does its event loop: both in threads.
        with (
            LoopThread() as one,
            LoopThread() as two,
            explain_bound_locks("the event loops of two threads cannot share the store"),
        ):
            end_holding = self._begin(one, hold)
            assert held.wait(self.patience), "the lock was not acquired in another thread"
            self._begin(two, wait)()
            end_holding()
            assert order == ["out", "in"], "the lock was acquired while another thread held it"
            for end in [
                self._begin(thread, lambda: self._crowd([store] * 2, inside)) for thread in (one, two)
            ]:
                end()

    def _begin(self, thread: LoopThread, scenario: Scenario[None]) -> Callable[[], None]:
        """Start it in the thread. The result waits for its end."""

        async def in_debug_mode() -> None:
            asyncio.get_running_loop().set_debug(True)
            await self._limited(scenario)

        call = thread.begin(in_debug_mode)

        def end() -> None:
            assert call.done.acquire(timeout=4 * self.patience), self._stuck
            call.outcome()

        return end

    # --- shared locks: a session that changes a user reads it first, so two at once would undo each other

    @with_stores
    async def test_a_shared_lock_excludes_another_session(self, store: TokenStore, other: TokenStore) -> None:
        """Two sessions, each with its own store object, acquire the lock of one name."""
        async with self._shared_lock(store) as one, self._shared_lock(other) as two:
            await self._assert_excludes(one, two, lambda: asyncio.sleep(PROCESS_ATTEMPT_S / 5))

    @with_stores
    async def test_a_shared_lock_is_free_after_exceptions_and_cancellations(
        self, store: TokenStore, other: TokenStore
    ) -> None:
        """After an exception inside, and after a holder or a waiter was cancelled."""
        async with self._shared_lock(store) as one, self._shared_lock(other) as two:
            await self._assert_freed_by_exception(one, two)
            await self._assert_freed_by_cancellation(one, two)
            for number in CANCEL_AFTER_LOOP_ROUNDS:
                async with self._acquired(one, "after a waiter was cancelled"):
                    waiting = asyncio.create_task(self._enter(two, []))
                    await loop_rounds(number)
                    await self._cancel(waiting)
                async with self._acquired(two, "after a waiter was cancelled"):
                    pass

    @with_stores
    async def test_a_shared_lock_leaves_other_names_and_the_lock_free(
        self, store: TokenStore, other: TokenStore
    ) -> None:
        """While one is held, the store's own lock and those of most other names can be acquired."""
        async with self._shared_lock(store) as one, self._shared_locks(other) as two, one():
            async with self._acquired(store.lock, "while a shared lock was held: a refresh would deadlock"):
                pass
            entering = [asyncio.create_task(self._enter(partial(two.hold, name), [])) for name in OTHER_NAMES]
            done, pending = await asyncio.wait(
                entering, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED
            )
            for task in pending:
                task.cancel()
            await asyncio.wait(entering)
            assert done, "a shared lock excludes waiters for every other name"

    @with_stores
    async def test_a_shared_lock_can_be_released_by_another_task(
        self, store: TokenStore, other: TokenStore
    ) -> None:
        """A write that has begun continues without its caller, and then releases the lock."""
        async with self._shared_lock(store) as one, self._shared_lock(other) as two:
            manager = one()

            async def acquire() -> None:
                await manager.__aenter__()

            async def release() -> None:
                await manager.__aexit__(None, None, None)

            await asyncio.create_task(acquire())
            try:
                await asyncio.create_task(release())
            except Exception as error:
                raise AssertionError("a shared lock cannot be released by another task") from error
            async with self._acquired(two, "after another task released it"):
                pass

    def test_a_shared_lock_excludes_another_process(
        self, make_store: MakeStore, make_store_elsewhere: MakeStore | None
    ) -> None:
        """A spawned process acquires the shared lock only after its release here."""
        store = make_store()
        self._hook_of(store, "shared_locks")
        self._assert_excludes_process(lambda: self._shared_lock(store), make_store_elsewhere, NAME)

    @asynccontextmanager
    async def _shared_locks(self, store: TokenStore) -> AsyncGenerator[SharedLocks, None]:
        locks: object = self._hook_of(store, "shared_locks")()
        assert isinstance(locks, SharedLocks), "shared_locks() returns an object without hold() and aclose()"
        try:
            yield locks
        finally:
            await locks.aclose()

    @asynccontextmanager
    async def _shared_lock(self, store: TokenStore) -> AsyncGenerator[Lock, None]:
        async with self._shared_locks(store) as locks:
            yield partial(locks.hold, NAME)
