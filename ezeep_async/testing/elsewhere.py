"""Another process, for the tests of stores."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import cast

import anyio

from ezeep_async.auth.shared_locks import SharedLocks
from ezeep_async.auth.tokens import TokenStore


TRIES, ENTERED = "tries", "entered"


class Elsewhere:
    """A process that takes the lock of a store which is made there, gives it back, and tells how far it is.

    With `name` it takes the shared lock of that name instead.
    """

    def __init__(self, make_store: Callable[[], TokenStore], name: str | None = None) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_enter, args=(make_store, name, theirs), daemon=True)

    async def start(self) -> None:
        """Begin."""
        await asyncio.to_thread(self._process.start)

    async def hears(self, seconds: float) -> object:
        """What it tells next, None for nothing within that time."""
        return await asyncio.to_thread(lambda: self._ours.recv() if self._ours.poll(seconds) else None)

    def end(self) -> None:
        """Kill it, if it is still there."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()


def _enter(make_store: Callable[[], TokenStore], name: str | None, connection: Connection) -> None:
    async def scenario() -> None:
        store = make_store()
        if name is None:
            connection.send(TRIES)
            async with store.lock():
                connection.send(ENTERED)
            return
        locks = cast("SharedLocks", store.shared_locks())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        try:
            connection.send(TRIES)
            async with locks.hold(name):
                connection.send(ENTERED)
        finally:
            await locks.aclose()

    try:
        anyio.run(scenario)
    except Exception as error:  # noqa: BLE001  # told to whoever asked for it
        connection.send(f"failed with {type(error).__name__}: {error}")
