"""`Paginator`: a listing, read page by page, that the server cannot lead astray.

Only the query of `next` is used, on our own address. The next page begins where the last one ended, whatever was
asked for. Nothing is left running by whoever stops early.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar
from uuid import UUID

import attrs
from yarl import URL

from ezeep_async.errors import EzeepError, InconsistentListing, PaginationLoop


READINGS = 3
"""How often `collect(consistent=True)` reads before it gives up."""


class HasId(Protocol):
    """Every record has an id; duplicates are found by it."""

    @property
    def id(self) -> UUID: ...


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


Fetch = Callable[[Params], Awaitable[Fetched[T]]]


class Paginator(Generic[T]):
    """A listing. Iterate it for items, `pages()` for pages; each iteration reads anew.

    A plain object: making it sends nothing. `page_size` items are asked for at a time (the server may send fewer),
    from `offset` on. One page is read ahead; `concurrency` above 1 reads that many at once, still in order.
    `keep` is the filter that the server was asked to apply, applied again to what comes back, and `unfiltered` fetches
    without it. Raises `ValueError` for sizes that make no sense.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        *,
        page_size: int = 100,
        concurrency: int = 1,
        offset: int = 0,
        keep: Callable[[T], bool] | None = None,
        unfiltered: Fetch[T] | None = None,
    ) -> None:
        for name, value, least in (("page_size", page_size, 1), ("concurrency", concurrency, 1), ("offset", offset, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}")
        self._fetch = fetch
        self._page_size = page_size
        self._concurrency = concurrency
        self._offset = offset
        self._keep = keep
        self._unfiltered = unfiltered
        self._drift = False
        self._duplicates = 0

    @property
    def drift(self) -> bool:
        """Whether the listing changed while it was read last: the count moved, or does not agree with what came."""
        return self._drift

    @property
    def duplicates(self) -> int:
        """How many items came twice in the last reading. They were left out."""
        return self._duplicates

    def __aiter__(self) -> AsyncIterator[T]:
        return _Items(self.pages())

    def pages(self) -> PageIterator[T]:
        """The pages of one reading. Leaving it early is fine; `aclose()` ends what it has under way at once."""
        return PageIterator(self)

    async def collect(self, consistent: bool = False) -> list[T]:
        """All items. With `consistent=True` it reads until two readings agree.

        A snapshot: safe to delete from while going through it. Raises `InconsistentListing` when three readings
        disagree; any other error carries `items_so_far` and `resume_offset`.
        """
        if not consistent:
            return await self._read()
        readings = [await self._read(), await self._read()]
        while True:
            if readings[-1] == readings[-2]:
                return readings[-1]
            if len(readings) == READINGS:
                raise InconsistentListing(f"the listing changed under each of {READINGS} readings of it")
            readings.append(await self._read())

    async def first(self) -> T | None:
        """The first item, None when there is none. One request, unless a filter is left to us."""
        if self._keep is None:
            fetched = await self._fetch({"limit": "1", "offset": str(self._offset)})
            return fetched.items[0] if fetched.items else None
        async with self.pages() as pages:
            async for page in pages:
                if page.items:
                    return page.items[0]
        return None

    async def count(self) -> int:
        """How many items there are, without reading them: one request.

        A filtered listing takes a second one, to see whether the server follows the filter; where it does not, or
        where it does not count, the items are read and counted.
        """
        one = {"limit": "1", "offset": "0"}
        count = (await self._fetch(one)).count
        if count is not None and self._unfiltered is not None and (await self._unfiltered(one)).count == count:
            count = None  # everything is in the group, or the filter was ignored: only reading tells
        if count is not None:
            return count
        everything = Paginator(self._fetch, page_size=self._page_size, keep=self._keep)
        return len(await everything.collect())

    async def aclose(self) -> None:
        """Nothing to do: only iterators have something under way, and they end with their loop."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self) -> list[T]:
        items: list[T] = []
        try:
            async with self.pages() as pages:
                async for page in pages:
                    items += page.items
        except EzeepError as error:
            error.items_so_far = items
            raise
        return items


class PageIterator(Generic[T]):
    """One reading of a listing. It owns the requests it has under way: they end with it."""

    def __init__(self, paginator: Paginator[T]) -> None:
        self._owner = paginator
        self._fetch = paginator._fetch
        self._keep = paginator._keep
        self._under_way: deque[tuple[Params, asyncio.Task[Fetched[T]]]] = deque()
        self._offset = paginator._offset
        self._next: Params | None = {"limit": str(paginator._page_size), "offset": str(paginator._offset)}
        self._step = 0
        self._planned_to = 0
        self._seen: set[UUID] = set()
        self._asked: set[frozenset[tuple[str, str]]] = set()
        self._fingerprints: set[int] = set()
        self._received = 0
        self._count: int | None = None
        self._done = False
        paginator._drift = False
        paginator._duplicates = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._done:
            raise StopAsyncIteration
        try:
            fetched = await self._take()
            return self._accept(fetched)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if isinstance(error, EzeepError):
                error.resume_offset = self._offset
            self._end()
            raise

    async def aclose(self) -> None:
        """End the reading, and wait until its requests are gone."""
        tasks = [task for _, task in self._under_way]
        self._end()
        if tasks:
            await asyncio.wait(tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # `break` leaves the iterator to reference counting: nobody will ask for what is under way any more.
        for _, task in self._under_way:
            if not task.done() and not task.get_loop().is_closed():
                task.cancel()

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
        self._guard(params)
        return await self._fetch(params)

    def _start(self, params: Params) -> None:
        self._guard(params)
        # The task knows the fetch function and nothing of this iterator, which can so be dropped while it runs.
        task = asyncio.ensure_future(self._fetch(params))
        task.add_done_callback(_retrieve)
        self._under_way.append((params, task))

    def _guard(self, params: Params) -> None:
        key = frozenset(params.items())
        if key in self._asked:
            raise PaginationLoop(f"the server sends us back to a page that was read already ({dict(params)})")
        self._asked.add(key)

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
            self._next = None
        return page

    def _page_of(self, fetched: Fetched[T]) -> Page[T]:
        owner = self._owner
        ids = [item.id for item in fetched.items]
        fingerprint = hash(tuple(ids))
        if ids and fingerprint in self._fingerprints:
            raise PaginationLoop("the server sent the same page twice: it does not follow limit and offset")
        self._fingerprints.add(fingerprint)
        fresh: list[T] = []
        for item in fetched.items:
            if item.id in self._seen:
                owner._duplicates += 1
            else:
                self._seen.add(item.id)
                fresh.append(item)
        self._received += len(fresh)
        if self._count is not None and fetched.count is not None and fetched.count != self._count:
            owner._drift = True
        if fetched.count is not None:
            self._count = fetched.count
        if len(fresh) != len(ids):
            owner._drift = True
        items = fresh if self._keep is None else [item for item in fresh if self._keep(item)]
        return Page(items, fetched.count, self._offset, fetched.raw)

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
            query.setdefault("limit", str(self._owner._page_size))
        return query

    # --- reading several pages at once -----------------------------------------------------------------------------

    def _may_plan(self, following: Params, size: int) -> bool:
        return self._owner._concurrency > 1 and self._count is not None and "offset" in following and size > 0

    def _fits(self, following: Params, size: int) -> bool:
        return size == self._step and "offset" in following

    def _plan_ahead(self, count: int | None) -> None:
        self._next = None
        limit = self._count if count is None else count
        while len(self._under_way) < self._owner._concurrency and self._planned_to < (limit or 0):
            self._start({"limit": str(self._step), "offset": str(self._planned_to)})
            self._planned_to += self._step
        if not self._under_way:
            self._start({"limit": str(self._step), "offset": str(self._offset)})
            self._planned_to = self._offset + self._step

    def _drop_plan(self) -> None:
        for params, task in self._under_way:
            self._asked.discard(frozenset(params.items()))
            task.cancel()
        self._under_way.clear()

    def _finish(self) -> None:
        self._end()
        expected = None if self._count is None else self._count - self._owner._offset
        if expected is not None and max(expected, 0) != self._received:
            self._owner._drift = True


class _Items(Generic[T]):
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


def _retrieve(task: asyncio.Task[object]) -> None:
    """A page that nobody asked for any more may have failed: that is nobody's business then."""
    if not task.cancelled():
        task.exception()
