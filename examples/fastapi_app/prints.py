"""Each form is printed once, also if it is sent again, to any number of worker processes."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from sqlalchemy import Column, DateTime, MetaData, String, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateTable

from ezeep_async import EzeepError, PrintJob


PRINTS = Table(
    "prints",
    MetaData(),
    Column("user_id", String(36), primary_key=True),
    Column("form_key", String(36), primary_key=True),
    Column("job", String(255)),
    Column("created", DateTime, server_default=func.now(), nullable=False),
)


async def create_table(engine: AsyncEngine) -> None:
    """Create the table where it does not exist."""
    # Another worker process may create it at the same time.
    with contextlib.suppress(IntegrityError, OperationalError, ProgrammingError):
        async with engine.begin() as connection:
            await connection.execute(CreateTable(PRINTS, if_not_exists=True))


async def print_once(
    engine: AsyncEngine, user: str, form_key: str, start: Callable[[], Awaitable[PrintJob]]
) -> str | None:
    """Call `start` for the first request of a form, and return the id of its job to all of them.

    Returns None to a later request while the document is being printed, and if it is not known whether it was printed.
    """
    row = (PRINTS.c.user_id == user, PRINTS.c.form_key == form_key)
    try:
        async with engine.begin() as connection:
            await connection.execute(insert(PRINTS).values(user_id=user, form_key=form_key))
    except IntegrityError:  # the form was sent before
        async with engine.connect() as connection:
            return await connection.scalar(select(PRINTS.c.job).where(*row))
    try:
        job = await start()
    except (EzeepError, ValueError) as error:  # after others, such as that of a time limit, it may be printed
        if not getattr(error, "may_have_happened", False):  # nothing is printed: allow another try
            async with engine.begin() as connection:
                await connection.execute(delete(PRINTS).where(*row))
        raise
    async with engine.begin() as connection:
        await connection.execute(update(PRINTS).where(*row).values(job=job.id))
    return job.id
