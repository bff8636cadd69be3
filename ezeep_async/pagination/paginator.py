"""`Paginator`: a listing as an object, which is read when it is iterated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self

from ezeep_async.errors import EzeepError, InconsistentListing
from ezeep_async.pagination.reader import Fetch, ItemIterator, Listing, Noticed, PageIterator, T


READINGS = 3
"""How often a listing that does not hold still is read before it is given up."""


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}")


class Paginator(Generic[T]):
    """A listing. Iterate it for items, `pages()` for pages; each iteration reads anew.

    A plain object: making it sends nothing. `page_size` items are asked for at a time (the server may send fewer),
    from `offset` on. One page is read ahead; `concurrency` above 1 reads that many at once, still in order.
    `keep` is the filter that the server was asked to apply, applied again to what comes back, and `unfiltered` fetches
    without it. One reading ends with `PaginationLoop` after a million rows or 512 MiB, whatever the server counts:
    more can be read in parts, by `offset`. Raises `ValueError` for sizes that make no sense.
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
        _check_whole("page_size", page_size, 1)
        _check_whole("concurrency", concurrency, 1)
        _check_whole("offset", offset, 0)
        self._listing = Listing(fetch, page_size, concurrency, offset, keep)
        self._unfiltered = unfiltered

    @property
    def drift(self) -> bool:
        """Whether the listing changed while it was read last, as far as can be seen: its count moved or does not agree
        with what came, a row came twice, or a page was empty that was not the last.

        True may also mean that the server contradicts itself. False is no proof: where one row goes before the place
        that was read to, and another comes behind it, before the next page is read, the row in between is skipped, and
        nothing that the server sends tells. `collect(consistent=True)` looks twice.
        """
        return self._listing.noticed.drift

    @property
    def duplicates(self) -> int:
        """How many items came twice in the last reading. They were left out."""
        return self._listing.noticed.duplicates

    def __aiter__(self) -> AsyncIterator[T]:
        return ItemIterator(self.pages())

    def pages(self) -> PageIterator[T]:
        """The pages of one reading. Leaving it early is fine; `aclose()` ends what it has under way at once."""
        return PageIterator(self._listing)

    async def collect(self, *, consistent: bool = False) -> list[T]:
        """All items. With `consistent=True` it reads until two readings in a row agree, neither with any drift.

        A snapshot: safe to delete from while going through it. Consistent, it is the listing as it was at one moment:
        always, when nothing changed during one of the two readings. It can be wrong only where rows came and went in
        pairs, so that the count stayed, during both, at the same places. Raises `InconsistentListing` when three
        readings do not settle it; any other error carries `items_so_far` and `resume_offset`.
        """
        if not consistent:
            return (await self._read())[0]
        previous: list[T] | None = None
        for _ in range(READINGS):
            items, noticed = await self._read()
            if noticed.drift:
                previous = None
            elif items == previous:
                return items
            else:
                previous = items
        raise InconsistentListing(
            f"{READINGS} readings of the listing do not agree: it changes, or the server contradicts itself"
        )

    async def first(self) -> T | None:
        """The first item, None when there is none. One request, unless a filter is left to us."""
        if self._listing.keep is None:
            fetched = await self._listing.fetch({"limit": "1", "offset": str(self._listing.offset)})
            return fetched.items[0] if fetched.items else None
        async with self.pages() as pages:
            async for page in pages:
                if page.items:
                    return page.items[0]
        return None

    async def count(self) -> int:
        """How many items there are, without reading them: one request.

        A filtered listing takes a second one, to see whether the server follows the filter; where it does not, or
        where it does not count (or below zero), the items are read and counted.
        """
        one = {"limit": "1", "offset": "0"}
        count = (await self._listing.fetch(one)).count
        if count is not None and count < 0:
            count = None
        if (
            count is not None
            and self._unfiltered is not None
            and (await self._unfiltered(one)).count == count
        ):
            count = None  # everything is in the group, or the filter was ignored: only reading tells
        if count is not None:
            return count
        everything = Paginator(
            self._listing.fetch, page_size=self._listing.page_size, keep=self._listing.keep
        )
        return len(await everything.collect())

    async def aclose(self) -> None:
        """Nothing to do: only iterators have something under way, and they end with their loop."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self) -> tuple[list[T], Noticed]:
        items: list[T] = []
        pages = self.pages()
        try:
            async with pages:
                async for page in pages:
                    items += page.items
        except EzeepError as error:
            error.items_so_far = items
            raise
        return items, pages.noticed
