"""Values that a session reads once, and keeps for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async.settings import Settings


T = TypeVar("T")

MOST_KEPT = 1000
"""Values that are kept. The oldest one is forgotten first."""


class SharedReads(Generic[T]):
    """One read for all concurrent callers of a key. Its value is kept for `lifetime` seconds, an error is not.

    Callers with other time limits and retries (`policy`) get a value that was read, and do not wait for a read in progress.

    The read belongs to no caller: a cancelled caller leaves it to the others.
    """

    def __init__(self, lifetime: float, now: Callable[[], float] | None = None) -> None:
        self._lifetime = lifetime
        self._now = now
        self._reads: dict[Hashable, tuple[float, Settings, asyncio.Task[T]]] = {}

    async def get(
        self,
        key: Hashable,
        read: Callable[[], Coroutine[Any, Any, T]],
        policy: Settings = Settings(),  # noqa: B008  # frozen
    ) -> T:
        """Return the value of the key. `read` reads it, with the time limits and retries of `policy`."""
        now = asyncio.get_running_loop().time() if self._now is None else self._now()
        since, others, task = self._reads.get(key, (0.0, policy, None))
        if (
            task is None
            or now - since >= self._lifetime
            or _has_failed(task)
            or (others != policy and not task.done())
        ):
            task = ContainedTask(read())
            # Retrieved: asyncio warns about an exception that no caller waits for any more.
            task.add_done_callback(_has_failed)
            self._reads.pop(key, None)
            self._reads[key] = now, policy, task
            if len(self._reads) > MOST_KEPT:
                self._reads.pop(next(iter(self._reads)))
        return task.result() if task.done() else await asyncio.shield(task)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
