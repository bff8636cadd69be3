"""`RedisTokenStore` on a server that loses its data when it restarts: requirements 2-7, 2-9."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from helpers.evidence import survives
from helpers.redis_servers import Server
from helpers.support import TOKEN, Clock, expired, open_session, put, until

from ezeep_async import EzeepSession, ReauthorizationRequired, RedisTokenStore, TokenPersistError, TokenSet
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow


fernet = pytest.importorskip("cryptography.fernet", reason="the extra redis is not installed")
KEY = fernet.Fernet.generate_key()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, without persistence."""
    started = Server(tmp_path)
    yield started
    started.close()


@pytest.fixture(params=[None, KEY], ids=["in clear", "encrypted"])
def new_store(request: pytest.FixtureRequest, server: Server) -> Callable[[], RedisTokenStore]:
    """Create stores that do not share state, as in other processes."""
    return lambda: RedisTokenStore(server.address, encryption_key=request.param)


@contextlib.asynccontextmanager
async def _in_mid_refresh(sandbox: Sandbox, session: EzeepSession) -> AsyncIterator[None]:
    """Run the block while the response to the token refresh of a call is on its way; then the call succeeds."""
    hold = sandbox.faults.hold(TOKEN, after=True)
    call = asyncio.create_task(session.accounts.me())
    await hold.arrived()
    try:
        yield
    finally:
        hold.release()
    await call


async def _load(store: RedisTokenStore) -> TokenSet | None:
    async with store.lock():
        return await store.load()


async def test_a_restart_during_a_refresh_loses_nothing(
    sandbox: Sandbox,
    server: Server,
    new_store: Callable[[], RedisTokenStore],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """2-7: the server is empty, so the new token set is stored without the lock; the next process loads it."""
    await put(new_store(), expired(sandbox.tokens()))
    async with open_session(sandbox, new_store()) as session:
        async with _in_mid_refresh(sandbox, session):
            await asyncio.to_thread(server.restart)
        async with open_session(sandbox, new_store()) as next_process:
            await next_process.accounts.me()
        await session.accounts.me()
        assert sandbox.refresh_requests == 1
        assert caplog.text == ""
        assert await survives("Redis: restart without its data", sandbox, session)


@pytest.mark.parametrize("is_over", [False, True], ids=["next call", "next refresh"])
async def test_a_server_that_returns_empty_gets_the_token_set_again(
    sandbox: Sandbox,
    server: Server,
    new_store: Callable[[], RedisTokenStore],
    caplog: pytest.LogCaptureFixture,
    is_over: bool,
) -> None:
    """2-7: the save failed while the server was down. An empty server is not a logout: the next call stores it again."""
    clock = Clock()
    await put(new_store(), expired(sandbox.tokens()))
    async with open_session(sandbox, new_store(), clock=clock) as session:
        async with _in_mid_refresh(sandbox, session):
            await asyncio.to_thread(server.stop)
        assert "TokenPersistError" in caplog.text
        await asyncio.to_thread(server.start)
        clock.steady += 3590.0 if is_over else 2.0
        await session.accounts.me()
        await until(lambda: server.admin.hexists("ezeep:login", "login"))
        async with open_session(sandbox, new_store()) as next_process:
            await next_process.accounts.me()
        await session.accounts.me()
    assert (sandbox.refresh_requests, sandbox.refreshes) == (1 + is_over,) * 2
    assert caplog.text.count("the server lost its data") == 1


async def test_an_unsaved_token_set_outlives_its_session(
    sandbox: Sandbox, server: Server, new_store: Callable[[], RedisTokenStore]
) -> None:
    """2-7: `aclose` raises the error; the next session of this process on the same store has the token set."""
    store = new_store()
    await put(store, expired(sandbox.tokens()))
    session = open_session(sandbox, store)
    async with _in_mid_refresh(sandbox, session):
        await asyncio.to_thread(server.stop)
    with pytest.raises(TokenPersistError):
        await session.aclose()
    del session
    gc.collect()
    await asyncio.to_thread(server.start)
    async with open_session(sandbox, store) as again:
        await again.accounts.me()
    assert sandbox.refresh_requests == 1
    assert await new_store().load() is not None


@pytest.mark.parametrize("meanwhile", ["logout", "login"])
async def test_a_later_save_or_logout_of_another_process_is_kept(
    sandbox: Sandbox, server: Server, new_store: Callable[[], RedisTokenStore], meanwhile: str
) -> None:
    """2-9: after the restart, before the new token set could be stored; and after another restart."""
    clock, theirs = Clock(), sandbox.tokens()
    await put(new_store(), expired(sandbox.tokens()))
    async with open_session(sandbox, new_store(), clock=clock) as session:
        async with _in_mid_refresh(sandbox, session):
            await asyncio.to_thread(server.restart)
            if meanwhile == "login":
                await put(new_store(), theirs)
            else:
                await new_store().clear()
        assert await new_store().load() == (theirs if meanwhile == "login" else None)
        if meanwhile == "login":
            clock.steady += 2.0
            await session.accounts.me()
            await until(lambda: session._core.refresher.tokens == theirs)
            assert await new_store().load() == theirs
        else:
            clock.steady += 3590.0
            with pytest.raises(ReauthorizationRequired, match="not logged in"):
                await session.accounts.me()
            assert await new_store().load() is None
        await asyncio.to_thread(server.restart)
        clock.steady += 3590.0
        with pytest.raises(ReauthorizationRequired, match="not logged in"):
            await session.accounts.me()
        assert await new_store().load() is None
    assert sandbox.refreshes == 1


async def test_the_newest_of_several_unsaved_token_sets_is_stored(
    sandbox: Sandbox, server: Server, new_store: Callable[[], RedisTokenStore]
) -> None:
    """Each replaced the one before. It is stored only under the lock."""
    store = new_store()
    before, first, second = (sandbox.tokens() for _ in range(3))
    await put(store, before)
    for tokens in (first, second):
        async with store.lock():
            await store.load()
            server.admin.delete("{ezeep:login}:lock")
            with pytest.raises(TokenPersistError, match="lock was lost"):
                await store.save(tokens)
    assert await _load(store) == before
    server.admin.flushall()
    assert await store.load() is None
    assert await _load(store) == second
    assert await new_store().load() == second
    server.admin.flushall()
    assert await _load(store) is None


async def test_a_forked_child_does_not_store_an_unsaved_token_set_of_its_parent(
    sandbox: Sandbox,
    server: Server,
    new_store: Callable[[], RedisTokenStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The parent may have stored and refreshed it since."""
    store = new_store()
    await put(store, sandbox.tokens())
    tokens = sandbox.tokens()
    async with store.lock():
        await store.load()
        server.admin.delete("{ezeep:login}:lock")
        with pytest.raises(TokenPersistError):
            await store.save(tokens)
    server.admin.flushall()
    with monkeypatch.context() as patch:
        patch.setattr(store, "_left_over", (os.getppid(), *store._left_over[1:]))
        assert await _load(store) is None
    assert await _load(store) == tokens


async def test_a_lapsed_holder_stores_nothing_while_the_lock_is_held(
    sandbox: Sandbox, server: Server, new_store: Callable[[], RedisTokenStore]
) -> None:
    """2-9: the server is empty, but the holder of the lock is about to store a token set."""
    store, other = new_store(), new_store()
    async with store.lock():
        await store.load()
        server.admin.flushall()
        async with other.lock():
            with pytest.raises(TokenPersistError, match="lock was lost"):
                await store.save(sandbox.tokens())
    assert await other.load() is None
