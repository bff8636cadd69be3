"""`LoopGuard`: the limits of one reading of a listing. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from ezeep_async.errors import PaginationLoop


MAX_PAGE_ROWS = 10_000
"""Rows of one page; ten times the requested limit where that is more."""
MAX_READING_ROWS = 1_000_000
"""Rows of one reading, whatever `count` says: a listing may have no end."""
MAX_READING_BYTES = 512 * 1024 * 1024
"""Bytes of all response bodies of one reading: more than `MAX_READING_ROWS` users take."""
COUNT_SLACK_ROWS = 10_000
"""Distinct rows accepted beyond ten times the largest `count` of the server."""
KNOWN_REQUESTS = 1_000
"""Requests within which a repeated request is found."""


class LoopGuard:
    """Raises `PaginationLoop` where a listing repeats itself or does not end."""

    def __init__(self, page_size: int, offset: int) -> None:
        self._page_size = page_size
        self._offset = offset
        """Where the next page begins."""
        self._requested: dict[frozenset[tuple[str, str]], None] = {}
        self._last: tuple[tuple[UUID, UUID], int, int | None] | None = None
        self._rows = 0
        self._new_rows = 0
        self._repeated_rows = 0
        """Rows since the last new row."""
        self._bytes = 0
        self._largest_count: int | None = None

    def record(self, params: Mapping[str, str]) -> bool:
        """Record a request. Returns False if this reading has sent the same one before."""
        key = frozenset(params.items())
        if key in self._requested:
            return False
        self._requested[key] = None
        if len(self._requested) > KNOWN_REQUESTS:
            del self._requested[next(iter(self._requested))]
        return True

    def forget(self, params: Mapping[str, str]) -> None:
        """Allow a request again whose response was dropped."""
        self._requested.pop(frozenset(params.items()), None)

    def check_page(
        self, ends: tuple[UUID, UUID] | None, rows: int, new_rows: int, count: int | None, body_bytes: int
    ) -> None:
        """Check one page: the ids of its first and last row, its rows, and those that no page before it had."""
        if rows > max(MAX_PAGE_ROWS, 10 * self._page_size):
            raise PaginationLoop(f"the server sent a page of {rows} rows: it ignores limit")
        self._rows += rows
        self._new_rows += new_rows
        self._bytes += body_bytes
        if count is not None and count >= 0:
            self._largest_count = max(count, self._largest_count or 0)
        largest = self._largest_count
        max_new_rows = MAX_READING_ROWS if largest is None else 10 * largest + COUNT_SLACK_ROWS
        if (
            self._new_rows > max_new_rows
            or max(self._rows / MAX_READING_ROWS, self._bytes / MAX_READING_BYTES) > 1
        ):
            raise PaginationLoop(
                f"the server sends rows without end, or the listing is too large: {self._rows} rows and {self._bytes} "
                f"bytes so far, and a count of {largest}. One reading has at most {MAX_READING_ROWS} rows and "
                f"{MAX_READING_BYTES} bytes: if the listing is longer, continue from offset={self._offset}"
            )
        if ends is not None:
            self._check_repetition((ends, rows, count), new_rows)
        self._offset += rows

    def _check_repetition(self, page: tuple[tuple[UUID, UUID], int, int | None], new_rows: int) -> None:
        self._repeated_rows = 0 if new_rows else self._repeated_rows + page[1]
        # A page without new rows is no loop by itself: rows that were inserted before the offset cause one too. It is one
        # if it equals the page before, `count` included, or if more rows repeat in succession than are known.
        if not new_rows and (page == self._last or self._repeated_rows > self._new_rows):
            raise PaginationLoop("the server repeats a page: it ignores limit and offset")
        self._last = page
