"""Concurrent reading: which pages to request in advance, and the requests in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, TypeVar

from ezeep_async._runtime.contained_tasks import ContainedTask, Exiting


R = TypeVar("R")

Params = Mapping[str, str]
"""The query of one page."""


class PrefetchPlan:
    """The offsets of the pages to request in advance. No I/O.

    The step is the size of the page that arrived last: a server may send fewer rows than `limit` asks for.
    """

    def __init__(self) -> None:
        self._step = self._offset = 0

    def restart(self, step: int, offset: int) -> None:
        """Plan pages of `step` rows, from `offset` on."""
        self._step, self._offset = step, offset

    def fits(self, following: Params, rows: int) -> bool:
        """Whether a page of `rows` rows leads to the page that was planned after it."""
        return rows == self._step and "offset" in following

    def next_params(self, count: int) -> Params | None:
        """The next page to request, None where the plan has reached `count` rows."""
        return self.advance() if self._offset < count else None

    def advance(self) -> Params:
        """Return the next page to request, also beyond `count`."""
        params = {"limit": str(self._step), "offset": str(self._offset)}
        self._offset += self._step
        return params


class PagesInFlight(Generic[R]):
    """Requests for pages, in the order of the listing. Dropping this object cancels them."""

    def __init__(self, fetch: Callable[[Params], Coroutine[Any, Any, R]]) -> None:
        self._fetch = fetch
        self._queue: deque[tuple[Params, asyncio.Task[R]]] = deque()
        self._running: set[asyncio.Task[R]] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def start(self, params: Params) -> None:
        """Send a request in a task of its own."""
        # The task refers to the fetch function only, so that this object can be dropped while the task runs.
        task = ContainedTask(self._fetch(params))
        task.add_done_callback(_retrieve)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self._queue.append((params, task))

    async def take(self) -> R:
        """Wait for the response to the first request in the queue."""
        _, task = self._queue[0]
        try:
            return await task
        except Exiting as exiting:
            raise exiting.error from None
        finally:
            if task.done() and self._queue:  # empty after `cancel` by another task
                self._queue.popleft()

    def cancel(self) -> list[Params]:
        """Cancel all requests, and return them."""
        cancelled = [params for params, _ in self._queue]
        while self._queue:
            self._queue.popleft()[1].cancel()
        return cancelled

    async def aclose(self) -> None:
        """Cancel all requests, and wait until they have ended."""
        self.cancel()
        if self._running:
            await asyncio.wait(self._running)

    # A default argument: the globals of the module may be gone when the interpreter exits.
    def __del__(
        self, _running_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop
    ) -> None:
        # `break` in `async for` does not close the iterator. It is dropped, and its requests must end.
        for _, task in self._queue:
            loop = task.get_loop()
            if task.done() or loop.is_closed():
                continue
            try:
                here = _running_loop()
            except RuntimeError:
                here = None
            if here is loop or not loop.is_running():
                task.cancel()
            else:  # collected in another thread
                loop.call_soon_threadsafe(task.cancel)


def _retrieve(task: asyncio.Task[object]) -> None:
    """Retrieve the exception of a page that was dropped, which asyncio would log."""
    if not task.cancelled():
        task.exception()
