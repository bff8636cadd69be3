"""`RedisLocks`: a command that runs twice, and a background task that is cancelled before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.redis_servers import Server

from ezeep_async.auth.stores.redis_locks import RedisLocks
from ezeep_async.auth.stores.redis_server import RedisServer


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def server(redis: Server) -> RedisServer:
    redis.admin.flushall()
    return RedisServer(redis.address, "the token set", ("stored", "lock"))


async def test_a_release_that_runs_twice_does_not_count_as_a_lost_lock(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the client repeats a command whose response was lost."""
    run = server.evaluate

    async def twice(*arguments: str, **options: Any) -> Any:
        await run(*arguments, **options)
        return await run(*arguments, **options)

    monkeypatch.setattr(server, "evaluate", twice)
    locks = RedisLocks(server)
    async with locks.hold("one") as held:
        assert not held.lost
    assert not held.lost
    await locks.aclose()


async def test_a_release_after_the_server_forgot_the_lock_counts_as_lost(
    redis: Server, server: RedisServer
) -> None:
    locks = RedisLocks(server)
    async with locks.hold("one") as held:
        redis.admin.flushall()
    assert held.lost
    await locks.aclose()


@pytest.mark.timeout(20)
async def test_a_release_ends_when_its_background_task_is_cancelled_before_its_first_step(
    redis: Server, server: RedisServer
) -> None:
    """As by a signal handler of the event loop that cancels all tasks."""
    locks = RedisLocks(server)

    async def work() -> None:
        async with locks.hold("one"):
            asyncio.get_running_loop().call_soon(cancel_all)

    def cancel_all() -> None:
        for each in asyncio.all_tasks() - {test}:
            each.cancel()

    test = asyncio.current_task()
    task = asyncio.create_task(work())
    await asyncio.wait({task})
    assert task.cancelled()
    async with asyncio.timeout(5), locks.hold("one"):
        pass
    await locks.aclose()
