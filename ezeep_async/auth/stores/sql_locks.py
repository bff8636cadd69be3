"""`SQLLocks`: locks for single users and names in a database, shared by all its processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from ezeep_async.auth.stores.leased_locks import RESERVATION_S, LeasedLocks, LockRequest
from ezeep_async.auth.stores.sql_database import Database, Transaction
from ezeep_async.auth.stores.sql_schema import LockStatements


class SQLLocks(LeasedLocks):
    """The shared locks of `SQLTokenStore`: rows of the table `ezeep_locks`, for the token sets of all keys."""

    def __init__(self, database: Database, *, lease: float) -> None:
        super().__init__("", lease)
        self._database = database
        self._sql = LockStatements(database.dialect)
        self._cleans_up = True
        """Whether the next batch removes what killed processes left."""

    def _connected(self) -> AbstractAsyncContextManager[object]:
        return self._database.connected()

    async def _run(self, batch: list[LockRequest]) -> Sequence[bool]:
        # All processes lock rows in the same order, so they never wait for each other in a circle.
        order = sorted(range(len(batch)), key=lambda number: batch[number][1].key)
        runs, cleans_up, self._cleans_up = 0, self._cleans_up, False

        async def work(transaction: Transaction) -> list[bool]:
            nonlocal runs
            runs += 1
            results = [False] * len(batch)
            if cleans_up:
                await transaction.change(self._sql.forget, {})
            for number in order:
                results[number] = await self._act(transaction, batch[number], is_repeated=runs > 1)
            return results

        return await self._database.evaluate(work)

    async def _act(self, transaction: Transaction, request: LockRequest, *, is_repeated: bool) -> bool:
        action, held, _ = request
        sql, change = self._sql, transaction.change
        mine: dict[str, object] = {"key": held.key, "owner": held.owner}
        timed = mine | {"lease": self._lease}
        if action == "extend":
            return await change(sql.extend, timed)
        if action == "acquire":
            if await change(sql.lock, timed) or await change(sql.lock_first, timed):
                return True
            await change(sql.reserve, mine | {"reserved": RESERVATION_S})
            return False
        if await change(sql.release_last, mine) or await change(sql.release, mine):
            return True
        await change(sql.leave, mine)
        return is_repeated and not held.lost  # the first run may have released it
