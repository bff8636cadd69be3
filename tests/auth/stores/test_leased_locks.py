"""`LeasedLocks` and `LentLocks`, on a server that is replaced by an object."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from helpers.support import until

from ezeep_async import TokenStoreError
from ezeep_async.auth.stores.leased_locks import LeasedLocks, LentLocks, LockRequest


class Locks(LeasedLocks):
    """All locks are free. While `blocked` is set, a command has no response until it is set again."""

    def __init__(self) -> None:
        super().__init__("lock:", 30.0)
        self.commands: list[list[str]] = []
        self.opened = self.closed = 0
        self.is_down = False
        self.proceed = asyncio.Event()
        self.proceed.set()

    def _connected(self) -> AbstractAsyncContextManager[object]:
        @contextlib.asynccontextmanager
        async def connection():
            self.opened += 1
            yield
            self.closed += 1

        return connection()

    async def _run(self, batch: list[LockRequest]) -> Sequence[bool]:
        self.commands.append([action for action, _, _ in batch])
        await self.proceed.wait()
        if self.is_down:
            raise TokenStoreError("no response")
        return [True] * len(batch)


async def _hold(locks: LentLocks, name: str) -> None:
    async with locks.hold(name):
        pass


async def test_an_outage_delays_each_session_once() -> None:
    """200 sessions that wait for one command of a server that does not respond do not try it one batch after the other."""
    server = Locks()
    sessions = [LentLocks("server", lambda: server) for _ in range(200)]
    holding = sessions[0].hold("held")
    await holding.__aenter__()
    server.proceed.clear()
    waiting = [asyncio.create_task(_hold(each, f"user {number}")) for number, each in enumerate(sessions)]
    releasing = asyncio.create_task(holding.__aexit__(None, None, None))
    await until(lambda: len(server.commands) == 2)
    server.is_down = True
    server.proceed.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await releasing
    assert {str(each) for each in outcomes} == {"no response"}
    assert [len(batch) for batch in server.commands] == [1, 64, 1]  # the release is tried
    server.is_down = False
    await _hold(sessions[5], "again")
    for each in sessions:
        await each.aclose()
    assert (server.opened, server.closed) == (1, 1)


@pytest.mark.parametrize("count", [1, 500])
async def test_all_sessions_extend_their_leases_in_one_command(count: int) -> None:
    server = Locks()
    server._lease = 0.15
    sessions = [LentLocks("server", lambda: server) for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        for number, each in enumerate(sessions[:40]):
            await stack.enter_async_context(each.hold(f"user {number}"))
        server.commands.clear()
        await until(lambda: bool(server.commands))
        assert server.commands == [["extend"] * min(count, 40)]
    for each in sessions:
        await each.aclose()
