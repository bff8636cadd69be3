"""Pools in several processes on the same stores, with each kind of store, and what a fork does to them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from helpers.pools import pool_in, use
from helpers.support import expired, put, until
from helpers.writing_process import both, store_at, writer

from ezeep_async import FileTokenStore, TokenStore
from ezeep_async.sandbox import Sandbox


# The redis library reads its own version from the disk for each connection.
pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from helpers.redis_servers import Server

    server = Server(tmp_path_factory.mktemp("redis"))
    yield server.address
    server.close()


@pytest.fixture(params=["file", "redis", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def new_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[str], TokenStore]]:
    """`store=` of a pool, over one client or engine for all keys."""
    if kind == "file":
        yield lambda key: FileTokenStore(tmp_path / f"{key}.json")
    elif kind == "redis":
        import redis.asyncio

        from ezeep_async import RedisTokenStore

        client = redis.asyncio.Redis.from_url(request.getfixturevalue("redis_address"))
        yield lambda key: RedisTokenStore(client, f"{tmp_path.name}:{key}")
        await client.aclose()
    else:
        pytest.importorskip("aiosqlite", reason="aiosqlite, a driver for SQLite, is not installed")
        from sqlalchemy.ext.asyncio import create_async_engine

        from ezeep_async import SQLTokenStore

        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}")
        await SQLTokenStore.create_table(engine)
        yield lambda key: SQLTokenStore(engine, key)
        await engine.dispose()


async def test_a_pool_on_each_kind_of_store(sandbox: Sandbox, new_store: Callable[[str], TokenStore]) -> None:
    """Adopt, refresh, make room, use again, and drop: 12 logins with room for 3, and one refresh for each."""
    people = list(sandbox.organization.people.values())[:12]
    async with pool_in(sandbox, new_store, max_open=3) as pool:
        for person in people:
            await pool.adopt(str(person.id), expired(sandbox.tokens(person.id)))

        async def who(key: str) -> None:
            async with pool.session(key) as session:
                assert str((await session.accounts.me()).id) == key

        for _ in range(2):
            await asyncio.gather(*[who(str(person.id)) for person in people])
        await until(lambda: pool.stats.open == 3)
        assert sandbox.refreshes == 12
        key = str(people[0].id)
        await pool.drop(key)
        assert await new_store(key).load() is None
        assert await new_store(str(people[1].id)).load() is not None


async def test_two_pools_on_the_same_stores_refresh_once(
    sandbox: Sandbox, new_store: Callable[[str], TokenStore]
) -> None:
    """As in two processes: neither knows of the other."""
    keys = ["a", "b", "c"]
    for key in keys:
        await put(new_store(key), expired(sandbox.tokens()))
    async with pool_in(sandbox, new_store) as one, pool_in(sandbox, new_store) as two:
        await asyncio.gather(*[use(pool, key) for pool in (one, two) for key in keys * 3])
    assert sandbox.refreshes == 3


@pytest.fixture(params=["file", "redis", "sqlite"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "tenant.json")
    if request.param == "redis":
        return request.getfixturevalue("redis_address")
    from sqlalchemy.ext.asyncio import create_async_engine

    from ezeep_async import SQLTokenStore

    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    engine = create_async_engine(url)
    await SQLTokenStore.create_table(engine)
    await engine.dispose()
    return url


async def test_processes_with_pools_lose_no_membership(where: str) -> None:
    """Two processes with a pool, and one with a session, change the same users with one login."""
    async with Sandbox(users=6, groups=2) as sandbox:
        users = [user.id for user in sandbox.organization.listed_users()][:3]
        for user in sandbox.organization.listed_users():
            user.groups.clear()
        groups = [sandbox.organization.add_group(f"New {place}").id for place in range(24)]
        rows = [(users[place % 3], group) for place, group in enumerate(groups)]
        await put(store_at(where), sandbox.tokens())
        async with (
            both(
                writer(sandbox, where, do="add", rows=rows[:8], pool=True),
                writer(sandbox, where, do="add", rows=rows[8:16], pool=True),
            ) as (one, two),
            writer(sandbox, where, do="add", rows=rows[16:]) as three,
        ):
            for each in (one, two, three):
                each.go()
            for each in (one, two, three):
                assert await each.outcome() == ["done"] * 8
        assert sum(len(user.groups) for user in sandbox.organization.listed_users()) == 24


async def test_two_logins_of_one_organization_lose_no_membership(where: str, tmp_path: Path) -> None:
    """Two processes with a pool and a login each change the same users."""
    async with Sandbox(users=4, groups=2) as sandbox:
        users = [user.id for user in sandbox.organization.listed_users()][:2]
        for user in sandbox.organization.listed_users():
            user.groups.clear()
        rows = [(users[place % 2], sandbox.organization.add_group(f"New {place}").id) for place in range(24)]
        # Two files of one folder, or two keys of one server.
        is_file = "://" not in where
        logins = [(str(tmp_path / f"{key}.json") if is_file else where, key) for key in ("one", "two")]
        for at, key in logins:
            await put(store_at(at, key=key), sandbox.tokens())
        async with both(
            writer(sandbox, logins[0][0], key="one", do="add", rows=rows[:12], pool=True),
            writer(sandbox, logins[1][0], key="two", do="add", rows=rows[12:], pool=True),
        ) as (one, two):
            one.go()
            two.go()
            assert await one.outcome() == await two.outcome() == ["done"] * 12
        assert sum(len(user.groups) for user in sandbox.organization.listed_users()) == 24


async def test_processes_with_pools_create_each_group_once(where: str) -> None:
    """`ensure` in two processes."""
    async with Sandbox(users=3, groups=2) as sandbox:
        names = [f"Team {number}" for number in range(5)]
        rows = [(name, sandbox.organization.organization_id) for name in names]
        await put(store_at(where), sandbox.tokens())
        async with both(
            writer(sandbox, where, do="ensure", rows=rows, pool=True),
            writer(sandbox, where, do="ensure", rows=rows, pool=True),
        ) as (one, two):
            one.go()
            two.go()
            assert await one.outcome() == await two.outcome() == ["done"] * 5
        assert (
            sorted(group.name for group in sandbox.organization.groups.values() if group.name in names)
            == names
        )


FORK = """
    import asyncio, gc, os, sys
    from ezeep_async import Endpoints, FileTokenStore, OAuthApp, SessionClosed, SessionPool

    account, api, client, secret, path = sys.argv[1:]

    def new_pool():
        return SessionPool(
            OAuthApp(client, secret), lambda key: FileTokenStore(path), endpoints=Endpoints(account, api)
        )

    early = new_pool()  # made before the fork, as with `gunicorn --preload`, and not used

    async def call(pool):
        async with pool.session("a") as session:
            await session.accounts.me()

    async def main():
        pool = new_pool()
        await call(pool)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for act in (lambda: call(pool), lambda: pool.drop("a")):
                    try:
                        act().send(None)  # no event loop can run in this child
                    except SessionClosed as error:
                        status = 0 if "fork" in str(error) else 2
                pool.aclose().close()
                del pool
                gc.collect()
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        await call(pool)
        await pool.aclose()

    asyncio.run(main())
    pid = os.fork()
    if pid == 0:
        async def child():
            async with early:
                await call(early)
        asyncio.run(child())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    async def again():
        async with early:
            await call(early)
    asyncio.run(again())
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
async def test_forks(sandbox: Sandbox, tmp_path: Path) -> None:
    """A child of an open pool gets `SessionClosed`, and the pool of the parent works on. One that was not used works in both."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    app, endpoints = sandbox.oauth_app, sandbox.endpoints
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", textwrap.dedent(FORK), endpoints.account, endpoints.api,
        app.client_id, app.client_secret, str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # shorter than one item a line  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out.decode().strip(), err.decode()) == ("done", "")
