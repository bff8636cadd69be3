"""The contract of token stores, with `SQLTokenStore` on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from helpers.children import sql_store_at

from ezeep_async import SQLTokenStore
from ezeep_async.testing import TokenStoreContract


if TYPE_CHECKING:
    from helpers.sql_databases import Database

pytestmark = pytest.mark.slow

EXACT = timedelta(0)


class TestSQLTokenStore(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self, database: Database):
        engine = database.unpooled()
        return lambda: SQLTokenStore(engine, "login")

    @pytest.fixture
    def make_store_elsewhere(self, database: Database):
        return partial(sql_store_at, database.url)

    @pytest.fixture
    def make_unwritable(self, database: Database):
        return lambda: asyncio.run(database.rows("DROP TABLE ezeep_tokens"))

    @pytest.fixture
    def make_response_lost(self, monkeypatch: pytest.MonkeyPatch):
        """The transaction is committed, and the connection breaks."""
        from ezeep_async.auth.stores import sql_database

        change, attempt = sql_database.Transaction.change, sql_database.Database._attempt
        state = {"armed": False, "wrote": False}

        async def noted(self: sql_database.Transaction, *arguments: Any) -> bool:
            has_changed = await change(self, *arguments)
            state["wrote"] = state["wrote"] or has_changed
            return has_changed

        async def lost(self: sql_database.Database, *arguments: Any) -> Any:
            state["wrote"] = False
            result = await attempt(self, *arguments)
            if state["armed"] and state["wrote"]:
                state["armed"] = False
                raise ConnectionResetError
            return result

        monkeypatch.setattr(sql_database.Transaction, "change", noted)
        monkeypatch.setattr(sql_database.Database, "_attempt", lost)
        yield lambda: state.update(armed=True)
        assert not state["armed"], "no response was lost"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
class TestSQLTokenStoreWithAPoolOfOneConnection(TokenStoreContract):
    """Each test uses the engine on several event loops, and none of them closes it."""

    precision = EXACT

    @pytest.fixture
    def make_store(self, database: Database):
        engine: Any = database.engine(pool_size=1, max_overflow=0)
        yield lambda: SQLTokenStore(engine, "login")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
class TestSQLTokenStoreWithEncryption(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self, database: Database):
        fernet = pytest.importorskip("cryptography.fernet", reason="the extra sql is not installed")
        engine, key = database.unpooled(), fernet.Fernet.generate_key()
        return lambda: SQLTokenStore(engine, "login", encryption_key=key)
