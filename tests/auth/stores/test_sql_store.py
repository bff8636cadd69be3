"""`SQLTokenStore` on real databases: what is stored, and what its errors and the logs of the engine show."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.support import expired, open_session, put, reserved_port

from ezeep_async import SQLTokenStore, TokenPersistError, TokenSet, TokenStoreCorrupt, TokenStoreError
from ezeep_async.sandbox import Sandbox


if TYPE_CHECKING:
    from helpers.sql_databases import Database, PostgresServer

pytestmark = pytest.mark.slow

sa_asyncio = pytest.importorskip("sqlalchemy.ext.asyncio", reason="the extra sql is not installed")


@pytest.fixture
def store(database: Database) -> SQLTokenStore:
    return SQLTokenStore(database.unpooled(), "login")


def _tokens_in(document: str) -> dict[str, object]:
    return json.loads(document)["token"]


# --- the rows


async def test_a_row_for_each_token_set(sandbox: Sandbox, database: Database) -> None:
    """It is plain JSON, and free of its lock after each use."""
    engine = database.unpooled()
    stores = {key: SQLTokenStore(engine, key) for key in ("user:1", "user:2", "Größe ' \" %s :x", "k" * 255)}
    tokens = {key: sandbox.tokens() for key in stores}
    await asyncio.gather(*[put(store, tokens[key]) for key, store in stores.items()])
    for key, store in stores.items():
        assert await store.load() == tokens[key]
        row = await database.row(key)
        assert _tokens_in(row.document)["refresh_token"] == tokens[key].refresh_token
        assert (row.lock_owner, row.lock_until, row.refresh_owner, row.refresh_until) == ("", 0, "", 0)
    assert len(await database.rows("SELECT key FROM ezeep_tokens")) == len(stores)


async def test_an_empty_store_leaves_no_row(
    sandbox: Sandbox, database: Database, store: SQLTokenStore
) -> None:
    """Neither its lock, nor a session that finds no token set, nor a logout."""
    assert await store.is_unused()
    async with store.lock():
        assert not await store.is_unused()
        assert await store.load() is None
    assert await store.is_unused()
    async with open_session(sandbox, store, tokens=sandbox.tokens()) as session:
        await session.accounts.me()
        assert not await store.is_unused()
        await session.oauth.revoke()
    assert await database.rows("SELECT key FROM ezeep_tokens") == []


async def test_the_lock_is_a_lease_by_the_clock_of_the_database(
    database: Database, store: SQLTokenStore
) -> None:
    clock = "extract(epoch from clock_timestamp())"
    if database.dialect == "sqlite":
        clock = "(julianday('now') - 2440587.5) * 86400"
    async with store.lock():
        (row,) = await database.rows(f"SELECT lock_until - {clock} AS remaining FROM ezeep_tokens")
        assert 60 < row.remaining < 90.1


async def test_an_empty_document_is_an_empty_store(
    sandbox: Sandbox, database: Database, store: SQLTokenStore
) -> None:
    await put(store, sandbox.tokens())
    await database.rows("UPDATE ezeep_tokens SET document = ' '")
    assert await store.load() is None
    tokens = sandbox.tokens()
    await put(store, tokens)
    assert await store.load() == tokens


@pytest.mark.parametrize(
    "content", ["{", "plain-token", "[]", '{"version": 1}', '{"version": 2, "token": {}}']
)
async def test_a_corrupt_document_is_named_and_kept(
    sandbox: Sandbox, database: Database, store: SQLTokenStore, content: str
) -> None:
    """It is never used as a token, never replaced or removed, and never shown."""
    await put(store, sandbox.tokens())
    await database.rows("UPDATE ezeep_tokens SET document = :content", content=content)
    with pytest.raises(TokenStoreCorrupt, match=r"the token set 'login' in (SQLite|PostgreSQL)") as caught:
        await store.load()
    assert "plain-token" not in str(caught.value)
    if content != '{"version": 1}':  # unknown keys of this version are kept
        with pytest.raises(TokenStoreCorrupt):
            await store.clear()
        with pytest.raises(TokenStoreCorrupt):
            await store.save(sandbox.tokens())
    async with open_session(sandbox, store) as session:
        with pytest.raises(TokenStoreCorrupt):
            await session.accounts.me()
    assert (await database.row("login")).document == content
    assert sandbox.refresh_requests == 0


async def test_a_document_of_another_program_is_refused(
    sandbox: Sandbox, database: Database, store: SQLTokenStore
) -> None:
    """A row without a generation is not from this store."""
    await put(store, sandbox.tokens())
    await database.rows("UPDATE ezeep_tokens SET generation = ''")
    with pytest.raises(TokenStoreCorrupt, match="not a stored token set"):
        await store.load()


async def test_a_column_that_ignores_case_gives_no_one_the_tokens_of_another(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A table that the app made with another collation finds the row of another user."""
    from helpers.sql_databases import Database, prepared

    database = prepared(Database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"))
    (made,) = await database.rows("SELECT sql FROM sqlite_master WHERE name = 'ezeep_tokens'")
    await database.rows("DROP TABLE ezeep_tokens")
    await database.rows(made.sql.replace('"key" VARCHAR(255)', '"key" VARCHAR(255) COLLATE NOCASE'))
    one, other = (SQLTokenStore(database.unpooled(), key) for key in ("user:a", "user:A"))
    await put(one, tokens := sandbox.tokens())
    for use in (other.load, other.clear, lambda: other.save(sandbox.tokens())):
        with pytest.raises(TokenStoreError, match="the row of 'user:a', which may be another user"):
            await use()
    async with open_session(sandbox, other) as session:
        with pytest.raises(TokenStoreError, match="must compare exactly"):
            await session.accounts.me()
    assert await one.load() == tokens


async def test_unknown_keys_stay_on_rewriting(
    sandbox: Sandbox, database: Database, store: SQLTokenStore
) -> None:
    await put(store, sandbox.tokens())
    document = json.loads((await database.row("login")).document) | {"note": {"kept": True}}
    await database.rows("UPDATE ezeep_tokens SET document = :document", document=json.dumps(document))
    await put(store, sandbox.tokens())
    assert json.loads((await database.row("login")).document)["note"] == {"kept": True}


async def test_a_row_that_the_app_deletes_is_a_logout(
    sandbox: Sandbox, database: Database, store: SQLTokenStore
) -> None:
    """Also in mid-refresh: the token set of a deleted account does not return."""
    await put(store, expired(sandbox.tokens()))
    async with store.lock():
        await store.load()
        await database.rows("DELETE FROM ezeep_tokens")
        with pytest.raises(TokenPersistError, match="lock was lost"):
            await store.save(sandbox.tokens())
    assert await store.is_unused()


async def test_the_steps_of_a_refresh_are_in_order(
    sandbox: Sandbox, database: Database, store: SQLTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lock, load, check_writable, begin_refresh, load, save, unlock. No transaction is open while the server works."""
    await put(store, expired(sandbox.tokens()))
    steps: list[str] = []

    def spy(name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        steps.append(name)
        return real(*arguments, **options)

    for name in ("_try_lock", "_fetch", "_probe", "begin_refresh", "_write", "_release"):
        monkeypatch.setattr(store, name, partial(spy, name, getattr(store, name)))
    hold = sandbox.faults.hold("POST /oauth/access_token/", times=1)
    async with open_session(sandbox, store) as session:
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        if database.dialect == "postgresql":
            query = "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            assert await database.rows(query) == []
        # Nothing waits for a row of the table: another program can change it.
        await database.rows("UPDATE ezeep_tokens SET lock_until = lock_until + 1")
        hold.release()
        await call
    assert steps == ["_try_lock", "_fetch", "_probe", "begin_refresh", "_fetch", "_write", "_release"]


# --- the tables


async def test_the_tables_may_exist(database: Database) -> None:
    """Several processes of an app create them when they start."""
    async with database.opened() as engine:
        for table in ("ezeep_tokens", "ezeep_locks"):
            await database.rows(f"DROP TABLE {table}")
        await asyncio.gather(*[SQLTokenStore.create_table(database.unpooled()) for _ in range(8)])
        await SQLTokenStore.create_table(engine)
        assert await SQLTokenStore(engine, "login").load() is None


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_the_row_type_of_a_table_may_exist_before_the_table(database: Database) -> None:
    """What PostgreSQL says when another process is just creating the table."""
    async with database.opened() as engine:
        await database.rows("DROP TABLE ezeep_tokens")
        await database.rows("CREATE TYPE ezeep_tokens AS ENUM ()")
        creating = asyncio.create_task(SQLTokenStore.create_table(engine))
        await asyncio.sleep(0.1)
        assert not creating.done()
        await database.rows("DROP TYPE ezeep_tokens")
        await creating
        assert await SQLTokenStore(engine, "login").load() is None


async def test_missing_tables_are_named(database: Database, store: SQLTokenStore) -> None:
    await database.rows("DROP TABLE ezeep_tokens")
    with pytest.raises(TokenStoreError, match=r"ezeep_tokens.*create_table\(engine\)"):
        await store.load()
    await database.rows("DROP TABLE ezeep_locks")
    locks = store.shared_locks()
    with pytest.raises(TokenStoreError, match=r"ezeep_locks.*create_table\(engine\)"):
        async with locks.hold("one"):
            pass
    await locks.aclose()


async def test_shared_locks_leave_no_rows(database: Database, store: SQLTokenStore) -> None:
    """Not even those of killed processes, when others use locks an hour later."""
    await database.rows(
        "INSERT INTO ezeep_locks VALUES ('old', 'dead', 5, '', 0), ('new', 'x', 99999999999, '', 0)"
    )
    locks = store.shared_locks()
    async with locks.hold("one"), locks.hold("two"):
        assert len(await database.rows("SELECT name FROM ezeep_locks")) == 3
    await locks.aclose()
    assert [row.name for row in await database.rows("SELECT name FROM ezeep_locks")] == ["new"]


async def test_all_keys_of_a_table_share_the_locks(database: Database) -> None:
    """Two logins of one organization change the same users."""
    engine = database.unpooled()
    one, two = (SQLTokenStore(engine, key).shared_locks() for key in "ab")
    async with one.hold("user 1"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), two.hold("user 1"):
                pass
        async with two.hold("user 2"):
            pass
    async with two.hold("user 1"):
        await one.aclose()
    await two.aclose()
    assert not await database.rows("SELECT name FROM ezeep_locks")


# --- what is shown


@pytest.mark.parametrize("echo", [True, "debug"])
async def test_the_log_of_the_engine_shows_no_token(
    sandbox: Sandbox, database: Database, echo: bool | str, caplog: pytest.LogCaptureFixture
) -> None:
    """Statements and parameters are logged, and the document is redacted in parameters and rows."""
    for name in ("sqlalchemy", "aiosqlite", "asyncpg"):
        caplog.set_level(logging.DEBUG, name)
    tokens = expired(sandbox.tokens())
    async with database.opened(echo=echo) as engine:
        async with open_session(sandbox, SQLTokenStore(engine, "login"), tokens=tokens) as session:
            await session.accounts.me()
            new = await session.oauth.refresh()
    assert "UPDATE ezeep_tokens" in caplog.text
    assert "Secret('***')" in caplog.text
    for shown in (tokens, new):
        assert shown.access_token not in caplog.text
        assert shown.refresh_token not in caplog.text


async def test_errors_show_no_token(sandbox: Sandbox, database: Database, store: SQLTokenStore) -> None:
    """PostgreSQL repeats the row that breaks a rule, and SQLAlchemy the parameters."""
    tokens = sandbox.tokens()
    if database.dialect == "postgresql":
        await database.rows("ALTER TABLE ezeep_tokens ADD CONSTRAINT rule CHECK (document IS NULL)")
    else:
        await database.rows(
            "CREATE TRIGGER rule BEFORE UPDATE OF document ON ezeep_tokens BEGIN SELECT RAISE(ABORT, 'rule'); END"
        )
    try:
        with pytest.raises(TokenPersistError, match="rule") as caught:
            async with store.lock():
                await store.load()
                await store.save(tokens)
    finally:
        if database.dialect == "postgresql":
            await database.rows("ALTER TABLE ezeep_tokens DROP CONSTRAINT rule")
    error: BaseException | None = caught.value
    while error is not None:
        assert tokens.access_token not in repr(error)
        assert tokens.refresh_token not in str(error)
        error = error.__cause__


async def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ezeep_async.auth.stores.sql_database.FIRST_PAUSE_S", 0.001)
    with reserved_port() as port:
        url = f"postgresql+asyncpg://app:correct-horse@127.0.0.1:{port}/app?ssl=disable"
        store = SQLTokenStore(sa_asyncio.create_async_engine(url), "login")
        with pytest.raises(
            TokenStoreError,
            match=rf"'login' in PostgreSQL at 127\.0\.0\.1:{port}/app cannot be used: .*reached",
        ) as caught:
            await store.load()
        with pytest.raises(TokenPersistError, match="not refreshed: the database cannot be reached"):
            await store.check_writable()
        with pytest.raises(TokenStoreError, match="cannot be reached"):
            await store.save(TokenSet("a", "b", datetime.now(UTC)))
    assert "correct-horse" not in str(caught.value) + repr(store)


async def test_refused_credentials_are_named(postgres: PostgresServer) -> None:
    url = postgres.database.url.replace("app:", "another:")
    with pytest.raises(TokenStoreError, match="the database refuses the credentials: role"):
        await SQLTokenStore(sa_asyncio.create_async_engine(url), "login").load()


async def test_a_database_that_cannot_be_written_is_found_before_the_refresh_token_is_spent(
    sandbox: Sandbox, database: Database, store: SQLTokenStore
) -> None:
    tokens = expired(sandbox.tokens())
    await put(store, tokens)
    standby = SQLTokenStore(database.read_only(), "login")
    assert await standby.load() == tokens
    with pytest.raises(TokenPersistError, match=r"not refreshed: the database refuses: .*read-?only"):
        await standby.check_writable()
    async with open_session(sandbox, standby) as session:
        with pytest.raises(TokenStoreError, match="the database refuses"):
            await session.accounts.me()
    assert await store.load() == tokens
    assert sandbox.refresh_requests == 0


# --- arguments


@pytest.mark.parametrize("key", ["", "k" * 256, "a\0b", "a\ud800"])
def test_an_unusable_key_is_refused(database: Database, key: str) -> None:
    with pytest.raises(ValueError, match="key must have 1 to 255 characters"):
        SQLTokenStore(database.unpooled(), key)


def test_arguments_of_another_type_are_refused(database: Database) -> None:
    engine: Any = database.unpooled()
    with pytest.raises(TypeError, match="key must be a str, not int"):
        SQLTokenStore(engine, 5)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(
        TypeError, match=r"AsyncEngine, not sqlalchemy\.engine\.base\.Engine: .*create_async_engine"
    ):
        SQLTokenStore(engine.sync_engine, "login")
    with pytest.raises(TypeError, match="AsyncEngine, not builtins"):
        SQLTokenStore(database.url, "login")  # type: ignore[arg-type]  # wrong on purpose
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="lease"):
            SQLTokenStore(engine, "login", lease=wrong)
    assert "login" in repr(SQLTokenStore(engine, "login"))


def test_another_kind_of_database_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = database.unpooled()
    monkeypatch.setattr(engine.dialect, "name", "mysql")
    with pytest.raises(ValueError, match="works with SQLite and PostgreSQL, not with mysql"):
        SQLTokenStore(engine, "login")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    engine = database.unpooled()
    monkeypatch.setitem(sys.modules, "sqlalchemy.ext.asyncio", None)
    with pytest.raises(ImportError, match=r"needs SQLAlchemy: pip install 'ezeep_async\[sql\]'"):
        SQLTokenStore(engine, "login")
    with pytest.raises(ImportError, match=r"needs SQLAlchemy"):
        SQLTokenStore.metadata()
