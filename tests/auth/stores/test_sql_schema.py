"""The tables of `SQLTokenStore`: what `create_table` makes, and the migration in docs/how-to/token-stores.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from helpers import documents

from ezeep_async import SQLTokenStore


if TYPE_CHECKING:
    from helpers.sql_databases import Database

pytestmark = [pytest.mark.slow, pytest.mark.may_block]  # alembic blocks

sa = pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")
alembic = pytest.importorskip("alembic", reason="alembic is not installed")

TABLES = ("ezeep_tokens", "ezeep_locks")


def _differences(connection: Any) -> list[Any]:
    """What `alembic revision --autogenerate` would change."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in TABLES,
        },
    )
    return compare_metadata(context, SQLTokenStore.metadata())


def _described(connection: Any) -> dict[str, Any]:
    """The tables as the database describes them."""
    inspector = sa.inspect(connection)
    return {
        table: (
            [{**column, "type": str(column["type"])} for column in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            inspector.get_indexes(table),
            inspector.get_foreign_keys(table),
        )
        for table in TABLES
    }


def _migrate(connection: Any, direction: str) -> None:
    """Run the migration of the page."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    scope: dict[str, Any] = {}
    exec(documents.marked("docs/how-to/token-stores.md", "migration"), scope)
    with Operations.context(MigrationContext.configure(connection)):
        scope[direction]()


async def test_the_documented_migration_makes_the_same_tables(database: Database) -> None:
    async with database.unpooled().begin() as connection:
        made = await connection.run_sync(_described)
        assert await connection.run_sync(_differences) == []
        await connection.run_sync(_migrate, "downgrade")
        await connection.run_sync(_migrate, "upgrade")
        assert await connection.run_sync(_described) == made
        assert await connection.run_sync(_differences) == []


async def test_autogenerate_writes_the_tables(database: Database) -> None:
    """With `metadata()` in `target_metadata`, and none of them dropped later."""
    async with database.unpooled().begin() as connection:
        await connection.run_sync(_migrate, "downgrade")
        added = await connection.run_sync(_differences)
        assert {(kind, table.name) for kind, table in added} == {("add_table", name) for name in TABLES}
    await SQLTokenStore.create_table(database.unpooled())
