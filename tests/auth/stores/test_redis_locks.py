"""`RedisLocks`: a command that runs twice, and a background task that is cancelled before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.redis_servers import Server
from helpers.support import until
from redis.asyncio import Redis

from ezeep_async import RedisTokenStore, TokenStoreError
from ezeep_async.auth.stores.leased_locks import _open
from ezeep_async.auth.stores.redis_locks import RedisLocks
from ezeep_async.auth.stores.redis_server import RedisServer


pytestmark = pytest.mark.slow


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """A server for one test: some count its connections."""
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def server(redis: Server) -> RedisServer:
    return RedisServer(redis.address, "the token set", ("stored", "lock"))


def open_here() -> int:
    """Count the locks of this event loop: those of other loops may wait for the garbage collection."""
    return sum(loop is asyncio.get_running_loop() for _, loop, _ in list(_open))


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


@pytest.mark.may_block  # a lent client reads the version of the library from the disk
@pytest.mark.parametrize("lent", [False, True])
async def test_the_sessions_of_an_event_loop_share_a_connection(redis: Server, lent: bool) -> None:
    """500 sessions of a pool do not open 500 connections, and the last one to close closes it."""
    client = Redis.from_url(redis.address) if lent else None
    locks = [
        RedisTokenStore(redis.address if client is None else client, f"login:{number}").shared_locks()
        for number in range(40)
    ]
    async with contextlib.AsyncExitStack() as closing:
        async with contextlib.AsyncExitStack() as stack:
            for number, each in enumerate(locks):
                # Also after a failure: what is left would fail the next tests.
                closing.push_async_callback(each.aclose)
                await stack.enter_async_context(each.hold(f"user {number}"))
            assert open_here() == 1
            assert len(redis.admin.client_list()) == 2  # with that of this test
            for each in locks[:-1]:
                await each.aclose()
            assert open_here() == 1
        assert not redis.admin.keys("*:turn:*")
        await locks[-1].aclose()
        await locks[-1].aclose()
        gc.collect()
        assert not open_here()
    async with locks[0].hold("again"):  # as by a session that was opened again
        pass
    await locks[0].aclose()
    if client is not None:
        await client.aclose()
    await until(lambda: len(redis.admin.client_list()) == 1)  # the server notices an end a little later


async def test_sessions_that_were_not_closed_leave_the_connection_to_others(redis: Server) -> None:
    one, two = (RedisTokenStore(redis.address, key).shared_locks() for key in "ab")
    for each in (one, two):
        async with each.hold("user"):
            pass
    del one, each
    gc.collect()
    await two.aclose()
    await until(lambda: len(redis.admin.client_list()) == 1)  # the server notices an end a little later


async def test_two_logins_share_the_locks(redis: Server) -> None:
    """They may be of one organization, and change the same users."""
    one, two = (RedisTokenStore(redis.address, key, lease=lease) for key, lease in (("a", 90), ("b", 20)))
    first, second = one.shared_locks(), two.shared_locks()
    async with first.hold("user 1"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), second.hold("user 1"):
                pass
    async with second.hold("user 1"):
        pass
    for each in (first, second):
        await each.aclose()


async def test_an_error_names_the_keys_that_a_user_lacks(redis: Server) -> None:
    redis.admin.acl_setuser("app", enabled=True, nopass=True, keys=["login", "{login}:*"], commands=["+@all"])
    store = RedisTokenStore(redis.address.replace("redis://", "redis://app:none@"), "login")
    locks = store.shared_locks()
    async with store.lock():
        assert await store.load() is None
    with pytest.raises(TokenStoreError, match=r"'\{ezeep:locks\}:turn:.*which its user needs"):
        async with locks.hold("user 1"):
            pass
    await locks.aclose()
    redis.admin.acl_setuser("app", enabled=True, nopass=True, keys=["{ezeep:locks}:*"], commands=["+@all"])
    async with locks.hold("user 1"):
        pass
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
