"""`SQLTokenStore` and the engine that it borrows: pools, cancellation, event loops, threads and forks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from helpers.support import expired, open_session, put, sandbox_in_a_thread

from ezeep_async import SQLTokenStore, TokenStoreError, run_sync
from ezeep_async.sandbox import Sandbox


if TYPE_CHECKING:
    from helpers.sql_databases import Database, PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

sa = pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")

ONE = {"pool_size": 1, "max_overflow": 0}


class Connections:
    """How many connections of an engine are in use at once."""

    def __init__(self, engine: Any) -> None:
        self.now = self.most = self.opened = 0
        sa.event.listen(engine.sync_engine, "checkout", self._out)
        sa.event.listen(engine.sync_engine, "checkin", self._in)
        sa.event.listen(engine.sync_engine, "connect", self._opened)

    def _out(self, *arguments: object) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def _in(self, *arguments: object) -> None:
        self.now -= 1

    def _opened(self, *arguments: object) -> None:
        self.opened += 1


async def _is_free(database: Database) -> bool:
    row = await database.row("login")
    return row is None or (row.lock_until, row.lock_owner, row.refresh_owner) == (0, "", "")


# --- pools


async def test_it_never_holds_two_connections(sandbox: Sandbox, database: Database) -> None:
    """One of a pool of one is enough, also while a background task extends the lease and shared locks are used."""
    async with database.opened(pool_size=4) as engine:
        connections = Connections(engine)
        store = SQLTokenStore(engine, "login")
        await put(store, expired(sandbox.tokens()))
        async with open_session(sandbox, store) as session:
            await session.accounts.me()
        assert (connections.now, connections.most, connections.opened) == (0, 1, 1)
    async with database.opened(**ONE) as engine:
        store = SQLTokenStore(engine, "login", lease=0.3)
        locks = store.shared_locks()
        async with store.lock(), locks.hold("one"):
            await asyncio.sleep(0.5)
            await store.save(sandbox.tokens())
            assert await store.is_still_locked()
        await locks.aclose()
        assert engine.pool.checkedout() == 0


async def test_an_exhausted_pool_is_named(database: Database) -> None:
    async with database.opened(**ONE, pool_timeout=0.2) as engine, engine.connect():
        with pytest.raises(TokenStoreError, match="no connection or no response") as caught:
            await SQLTokenStore(engine, "login").load()
        assert "QueuePool limit" in str(caught.value)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"])
async def test_the_isolation_level_of_the_engine_does_not_matter(
    sandbox: Sandbox, database: Database, isolation: str
) -> None:
    if database.dialect == "sqlite" and isolation == "REPEATABLE READ":
        return
    async with database.opened(isolation_level=isolation, pool_size=3) as engine:
        await put(SQLTokenStore(engine, "login"), expired(sandbox.tokens()))
        async with contextlib.AsyncExitStack() as stack:
            sessions = [open_session(sandbox, SQLTokenStore(engine, "login")) for _ in range(8)]
            for session in sessions:
                await stack.enter_async_context(session)
            await asyncio.gather(*[session.accounts.me() for session in sessions])
        assert sandbox.refresh_requests == 1
        async with engine.connect() as connection:  # what the app gets is as it was
            level = await connection.get_isolation_level()
            assert level == isolation or isolation == "AUTOCOMMIT"  # which is no level of the database


async def test_pgbouncer_in_transaction_mode(sandbox: Sandbox, postgres: PostgresServer) -> None:
    """Each transaction may get another connection of the server: nothing is kept in one."""
    from helpers.sql_databases import PgBouncer, prepared

    prepared(postgres.database)
    bouncer = await asyncio.to_thread(PgBouncer, postgres)
    try:
        unprepared = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        async with (
            bouncer.database.opened(connect_args=unprepared, pool_size=5) as engine,
            contextlib.AsyncExitStack() as stack,
        ):
            stores = [SQLTokenStore(engine, f"user:{number % 4}") for number in range(12)]
            await asyncio.gather(*[put(store, expired(sandbox.tokens())) for store in stores[:4]])
            sessions = [open_session(sandbox, store) for store in stores]
            for session in sessions:
                await stack.enter_async_context(session)
            await asyncio.gather(*[session.accounts.me() for session in sessions])
            user = sandbox.organization.listed_users()[0].id
            groups = [sandbox.organization.add_group(f"New {number}").id for number in range(12)]
            await asyncio.gather(
                *[one.users.add_to_groups(user, group) for one, group in zip(sessions, groups, strict=True)]
            )
        assert sandbox.refresh_requests == 4
    finally:
        await asyncio.to_thread(bouncer.close)


# --- cancellation


@pytest.mark.parametrize("steps", [range(0, 60, 3), range(60, 130, 15)], ids=["first", "later"])
async def test_a_cancelled_caller_leaves_no_lock_and_no_connection(database: Database, steps: range) -> None:
    """At each step of acquiring, loading and releasing."""

    async def use() -> None:
        async with store.lock():
            await store.load()
            await store.check_writable()
            await store.begin_refresh()

    async with database.opened(**ONE) as engine:
        store = SQLTokenStore(engine, "login")
        await store.load()
        for step in steps:
            using = asyncio.create_task(use())
            for _ in range(step):
                await asyncio.sleep(0.0005)
            using.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await using
            assert engine.pool.checkedout() == 0, step
            assert await _is_free(database), step


@pytest.mark.may_block
@pytest.mark.filterwarnings("ignore::ResourceWarning")
# A thread of aiosqlite closes a connection of the test's engine whose event loop has ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("by_callback", [False, True], ids=["asyncio.run", "signal handler"])
def test_all_tasks_are_cancelled_at_each_step_of_a_refresh(database: Database, by_callback: bool) -> None:
    """No token set is lost, and the lock is released, also if the cancellation meets a task inside SQLAlchemy."""

    def cancel_all() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    async def end_in_a_refresh(step: int) -> None:
        async with database.opened(**ONE) as engine:
            session = open_session(sandbox, SQLTokenStore(engine, "login", lock_timeout=5.0))
            refresh = asyncio.ensure_future(session.oauth.refresh())
            for _ in range(step):
                await asyncio.sleep(0)
                if refresh.done():
                    break
            if by_callback:
                asyncio.get_running_loop().call_soon(cancel_all)
            else:
                cancel_all()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({refresh})
            with contextlib.suppress(asyncio.CancelledError):
                await session.aclose()

    async def refresh() -> None:
        async with open_session(sandbox, SQLTokenStore(database.unpooled(), "login")) as session:
            await session.oauth.refresh()

    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(SQLTokenStore(database.unpooled(), "login"), expired(sandbox.tokens())))
        for step in range(14 if by_callback else 1, 260, 26):
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(end_in_a_refresh(step))
            assert asyncio.run(_is_free(database)), step
            asyncio.run(refresh())
    gc.collect()  # the connections that their event loops have left open, while their warnings are ignored


# --- event loops and threads


@pytest.mark.may_block
async def test_run_sync_uses_connections_of_its_own(database: Database) -> None:
    """The app uses the engine on its event loop, and blocking sessions in threads: neither gets a connection of the other."""
    with sandbox_in_a_thread() as sandbox:
        async with database.opened(**ONE) as engine:
            await put(SQLTokenStore(engine, "login"), expired(sandbox.tokens()))
            connections = Connections(engine)

            def block() -> None:
                with run_sync(open_session(sandbox, SQLTokenStore(engine, "login"))) as session:
                    session.accounts.me()
                    session.oauth.refresh()

            async with engine.connect() as ours:  # the only one of the pool
                await asyncio.gather(*[asyncio.to_thread(block) for _ in range(3)])
                await ours.execute(sa.text("SELECT 1"))
            assert connections.most == 2  # ours, and one on the event loop of all blocking sessions
            assert await SQLTokenStore(engine, "login").load() is not None
        assert sandbox.refreshes == 4


@pytest.mark.may_block
async def test_the_options_and_listeners_of_an_engine_are_used_everywhere(
    sandbox: Sandbox, postgres: PostgresServer
) -> None:
    """With a schema for each tenant, no event loop may read the tables of another tenant."""
    from helpers.sql_databases import prepared

    database: Database = prepared(postgres.database)
    tenants = ("one", "two")
    for tenant in tenants:
        await database.rows(f"CREATE SCHEMA tenant_{tenant}")
    try:
        async with database.opened() as engine:
            stores: dict[str, SQLTokenStore] = {}
            for tenant in tenants:
                of_tenant = engine.execution_options(schema_translate_map={None: f"tenant_{tenant}"})
                await SQLTokenStore.create_table(of_tenant)
                stores[tenant] = SQLTokenStore(of_tenant, "login")
            tokens = {tenant: sandbox.tokens() for tenant in tenants}
            await asyncio.gather(*[put(store, tokens[tenant]) for tenant, store in stores.items()])

            async def load_all() -> dict[str, object]:
                async with stores["one"].lock(), stores["two"].lock():  # at the same time
                    return {tenant: await store.load() for tenant, store in stores.items()}

            assert await load_all() == tokens
            assert await asyncio.to_thread(lambda: asyncio.run(load_all())) == tokens
            assert await SQLTokenStore(engine, "login").load() is None

            @sa.event.listens_for(engine.sync_engine, "begin")
            def begin(connection: Any) -> None:
                connection.exec_driver_sql("SET LOCAL search_path TO tenant_two")

            by_listener = SQLTokenStore(engine, "login")
            assert await by_listener.load() == tokens["two"]
            assert await asyncio.to_thread(lambda: asyncio.run(by_listener.load())) == tokens["two"]
    finally:
        for tenant in tenants:
            await database.rows(f"DROP SCHEMA tenant_{tenant} CASCADE")


@pytest.mark.may_block
async def test_engines_that_share_a_pool_use_it_on_one_event_loop(database: Database) -> None:
    """`engine.execution_options()` shares the pool. After `engine.dispose()`, the next event loop may be another one."""
    async with database.opened(**ONE) as engine:
        connections = Connections(engine)
        await SQLTokenStore(engine, "login").load()
        other = SQLTokenStore(engine.execution_options(logging_token="another"), "login")
        assert await asyncio.to_thread(lambda: asyncio.run(other.load())) is None
        await other.load()
        assert connections.opened == 2
        await engine.dispose()

    def use() -> None:
        async def twice() -> None:
            for _ in range(2):
                await SQLTokenStore(engine, "login").load()
            await engine.dispose()

        asyncio.run(twice())

    await asyncio.to_thread(use)
    assert connections.opened == 3


@pytest.mark.may_block
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_event_loop_after_another(database: Database) -> None:
    """The engine of the first one is used in the second, although it was not closed."""
    engine = database.engine(**ONE)
    store = SQLTokenStore(engine, "login")
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(store, tokens := sandbox.tokens()))
        for _ in range(2):
            assert asyncio.run(store.load()) == tokens
    del engine, store
    gc.collect()  # the connection of the first event loop, which no one can close, while its warning is ignored


@pytest.mark.may_block
def test_an_engine_is_not_kept(database: Database) -> None:
    """Neither it nor the stores are referenced after their use, on two event loops."""

    def use() -> weakref.ref[Any]:
        engine = database.unpooled()
        store = SQLTokenStore(engine, "login")
        for _ in range(2):
            asyncio.run(store.load())
        return weakref.ref(engine.sync_engine)

    kept, end = use(), time.monotonic() + 10
    while kept() is not None and time.monotonic() < end:  # a thread of aiosqlite may not have ended yet
        gc.collect()
        time.sleep(0.01)
    assert kept() is None


# --- forks


def _in_child(act: Any) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.may_block
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_forked_child_uses_connections_of_its_own(database: Database) -> None:
    """The engine was used before the fork, as with `gunicorn --preload`. Parent and child go on, with one token set."""
    with sandbox_in_a_thread() as sandbox:
        async with database.opened(**ONE) as engine:
            store = SQLTokenStore(engine, "login")
            await put(store, expired(sandbox.tokens()))

            async def use() -> None:
                async with open_session(sandbox, store) as session:
                    await session.oauth.refresh()

            def child() -> None:
                asyncio.run(use())
                with run_sync(open_session(sandbox, store)) as session:
                    session.accounts.me()

            for _ in range(2):
                _in_child(child)
                await use()
            assert engine.pool.checkedout() == 0
        assert sandbox.refreshes == 4


@pytest.mark.may_block
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_forked_child_does_not_release_the_locks_of_its_parent(database: Database) -> None:
    async with database.opened(pool_size=2) as engine:
        store = SQLTokenStore(engine, "login")
        locks = store.shared_locks()
        lock, shared = store.lock(), locks.hold("one")
        await lock.__aenter__()
        held = await shared.__aenter__()

        def child() -> None:
            async def leave() -> None:
                await shared.__aexit__(None, None, None)
                await lock.__aexit__(None, None, None)
                with pytest.raises(TokenStoreError, match="busy"):
                    async with SQLTokenStore(engine, "login", lock_timeout=0.1).lock():
                        pass

            asyncio.run(leave())

        _in_child(child)
        assert not await _is_free(database)
        assert await database.rows("SELECT name FROM ezeep_locks")
        await shared.__aexit__(None, None, None)
        await lock.__aexit__(None, None, None)
        assert not held.lost
        assert await _is_free(database)
        await locks.aclose()


# --- in memory


async def test_a_database_in_memory_works_for_tests(sandbox: Sandbox) -> None:
    """All tasks share one connection of it."""
    from helpers.sql_databases import Database

    async with Database("sqlite+aiosqlite:///:memory:").opened() as engine:
        await SQLTokenStore.create_table(engine)
        await put(SQLTokenStore(engine, "login"), expired(sandbox.tokens()))
        async with open_session(sandbox, SQLTokenStore(engine, "login")) as session:
            await session.accounts.me()
        assert sandbox.refreshes == 1
        assert ":memory:" in repr(SQLTokenStore(engine, "login"))
