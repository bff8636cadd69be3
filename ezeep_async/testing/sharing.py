"""What a store promises of its shared locks, where it has any: `shared_locks()` is optional."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest

from ezeep_async.auth.shared_locks import SharedLocks
from ezeep_async.auth.tokens import TokenStore
from ezeep_async.testing.base import MOMENTS, MakeStore, StoreTests, rounds
from ezeep_async.testing.elsewhere import ENTERED, TRIES, Elsewhere
from ezeep_async.testing.locking import OPPORTUNITY, STARTING


NAME = "a user"
OTHER_NAMES = [f"user {number}" for number in range(8)]
"""Two names may share a lock. A store where all of these share one with another name has too few locks."""


class SharingTests(StoreTests):
    """Its locks for single users and names. Who changes a user reads first: two at once would undo each other."""

    def test_a_shared_lock_keeps_others_out(self, make_store: MakeStore) -> None:
        """Two sessions, each on a store object of its own, take the lock of one name."""
        store, other = self._pair(make_store)
        order: list[str] = []

        async def scenario() -> None:
            async with self._locks_of(store) as one, self._locks_of(other) as two:
                async with one.hold(NAME):
                    waiting = asyncio.create_task(self._hold(two, NAME, order))
                    await self._give_opportunity(waiting)
                    order.append("out")
                await self._within(waiting, "a shared lock could not be had after it was given back")
            assert order == ["out", "in"], "a shared lock was had while another session held it"

        self._run(scenario)

    def test_a_shared_lock_is_free_again(self, make_store: MakeStore) -> None:
        """After an exception inside, and after a holder or a waiter was cancelled."""
        store, other = self._pair(make_store)

        async def fail(locks: SharedLocks) -> None:
            async with locks.hold(NAME):
                raise LookupError

        async def scenario() -> None:
            async with self._locks_of(store) as one, self._locks_of(other) as two:
                try:
                    await fail(one)
                except LookupError:
                    pass
                else:
                    raise AssertionError("a shared lock swallowed an exception inside")
                await self._free(two, "after an exception inside")
                inside = asyncio.Event()
                holding = asyncio.create_task(self._hold(one, NAME, [], inside, asyncio.Event()))
                await self._within(inside.wait(), "a shared lock could not be had")
                await self._cancel(holding)
                await self._free(two, "after its holder was cancelled")
                for moment in MOMENTS:
                    async with one.hold(NAME):
                        waiting = asyncio.create_task(self._hold(two, NAME, []))
                        await rounds(moment)
                        await self._cancel(waiting)
                    await self._free(two, "after a waiter was cancelled")

        self._run(scenario)

    def test_a_shared_lock_leaves_other_names_and_the_login_alone(self, make_store: MakeStore) -> None:
        """While one is held, the store's own lock can be taken, and those of most other names."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            async with self._locks_of(store) as one, self._locks_of(other) as two, one.hold(NAME):
                async with self._taken(
                    store, "while a shared lock was held: a token refresh would wait for ever"
                ):
                    pass
                holding = [asyncio.create_task(self._hold(two, name, [])) for name in OTHER_NAMES]
                done, rest = await asyncio.wait(
                    holding, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED
                )
                for task in rest:
                    task.cancel()
                await asyncio.wait(holding)
                assert done, "a shared lock keeps out those that want another name"

        self._run(scenario)

    def test_a_shared_lock_may_be_given_back_by_another_task(self, make_store: MakeStore) -> None:
        """A write that has begun goes on without its caller, and then gives the lock back."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            async with self._locks_of(store) as one, self._locks_of(other) as two:
                manager = one.hold(NAME)

                async def take() -> None:
                    await manager.__aenter__()

                async def give() -> None:
                    await manager.__aexit__(None, None, None)

                await asyncio.create_task(take())
                try:
                    await asyncio.create_task(give())
                except Exception as error:
                    raise AssertionError("a shared lock cannot be given back by another task") from error
                await self._free(two, "after another task gave it back")

        self._run(scenario)

    def test_a_shared_lock_keeps_another_process_out(
        self, make_store: MakeStore, make_store_elsewhere: MakeStore | None
    ) -> None:
        """A process that is spawned tries to take it while it is held here, and has it afterwards."""
        if make_store_elsewhere is None:
            pytest.skip(
                "there is no fixture make_store_elsewhere: nothing is known of locks between processes"
            )
        store = make_store()
        self._hook_of(store)
        process = Elsewhere(make_store_elsewhere, NAME)

        async def scenario() -> None:
            async with self._locks_of(store) as locks:
                async with locks.hold(NAME):
                    await process.start()
                    told = await process.hears(STARTING)
                    assert told == TRIES, f"another process could not make its store: {told}"
                    told = await process.hears(OPPORTUNITY)
                    assert told != ENTERED, (
                        "a shared lock was had in another process while it was held in this one"
                    )
                    assert told is None, f"another process waited for a shared lock, and {told}"
                told = await process.hears(self.patience)
                assert told == ENTERED, f"a shared lock could not be had in another process: {told}"

        try:
            anyio.run(scenario)
        finally:
            process.end()

    # --- what the tests are made of --------------------------------------------------------------------------------

    def _hook_of(self, store: TokenStore) -> Callable[[], SharedLocks]:
        hook = getattr(store, "shared_locks", None)
        if hook is None:
            pytest.skip("this store has no shared_locks()")
        return cast("Callable[[], SharedLocks]", hook)

    @asynccontextmanager
    async def _locks_of(self, store: TokenStore) -> AsyncGenerator[SharedLocks, None]:
        locks = self._hook_of(store)()
        assert isinstance(locks, SharedLocks), "shared_locks() gives an object with hold() and aclose()"
        try:
            yield locks
        finally:
            await locks.aclose()

    async def _hold(
        self,
        locks: SharedLocks,
        name: str,
        order: list[str],
        inside: asyncio.Event | None = None,
        leave: asyncio.Event | None = None,
    ) -> None:
        async with locks.hold(name):
            order.append("in")
            if inside is not None:
                inside.set()
            if leave is not None:
                await leave.wait()

    async def _give_opportunity(self, task: asyncio.Task[None]) -> None:
        await asyncio.wait({task}, timeout=OPPORTUNITY / 5)

    async def _free(self, locks: SharedLocks, when: str) -> None:
        await self._within(self._hold(locks, NAME, []), f"a shared lock could not be had {when}")
