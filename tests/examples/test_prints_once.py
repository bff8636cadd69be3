"""`examples/fastapi_app/prints.py`: each form is printed once, also if it is sent several times at once."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from helpers import documents
from helpers.example_servers import EXAMPLES
from helpers.sql_databases import PASSWORD, Database
from helpers.support import put
from sqlalchemy.ext.asyncio import AsyncEngine

from ezeep_async import OutcomeUnknown, PrintFailed, SessionClosed, SQLTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture(scope="module")
def prints() -> Any:
    """The module of the example."""
    spec = importlib.util.spec_from_file_location("prints", EXAMPLES / "fastapi_app" / "prints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def engine(prints: Any, database: Database) -> AsyncIterator[AsyncEngine]:
    """A database that has the table of the module only for this test."""
    async with database.opened() as engine:
        yield engine
        async with engine.begin() as connection:
            await connection.run_sync(prints.PRINTS.metadata.drop_all)


class Printer:
    """Prints when it is allowed to, and counts."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.jobs = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> Any:
        self.jobs += 1
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return _Job(f"job-{self.jobs}")


class _Job:
    def __init__(self, job_id: str) -> None:
        self.id = job_id


async def test_one_of_many_requests_prints(prints: Any, engine: AsyncEngine) -> None:
    """The others get None while it does, and its job afterwards. Several processes create the table at once."""
    await asyncio.gather(*(prints.create_table(engine) for _ in range(4)))
    printer = Printer()
    running = [asyncio.create_task(prints.print_once(engine, "jane", "form", printer)) for _ in range(5)]
    results = asyncio.as_completed(running)
    assert [await next(results) for _ in range(4)] == [None] * 4
    printer.may_end.set()
    assert await next(results) == "job-1"
    assert await prints.print_once(engine, "jane", "form", printer) == "job-1"
    assert await prints.print_once(engine, "john", "form", printer) == "job-2"


def closed_in_the_middle() -> SessionClosed:
    """The error of a call whose user signs out meanwhile."""
    error = SessionClosed("during the call")
    error.may_have_happened = True
    return error


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (PrintFailed("refused"), 2),
        (ValueError("empty"), 2),
        (TimeoutError("of asyncio.timeout around the print"), 1),
        (OutcomeUnknown("lost"), 1),
        (closed_in_the_middle(), 1),
        (SessionClosed("before the call"), 2),
        (asyncio.CancelledError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_what_may_be_printed_is_not_repeated(
    prints: Any, engine: AsyncEngine, error: BaseException, times: int
) -> None:
    await prints.create_table(engine)
    printer = Printer(error)
    printer.may_end.set()
    with pytest.raises(type(error)):
        await prints.print_once(engine, "jane", "form", printer)
    printer.error = None
    expected = None if times == 1 else "job-2"
    assert await prints.print_once(engine, "jane", "form", printer) == expected
    assert printer.jobs == times


async def test_the_statements_of_the_page(
    prints: Any, engine: AsyncEngine, database: Database, sandbox: Sandbox
) -> None:
    """Rights without those to create tables suffice, and old rows are deleted: docs/how-to/deploy-a-web-app.md."""
    old_rows = documents.marked("docs/how-to/deploy-a-web-app.md", "old-rows")
    await prints.create_table(engine)
    url = database.url
    if database.dialect == "postgresql":
        await database.rows(f"CREATE ROLE printing LOGIN PASSWORD '{PASSWORD}'")
        await database.rows(documents.marked("docs/how-to/deploy-a-web-app.md", "rights"))
        url = url.replace("//app:", "//printing:")
    rights = Database(url)
    try:
        async with rights.opened() as limited:
            await SQLTokenStore.create_table(limited)  # as the app does at its start: nothing is to be made
            await prints.create_table(limited)
            await put(SQLTokenStore(limited, "user-1"), sandbox.tokens())
            printer = Printer()
            printer.may_end.set()
            for form_key in ("old", "new"):
                assert await prints.print_once(limited, "user-1", form_key, printer) is not None
            statements = (
                f"UPDATE prints SET created = now() - interval '3 days' WHERE form_key = 'old';\n{old_rows}"
            )
            if database.dialect == "sqlite":
                statements = re.sub(r"now\(\) - interval '(\d days)'", r"datetime('now', '-\1')", statements)
            for statement in statements.splitlines():
                await rights.rows(statement)
            assert await database.rows("SELECT form_key FROM prints") == [("new",)]
            assert await database.row("user-1") is None
    finally:
        if database.dialect == "postgresql":
            await database.rows("DROP OWNED BY printing")
            await database.rows("DROP ROLE printing")
