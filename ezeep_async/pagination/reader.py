"""`PageIterator`: one reading of a listing, page by page.

Only the query of a `next` link is used, never its host or path: the token must not go to another host. `offset` is computed
from the rows that arrived, so the next page begins where the last one ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import attrs
from yarl import URL

from ezeep_async._runtime.syntax import Asynchronous
from ezeep_async._wire.converter import PageBody
from ezeep_async._wire.requests import HasId
from ezeep_async.errors import EzeepError, PaginationLoop
from ezeep_async.pagination.loop_guard import LoopGuard
from ezeep_async.pagination.prefetch import PagesInFlight, Params, PrefetchPlan


KNOWN_ROWS = 10_000
"""Rows within which a repeated row is found. A row moves by as many places as rows were inserted before it."""
_PLAIN_QUERY = re.compile(r"[^?#]*\?limit=([0-9]+)&offset=([0-9]+)")
"""A link whose query is the usual one."""


T = TypeVar("T", bound=HasId)

RawPage = tuple[Callable[[], PageBody[T]], bytes]
"""A function that decodes a page, and the body of its response. A page is decoded when its turn comes: many small objects
that wait are work for the garbage collector."""
Fetch = Callable[[Params], Coroutine[Any, Any, RawPage[T]]]


@attrs.frozen
class Page(Generic[T]):
    """One page of a listing."""

    items: list[T]
    """The rows of the page, without rows that an earlier page had."""
    count: int | None
    """Rows in the whole listing, as the server counted them for this page."""
    offset: int
    """Rows before this page."""
    raw: bytes = attrs.field(repr=False)
    """The body of the response."""


@attrs.define
class Drift:
    """Signs that a listing changed during one reading. True if there are any."""

    detected: bool = False
    duplicates: int = 0

    def __bool__(self) -> bool:
        return self.detected


@attrs.frozen
class Listing(Generic[T]):
    """What to list, and how."""

    fetch: Fetch[T]
    page_size: int
    concurrency: int
    offset: int
    keep: Callable[[T], bool] | None
    """The filter that the server was asked to apply, applied again to its rows."""


class KnownRows(Generic[T]):
    """The ids of at least the last `KNOWN_ROWS` rows, and of at most twice as many."""

    def __init__(self) -> None:
        self._ids: set[int] = set()  # an int is hashed several times faster than a UUID
        self._older: set[int] = set()
        self.distinct = 0

    def new_of(self, rows: list[T]) -> list[T]:
        """The rows of one page that no page before it had."""
        known, older = self._ids, self._older
        ids = [row.id.int for row in rows]
        if not known.isdisjoint(ids) or (older and not older.isdisjoint(ids)):
            rows = [row for row in rows if row.id.int not in known and row.id.int not in older]
            ids = [row.id.int for row in rows]
        before = len(known)
        known.update(ids)
        if len(known) - before < len(ids):  # a row is in this page twice
            first: dict[int, T] = {}
            for each, row in zip(ids, rows, strict=True):
                first.setdefault(each, row)
            rows = list(first.values())
        self.distinct += len(rows)
        if len(known) >= KNOWN_ROWS:
            self._older, self._ids = known, set()
        return rows


class PageIterator(Asynchronous, Generic[T]):
    """One reading of a listing. It cancels its prefetched requests when it is closed or dropped.

    Raises `RuntimeError` when two tasks use it, and when it is used again after an error. `aclose()` from another task
    ends a waiting `__anext__` with `CancelledError`, except for the first page, which the caller gets.
    """

    def __init__(self, listing: Listing[T], drift: Drift | None = None) -> None:
        self.drift = Drift() if drift is None else drift
        self._listing = listing
        self._guard = LoopGuard(listing.page_size, listing.offset)
        self._plan = PrefetchPlan()
        self._in_flight = PagesInFlight(listing.fetch)
        self._offset = listing.offset
        self._next: Params | None = {"limit": str(listing.page_size), "offset": str(listing.offset)}
        """The page that `__anext__` requests itself: the first one, or one that the guard refused. Otherwise None."""
        self._known: KnownRows[T] = KnownRows()
        self._count: int | None = None
        self._done = False
        self._failed = False
        self._reading = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._reading:
            raise RuntimeError(
                "another task is waiting for a page of this reading: each task needs its own pages()"
            )
        if self._failed:
            # Not StopAsyncIteration: after an error or a timeout the rows so far would look complete.
            raise RuntimeError("this reading ended with an error: call pages() again")
        if self._done:
            raise StopAsyncIteration
        self._reading = True
        try:
            decode, raw = await self._fetch_next()
            return self._accept(decode(), raw)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if isinstance(error, EzeepError):
                error.resume_offset = self._offset
            self._failed = True
            self._end()
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        """End the reading. Cancel its prefetched requests, and wait until they have ended."""
        self._end()
        await self._in_flight.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _fetch_next(self) -> RawPage[T]:
        if self._in_flight:
            return await self._in_flight.take()
        if self._next is None:
            self._done = True
            raise StopAsyncIteration
        if not self._guard.record(self._next):
            raise PaginationLoop("a next link of the server points to a page that was read already")
        return await self._listing.fetch(self._next)

    def _accept(self, body: PageBody[T], raw: bytes) -> Page[T]:
        offset, rows, count = self._offset, body.results, body.count
        items = self._known.new_of(rows)
        self._guard.check_page(
            (rows[0].id, rows[-1].id) if rows else None, len(rows), len(items), count, len(raw)
        )
        self._offset += len(rows)
        self.drift.duplicates += len(rows) - len(items)
        if (
            len(items) < len(rows)
            or (not rows and body.next is not None)
            or (count is not None and self._count not in {None, count})
        ):
            self.drift.detected = True
        self._count = self._count if count is None else count
        if body.next is None or not rows:
            self._end()
            if self._count is not None and max(self._count - self._listing.offset, 0) != self._known.distinct:
                self.drift.detected = True
        elif not self._done:  # closed by another task meanwhile
            self._read_ahead(self._following(body.next), len(rows))
        if self._listing.keep is not None:
            items = [item for item in items if self._listing.keep(item)]
        return Page(items, count, offset, raw)

    def _following(self, link: str) -> Params:
        plain = _PLAIN_QUERY.fullmatch(link)
        try:
            # yarl takes a hundredth of a page's time for it.
            query = dict(URL(link).query) if plain is None else {"limit": plain[1], "offset": plain[2]}
        except (ValueError, TypeError):
            query = {}
        if not query or "offset" in query:
            # The rows that arrived say where the next page begins, not the server's arithmetic.
            query["offset"] = str(self._offset)
            query.setdefault("limit", str(self._listing.page_size))
        return query

    def _read_ahead(self, following: Params, rows: int) -> None:
        """Start the next requests, after a page of `rows` rows whose link is `following`.

        Invariant: the requests in flight are consecutive pages, and the first begins at `_offset`. There are several only
        if the server sends `count` and a link of exactly `limit` and `offset`.
        """
        plan, listing = self._plan, self._listing
        if self._in_flight:
            if not plan.fits(following, rows):
                # The server's page size changed, or a row was deleted: the planned pages would leave a gap.
                for dropped in self._in_flight.cancel():
                    self._guard.forget(dropped)
                self._start(following, alone=True)
                return
        elif listing.concurrency > 1 and self._count is not None and set(following) == {"limit", "offset"}:
            plan.restart(rows, self._offset)
        else:  # any other parameter means that the server does not page by offset
            self._start(following, alone=True)
            return
        while len(self._in_flight) < listing.concurrency and (params := plan.next_params(self._count or 0)):
            self._start(params)
        if not self._in_flight:
            # `next` says that there is more, also beyond `count`.
            plan.restart(rows, self._offset)
            self._start(plan.advance())

    def _start(self, params: Params, *, alone: bool = False) -> None:
        if self._guard.record(params):
            self._next = None
            (self._in_flight.start_soon if alone else self._in_flight.start)(params)
        else:
            # The page that leads into the loop is returned first. The next step raises.
            self._next = params

    def _end(self) -> None:
        self._done = True
        self._in_flight.cancel()


class ItemIterator(Generic[T]):
    """The items of the pages. Not a generator: the event loop would have to finalize a generator."""

    def __init__(self, pages: PageIterator[T]) -> None:
        self._pages = pages
        self._items: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            for item in self._items:  # the cheapest way to take one item
                return item
            self._items = iter((await self._pages.__anext__()).items)

    async def aclose(self) -> None:
        """End the reading."""
        await self._pages.aclose()
