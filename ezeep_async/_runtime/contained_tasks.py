"""Tasks whose `SystemExit` and `KeyboardInterrupt` reach their waiters instead of the event loop.

asyncio raises both through the loop that runs the task, which ends the loop with everything else on it. The code of a
caller that runs in a task of the SDK (a token store, a tracer) must not do that to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar


T = TypeVar("T")


class Exiting(Exception):  # never seen by a caller
    """One of the two on its way out of a task."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class ContainedTask(asyncio.Task[T]):
    """A task that has `SystemExit` and `KeyboardInterrupt` as its exception, and does not raise them into the loop.

    It never starts eagerly, whatever the task factory of the loop: its owner has it before its first step. Wait for it
    with `asyncio.shield` or `asyncio.wait`: awaited directly, it raises what is internal here.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(contained(coroutine), loop=loop or asyncio.get_running_loop(), name=name)
        # One that is cancelled before its first step never awaits it.
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
    """Raise `Exiting` for the two: for tasks of an `asyncio.TaskGroup`."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise Exiting(error) from None
