"""What child processes of the tests run: in a module of its own, which a spawned child can import."""

from __future__ import annotations

import asyncio
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from helpers.support import QUICK
from helpers.writing_process import store_at

from ezeep_async import Endpoints, EzeepSession, OAuthApp, SQLTokenStore


def call_at_expiry(
    results: Queue, where: str, client_id: str, account: str, api: str, barrier: Barrier
) -> None:
    """Twenty calls with an expired access token, begun together with the other children. Puts the results, or the error.

    `where` is the place of the token set, see `store_at`.
    """
    store = store_at(where)

    async def use() -> list[str]:
        async with EzeepSession(
            OAuthApp(client_id), store=store, endpoints=Endpoints(account, api), settings=QUICK
        ) as session:
            barrier.wait(60)
            people = await asyncio.gather(*[session.accounts.me() for _ in range(20)])
            return [str(person.id) for person in people]

    try:
        results.put(asyncio.run(use()))
    except BaseException as error:
        results.put(repr(error))


def sql_store_at(url: str) -> SQLTokenStore:
    """The store in the database at `url`."""
    from helpers.sql_databases import Database  # it needs SQLAlchemy, which not all children do

    return SQLTokenStore(Database(url).unpooled(), "login")
