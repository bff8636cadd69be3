"""`SQLTokenStore` on a PostgreSQL server that restarts, stops or crashes during a refresh, and a locked SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.evidence import survives
from helpers.support import TOKEN, Clock, expired, open_session, put, until

from ezeep_async import EzeepSession, SQLTokenStore, TokenPersistError, TokenStoreError
from ezeep_async.sandbox import Sandbox


if TYPE_CHECKING:
    from helpers.sql_databases import Database, PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server for one test."""
    from helpers.sql_databases import PostgresServer, prepared

    started = PostgresServer()
    prepared(started.database)
    yield started
    started.close()


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
@pytest.mark.parametrize("pre_ping", [False, True])
async def test_a_restart_during_a_refresh_loses_nothing(
    sandbox: Sandbox,
    server: PostgresServer,
    number: signal.Signals,
    pre_ping: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connections in the pool are closed. The store opens others, also without `pool_pre_ping`."""
    database = server.database
    async with database.opened(pool_pre_ping=pre_ping, pool_size=2) as engine:
        await put(SQLTokenStore(engine, "login"), expired(sandbox.tokens()))
        async with open_session(sandbox, SQLTokenStore(engine, "login")) as session:
            async with _in_mid_refresh(sandbox, session):
                await asyncio.to_thread(server.stop, number)
                await asyncio.to_thread(server.start)
            assert [record for record in caplog.records if record.name.startswith("ezeep")] == []
            async with open_session(sandbox, SQLTokenStore(database.unpooled(), "login")) as next_process:
                await next_process.accounts.me()
            assert sandbox.refresh_requests == 1
            assert await survives("PostgreSQL: restart in mid-refresh", sandbox, session)
        row = await database.row("login")
        assert (row.lock_owner, row.refresh_owner) == ("", "")


async def test_a_server_that_is_down_during_the_save_gets_the_token_set_later(
    sandbox: Sandbox, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The call succeeds, and the next one stores the token set. The lock is still the session's own until it expires."""
    clock, database = Clock(), server.database
    await put(SQLTokenStore(database.unpooled(), "login"), expired(sandbox.tokens()))
    async with database.opened() as engine:
        store = SQLTokenStore(engine, "login", lease=1.0)
        async with open_session(sandbox, store, clock=clock) as session:
            async with _in_mid_refresh(sandbox, session):
                await asyncio.to_thread(server.stop)
            assert "TokenPersistError" in caplog.text
            assert "the database cannot be reached" in caplog.text
            with pytest.raises(TokenStoreError, match="cannot be reached"):
                await store.load()
            await asyncio.to_thread(server.start)
            clock.steady += 2.0
            await session.accounts.me()
            await until(lambda: not session._core.refresher._current.is_unsaved)
        async with open_session(sandbox, SQLTokenStore(database.unpooled(), "login")) as again:
            await again.accounts.me()
    assert sandbox.refresh_requests == 1
    assert "correct-horse" not in caplog.text


async def test_the_connection_is_lost_in_each_statement(
    sandbox: Sandbox, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An administrator, or a proxy, closes the connection: each command is repeated, and nothing is stored twice."""
    from helpers.sql_databases import prepared, sa

    database: Database = prepared(postgres.database)
    await put(SQLTokenStore(database.unpooled(), "login"), expired(sandbox.tokens()))
    async with database.opened(pool_size=1, max_overflow=0) as engine:
        lost: list[str] = []

        def lose(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if statement not in lost:
                lost.append(statement)
                raise ConnectionResetError

        sa.event.listen(engine.sync_engine, "after_cursor_execute", lose)
        async with open_session(sandbox, SQLTokenStore(engine, "login")) as session:
            await session.accounts.me()
        assert engine.pool.checkedout() == 0
    assert len(lost) >= 7
    assert sandbox.refresh_requests == 1
    row = await database.row("login")
    assert (row.lock_owner, row.refresh_owner) == ("", "")
    assert "not stored" not in caplog.text


@pytest.mark.may_block
async def test_a_locked_sqlite_file_is_waited_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """Another program has a transaction open: the store waits for `timeout` of the engine, and repeats."""
    from helpers.sql_databases import Database, prepared

    database: Database = prepared(Database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"))
    async with database.opened(connect_args={"timeout": 0.1}) as engine:
        store = SQLTokenStore(engine, "login")
        tokens = sandbox.tokens()
        await put(store, tokens)
        other = sqlite3.connect(tmp_path / "app.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        assert await store.load() == tokens
        saving = asyncio.create_task(store.save(new := sandbox.tokens()))
        await asyncio.sleep(0.3)
        assert not saving.done()
        other.execute("COMMIT")
        await saving
        assert await store.load() == new
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TokenPersistError, match="database is locked"):
            await store.check_writable()
        other.close()
