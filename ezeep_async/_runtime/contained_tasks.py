"""Tasks whose `SystemExit` and `KeyboardInterrupt` reach their waiters instead of the event loop.

asyncio raises both out of `run_forever()`, which stops all other tasks of the loop. Code of the caller that runs in a
task of the SDK (a token store, a tracer) must not stop them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar


T = TypeVar("T")


class Exiting(Exception):  # never seen by a caller
    """Carries a `SystemExit` or `KeyboardInterrupt` out of a task."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class ContainedTask(asyncio.Task[T]):
    """A task that has `SystemExit` and `KeyboardInterrupt` as its exception, and does not raise them into the loop.

    It never starts eagerly, whatever the task factory of the loop is: the code that creates it can store it before its
    first step. Wait for it with `asyncio.shield` or `asyncio.wait`: a direct `await` raises `Exiting`.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> None:
        super().__init__(contained(coroutine), loop=asyncio.get_running_loop(), name=name)
        # A task that is cancelled before its first step never awaits the coroutine, which Python then warns about.
        self.add_done_callback(lambda _: coroutine.close())

    def exception(self) -> BaseException | None:
        """As in `asyncio.Task`."""
        error = super().exception()
        return error.error if isinstance(error, Exiting) else error

    def result(self) -> T:
        """As in `asyncio.Task`."""
        try:
            return super().result()
        except Exiting as exiting:
            raise exiting.error from None


async def contained(coroutine: Coroutine[Any, Any, T]) -> T:
    """Raise `Exiting` instead of `SystemExit` and `KeyboardInterrupt`: for tasks of an `asyncio.TaskGroup`."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise Exiting(error) from None
