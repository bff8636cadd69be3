"""Concurrent reading: which pages to request in advance, and the requests in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, TypeVar

from ezeep_async._runtime.contained_tasks import Exiting, contained


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


async def _contained(fetch: Callable[[Params], Coroutine[Any, Any, R]], params: Params) -> R:
    """`contained`, without a coroutine that is never awaited if the task is cancelled before its first step."""
    return await contained(fetch(params))


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a page that was dropped, which asyncio would log."""
    if not task.cancelled():
        task.exception()


def _drop(task: asyncio.Task[Any], _retrieve: Callable[..., None] = _retrieve) -> None:
    """Cancel the request for a page that is not needed."""
    if task.done():
        _retrieve(task)
    else:
        task.cancel()
        task.add_done_callback(_retrieve)


class PagesInFlight(Generic[R]):
    """Requests for pages, in the order of the listing. Dropping this object cancels them."""

    def __init__(self, fetch: Callable[[Params], Coroutine[Any, Any, R]]) -> None:
        self._fetch = fetch
        self._queue: deque[tuple[Params, asyncio.Task[R]]] = deque()
        self._unsent: Params | None = None
        """The request of `start_soon`, until it is sent."""
        self._cancelled: set[asyncio.Task[R]] = set()
        self._reader: asyncio.Task[Any] | None = None
        """The task in which `take` sends the request of `start_soon`."""
        self._reader_ended: asyncio.Future[None] | None = None
        """Done when that request has ended. None unless `cancel` cancelled it."""

    def __len__(self) -> int:
        return len(self._queue) + (self._unsent is not None)

    def start(self, params: Params) -> None:
        """Send a request in a task of its own."""
        # The task refers to the fetch function only, so that this object can be dropped while the task runs.
        task = asyncio.Task(_contained(self._fetch, params), loop=asyncio.get_running_loop())
        self._queue.append((params, task))

    def start_soon(self, params: Params) -> None:
        """Send the only request as soon as the event loop runs: in a task, or in `take`, which is cheaper."""
        self._unsent = params
        asyncio.get_running_loop().call_soon(self._start_now)

    def _start_now(self) -> None:
        """Send the request of `start_soon` in a task, unless that was done or cancelled."""
        params, self._unsent = self._unsent, None
        if params is not None:
            self.start(params)

    async def take(self) -> R:
        """Wait for the response to the first request in the queue."""
        params, self._unsent = self._unsent, None
        if params is not None:
            self._reader = reader = asyncio.current_task()
            try:
                return await self._fetch(params)
            finally:
                self._reader = None
                if (ended := self._reader_ended) is not None and reader is not None:
                    self._reader_ended = None
                    # The request was cancelled, and not its caller, as if it were in a task of its own.
                    reader.uncancel()
                    ended.set_result(None)
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
        if self._unsent is not None:
            cancelled.append(self._unsent)
            self._unsent = None
        if self._reader is not None and self._reader_ended is None:
            self._reader_ended = self._reader.get_loop().create_future()
            self._reader.cancel()
        while self._queue:
            _, task = self._queue.popleft()
            if not task.done():
                self._cancelled.add(task)
                task.add_done_callback(self._cancelled.discard)
            _drop(task)
        return cancelled

    async def aclose(self) -> None:
        """Cancel all requests, and wait until they have ended."""
        self.cancel()
        ending: set[asyncio.Future[Any]] = {*self._cancelled}
        if self._reader_ended is not None:
            ending.add(self._reader_ended)
        if ending:
            await asyncio.wait(ending)

    # Default arguments: the globals of the module may be gone when the interpreter exits.
    def __del__(
        self,
        _running_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop,
        _drop: Callable[..., None] = _drop,
    ) -> None:
        # `break` in `async for` does not close the iterator. It is dropped, and its requests must end.
        for _, task in self._queue:
            loop = task.get_loop()
            if loop.is_closed() and not task.done():
                continue
            try:
                here = _running_loop()
            except RuntimeError:
                here = None
            if here is loop or not loop.is_running():
                _drop(task)
            else:  # collected in another thread
                loop.call_soon_threadsafe(_drop, task)
