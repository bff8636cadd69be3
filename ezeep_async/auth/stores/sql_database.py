"""Short transactions on a borrowed SQLAlchemy engine, from any event loop and process. Importing this needs SQLAlchemy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import attrs
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool, StaticPool

from ezeep_async._runtime import forks, own_loops
from ezeep_async._runtime.running_time import RunningLimit, RunningTimeout
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.stores.leased import StoreUnusable
from ezeep_async.auth.stores.sql_schema import DIALECTS
from ezeep_async.auth.stores.threads import to_the_end
from ezeep_async.auth.tasks import retry_if_cancelled
from ezeep_async.errors import EzeepError


T = TypeVar("T")
Work = Callable[["Transaction"], Awaitable[T]]

RESPONSE_TIMEOUT_S = 15.0
"""Seconds for one transaction with all its retries."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, RETRIES = 0.05, 0.5, 4
"""Retries after a failure that may be over soon: a closed connection, a database that starts, or one that is locked."""
_UNREACHABLE = ("08", "57P", "53300")
"""Beginnings of the SQLSTATE of a database that is not reached, stops, starts or is full (PostgreSQL, appendix A)."""
_CONFLICTS = {"40001", "40P01", "55P03", "57014", "42P07", "42710", "23505"}
"""SQLSTATE of transactions that were in each other's way: serialization, deadlock, lock timeout, statement timeout, and two
processes that create a table at once: it exists, its row type exists, or their rows in the catalog collide."""
_NO_TABLE = {"42P01", "42703"}
_REFUSED = {"28P01", "28000"}

Place = tuple[int, asyncio.AbstractEventLoop, sa.Engine]
"""A process, an event loop, and an engine, which may have other options than another one with the same pool."""


@attrs.define(eq=False)
class _Link:
    """An engine for one event loop, open while it has users."""

    engine: AsyncEngine
    users: int = 0


class _Engines:
    """For one pool: where it is used, and engines for event loops and processes that cannot use it.

    A connection of asyncpg belongs to the event loop that opened it, and a forked child must not use one of its parent. The
    pool of the borrowed engine is used by the event loop that comes first, and never by that of `run_sync`: the program may
    use the engine on its own loop. Others get a pool of their own, which is closed after each use. `engine.dispose()` gives
    the engine a new pool, which any event loop can use.
    """

    def __init__(self) -> None:
        self.home: tuple[int, weakref.ref[asyncio.AbstractEventLoop]] | None = None
        self.links: dict[Place, _Link] = {}
        forks.watch(self)

    def disown(self) -> None:
        """Leave the parent's connections alone in a forked child."""
        for link in self.links.values():
            forks.keep_forever(link)
        self.links = {}

    def is_home(self, engine: AsyncEngine, pid: int, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the pool of the engine itself can be used here."""
        if isinstance(
            engine.pool, NullPool | StaticPool
        ):  # no pool, or one connection that no other pool can have
            return True
        if self.home is None and loop not in own_loops.LOOPS:
            self.home = pid, weakref.ref(loop)
        return self.home is not None and self.home[0] == pid and self.home[1]() is loop

    @asynccontextmanager
    async def connected(self, engine: AsyncEngine) -> AsyncGenerator[AsyncEngine]:
        """An engine that can be used here."""
        pid, loop = os.getpid(), asyncio.get_running_loop()
        if self.is_home(engine, pid, loop):
            yield engine
            return
        place = pid, loop, engine.sync_engine
        link = self.links.get(place)
        if link is None:
            link = self.links[place] = _Link(AsyncEngine(_twin_of(engine.sync_engine)))
        link.users += 1
        try:
            yield link.engine
        finally:
            link.users -= 1
            if pid == os.getpid() and not link.users and self.links.get(place) is link:
                del self.links[place]
                await to_the_end(link.engine.dispose())


def _twin_of(engine: sa.Engine) -> sa.Engine:
    """Return an engine with a pool of its own, and with the options (schemas of a tenant) and listeners of `engine`."""
    options = engine.get_execution_options()
    twin = sa.Engine(
        engine.pool.recreate(), engine.dialect, engine.url, hide_parameters=True, execution_options=options
    )
    # As `engine.execution_options()` does it; there is no public way. A listener may choose the schema, or begin the
    # transaction.
    inner, original = cast("Any", twin), cast("Any", engine)
    inner.dispatch = inner.dispatch._join(original.dispatch)
    inner._has_events = original._has_events
    return twin


# Engines with other options share a pool. The values have no reference to a pool, which would keep it forever.
_of_pools: weakref.WeakKeyDictionary[sa.Pool, _Engines] = weakref.WeakKeyDictionary()


class Transaction:
    """A transaction that is open for the next milliseconds."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def change(self, statement: sa.Executable, values: Mapping[str, Any]) -> bool:
        """Run a statement that changes at most one row. Return whether it did."""
        return cast("sa.CursorResult[Any]", await self._execute(statement, values)).rowcount == 1

    async def row(self, statement: sa.Executable, values: Mapping[str, Any]) -> sa.Row[Any] | None:
        """Return the one row of a query, None if there is none."""
        return (await self._execute(statement, values)).one_or_none()

    async def _execute(self, statement: sa.Executable, values: Mapping[str, Any]) -> sa.Result[Any]:
        return await self.connection.execute(
            statement, {f"p_{name}": value for name, value in values.items()}
        )


class Database:
    """Runs short transactions. `where` names the token set and the database in messages."""

    def __init__(self, engine: AsyncEngine, what: str) -> None:
        if not isinstance(cast("object", engine), AsyncEngine):
            kind = type(engine)
            raise TypeError(
                f"engine must be a SQLAlchemy AsyncEngine, not {kind.__module__}.{kind.__name__}: "
                "sqlalchemy.ext.asyncio.create_async_engine() makes one"
            )
        if engine.dialect.name not in DIALECTS:
            raise ValueError(
                f"SQLTokenStore works with SQLite and PostgreSQL, not with {engine.dialect.name}"
            )
        self.engine = engine
        self.dialect = engine.dialect.name
        self.where = f"{what} in {_place(engine)}"

    def connected(self) -> contextlib.AbstractAsyncContextManager[AsyncEngine]:
        """Keep the connections of this event loop open for further transactions."""
        pool = self.engine.pool  # `engine.dispose()` replaces it
        engines = _of_pools.get(pool)
        if engines is None:
            engines = _of_pools.setdefault(pool, _Engines())
        return engines.connected(self.engine)

    @clears_locals
    async def run(self, work: Work[T], limit: float | None = None) -> T:
        """Run `work` in a transaction and commit. `work` may run several times.

        It runs to its end in a separate task, so that a cancellation does not close the connection in mid-statement.

        Raises `StoreUnusable` if that does not succeed within `limit` seconds (`RESPONSE_TIMEOUT_S`).
        """
        return await to_the_end(self.evaluate(work, RESPONSE_TIMEOUT_S if limit is None else limit))

    async def evaluate(self, work: Work[T], limit: float = RESPONSE_TIMEOUT_S) -> T:
        """`run` for a task that nothing cancels."""
        budget, pause = RunningLimit(limit), FIRST_PAUSE_S
        async with self.connected() as engine:
            for retry in range(RETRIES + 1):
                try:
                    return await retry_if_cancelled(lambda: self._timed_attempt(engine, work, budget))
                except EzeepError:
                    raise
                except Exception as error:  # noqa: BLE001  # drivers raise errors of their own, some without a common base
                    if retry == RETRIES or budget.left <= pause or not _may_be_over_soon(error):
                        reason = self._reason(error, limit)
                        raise StoreUnusable(f"{self.where} cannot be used: {reason}", reason) from None
                await budget.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
                pause = min(2 * pause, LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    async def _timed_attempt(self, engine: AsyncEngine, work: Work[T], budget: RunningLimit) -> T:
        # The timeout cancels the task, and turns that into a `TimeoutError` before `retry_if_cancelled` sees it.
        with RunningTimeout(max(0.0, budget.left)) as timeout:
            try:
                return await self._attempt(engine, work)
            finally:
                budget.left -= timeout.used

    async def _attempt(self, engine: AsyncEngine, work: Work[T]) -> T:
        async with engine.connect() as connection:
            if (
                engine.dialect.name == "postgresql"
            ):  # a condition must see what was committed while it waited for the row
                await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                return await work(Transaction(connection))

    def _reason(self, error: Exception, limit: float) -> str:
        """What happened, without the parameters and the details of the server, which may contain the token set."""
        code, message = _sqlstate(error), _first_line(error)
        if len(password := self.engine.url.password or "") > 3:
            message = message.replace(password, "***")
        if isinstance(error, TimeoutError | exc.TimeoutError):
            reason = (
                f"the database cannot be reached: no connection or no response within {limit:g} s ({message})"
            )
            in_use = getattr(self.engine.pool, "checkedout", None)  # not of a NullPool
            if in_use is not None and in_use():
                reason += (
                    f". {' '.join(self.engine.pool.status().split())}. A task that has the last connection of a pool while "
                    "it calls ezeep waits for itself: end its transaction first, or enlarge the pool"
                )
            return reason
        if code in _NO_TABLE or message.startswith(("no such table", "no such column")):
            return f"{message}. Create the tables with SQLTokenStore.create_table(engine), or in a migration (docs/how-to/token-stores.md)"
        if code in _REFUSED:
            return f"the database refuses the credentials: {message}"
        if _is_unreachable(error):
            return f"the database cannot be reached: {message}"
        if isinstance(error, RuntimeError | exc.InterfaceError) and "loop" in message:
            return f"the connections of the engine belong to another event loop: {message}"
        return f"the database refuses: {message}"


def _place(engine: AsyncEngine) -> str:
    url = engine.url
    if engine.dialect.name == "sqlite":
        return f"SQLite at {url.database or ':memory:'}"
    host = url.host or url.query.get("host") or "localhost"
    return f"PostgreSQL at {host}:{url.port or 5432}/{url.database or ''}"


def _original(error: BaseException) -> BaseException:
    """The error of the driver, in that of its adapter for SQLAlchemy, in that of SQLAlchemy."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        error = error.orig
    return error


def _sqlstate(error: BaseException) -> str:
    code = getattr(_original(error), "sqlstate", None)
    return code if isinstance(code, str) else ""


def _first_line(error: BaseException) -> str:
    """The message without details: PostgreSQL repeats the row after it."""
    found = _original(error)
    text = str(found.__cause__ or found).strip() or type(found).__name__
    return text.splitlines()[0][:200]


def _is_unreachable(error: Exception) -> bool:
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OSError) or _sqlstate(error).startswith(_UNREACHABLE)


def _may_be_over_soon(error: Exception) -> bool:
    message = str(error.orig) if isinstance(error, exc.OperationalError) else ""
    is_locked = "database is locked" in message or "already exists" in message
    if isinstance(error, exc.NotSupportedError) and "plan" in str(error.orig):
        return True  # a statement that was prepared before a migration. asyncpg and psycopg prepare it again
    if isinstance(error, TimeoutError):
        return False
    return is_locked or _is_unreachable(error) or _sqlstate(error) in _CONFLICTS
