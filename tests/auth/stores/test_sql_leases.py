"""`SQLTokenStore`: owners that are killed, stopped or suspended, and several processes."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import attrs
import pytest
from helpers.children import call_at_expiry
from helpers.evidence import survives
from helpers.support import QUICK, TOKEN, expired, open_session, put, sandbox_in_a_thread
from helpers.suspending import Stoppable, stoppable

from ezeep_async import (
    EzeepSession,
    ReauthorizationRequired,
    SQLTokenStore,
    TokenPersistError,
    TokenSet,
    TokenStoreError,
    TransientAuthError,
    is_retryable,
)
from ezeep_async.auth.stores.leased import StoreUnusable, _queues
from ezeep_async.sandbox import Sandbox


if TYPE_CHECKING:
    from helpers.sql_databases import Database, PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(60)]

pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")

LEASE_S = 0.5
needs_stop = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")


def _store(database: Database, **options: float) -> SQLTokenStore:
    return SQLTokenStore(database.unpooled(), "login", **{"lease": LEASE_S, "lock_timeout": 20.0} | options)


async def _until_lapsed(database: Database) -> None:
    """Wait until the lease of the lock is over, by the clock of the database."""
    clock = "extract(epoch from clock_timestamp())"
    if database.dialect == "sqlite":
        clock = "(julianday('now') - 2440587.5) * 86400"
    while await database.rows(f"SELECT 1 FROM ezeep_tokens WHERE lock_until > {clock}"):
        await asyncio.sleep(0.02)


@pytest.fixture
async def tokens(database: Database, sandbox: Sandbox) -> TokenSet:
    old = expired(sandbox.tokens())
    await put(_store(database), old)
    return old


# --- one owner after another


HOLD = """
import asyncio, sys
from datetime import datetime, UTC
from sqlalchemy.ext.asyncio import create_async_engine
from ezeep_async import SQLTokenStore, TokenPersistError, TokenSet
async def main():
    store = SQLTokenStore(create_async_engine(sys.argv[1]), "login", lease=float(sys.argv[2]))
    async with store.lock():
        await store.load()
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await store.save(TokenSet("late", "late", datetime.now(UTC)))
        except TokenPersistError as error:
            print(error, flush=True)
        else:
            print("saved", flush=True)
asyncio.run(main())
"""


@contextlib.contextmanager
def _holder(database: Database, lease: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, database.url, str(lease)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("tokens")
async def test_a_killed_owner_frees_the_lock_with_its_lease(database: Database) -> None:
    """After SIGKILL the lock is busy until the lease expires; then the next process gets it."""
    with _holder(database, lease=1.0) as holder:
        with pytest.raises(
            TokenStoreError, match=r"busy: in use by another process for more than 0\.2 s"
        ) as caught:
            async with _store(database, lock_timeout=0.2).lock():
                pass
        assert is_retryable(caught.value)
        holder.kill()
        holder.wait()
        before = await database.row("login")
        assert before.lock_owner
        async with _store(database).lock():
            after = await database.row("login")
            assert after.lock_until - LEASE_S >= before.lock_until - 0.01


@needs_stop
@pytest.mark.parametrize("stored_meanwhile", [True, False])
async def test_a_stopped_owner_cannot_overwrite(
    sandbox: Sandbox, database: Database, tokens: TokenSet, stored_meanwhile: bool
) -> None:
    """It continues after its lease, and another owner has had the lock: its save is an error, and changes nothing."""
    new = sandbox.tokens()
    with _holder(database, lease=LEASE_S) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.send_signal(signal.SIGSTOP)
        await _until_lapsed(database)
        other = _store(database)
        async with other.lock():
            assert await other.load() == tokens
            if stored_meanwhile:
                await other.save(new)
            holder.send_signal(signal.SIGCONT)
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert "was not written: the lock was lost" in await asyncio.to_thread(holder.stdout.readline)
            assert await other.load() == (new if stored_meanwhile else tokens)


async def test_an_expired_lease_that_no_one_took_is_still_the_owners(
    sandbox: Sandbox, database: Database, tokens: TokenSet
) -> None:
    """A blocked event loop extends nothing. Without another owner, nothing is lost."""
    store, new = _store(database, lease=90.0), sandbox.tokens()
    async with store.lock():
        await store.load()
        await database.rows("UPDATE ezeep_tokens SET lock_until = 1")
        assert await store.begin_refresh() is None
        assert await store.is_still_locked()
        await database.rows("UPDATE ezeep_tokens SET lock_until = 1")
        await store.save(new)
    assert await store.load() == new


async def test_the_owner_extends_its_lease(database: Database, tokens: TokenSet) -> None:
    store, other = _store(database), _store(database, lock_timeout=2.5 * LEASE_S)
    async with store.lock():
        with pytest.raises(TokenStoreError, match="busy"):
            async with other.lock():
                pass
        assert await store.is_still_locked()
    async with other.lock():
        assert await other.load() == tokens


async def test_the_waiters_of_another_schema_are_not_in_the_way(postgres: PostgresServer) -> None:
    """Tenants with a schema each may have the same key in the same database."""
    from helpers.sql_databases import prepared

    database: Database = prepared(postgres.database)
    await database.rows("CREATE SCHEMA another")
    try:
        async with database.opened() as engine:
            there = engine.execution_options(schema_translate_map={None: "another"})
            await SQLTokenStore.create_table(there)
            holder, waiter = SQLTokenStore(engine, "login"), SQLTokenStore(engine, "login")
            async with holder.lock():
                waiting = asyncio.ensure_future(waiter.lock().__aenter__())
                while not await asyncio.sleep(0.01, _queues):
                    pass
                async with SQLTokenStore(there, "login", lock_timeout=5.0).lock():
                    assert not waiting.done()
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
    finally:
        await database.rows("DROP SCHEMA another CASCADE")


async def test_a_save_replaces_only_what_was_loaded(
    sandbox: Sandbox, database: Database, tokens: TokenSet
) -> None:
    """Fencing by the generation: also while the lock is held, as after a restored backup."""
    store = _store(database)
    async with store.lock():
        assert await store.load() == tokens
        await database.rows("UPDATE ezeep_tokens SET generation = 'restored'")
        with pytest.raises(TokenPersistError, match="another process stored or removed a token set"):
            await store.save(sandbox.tokens())
        assert await store.load() == tokens
        await store.save(new := sandbox.tokens())
    assert await store.load() == new


async def test_a_save_whose_response_is_lost_may_be_repeated(
    sandbox: Sandbox, database: Database, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command may run twice: its own changes are recognized."""
    store = _store(database, lease=90.0)
    real = store._database.evaluate

    async def twice(*arguments: object) -> object:
        await real(*arguments)  # type: ignore[arg-type]  # the arguments of the replaced method
        return await real(*arguments)  # type: ignore[arg-type]  # the arguments of the replaced method

    monkeypatch.setattr(store._database, "evaluate", twice)
    new = sandbox.tokens()
    async with store.lock():
        assert await store.load() == tokens
        await store.check_writable()
        assert await store.begin_refresh() is None
        await store.save(new)
        await store.save(new)
        assert await store.load() == new
        locks = store.shared_locks()
        async with locks.hold("one") as held:
            pass
        await locks.aclose()
        await store.clear()
    assert await store.is_unused()
    assert not held.lost


# --- refreshes


@pytest.fixture(scope="module")
def child() -> Iterator[Stoppable]:
    with stoppable() as process:
        yield process


def _session(sandbox: Sandbox, database: Database, refresh_timeout: float) -> EzeepSession:
    settings = attrs.evolve(QUICK, deadline=30, refresh_timeout=refresh_timeout)
    return open_session(sandbox, _store(database), settings=settings)


async def _start(child: Stoppable, sandbox: Sandbox, database: Database) -> None:
    where = sandbox.endpoints
    job = {"account": where.account, "api": where.api, "client_id": sandbox.oauth_app.client_id}
    settings = {"refresh_timeout": 5.0, "deadline": 30.0}
    await asyncio.to_thread(
        lambda: child.start(call="refresh", sql=database.url, lease=LEASE_S, settings=settings, **job)
    )


@contextlib.asynccontextmanager
async def _in_mid_refresh(
    child: Stoppable, sandbox: Sandbox, database: Database, *, after: bool
) -> AsyncIterator[None]:
    """Run the block while the server has the request of the child."""
    hold = sandbox.faults.hold(TOKEN, after=after, times=1)
    await _start(child, sandbox, database)
    await hold.arrived()
    yield
    hold.release()


@needs_stop
@pytest.mark.usefixtures("tokens")
async def test_others_wait_for_an_owner_that_was_stopped(
    child: Stoppable, sandbox: Sandbox, database: Database
) -> None:
    """No other process sends its refresh token. When it continues, it stores the response, and all work."""
    async with _in_mid_refresh(child, sandbox, database, after=True):
        child.stop()
    await _until_lapsed(database)
    # The mark of the stopped owner ends after another lease.
    await database.rows("UPDATE ezeep_tokens SET refresh_until = refresh_until + 100")
    async with _session(sandbox, database, 0.3) as other:
        with pytest.raises(TransientAuthError, match="has not stored the next one"):
            await other.accounts.me()
        assert sandbox.refresh_requests == 1
        child.go_on()
        assert await asyncio.to_thread(child.outcome) == "well"
        await other.accounts.me()
        assert sandbox.refresh_requests == 1
        assert await survives(f"{database.dialect}: owner stopped beyond its lease", sandbox, other)
    row = await database.row("login")
    assert (row.lock_owner, row.refresh_owner) == ("", "")


@pytest.mark.usefixtures("tokens")
async def test_an_owner_that_was_killed_before_the_server_rotated_costs_two_leases(
    child: Stoppable, sandbox: Sandbox, database: Database
) -> None:
    """After that the refresh token is sent, which still works."""
    sandbox.faults.add(TOKEN, drop="before")
    async with _in_mid_refresh(child, sandbox, database, after=False):
        os.kill(child.pid, signal.SIGKILL)
        child.pid = 0
    async with _session(sandbox, database, 20.0) as other:
        await asyncio.wait_for(other.accounts.me(), 20)
    assert sandbox.refreshes == 1


@pytest.mark.usefixtures("tokens")
async def test_a_person_is_asked_for_after_two_refusals(
    child: Stoppable, sandbox: Sandbox, database: Database
) -> None:
    """The first refusal may be due to an owner that has the next token set; the second is not."""
    async with _in_mid_refresh(child, sandbox, database, after=True):
        os.kill(child.pid, signal.SIGKILL)
        child.pid = 0
    async with _session(sandbox, database, 5.0) as other:
        with pytest.raises(TransientAuthError, match="another process had begun"):
            await other.accounts.me()
        with pytest.raises(ReauthorizationRequired):
            await other.accounts.me()


@pytest.mark.parametrize("stored", ["the next token set", "the end of the login"])
async def test_what_an_earlier_owner_stored_after_the_load_is_used(
    sandbox: Sandbox, database: Database, tokens: TokenSet, caplog: pytest.LogCaptureFixture, stored: str
) -> None:
    """It had lost its lock, and stored just now. The loaded token is not sent, and no log line speaks of a suspension."""
    ended = stored == "the end of the login"
    new = attrs.evolve(tokens, ended=True) if ended else sandbox.tokens()

    class Late(SQLTokenStore):
        async def check_writable(self) -> None:
            await super().check_writable()
            earlier = _store(database)
            await database.rows("UPDATE ezeep_tokens SET lock_owner = '', lock_until = 0")
            async with earlier.lock():
                await earlier.save(new)
            hold = self._hold()
            assert hold is not None
            await database.rows(f"UPDATE ezeep_tokens SET lock_owner = '{hold.owner}', lock_until = 9e9")

    async with open_session(sandbox, Late(database.unpooled(), "login")) as session:
        if ended:
            with pytest.raises(ReauthorizationRequired, match="the login has ended"):
                await session.accounts.me()
        else:
            await session.accounts.me()
    assert sandbox.refresh_requests == 0
    assert "suspended" not in caplog.text


async def test_an_owner_whose_lock_was_lost_does_not_send_the_token_again(
    sandbox: Sandbox, database: Database, tokens: TokenSet
) -> None:
    """Its response is lost, and another process has the lock: a replay would end the token set of that process."""
    store = _store(database, lease=90.0)
    hold = sandbox.faults.hold(TOKEN, times=1)
    sandbox.faults.add(TOKEN, drop="before")
    async with open_session(sandbox, store) as session:
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        await database.rows("UPDATE ezeep_tokens SET lock_owner = 'another'")
        hold.release()
        with pytest.raises(TransientAuthError):
            await call
        assert sandbox.refresh_requests == 1
        await database.rows("UPDATE ezeep_tokens SET lock_owner = '', lock_until = 0")
        await session.accounts.me()
    assert await store.load() != tokens


# --- many at once


@pytest.mark.usefixtures("tokens")
async def test_fifty_sessions_refresh_once(sandbox: Sandbox, database: Database) -> None:
    """They share an engine with three connections."""
    async with database.opened(pool_size=3, max_overflow=0) as engine, contextlib.AsyncExitStack() as stack:
        sessions = [open_session(sandbox, SQLTokenStore(engine, "login")) for _ in range(50)]
        for session in sessions:
            await stack.enter_async_context(session)
        await asyncio.gather(*[session.accounts.me() for session in sessions])
        assert engine.pool.checkedout() == 0
    assert sandbox.refresh_requests == 1


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_two_processes_make_one_refresh(database: Database, method: str) -> None:
    """Twenty calls each at the moment of expiry: one refresh in all, no failure."""
    if (database.dialect, method) == ("postgresql", "spawn"):
        return  # how a process starts does not depend on the database
    context = multiprocessing.get_context(method)
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(_store(database), expired(sandbox.tokens())))
        results, barrier = context.Queue(), context.Barrier(2)
        where = sandbox.endpoints
        arguments = (results, database.url, sandbox.oauth_app.client_id, where.account, where.api, barrier)
        processes = [context.Process(target=call_at_expiry, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        outcomes = [results.get(timeout=50) for _ in processes]
        for process in processes:
            process.join(30)
        results.close()
        assert [len(outcome) for outcome in outcomes] == [20] * 2, outcomes
        assert sandbox.refresh_requests == 1


async def test_after_a_failed_save_others_wait_for_the_saver(
    sandbox: Sandbox, database: Database, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The used refresh token stays marked over the release. The saver repeats its save, and no process is signed out."""

    async def fail(*_: object) -> str:
        raise StoreUnusable("failed", "failed")

    broken = _store(database, lease=90.0)
    settings = attrs.evolve(QUICK, deadline=30, refresh_timeout=0.3)
    async with open_session(sandbox, _store(database, lease=90.0), settings=settings) as other:
        async with open_session(sandbox, broken, settings=settings) as saver:
            with monkeypatch.context() as patch:
                patch.setattr(broken, "_write", fail)
                await saver.accounts.me()
            assert await broken.load() == tokens
            with pytest.raises(TransientAuthError, match="has not stored the next one"):
                await other.accounts.me()
            assert sandbox.refresh_requests == 1
            # Its next refresh first stores the last one.
            await saver.oauth.refresh()
            assert (sandbox.refreshes, sandbox.refresh_requests) == (2, 2)
        await other.accounts.me()
        assert sandbox.refresh_requests == 2
