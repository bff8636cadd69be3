"""The tables of `SQLTokenStore`."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from django.db import migrations

from ezeep_async import SQLTokenStore
from printing.logins import engine


def create_tables(*_: object) -> None:
    """Create them over the engine of the logins."""

    async def create() -> None:
        await SQLTokenStore.create_table(engine)
        await engine.dispose()

    asyncio.run(create())


class Migration(migrations.Migration):
    """Not atomic: the engine uses another connection."""

    atomic = False
    operations: ClassVar = [migrations.RunPython(create_tables, migrations.RunPython.noop)]
