"""`SQLTokenStore`: a token set in a database that the processes of an app share."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from ezeep_async._runtime.later_types import imported_later
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.stores.encryption import Cipher, EncryptionKey
from ezeep_async.auth.stores.leased import LEASE_S, LOCK_TIMEOUT_S, Hold, LeasedDocumentStore, Outcome
from ezeep_async.auth.tokens import EarlierHolder
from ezeep_async.errors import TokenStoreError


if TYPE_CHECKING:
    from sqlalchemy import Executable, MetaData, Row
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ezeep_async.auth.stores.leased_locks import LentLocks
    from ezeep_async.auth.stores.sql_database import Transaction

globals().update(
    imported_later("sqlalchemy", "MetaData")
    | imported_later("sqlalchemy.ext.asyncio", "AsyncEngine")
    | imported_later("ezeep_async.auth.stores.leased_locks", "LentLocks")
)


class SQLTokenStore(LeasedDocumentStore):
    """Keep the token set in a table of the app's own database: PostgreSQL, or SQLite for the processes of one host.

    The lock is a lease in the row of the token set. It expires `lease` seconds after its holder died, by the clock of the
    database, and is extended while the holder runs. No transaction is open during a request to ezeep. A holder whose lease
    lapsed, for example because it was suspended, can save only while the token set that it refreshed is still stored. Until
    then, for twice the lease at most, other processes do not use that refresh token and raise `TransientAuthError`.

    The store borrows connections of the engine, one at a time, for some milliseconds each. It never closes the engine. On
    another event loop than the first one, in `run_sync` and in a forked child it opens connections of its own, with the
    settings of the engine, and closes them after each use.

    Without `encryption_key` the tokens can be read in the database and its backups. The logs of the engine (`echo=True`)
    never show them.

    Args:
        engine: The engine to borrow, from `sqlalchemy.ext.asyncio.create_async_engine`. Its driver (`asyncpg`,
            `aiosqlite`) is a dependency of the app.
        key: Name of the token set, such as the id of a user or a tenant; 1 to 255 characters. Each token set needs its own.
        encryption_key: Key made by `cryptography.fernet.Fernet.generate_key()`, or several. The first one encrypts, all of
            them decrypt. None stores the token set unencrypted.
        lease: Seconds after which the lock of a dead holder expires. Greater than 0; more than twice
            `Settings.refresh_timeout`, so that a refresh never outlasts it.
        lock_timeout: Seconds to wait for the lock. Not negative, and longer than `lease`.

    Raises:
        ImportError: The extra `sql` is not installed, or for `encryption_key` the package `cryptography`.
        TypeError: `engine`, `key` or `encryption_key` has another type.
        ValueError: `key`, `lease`, `lock_timeout` or `encryption_key` has an unusable value, or the engine is for another
            database than SQLite and PostgreSQL.

    Note:
        The tables are made by `create_table` or by a migration (docs/how-to/token-stores.md). The methods raise `TokenStoreCorrupt`
        if the row is not a stored token set or cannot be decrypted (it is not changed), `TokenPersistError` if it cannot be
        written, and `TokenStoreError` if the database cannot be reached, if the token set belongs to another client id or
        account address, or if the lock times out.
    """

    @clears_locals
    def __init__(
        self,
        engine: AsyncEngine,
        key: str,
        *,
        encryption_key: EncryptionKey | None = None,
        lease: float = LEASE_S,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        if not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        if not 0 < len(key) <= 255 or any(each == "\0" or "\ud800" <= each <= "\udfff" for each in key):
            raise ValueError("key must have 1 to 255 characters, without NUL and lone surrogates")
        _need_sqlalchemy()
        from ezeep_async.auth.stores.sql_database import Database
        from ezeep_async.auth.stores.sql_schema import MarkStatements, TokenStatements

        self._key = key
        self._database = Database(engine, f"the token set {key!r}")
        self._sql = TokenStatements(self._database.dialect)
        self._marks = MarkStatements(self._database.dialect)
        self._place = self._database.where
        self._queue = (
            f"{id(engine.sync_engine)}: {key}"  # another engine may have another schema at the same place
        )
        super().__init__(
            None if encryption_key is None else Cipher(encryption_key, "sql"), lease, lock_timeout
        )

    @classmethod
    async def create_table(cls, engine: AsyncEngine) -> None:
        """Create the tables of the store, `ezeep_tokens` and `ezeep_locks`, where they do not exist.

        Args:
            engine: Engine of the database.

        Raises:
            ImportError: The extra `sql` is not installed.
            TypeError: `engine` is not an `AsyncEngine`.
            ValueError: The engine is for another database than SQLite and PostgreSQL.
            TokenStoreError: The database cannot be reached, or refuses.
        """
        _need_sqlalchemy()
        from ezeep_async.auth.stores.sql_database import Database
        from ezeep_async.auth.stores.sql_schema import METADATA

        async def create(transaction: Transaction) -> None:
            await transaction.connection.run_sync(METADATA.create_all)

        await Database(engine, "the table ezeep_tokens").run(create)

    @classmethod
    def metadata(cls) -> MetaData:
        """Return the description of the tables, for Alembic: `target_metadata = [Base.metadata, SQLTokenStore.metadata()]`.

        Returns:
            The `MetaData` of SQLAlchemy with the tables `ezeep_tokens` and `ezeep_locks`.

        Raises:
            ImportError: The extra `sql` is not installed.
        """
        _need_sqlalchemy()
        from ezeep_async.auth.stores.sql_schema import METADATA

        return METADATA

    async def is_unused(self) -> bool:
        """Return whether there is no row of this token set, not even of its lock. See `TokenStore`.

        Returns:
            True without a row.

        Raises:
            TokenStoreError: The database cannot be reached, or has no table.
        """
        return await self._state() is None

    async def begin_refresh(self) -> EarlierHolder | None:
        """Mark the loaded token set as being refreshed by this holder of the lock.

        An earlier holder counts as suspended for twice the lease: the database does not show whether it was killed.

        Returns:
            The state of an earlier holder whose mark was found, None without one. Nothing is marked if it is "suspended".

        Raises:
            TokenPersistError: The lock was lost.
        """
        hold = self._hold() or Hold(self)
        base = hold.generation or ""
        while True:
            state = await self._state()
            if state is None or state.lock_owner != hold.owner:
                raise self._not_refreshed()
            if state.generation != base:
                return "suspended"  # an earlier holder has just stored its token set: the caller loads that
            is_other = state.refresh_owner not in ("", hold.owner)
            if is_other and not state.is_over:
                return "suspended"
            mark = {"owner": hold.owner, "base": base, "seen": state.refresh_owner, "lease": 2 * self._lease}
            if await self._change(self._marks.begin, mark):
                return "gone" if is_other else None

    async def end_refresh(self) -> None:
        """Remove the mark of this holder: its refresh has failed.

        Raises:
            TokenStoreError: The database cannot be reached.
        """
        if (hold := self._hold()) is not None:
            await self._change(self._marks.end, {"owner": hold.owner})

    def shared_locks(self) -> LentLocks:
        """Return locks for single users and for creating groups, in the table `ezeep_locks`.

        All keys share them: two logins of one organization change the same users. No I/O.

        Returns:
            The locks of one session, which closes them.
        """
        from ezeep_async.auth.stores.leased_locks import LentLocks
        from ezeep_async.auth.stores.sql_database import Database
        from ezeep_async.auth.stores.sql_locks import SQLLocks

        engine, lease = self._database.engine, self._lease
        return LentLocks(
            (engine.sync_engine, lease),
            lambda: SQLLocks(Database(engine, "the table ezeep_locks"), lease=lease),
        )

    # --- commands ----------------------------------------------------------------------------------------------------

    def _connected(self) -> AbstractAsyncContextManager[object]:
        return self._database.connected()

    async def _try_lock(self, owner: str, *, again: bool) -> bool:
        values = {"key": self._key, "owner": owner, "lease": self._lease}

        async def lock(transaction: Transaction) -> bool:
            change = transaction.change
            return await change(self._sql.lock, values) or await change(self._sql.lock_first, values)

        # Waiters read: where there is one writer at a time, their attempts would make the owner wait.
        state = await self._state() if again else None
        if state is not None and state.is_held and state.lock_owner != owner:
            return False
        return await self._database.run(lock)

    async def _extend(self, owner: str, limit: float | None = None) -> bool:
        return await self._change(self._sql.extend, {"owner": owner, "lease": self._lease}, limit)

    async def _release(self, hold: Hold, limit: float) -> None:
        mine = {"key": self._key, "owner": hold.owner}

        async def release(transaction: Transaction) -> None:
            if not hold.is_empty or not await transaction.change(self._sql.forget, mine):
                await transaction.change(self._sql.release, mine)

        await self._database.run(release, limit)

    async def _fetch(self) -> tuple[str, str, bool]:
        row = await self._row(self._sql.load)
        if row is None:
            return "", "", True
        if row.key != self._key:
            raise TokenStoreError(
                f"{self._place}: the database finds the row of {row.key!r}, which may be another user. The column `key` must "
                "compare exactly, without a collation that ignores case (docs/how-to/token-stores.md)"
            )
        return row.generation, row.document or "", True

    async def _write(self, owner: str, base: str, new: str, text: str) -> Outcome:
        values = {"key": self._key, "owner": owner, "new": new, "text": text}
        statement = self._sql.save_any
        if base != "*":
            statement, values["base"] = self._sql.save, base

        async def save(transaction: Transaction) -> Outcome:
            if await transaction.change(statement, values):
                return "done"
            state = await transaction.row(self._sql.state, key)
            return "superseded" if state is not None and state.lock_owner == owner else "lapsed"

        key = {"key": self._key}
        return await self._database.run(save)

    async def _remove(self, owner: str, new: str) -> Outcome:
        return "done" if await self._change(self._sql.clear, {"owner": owner, "new": new}) else "lapsed"

    async def _probe(self, owner: str) -> Outcome:
        await self._change(self._sql.touch, {})
        state = await self._state()
        return "done" if not owner or (state is not None and state.lock_owner == owner) else "lapsed"

    async def _state(self) -> Row[Any] | None:
        return await self._row(self._sql.state)

    async def _row(self, statement: Executable) -> Row[Any] | None:
        return await self._database.run(lambda transaction: transaction.row(statement, {"key": self._key}))

    async def _change(
        self, statement: Executable, values: dict[str, Any], limit: float | None = None
    ) -> bool:
        """Run one statement that changes at most one row."""
        given = {"key": self._key, **values}
        return await self._database.run(lambda transaction: transaction.change(statement, given), limit)


def _need_sqlalchemy() -> None:
    """Raise `ImportError` here, not when a token set has to be stored."""
    try:
        import sqlalchemy.ext.asyncio as _  # noqa: F401  # only whether it can be imported
    except ImportError as error:
        raise ImportError("SQLTokenStore needs SQLAlchemy: pip install 'ezeep_async[sql]'") from error
