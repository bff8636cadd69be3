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
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server of all tests, which runs again after each of these."""
    from helpers.sql_databases import prepared

    prepared(postgres.database)
    yield postgres
    if postgres.process.poll() is not None:
        postgres.start()


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


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
async def test_a_statement_that_waits_too_long_is_repeated(
    sandbox: Sandbox, postgres: PostgresServer, setting: str
) -> None:
    """Another program has locked the row, and the server has a short time limit: the token set is stored all the same."""
    from helpers.sql_databases import prepared, sa

    database: Database = prepared(postgres.database)
    limited = {"server_settings": {setting: "50"}}
    async with database.opened(connect_args=limited) as engine, database.opened() as other:
        store = SQLTokenStore(engine, "login")
        await put(store, sandbox.tokens())
        failures: list[object] = []
        sa.event.listen(engine.sync_engine, "handle_error", failures.append)
        async with other.connect() as connection:
            await connection.execute(sa.text("SELECT * FROM ezeep_tokens FOR UPDATE"))
            saving = asyncio.create_task(store.save(new := sandbox.tokens()))
            await until(lambda: bool(failures))
        await saving
        assert await store.load() == new


async def test_a_server_without_a_free_connection_is_waited_for(
    sandbox: Sandbox, postgres: PostgresServer
) -> None:
    from helpers.sql_databases import Database, prepared, sa

    database: Database = prepared(postgres.database)
    await put(SQLTokenStore(database.unpooled(), "login"), tokens := sandbox.tokens())
    await database.rows("CREATE ROLE small LOGIN CONNECTION LIMIT 1")
    await database.rows("GRANT ALL ON ALL TABLES IN SCHEMA public TO small")
    small = Database(database.url.replace("app:", "small:"))
    try:
        async with small.opened() as engine:
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                loading = asyncio.create_task(SQLTokenStore(small.unpooled(), "login").load())
                await asyncio.sleep(0.05)
                await connection.invalidate()
            assert await loading == tokens
    finally:
        await database.rows("DROP OWNED BY small")
        await database.rows("DROP ROLE small")


async def test_a_migration_while_the_app_runs_breaks_no_call(
    sandbox: Sandbox, postgres: PostgresServer
) -> None:
    """asyncpg refuses each prepared statement once after a change of the table."""
    from helpers.sql_databases import prepared

    database: Database = prepared(postgres.database)
    async with database.opened(pool_size=1) as engine:
        store = SQLTokenStore(engine, "login")
        await put(store, tokens := sandbox.tokens())
        assert await store.load() == tokens
        try:
            await database.rows("ALTER TABLE ezeep_tokens ALTER COLUMN generation TYPE text")
            assert await store.load() == tokens
        finally:
            await database.rows("ALTER TABLE ezeep_tokens ALTER COLUMN generation TYPE varchar(32)")


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
@pytest.mark.parametrize("pre_ping", [False, True])
async def test_a_server_that_does_not_respond_is_an_error_in_time(
    sandbox: Sandbox, server: PostgresServer, pre_ping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is suspended, or a firewall drops its packets. Later it works with the same engine."""
    monkeypatch.setattr("ezeep_async.auth.stores.sql_database.RESPONSE_TIMEOUT_S", 0.5)
    async with server.database.opened(pool_size=1, max_overflow=0, pool_pre_ping=pre_ping) as engine:
        store = SQLTokenStore(engine, "login")
        await put(store, tokens := sandbox.tokens())
        with server.suspended():
            for _ in range(2):  # with the connection in the pool, and with a new one
                with pytest.raises(TokenStoreError, match=r"no connection or no response within 0\.5 s"):
                    await store.load()
        monkeypatch.undo()
        assert await store.load() == tokens
        assert engine.pool.checkedout() == 0


async def test_a_task_that_has_the_only_connection_gets_an_error(
    sandbox: Sandbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for itself. The error comes in time, and says so."""
    async with database.opened(pool_size=1, max_overflow=0) as engine:
        store = SQLTokenStore(engine, "login")
        await put(store, expired(sandbox.tokens()))
        async with open_session(sandbox, store) as session:
            async with engine.begin():
                monkeypatch.setattr("ezeep_async.auth.stores.sql_database.RESPONSE_TIMEOUT_S", 0.3)
                with pytest.raises(
                    TokenStoreError, match=r"connections: 1\. A task that has the last connection"
                ):
                    await session.accounts.me()
                monkeypatch.undo()
            assert sandbox.refresh_requests == 0
            await session.accounts.me()
