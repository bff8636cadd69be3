"""A process that writes to the sandbox, for the tests of locks that processes share. Run with a JSON object as its argument.

It prints "ready" when its session is open, begins when it reads a line, and prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ezeep_async import (
    DesiredState,
    Endpoints,
    EzeepError,
    EzeepSession,
    FileTokenStore,
    OAuthApp,
    RedisTokenStore,
    SessionPool,
    Settings,
    SQLTokenStore,
)


if TYPE_CHECKING:
    from ezeep_async.sandbox import Sandbox


def store_at(
    where: str, lease: float = 90.0, key: str = "login"
) -> FileTokenStore | RedisTokenStore | SQLTokenStore:
    """The store for a file, the address of a Redis server, or the URL of a database. The last two have several keys."""
    if where.startswith("redis://"):
        return RedisTokenStore(where, f"ezeep:{key}", lease=lease)
    if "://" in where:
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        return SQLTokenStore(create_async_engine(where, poolclass=NullPool), key, lease=lease)
    return FileTokenStore(where)


@attrs.define
class Writer:
    """Such a process, seen from its test."""

    process: asyncio.subprocess.Process

    async def message(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    async def outcome(self) -> list[str]:
        return json.loads(await self.message())


@contextlib.asynccontextmanager
async def writer(sandbox: Sandbox, where: str, **task: object) -> AsyncIterator[Writer]:
    """Start one, and wait until it is ready."""
    given = {
        "where": where,
        "client": sandbox.oauth_app.client_id,
        "secret": sandbox.oauth_app.client_secret,
        "account": sandbox.endpoints.account,
        "api": sandbox.endpoints.api,
        **task,
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__)), json.dumps(given, default=str), stdin=pipe, stdout=pipe
    )
    try:
        started = Writer(process)
        assert await started.message() == "ready"
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def both(
    one: contextlib.AbstractAsyncContextManager[Writer], two: contextlib.AbstractAsyncContextManager[Writer]
) -> AsyncIterator[tuple[Writer, Writer]]:
    """Two that start at the same time."""
    async with contextlib.AsyncExitStack() as stack:
        started = await asyncio.gather(*map(stack.enter_async_context, (one, two)))
        yield started[0], started[1]


async def main(task: dict) -> list[str]:
    app = OAuthApp(task["client"], task["secret"])
    store = store_at(task["where"], task.get("lease", 90.0), task.get("key", "login"))
    options = {"endpoints": Endpoints(task["account"], task["api"]), "settings": Settings(retries=0)}
    async with contextlib.AsyncExitStack() as stack:
        if task.get("pool"):
            pool = await stack.enter_async_context(SessionPool(app, lambda _: store, **options))
            session = await stack.enter_async_context(pool.session("tenant"))
        else:
            session = await stack.enter_async_context(EzeepSession(app, store, **options))
        await session.accounts.me()
        plan = None
        if task["do"] == "provision":
            plan = await session.provisioning.plan(DesiredState.from_mapping(task["desired"]))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        outcomes: list[str] = []
        rows = iter(task.get("rows", []))

        async def work() -> None:
            for first, second in rows:
                try:
                    if task["do"] == "ensure":
                        await session.groups.ensure(first, second)
                    elif task["do"] == "assign":
                        await session.printer_assignments.assign(first, second)
                    else:
                        await session.users.add_to_groups(first, second)
                except EzeepError as error:
                    outcomes.append(type(error).__name__)
                else:
                    outcomes.append("done")

        if plan is not None:
            report = await session.provisioning.apply(plan, verify=task.get("verify", "fresh"))
            return [row.outcome for row in report.rows]
        await asyncio.gather(*[work() for _ in range(task.get("concurrency", 8))])
        return outcomes


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))), flush=True)
