"""Reading a listing page by page, so that the server cannot lead us astray.

Only the query of `next` is used, on our own address. The next page begins where the last one ended, whatever was
asked for. Nothing is left running by whoever stops early.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID

import attrs
from yarl import URL

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async.errors import EzeepError, PaginationLoop


class HasId(Protocol):
    """Every record has an id; duplicates are found by it."""

    @property
    def id(self) -> UUID: ...


LONGEST_PAGE = 10_000
"""Rows that a page may have, or ten times what was asked for where that is more."""
MOST_ROWS = 1_000_000
"""Rows of one reading, whatever the server counts. A reading remembers the id of each, and `collect` all of it."""
LARGEST_READING = 512 * 1024 * 1024
"""Bytes of all pages of one reading: more than what `MOST_ROWS` users have, as the server sends them."""
SPARE = 10_000
"""Rows that may come beyond ten times the largest count that the server gave."""

T = TypeVar("T", bound=HasId)

Params = Mapping[str, str]


@attrs.frozen
class Page(Generic[T]):
    """One page, as it came."""

    items: list[T]
    """Without those that an earlier page had."""
    count: int | None
    """How many there are in all, says the server at this moment."""
    offset: int
    """How many came before this page."""
    raw: bytes = attrs.field(repr=False)
    """The body of the answer."""


@attrs.frozen
class Fetched(Generic[T]):
    """What the server sent for one set of parameters, before anything is left out."""

    items: list[T]
    count: int | None
    next: str | None
    raw: bytes = attrs.field(repr=False)


Fetch = Callable[[Params], Coroutine[Any, Any, Fetched[T]]]


@attrs.define
class Noticed:
    """What was noticed in one reading."""

    drift: bool = False
    duplicates: int = 0


@attrs.define
class Listing(Generic[T]):
    """What is listed, how, and what was noticed in the last reading of it."""

    fetch: Fetch[T]
    page_size: int
    concurrency: int
    offset: int
    keep: Callable[[T], bool] | None
    """The filter that the server was asked to apply, applied again to what comes back."""
    noticed: Noticed = attrs.field(factory=Noticed)


class PageIterator(Generic[T]):
    """One reading of a listing. It owns the requests it has under way: they end with it."""

    def __init__(self, listing: Listing[T]) -> None:
        self._listing = listing
        self._fetch = listing.fetch
        self._keep = listing.keep
        self._under_way: deque[tuple[Params, asyncio.Task[Fetched[T]]]] = deque()
        self._tasks: set[asyncio.Task[Fetched[T]]] = set()
        self._offset = listing.offset
        self._next: Params | None = {"limit": str(listing.page_size), "offset": str(listing.offset)}
        self._step = 0
        self._planned_to = 0
        self._seen: set[UUID] = set()
        self._asked: set[frozenset[tuple[str, str]]] = set()
        self._last: tuple[UUID, UUID, int, int | None] | None = None
        self._received = 0
        self._bytes = 0
        self._count: int | None = None
        self._largest_count: int | None = None
        self._done = False
        self._broken = False
        self._reading = False
        self._stale = 0
        self.noticed = listing.noticed = Noticed()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._reading:
            raise RuntimeError("this reading is under way in another task: each task needs its own")
        if self._broken:
            # Not a plain end: whoever goes on after an error or a time limit would take what came for everything.
            raise RuntimeError("this reading broke off: begin a new one")
        if self._done:
            raise StopAsyncIteration
        self._reading = True
        try:
            fetched = await self._take()
            return self._accept(fetched)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if isinstance(error, EzeepError):
                error.resume_offset = self._offset
            self._broken = True
            self._end()
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        """End the reading, and wait until its requests are gone."""
        self._end()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # A default argument, as the module's globals are gone when it is collected at the end of the interpreter.
    def __del__(
        self, _running_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop
    ) -> None:
        # `break` leaves the iterator to reference counting: nobody will ask for what is under way any more.
        for _, task in self._under_way:
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

    # --- fetching --------------------------------------------------------------------------------------------------

    async def _take(self) -> Fetched[T]:
        if self._under_way:
            _, task = self._under_way[0]
            try:
                fetched = await asyncio.shield(task)
            finally:
                if task.done():
                    self._under_way.popleft()
            return fetched
        params = self._next
        if params is None:
            self._done = True
            raise StopAsyncIteration
        if _key(params) in self._asked:
            raise PaginationLoop("the server sends us back to a page that was read already")
        self._asked.add(_key(params))
        return await self._fetch(params)

    def _start(self, params: Params) -> None:
        if _key(params) in self._asked:
            # A loop. The page that leads there is given first: its rows are read, and the next step says it.
            self._next = params
            return
        self._asked.add(_key(params))
        self._next = None
        # The task knows the fetch function and nothing of this iterator, which can so be dropped while it runs.
        task = ContainedTask(self._fetch(params))
        task.add_done_callback(_retrieve)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._under_way.append((params, task))

    def _end(self) -> None:
        self._done = True
        while self._under_way:
            _, task = self._under_way.popleft()
            task.cancel()

    # --- what came back --------------------------------------------------------------------------------------------

    def _accept(self, fetched: Fetched[T]) -> Page[T]:
        page = self._page_of(fetched)
        size = len(fetched.items)
        self._offset += size
        following = self._following(fetched)
        if following is None:
            self._finish()
        elif self._under_way:
            if not self._fits(following, size):
                # The cap changed, or a row went: what was planned ahead would leave a gap. Read on from here.
                self._drop_plan()
                self._start(following)
            else:
                self._plan_ahead(fetched.count)
        elif self._may_plan(following, size):
            self._step = size
            self._planned_to = self._offset
            self._plan_ahead(fetched.count)
        else:
            self._start(following)
        return page

    def _page_of(self, fetched: Fetched[T]) -> Page[T]:
        seen, noticed = self._seen, self.noticed
        fresh: list[T] = []
        for item in fetched.items:
            # One look-up for both questions: hashing a UUID is what this loop spends its time on.
            before = len(seen)
            seen.add(item.id)
            if len(seen) > before:
                fresh.append(item)
        repeated = len(fetched.items) - len(fresh)
        noticed.duplicates += repeated
        self._received += len(fresh)
        self._check_size(fetched)
        if fetched.items:
            self._look_for_loop(fetched, fresh)
        elif fetched.next is not None:
            noticed.drift = True  # there is more, and nothing came
        if fetched.count is not None:
            if self._count not in {None, fetched.count}:
                noticed.drift = True
            self._count = fetched.count
        if repeated:
            noticed.drift = True
        items = fresh if self._keep is None else [item for item in fresh if self._keep(item)]
        return Page(items, fetched.count, self._offset, fetched.raw)

    def _check_size(self, fetched: Fetched[T]) -> None:
        """Rows that never end would fill the memory of whoever collects them, each of them new."""
        if len(fetched.items) > max(LONGEST_PAGE, 10 * self._listing.page_size):
            raise PaginationLoop(
                f"the server sends {len(fetched.items)} rows in a page: it does not follow limit"
            )
        if fetched.count is not None and fetched.count >= 0:
            self._largest_count = max(fetched.count, self._largest_count or 0)
        largest = self._largest_count
        rows = self._offset - self._listing.offset + len(fetched.items)
        self._bytes += len(fetched.raw)
        if self._received > (MOST_ROWS if largest is None else 10 * largest + SPARE) or rows > MOST_ROWS:
            raise PaginationLoop(
                f"the server sends rows without end: {rows} so far, of a count of {largest}. One reading has at most "
                f"{MOST_ROWS}: where there are that many, read on from offset={self._offset}"
            )
        if self._bytes > LARGEST_READING:
            raise PaginationLoop(
                f"the server sends rows that are too large: {self._bytes} bytes for {rows} rows. One reading has at most "
                f"{LARGEST_READING} bytes: where there are that many, read on from offset={self._offset}"
            )

    def _look_for_loop(self, fetched: Fetched[T], fresh: list[T]) -> None:
        mark = (fetched.items[0].id, fetched.items[-1].id, len(fetched.items), fetched.count)
        self._stale = 0 if fresh else self._stale + len(fetched.items)
        # Rows that come in ahead of us push what we know before us again: with another count, and at most everything.
        if not fresh and (mark == self._last or self._stale > self._received):
            raise PaginationLoop("the server sends what it sent before: it does not follow limit and offset")
        self._last = mark

    def _following(self, fetched: Fetched[T]) -> Params | None:
        """The parameters of the next page: the query of `next`, on our own address; None at the end."""
        if fetched.next is None or not fetched.items:
            return None
        try:
            query = dict(URL(fetched.next).query)
        except (ValueError, TypeError):
            query = {}
        if not query or "offset" in query:
            # What came back tells where the next page begins, not what was asked for, nor what the server computes.
            query["offset"] = str(self._offset)
            query.setdefault("limit", str(self._listing.page_size))
        return query

    # --- reading several pages at once -----------------------------------------------------------------------------

    def _may_plan(self, following: Params, size: int) -> bool:
        # Any other word in the query of `next` means that offsets are not what this server pages by.
        by_offset = set(following) == {"limit", "offset"}
        return self._listing.concurrency > 1 and self._count is not None and by_offset and size > 0

    def _fits(self, following: Params, size: int) -> bool:
        return size == self._step and "offset" in following

    def _plan_ahead(self, count: int | None) -> None:
        limit = self._count if count is None else count
        while len(self._under_way) < self._listing.concurrency and self._planned_to < (limit or 0):
            self._start({"limit": str(self._step), "offset": str(self._planned_to)})
            self._planned_to += self._step
        if not self._under_way:
            self._start({"limit": str(self._step), "offset": str(self._offset)})
            self._planned_to = self._offset + self._step

    def _drop_plan(self) -> None:
        for params, task in self._under_way:
            self._asked.discard(_key(params))
            task.cancel()
        self._under_way.clear()

    def _finish(self) -> None:
        self._end()
        expected = None if self._count is None else self._count - self._listing.offset
        if expected is not None and max(expected, 0) != self._received:
            self.noticed.drift = True


class ItemIterator(Generic[T]):
    """Item by item. A class and no generator: a generator would leave its clean-up to the event loop."""

    def __init__(self, pages: PageIterator[T]) -> None:
        self._pages = pages
        self._items: deque[T] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            self._items.extend((await self._pages.__anext__()).items)
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the reading."""
        await self._pages.aclose()


def _key(params: Params) -> frozenset[tuple[str, str]]:
    return frozenset(params.items())


def _retrieve(task: asyncio.Task[object]) -> None:
    """A page that nobody asked for any more may have failed: that is nobody's business then."""
    if not task.cancelled():
        task.exception()
