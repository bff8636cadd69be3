"""Values that a session reads once, and keeps for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from ezeep_async._runtime.contained_tasks import ContainedTask


T = TypeVar("T")

MOST_KEPT = 1000
"""Values that are kept. The oldest one is forgotten first."""


class SharedReads(Generic[T]):
    """One read for all concurrent callers of a key. Its value is kept for `lifetime` seconds, an error is not.

    The read belongs to no caller: a cancelled caller leaves it to the others.
    """

    def __init__(self, lifetime: float, now: Callable[[], float] | None = None) -> None:
        self._lifetime = lifetime
        self._now = now
        self._reads: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the value of the key. `read` reads it."""
        now = asyncio.get_running_loop().time() if self._now is None else self._now()
        since, task = self._reads.get(key, (0.0, None))
        if task is None or now - since >= self._lifetime or _has_failed(task):
            task = ContainedTask(read())
            # Retrieved: asyncio warns about an exception that no caller waits for any more.
            task.add_done_callback(_has_failed)
            self._reads.pop(key, None)
            self._reads[key] = now, task
            if len(self._reads) > MOST_KEPT:
                self._reads.pop(next(iter(self._reads)))
        return task.result() if task.done() else await asyncio.shield(task)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
