"""`Paginator`: a listing that is read when it is iterated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from ezeep_async._runtime.syntax import Asynchronous
from ezeep_async._wire.converter import PageBody
from ezeep_async._wire.requests import HasId
from ezeep_async.errors import EzeepError, InconsistentListing
from ezeep_async.pagination.prefetch import Params
from ezeep_async.pagination.reader import Drift, Fetch, ItemIterator, Listing, PageIterator, RawPage, T


Row = TypeVar("Row", bound=HasId)

MAX_READINGS = 3
"""Readings of a listing that keeps changing, before `InconsistentListing`."""


def _check_whole_number(name: str, value: object, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} is {value!r}: pass a whole number of at least {minimum}")


class Paginator(Asynchronous, Generic[T]):
    """A listing. `await` it for a list, iterate it for items, or `pages()` for pages; each of them reads anew.

    Creating it sends nothing. While you await something else, the next page is requested, or up to `concurrency` pages.
    Repeated rows are left out; a reading remembers the last 10 000 rows for this. It raises `PaginationLoop` after a million rows or 512 MiB: read a longer listing in parts, by `offset`.

    Args:
        fetch: Fetches the page for a query.
        page_size: Rows to request per page, at least 1. The server may send fewer.
        concurrency: Pages to request at the same time, at least 1. Items stay in the order of the server.
        offset: Rows to skip, at least 0.
        keep: The filter that the server was asked to apply; it is applied again to the rows that arrive.
        unfiltered: Fetches the same listing without the filter; `count` needs it.

    Raises:
        ValueError: `page_size`, `concurrency` or `offset` is no whole number or too small.

    Note:
        docs/ezeep-api.md#pages
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
        _check_whole_number("page_size", page_size, 1)
        _check_whole_number("concurrency", concurrency, 1)
        _check_whole_number("offset", offset, 0)
        self._listing = Listing(fetch, page_size, concurrency, offset, keep)
        self._unfiltered = unfiltered
        self._drift = Drift()

    @staticmethod
    def of(records: Iterable[Row], *, page_size: int = 100) -> Paginator[Row]:
        """Make a listing of records that are there, without a server: what a fake of `groups.list` returns in a test.

        Args:
            records: The rows, each with an id. A repeated row is left out, as in every listing.
            page_size: Rows of each page, at least 1.

        Returns:
            A listing that can be read any number of times.

        Raises:
            ValueError: `page_size` is no whole number or too small.
            TypeError: A record has no `id`, or one that is not a UUID.
        """
        rows = list(records)
        for row in rows:
            if not isinstance(getattr(row, "id", None), UUID):
                raise TypeError(f"each record needs an id that is a UUID, not {row!r}")

        async def fetch(params: Params) -> RawPage[Row]:
            limit, start = int(params["limit"]), int(params["offset"])
            end = start + limit
            link = f"?limit={limit}&offset={end}" if end < len(rows) else None
            return lambda: PageBody(rows[start:end], len(rows), link), b""

        return Paginator(fetch, page_size=page_size)

    @property
    def drift(self) -> bool:
        """Whether the reading that was started last showed signs of a change.

        Signs are: `count` moved or disagrees with the rows, a row was repeated, or a page before the last was empty. True
        may also mean that the server contradicts itself. False is no proof: when one row is deleted before the current
        offset and another is added after it, a row is skipped and nothing shows it. Use `collect(consistent=True)`, which
        reads at least twice.
        """
        return bool(self._drift)

    @property
    def duplicates(self) -> int:
        """Repeated rows in the last reading. They were left out.

        A row is recognized among the 10 000 rows after it. It moves further only if as many rows are inserted before it
        during one reading.
        """
        return self._drift.duplicates

    def __aiter__(self) -> AsyncIterator[T]:
        return ItemIterator(self.pages())

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.collect().__await__()

    def pages(self) -> PageIterator[T]:
        """Return an iterator over the pages of one new reading.

        Leaving it early is safe: its requests are cancelled. Use it as an async context manager, or call its
        `aclose()`, to wait until they have ended.

        Returns:
            An async iterator of `Page`. It belongs to one task.
        """
        self._drift = Drift()
        return PageIterator(self._listing, self._drift)

    async def collect(self, *, consistent: bool = False) -> list[T]:
        """Return all items as a list, from which it is safe to delete on the server while looping over it.

        `await listing` is the same as `await listing.collect()`.

        Args:
            consistent: Read until two readings in a row agree and neither shows drift. The result is then the listing
                at one moment, unless rows were added and removed in pairs, at the same places, during both readings.

        Returns:
            The items in the order of the server, each once.

        Raises:
            InconsistentListing: `consistent` is set, and three readings did not agree.
            PaginationLoop: The server repeats pages, or sends rows without end.
            EzeepError: A page could not be read; the error carries `items_so_far` and `resume_offset`.

        Note:
            docs/ezeep-api.md#pages
        """
        if not consistent:
            return (await self._read())[0]
        previous: list[T] | None = None
        for _ in range(MAX_READINGS):
            items, drift = await self._read()
            if drift:
                previous = None
            elif items == previous:
                return items
            else:
                previous = items
        raise InconsistentListing(
            f"{MAX_READINGS} readings of the listing do not agree: it keeps changing, or the server contradicts "
            "itself. Try again later"
        )

    async def first(self) -> T | None:
        """Return the first item, with one request unless the listing is filtered.

        Returns:
            The item, or None for an empty listing.

        Raises:
            EzeepError: The page could not be read.
        """
        if self._listing.keep is None:
            decode, _ = await self._listing.fetch({"limit": "1", "offset": str(self._listing.offset)})
            rows = decode().results
            return rows[0] if rows else None
        async with self.pages() as pages:
            async for page in pages:
                if page.items:
                    return page.items[0]
        return None

    async def count(self) -> int:
        """Return the number of items, with one request where possible.

        A filtered listing takes a second request, which shows whether the server applies the filter. Where it does
        not, or where the server sends no valid count, all items are read and counted. `offset` is ignored.

        Returns:
            The number of items in the whole listing.

        Raises:
            EzeepError: A page could not be read.
        """
        one_row = {"limit": "1", "offset": "0"}
        count = (await self._listing.fetch(one_row))[0]().count
        if count is not None and count < 0:
            count = None
        if count is not None and self._unfiltered is not None:
            # The same count without the filter: every row matches, or the server ignored the filter.
            count = None if (await self._unfiltered(one_row))[0]().count == count else count
        if count is not None:
            return count
        listing = self._listing
        return len(await Paginator(listing.fetch, page_size=listing.page_size, keep=listing.keep).collect())

    async def aclose(self) -> None:
        """Do nothing: only iterators have requests in flight, and they cancel them themselves."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self) -> tuple[list[T], Drift]:
        items: list[T] = []
        pages = self.pages()
        try:
            async with pages:
                async for page in pages:
                    items += page.items
        except EzeepError as error:
            error.items_so_far = items
            raise
        return items, pages.drift
