"""Calls in progress, which end when their session is closed."""

from __future__ import annotations

import asyncio

from ezeep_async.errors import SessionClosed


class InFlight:
    """The tasks of the calls in progress."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a call is in progress."""
        return bool(self._tasks)

    def close(self) -> None:
        """Refuse new calls, and cancel those in progress."""
        self.is_closed = True
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            if not task.get_loop().is_closed():  # else it never ends, and cannot be cancelled
                task.cancel()

    def enter(self) -> tuple[asyncio.Task[object], int]:
        """Register the current task. Raises `SessionClosed`. Return the task and its cancellations until now."""
        if self.is_closed:
            raise SessionClosed("this EzeepSession is closed")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of aiohttp runs in a task
        self._tasks.add(task)
        return task, task.cancelling()

    def leave(self, task: asyncio.Task[object]) -> None:
        """Forget the task, whose call has ended."""
        self._tasks.discard(task)

    def was_closed(self, task: asyncio.Task[object], cancelled_before: int) -> bool:
        """Whether the task was cancelled by `close` alone, which takes that cancellation back.

        `close` cancels each task once. If a cancellation is left when that one is taken back, the caller was cancelled too,
        and that wins.
        """
        return self.is_closed and task not in self._tasks and task.uncancel() <= cancelled_before
