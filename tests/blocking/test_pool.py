"""`BlockingSessionPool`: the blocking twin of `SessionPool`."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.support import QUICK, expired, put, sandbox_in_a_thread

from ezeep_async import (
    BlockingCallError,
    BlockingSession,
    BlockingSessionPool,
    FileTokenStore,
    MemoryTokenStore,
    ReauthorizationRequired,
    SessionClosed,
    SessionPool,
    TokenPersistError,
    run_sync,
)
from ezeep_async.blocking import portal
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block


@pytest.fixture
def server():
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


def pool_on(server: Sandbox, folder: Path, **options) -> SessionPool:
    return SessionPool(
        server.oauth_app,
        lambda key: FileTokenStore(folder / f"{key}.json"),
        endpoints=server.endpoints,
        settings=QUICK,
        **options,
    )


def log_in(server: Sandbox, folder: Path, *keys: str) -> None:
    for key in keys:
        asyncio.run(put(FileTokenStore(folder / f"{key}.json"), expired(server.tokens())))


def settled(pool: BlockingSessionPool) -> BlockingSessionPool:
    """The uses that have ended are counted on the event loop."""
    portal.run("settle", asyncio.sleep, 0)
    return pool


def test_the_blocking_pool(server: Sandbox, tmp_path: Path) -> None:
    """Open, adopt, use, keep alive and drop, with `with` only."""
    with run_sync(pool_on(server, tmp_path, max_open=1)) as pool:
        assert isinstance(pool, BlockingSessionPool)
        log_in(server, tmp_path, "a")
        with pool.session("a") as session:
            assert isinstance(session, BlockingSession)
            assert session.accounts.me().email
            assert len(session.groups.list().collect()) == 13
            assert pool.stats.in_use == 1
        assert settled(pool).stats.in_use == 0
        with pool.session("b") as session, pytest.raises(ReauthorizationRequired):
            session.accounts.me()
        pool.adopt("b", server.tokens())
        with pool.session("b") as session:
            session.accounts.me()
        handle = pool.keep_alive("a")
        assert settled(pool).stats.kept_alive == 1
        handle.stop()
        pool.drop("b")
        assert not (tmp_path / "b.json").exists()
        with pool.session("b") as session, pytest.raises(ReauthorizationRequired):
            session.accounts.me()
    with pytest.raises(SessionClosed, match="BlockingSessionPool is closed"):
        pool.session("a").__enter__()
    assert "closed" in repr(pool) or "SessionPool" in repr(pool)


def test_threads_share_the_session_of_a_key(server: Sandbox, tmp_path: Path) -> None:
    log_in(server, tmp_path, "a")
    with run_sync(pool_on(server, tmp_path)) as pool:

        def call(_: int) -> object:
            with pool.session("a") as session:
                session.accounts.me()
                return session._aio

        with ThreadPoolExecutor(8) as threads:
            sessions = set(threads.map(call, range(40)))
        assert len(sessions) == 1
        assert settled(pool).stats.in_use == 0
    assert server.refreshes == 1


def test_closing_a_session_of_the_pool_does_nothing(server: Sandbox, tmp_path: Path) -> None:
    """The pool closes it."""
    log_in(server, tmp_path, "a")
    with run_sync(pool_on(server, tmp_path)) as pool, pool.session("a") as session:
        with session:
            session.accounts.me()
        session.close()
        session.accounts.me()


@pytest.mark.slow
def test_threads_read_the_stats_while_sessions_are_opened(server: Sandbox) -> None:
    """The event loop of the pool is on another thread."""
    tokens, is_done, errors = server.tokens(), threading.Event(), list[Exception]()
    before = sys.getswitchinterval()

    def read() -> None:
        while not is_done.is_set():
            try:
                assert pool.stats.kept_alive == 0
            except Exception as error:  # reported below
                errors.append(error)

    made = SessionPool(
        server.oauth_app, lambda _: MemoryTokenStore(tokens), endpoints=server.endpoints, settings=QUICK
    )
    with run_sync(made) as pool:
        reader = threading.Thread(target=read)
        sys.setswitchinterval(1e-6)
        try:
            reader.start()
            for number in range(500):
                with pool.session(str(number)):
                    pass
        finally:
            sys.setswitchinterval(before)
            is_done.set()
            reader.join()
    assert not errors


def test_a_block_that_is_entered_twice_stays_in_use(server: Sandbox, tmp_path: Path) -> None:
    """The error ends no use of the first block, whose session the pool could close then."""
    with run_sync(pool_on(server, tmp_path)) as pool:
        block = pool.session("a")
        with block:
            with pytest.raises(RuntimeError, match="entered already"):
                block.__enter__()
            with pool.session("b"):  # the event loop has done what was posted to it
                assert pool.stats.in_use == 2
        assert settled(pool).stats.in_use == 0


def test_errors_of_the_block(server: Sandbox, tmp_path: Path) -> None:
    """An error ends the use. On an event loop the call is refused."""
    with run_sync(pool_on(server, tmp_path)) as pool:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), pool.session("a"):
                raise ZeroDivisionError
        assert settled(pool).stats.in_use == 0
        with pytest.raises(ValueError, match="empty"), pool.session(""):
            pass

        async def on_a_loop() -> None:
            with pytest.raises(BlockingCallError, match=r"async with pool\.session"), pool.session("a"):
                pass

        asyncio.run(on_a_loop())
    with pytest.raises(TypeError, match="or a SessionPool"):
        run_sync(object())  # type: ignore[call-overload]  # wrong on purpose


def test_a_pool_that_is_not_closed_warns(server: Sandbox, tmp_path: Path) -> None:
    log_in(server, tmp_path, "a")
    pool = run_sync(pool_on(server, tmp_path))
    with pool.session("a") as session:
        session.accounts.me()
    async_pool = pool._aio
    del session
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del pool
        gc.collect()
        portal.run("settle", asyncio.sleep, 0.05)
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == [
        "a BlockingSessionPool was not closed: use `with run_sync(...)`, or call its close()"
    ]
    assert not async_pool._sessions.connections.transport.is_open


def test_close_reports_a_lost_token_set(server: Sandbox) -> None:
    """An error of the block takes precedence. Two views of one pool are closed together."""

    class Full(MemoryTokenStore):
        async def save(self, tokens) -> None:
            raise TokenPersistError("the disk is full")

    def pool() -> SessionPool:
        stores = {"a": Full(expired(server.tokens()))}
        return SessionPool(server.oauth_app, stores.__getitem__, endpoints=server.endpoints, settings=QUICK)

    with pytest.raises(TokenPersistError):
        with run_sync(pool()) as logins, logins.session("a") as session:
            session.accounts.me()
    with pytest.raises(ZeroDivisionError):
        with run_sync(made := pool()) as logins, logins.session("a") as session:
            session.accounts.me()
            raise ZeroDivisionError
    assert made.stats.open == 0


def test_drop_from_another_thread_ends_calls(server: Sandbox, tmp_path: Path) -> None:
    log_in(server, tmp_path, "a")
    with run_sync(pool_on(server, tmp_path)) as pool:
        with pool.session("a") as session:
            session.accounts.me()
            hold = server.faults.hold("GET /v1/users/me/")
            errors: list[BaseException] = []

            def call() -> None:
                try:
                    session.accounts.me()
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            asyncio.run(asyncio.wait_for(hold.arrived(), 5))
            pool.drop("a")
            thread.join(5)
            hold.release()
        assert isinstance(errors[0], SessionClosed)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_opens_a_pool_of_its_own(server: Sandbox, tmp_path: Path) -> None:
    """With the same stores. A session of a block that the fork was in belongs to the parent process."""
    log_in(server, tmp_path, "a")
    with run_sync(pool_on(server, tmp_path)) as pool, pool.session("a") as session:
        session.accounts.me()
        if (pid := os.fork()) == 0:
            status = 1
            try:
                try:
                    session.accounts.me()
                except SessionClosed:
                    with pool.session("a") as own:
                        own.accounts.me()
                    pool.close()
                    status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        session.accounts.me()
    assert server.refreshes == 1
