"""Listings: every row exactly once, in order, and no request left in flight, whatever the server does."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, nothing_running, page, session_on, user
from helpers.support import until

from ezeep_async import (
    EzeepSession,
    Group,
    InconsistentListing,
    PaginationLoop,
    Paginator,
    PermissionDenied,
    User,
)
from ezeep_async._wire.converter import PageBody
from ezeep_async.pagination import loop_guard
from ezeep_async.pagination.reader import RawPage
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


USERS = "GET /printing/v1/users/"
BOTH = pytest.mark.parametrize("concurrency", [1, 4])


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


class Listing:
    """A server that pages by limit and offset; `cap` is the longest page, `on_page` may change the rows."""

    def __init__(self, rows: int = 0) -> None:
        self.rows = list(range(rows))
        self.cap = 100
        self.seen: list[dict[str, str]] = []
        self.on_page: Callable[[int], None] = lambda number: None
        self.count: int | None = -1
        self.delay = 0.0
        self.active = 0

    async def __call__(self, seen: Seen) -> web.StreamResponse:
        self.seen.append(seen.query)
        self.on_page(len(self.seen))
        limit = min(int(seen.query.get("limit", 20)), self.cap)
        offset = int(seen.query.get("offset", 0))
        rows = self.rows[offset : offset + limit]
        link = None
        if offset + limit < len(self.rows):
            link = "http://api2.ezeep.com/x/?" + urlencode({"limit": limit, "offset": offset + limit})
        self.active += 1
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.active -= 1
        count = len(self.rows) if self.count == -1 else self.count
        return web.json_response({"count": count, "next": link, "results": [user(n) for n in rows]})


@asynccontextmanager
async def served(listing: Any, **options: Any) -> AsyncIterator[EzeepSession]:
    async with Stub(listing) as stub, session_on(stub.url, **options) as session:
        yield session


def numbers(users: list[User]) -> list[int]:
    return [each.id.int for each in users]


# --- 4-1, 4-2: stepping


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("cap", [1, 5, 100])
async def test_4_1_a_silent_cap_loses_nothing(
    session: EzeepSession, sandbox: Sandbox, cap: int, concurrency: int
) -> None:
    """4-1: asked for 1000, given `cap`: every row exactly once, in the server's order."""
    sandbox.behaviour.max_page_size = cap
    users = await session.users.list(page_size=1000, concurrency=concurrency).collect()
    assert [each.id for each in users] == [each.id for each in sandbox.organization.listed_users()]


@BOTH
async def test_4_1_an_empty_listing_is_one_request(concurrency: int) -> None:
    """4-1: an empty listing takes one request."""
    listing = Listing(0)
    async with served(listing) as session:
        pager = session.users.list(concurrency=concurrency)
        assert await pager.collect() == []
        assert len(listing.seen) == 1
        assert pager.drift is False


@BOTH
async def test_4_1_an_empty_page_ends_the_listing(concurrency: int) -> None:
    """4-1: an empty page with a `next` ends the listing."""

    def handler(seen: Seen) -> web.Response:
        rows = [user(1)] if seen.query["offset"] == "0" else []
        return page(rows, 50, "http://x.example/?limit=1&offset=1")

    async with served(handler) as session:
        assert numbers(await session.users.list(page_size=1, concurrency=concurrency).collect()) == [1]


@BOTH
@pytest.mark.parametrize("rows", [1, 9, 10, 11, 40])
async def test_4_1_all_sizes_around_the_page_size(rows: int, concurrency: int) -> None:
    """4-1: one less, exactly, and one more than a page."""
    async with served(Listing(rows)) as session:
        pager = session.users.list(page_size=10, concurrency=concurrency)
        assert numbers(await pager.collect()) == list(range(rows))
        assert (pager.drift, pager.duplicates) == (False, 0)


@pytest.mark.parametrize("concurrency", [2, 4, 9])
async def test_4_2_a_cap_that_shrinks_between_pages_leaves_no_gap(concurrency: int) -> None:
    """4-2: when pages become smaller the prefetch plan starts again."""
    listing = Listing(60)

    def shrink(number: int) -> None:
        listing.cap = 10 if number == 1 else 7 if number < 5 else 3

    listing.on_page = shrink
    async with served(listing) as session:
        assert numbers(await session.users.list(concurrency=concurrency).collect()) == list(range(60))


async def test_4_2_the_size_of_the_first_page_is_the_step() -> None:
    """4-2: the step of concurrent requests is the number of rows that arrived, not `page_size`."""
    listing = Listing(30)
    listing.cap = 5
    async with served(listing) as session:
        await session.users.list(page_size=1000, concurrency=3).collect()
    assert sorted(int(query["offset"]) for query in listing.seen) == [0, 5, 10, 15, 20, 25]


@BOTH
async def test_4_2_rows_added_at_the_end_while_reading_are_read(concurrency: int) -> None:
    """4-2: a listing that grows at its end is read to its new end."""
    listing = Listing(30)
    listing.on_page = lambda number: listing.rows.extend(range(30, 45)) if number == 2 else None
    async with served(listing) as session:
        pager = session.users.list(page_size=10, concurrency=concurrency)
        assert numbers(await pager.collect()) == list(range(45))
        assert pager.drift is True


@BOTH
async def test_4_2_without_a_count_all_rows_are_read(concurrency: int) -> None:
    """4-2, 4-4: without `count` all rows are read."""
    listing = Listing(25)
    listing.count = None
    async with served(listing) as session:
        pager = session.users.list(page_size=10, concurrency=concurrency)
        assert numbers(await pager.collect()) == list(range(25))


@BOTH
@pytest.mark.parametrize("count", [0, 3, 1000])
async def test_4_4_a_wrong_count_loses_no_row(concurrency: int, count: int) -> None:
    """4-4: `count` does not decide where a listing ends; that it disagrees is drift."""
    listing = Listing(25)
    listing.count = count
    async with served(listing) as session:
        pager = session.users.list(page_size=10, concurrency=concurrency)
        assert numbers(await pager.collect()) == list(range(25))
        assert pager.drift is True


# --- 4-3, 4-4, 4-5: changes during a reading


@BOTH
async def test_4_3_a_repeated_row_is_returned_once_and_counted(concurrency: int) -> None:
    """4-3: an insertion before the offset repeats a row: returned once, counted, drift."""
    listing = Listing(30)
    listing.on_page = lambda number: listing.rows.insert(0, 99) if number == 2 else None
    async with served(listing) as session:
        pager = session.users.list(page_size=10, concurrency=concurrency)
        found = numbers(await pager.collect())
        assert sorted(found) == list(range(30))
        assert pager.duplicates >= 1
        assert pager.drift is True


async def test_4_4_drift_and_duplicates_are_those_of_the_last_reading() -> None:
    """4-4: a second reading without changes clears them."""
    listing = Listing(30)
    listing.on_page = lambda number: listing.rows.insert(0, 99) if number == 2 else None
    async with served(listing) as session:
        pager = session.users.list(page_size=10)
        await pager.collect()
        assert len(await pager.collect()) == 31
        assert (pager.drift, pager.duplicates) == (False, 0)


async def test_4_4_a_deleted_row_shows_as_drift() -> None:
    """4-4: a deletion skips a row; the number of rows differs from `count`."""
    listing = Listing(30)
    listing.on_page = lambda number: listing.rows.pop(0) if number == 2 else None
    async with served(listing) as session:
        pager = session.users.list(page_size=10)
        await pager.collect()
        assert pager.drift is True


async def test_4_4_consistent_reads_until_two_agree() -> None:
    """4-4: one change, then none: the complete listing is returned."""
    listing = Listing(30)
    listing.on_page = lambda number: listing.rows.pop(0) if number == 2 else None
    async with served(listing) as session:
        found = numbers(await session.users.list(page_size=10).collect(consistent=True))
    assert found == list(range(1, 30))


async def test_4_4_consistent_gives_up_after_three_readings() -> None:
    """4-4: a listing that changes under each of three readings is `InconsistentListing`."""
    listing = Listing(30)
    listing.on_page = lambda number: listing.rows.pop(0) if number % 3 == 2 else None
    async with served(listing) as session:
        with pytest.raises(InconsistentListing):
            await session.users.list(page_size=10).collect(consistent=True)
    assert len(listing.seen) <= 9


async def test_4_5_deleting_every_row_that_was_collected_removes_all(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """4-5: a snapshot first, then delete: nothing is skipped."""
    for group in await session.groups.list(page_size=5).collect():
        await session.groups.delete(group.id)
    assert sandbox.organization.groups == {}


# --- 4-6, 4-7: guards


@BOTH
async def test_4_6_a_server_that_ignores_the_offset_is_a_loop(
    session: EzeepSession, sandbox: Sandbox, concurrency: int
) -> None:
    """4-6: the same page again is `PaginationLoop`, after a few requests."""
    sandbox.behaviour.ignore_offset = True
    with pytest.raises(PaginationLoop) as caught:
        await session.users.list(page_size=10, concurrency=concurrency).collect()
    assert sandbox.count(USERS) <= 1 + concurrency
    assert len(caught.value.items_so_far or ()) == 10


@pytest.mark.parametrize("links", [["?cursor=a"], ["?cursor=a", "?cursor=b"]])
async def test_4_6_a_next_that_leads_in_a_circle_is_a_loop(links: list[str]) -> None:
    """4-6: other rows each time, but addresses that were read already."""
    number = 0

    def handler(seen: Seen) -> web.Response:
        nonlocal number
        number += 1
        return page([user(number)], 100, links[number % len(links)])

    async with served(handler) as session:
        with pytest.raises(PaginationLoop):
            await session.users.list().collect()
    assert number <= 4


@pytest.mark.parametrize(
    ("link", "sent"),
    [
        ("http://other.example/x/?limit=7&offset=99", {"limit": "7", "offset": "1"}),
        ("?limit=7&offset=99", {"limit": "7", "offset": "1"}),
        ("?limit=7&offset=99&sort=name", {"limit": "7", "offset": "1", "sort": "name"}),
        ("?sort=?limit=7&offset=99", {"sort": "?limit=7", "offset": "1", "limit": "100"}),
        ("?limit=7&offset=99#x", {"limit": "7", "offset": "1"}),
        ("http://[", {"limit": "100", "offset": "1"}),
    ],
)
async def test_4_1_the_next_request_has_the_parameters_of_the_link(link: str, sent: dict[str, str]) -> None:
    """4-1: but for the offset, which is counted here."""
    seen_queries: list[dict[str, str]] = []

    def handler(seen: Seen) -> web.Response:
        seen_queries.append(seen.query)
        return page([user(len(seen_queries))], 2, link if len(seen_queries) == 1 else None)

    async with served(handler) as session:
        assert len(await session.users.list().collect()) == 2
    assert seen_queries[1] == sent


ENDLESS: dict[str, Callable[[int, int], tuple[list[int], str | None]]] = {
    "new rows": lambda number, offset: ([*range(offset, offset + 100)], f"?limit=100&offset={offset + 100}"),
    "new rows by cursor": lambda number, offset: ([*range(100 * number, 100 * number + 100)], f"?cursor={number}"),
    "one new row among known ones": lambda number, offset: ([*range(99), 99 + number], f"?limit=100&offset={offset + 100}"),
    "known rows": lambda number, offset: ([*range(100)], f"?limit=100&offset={offset + 100}"),
    "no rows": lambda number, offset: ([], f"?limit=100&offset={offset + 100}"),
}  # shorter than one item a line  # fmt: skip


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("kind", ENDLESS)
async def test_4_6_an_endless_listing_ends_whatever_its_count(
    kind: str, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4-6: with a count of a billion: `PaginationLoop` that says where to read on, or the end of the listing."""
    monkeypatch.setattr(loop_guard, "MAX_READING_ROWS", 2_000)
    requests = 0

    def handler(seen: Seen) -> web.Response:
        nonlocal requests
        requests += 1
        rows, following = ENDLESS[kind](requests, int(seen.query.get("offset", "0")))
        return page([user(number) for number in rows], 10**9, following)

    async with served(handler) as session:
        listing = session.users.list(concurrency=concurrency)
        if kind == "no rows":
            assert (await listing.collect(), listing.drift) == ([], True)
        else:
            with pytest.raises(PaginationLoop) as caught:
                await listing.collect()
            assert caught.value.resume_offset is not None
            assert len(caught.value.items_so_far or ()) <= 2_000
        assert requests <= 21 + concurrency


async def test_4_6_the_bytes_of_a_reading_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """4-6: a few large rows are `PaginationLoop` too."""
    monkeypatch.setattr(loop_guard, "MAX_READING_BYTES", 1_000_000)

    def handler(seen: Seen) -> web.Response:
        offset = int(seen.query["offset"])
        row = {**user(offset), "unknown": "x" * 100_000}
        return page([row], 10**9, f"?limit=100&offset={offset + 1}")

    async with served(handler) as session:
        with pytest.raises(PaginationLoop, match=r"too large: .* continue from offset=9") as caught:
            await session.users.list().collect()
    assert len(caught.value.items_so_far or ()) == 9


@BOTH
async def test_4_6_a_page_longer_than_asked_for_loses_nothing(concurrency: int) -> None:
    """4-6: a server that sends more than was asked for: every row once."""

    def handler(seen: Seen) -> web.Response:
        offset = int(seen.query["offset"])
        rows = [user(n) for n in range(offset, min(offset + 7, 20))]
        return page(rows, 20, f"?limit=2&offset={offset + 2}" if offset + 7 < 20 else None)

    async with served(handler) as session:
        found = numbers(await session.users.list(page_size=2, concurrency=concurrency).collect())
    assert found == list(range(20))


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, "10", None])
async def test_4_7_invalid_sizes_are_refused(session: EzeepSession, sandbox: Sandbox, bad: Any) -> None:
    """4-7: below 1, or no whole number: `ValueError`; nothing is sent."""
    for call in (
        lambda: session.users.list(page_size=bad),
        lambda: session.groups.list(concurrency=bad),
        lambda: session.accounts.list(page_size=bad),
        lambda: session.invitations.list(page_size=bad),
        lambda: session.groups.members(next(iter(sandbox.organization.groups)), page_size=bad),
    ):
        with pytest.raises(ValueError, match=r"page_size|concurrency"):
            call()
    assert sandbox.requests == []


# --- 4-8: leaving early


@pytest.mark.slow
@BOTH
async def test_4_8_break_leaves_nothing_running(concurrency: int, caplog: pytest.LogCaptureFixture) -> None:
    """4-8: after a `break` no request is in flight 100 ms later, and only the read-ahead was sent."""
    listing = Listing(200)
    listing.delay = 0.02
    async with served(listing) as session:
        async with nothing_running():
            async for each in session.users.list(page_size=10, concurrency=concurrency):
                assert each.id.int == 0
                break
        assert listing.active == 0
        asked = len(listing.seen)
        await asyncio.sleep(0.1)
        assert len(listing.seen) == asked <= 1 + concurrency
    assert [record for record in caplog.records if record.name == "asyncio" and record.levelno > 20] == []


@pytest.mark.slow
@BOTH
async def test_4_8_an_exception_in_the_loop_leaves_nothing_running(concurrency: int) -> None:
    """4-8: no request is in flight after an exception in the body of the loop."""
    listing = Listing(200)
    listing.delay = 0.02
    async with served(listing) as session, nothing_running():
        with pytest.raises(ZeroDivisionError):
            async for _ in session.users.list(page_size=10, concurrency=concurrency):
                1 / 0
    assert listing.active == 0


@pytest.mark.slow
@BOTH
async def test_4_8_cancelling_leaves_nothing_running(concurrency: int) -> None:
    """4-8: no request is in flight after a cancellation."""
    listing = Listing(200)
    listing.delay = 0.05
    async with served(listing) as session, nothing_running():
        pager = session.users.list(page_size=10, concurrency=concurrency)
        reading = asyncio.create_task(pager.collect())
        await asyncio.sleep(0.12)
        reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled()
    assert listing.active == 0


@pytest.mark.slow
@BOTH
async def test_4_8_a_page_that_fails_leaves_nothing_running(concurrency: int) -> None:
    """4-8: no request is in flight after a page failed while others were in flight."""
    listing = Listing(200)
    listing.delay = 0.05

    async def handler(seen: Seen) -> web.StreamResponse:
        if seen.query["offset"] == "10":
            return web.json_response({"detail": "no"}, status=403)
        return await listing(seen)

    async with served(handler) as session, nothing_running():
        with pytest.raises(PermissionDenied):
            await session.users.list(page_size=10, concurrency=concurrency).collect()
    assert listing.active == 0


@BOTH
async def test_4_8_aclose_ends_the_reading_at_once(concurrency: int) -> None:
    """4-8: `pages()` can be closed twice, by `aclose` and `async with`, and yields nothing afterwards."""
    listing = Listing(200)
    listing.delay = 0.02
    async with served(listing) as session:
        pages = session.users.list(page_size=10, concurrency=concurrency).pages()
        before = asyncio.all_tasks()
        async with pages:
            first = await pages.__anext__()
            assert numbers(first.items) == list(range(10))
        assert [t for t in asyncio.all_tasks() - before if "RequestHandler" not in repr(t)] == []
        await pages.aclose()
        assert [each async for each in pages] == []


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("pages_read", [0, 1])
async def test_4_8_aclose_by_another_task(concurrency: int, pages_read: int) -> None:
    """4-8: the first page arrives, and nothing is requested after it; waiting for a later one is cancelled."""
    listing = Listing(200)
    listing.delay = 0.05
    async with served(listing) as session, nothing_running():
        pages = session.users.list(page_size=10, concurrency=concurrency).pages()
        for _ in range(pages_read):
            await pages.__anext__()
        waiting = asyncio.create_task(pages.__anext__())
        await until(lambda: listing.active > 0)
        await pages.aclose()
        if pages_read:
            with pytest.raises(asyncio.CancelledError):
                await waiting
        else:
            assert numbers((await waiting).items) == list(range(10))
            assert [each async for each in pages] == []
            await asyncio.sleep(0.05)
            assert [query["offset"] for query in listing.seen] == ["0"]


async def test_4_8_one_page_is_read_ahead() -> None:
    """4-8: while the first page is processed the second is fetched, and no third."""
    listing = Listing(100)
    async with served(listing) as session:
        async with session.users.list(page_size=10).pages() as pages:
            await pages.__anext__()
            await asyncio.sleep(0.05)
            assert len(listing.seen) == 2


@pytest.mark.slow
async def test_4_8_concurrency_is_bounded() -> None:
    """4-8, 4-9: never more pages in flight or waiting than `concurrency`."""
    listing = Listing(200)
    most = 0

    def watch(number: int) -> None:
        nonlocal most
        most = max(most, listing.active + 1)

    listing.on_page, listing.delay = watch, 0.005
    async with served(listing) as session:
        async with session.users.list(page_size=5, concurrency=4).pages() as pages:
            taken = 0
            async for _ in pages:
                taken += 1
                await asyncio.sleep(0.01)
                assert len(listing.seen) <= taken + 4
    assert most <= 4


@pytest.mark.slow
def test_4_8_in_debug_mode_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """4-8: early exits under asyncio's debug mode log no warning or error."""

    async def main() -> None:
        listing = Listing(100)
        listing.delay = 0.01
        async with served(listing) as session:
            for concurrency in (1, 4):
                async for _ in session.users.list(page_size=10, concurrency=concurrency):
                    break
                iterator = aiter(session.users.list(page_size=10, concurrency=concurrency))
                await anext(iterator)
                del iterator
            gc.collect()
            await asyncio.sleep(0.05)

    with caplog.at_level(logging.WARNING, "asyncio"):
        asyncio.run(main(), debug=True)
        gc.collect()
    said = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert [line for line in said if "took" not in line] == []


# --- 4-9: order


async def test_4_9_sequential_by_default() -> None:
    """4-9: one request at a time unless more are asked for."""
    listing = Listing(60)
    listing.delay = 0.005
    most = 0

    def watch(number: int) -> None:
        nonlocal most
        most = max(most, listing.active + 1)

    listing.on_page = watch
    async with served(listing) as session:
        await session.users.list(page_size=10).collect()
    assert most == 1
    assert [query["offset"] for query in listing.seen] == ["0", "10", "20", "30", "40", "50"]


async def test_4_9_concurrency_keeps_the_servers_order() -> None:
    """4-9: pages that arrive out of order are returned in order."""
    listing = Listing(100)

    async def handler(seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(0.03 - int(seen.query["offset"]) % 40 / 2000)
        return await listing(seen)

    async with served(handler) as session:
        found = [each.id.int async for each in session.users.list(page_size=10, concurrency=4)]
    assert found == list(range(100))


# --- 4-10: errors


@BOTH
async def test_4_10_an_error_carries_the_items_so_far_and_the_resume_offset(concurrency: int) -> None:
    """4-10: listing from `resume_offset` returns the remaining rows."""
    listing = Listing(60)
    broken = True

    async def handler(seen: Seen) -> web.StreamResponse:
        if broken and seen.query["offset"] == "30":
            return web.json_response({}, status=403)
        return await listing(seen)

    async with served(handler) as session:
        with pytest.raises(PermissionDenied) as caught:
            await session.users.list(page_size=10, concurrency=concurrency).collect()
        so_far: Any = caught.value.items_so_far
        assert numbers(so_far) == list(range(30))
        assert caught.value.resume_offset == 30
        broken = False
        rest = await session.users.list(page_size=10, offset=30, concurrency=concurrency).collect()
        assert numbers(so_far + rest) == list(range(60))


async def test_4_10_an_error_of_an_iteration_carries_the_resume_offset(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """4-10: `async for` has returned the items so far; the error has the offset."""
    sandbox.faults.add(USERS, status=403, nth=3)
    found = []
    with pytest.raises(PermissionDenied) as caught:
        async for each in session.users.list(page_size=10):
            found.append(each)
    assert len(found) == caught.value.resume_offset == 20


# --- 4-11: other parameters


@BOTH
@pytest.mark.parametrize("page_size", [5, 20, 100])
async def test_4_11_a_server_that_pages_by_number(
    session: EzeepSession, sandbox: Sandbox, concurrency: int, page_size: int
) -> None:
    """4-11: `page` and `per_page`, with our `limit` and `offset` echoed: every row once, no loop."""
    sandbox.behaviour.paging = "page"
    users = await session.users.list(page_size=page_size, concurrency=concurrency).collect()
    assert [each.id for each in users] == [each.id for each in sandbox.organization.listed_users()]


@BOTH
async def test_4_11_a_server_that_pages_by_number_and_echoes_nothing(concurrency: int) -> None:
    """4-11: `next` with `page` alone is followed too."""

    def handler(seen: Seen) -> web.Response:
        number = int(seen.query.get("page", 1))
        rows = [user(n) for n in range(10 * number - 10, 10 * number)]
        return page(rows, 50, f"http://x.example/?page={number + 1}" if number < 5 else None)

    async with served(handler) as session:
        assert numbers(await session.users.list(concurrency=concurrency).collect()) == list(range(50))


@BOTH
async def test_4_11_a_server_with_cursors(concurrency: int) -> None:
    """4-11: the query of `next` is followed, whatever its parameters."""

    def handler(seen: Seen) -> web.Response:
        start = int(seen.query.get("cursor", "c0")[1:])
        following = f"/?cursor=c{start + 10}&size=10" if start < 40 else None
        return page([user(n) for n in range(start, start + 10)], 50, following)

    async with served(handler) as session:
        assert numbers(await session.users.list(concurrency=concurrency).collect()) == list(range(50))


@pytest.mark.parametrize("cursor", ["cD0yMDI0LTA1+/==", "a b&c", "100%", "ü"])
async def test_4_11_a_cursor_comes_back_as_it_was_sent(cursor: str) -> None:
    """4-11: the query of `next` is sent back with the same values, whatever characters they have."""

    def handler(seen: Seen) -> web.Response:
        if "cursor" not in seen.query:
            return page([user(1)], 2, "http://x.example/?" + urlencode({"cursor": cursor}))
        return page([user(2)], 2)

    async with Stub(handler) as stub, session_on(stub.url, retries=0) as session:
        assert numbers(await session.users.list(page_size=1).collect()) == [1, 2]
        assert stub.seen[-1].query == {"cursor": cursor}


# --- 4-12: first, count and pages


async def test_4_12_first_is_one_request(session: EzeepSession, sandbox: Sandbox) -> None:
    """4-12: the first item for one small request, None where there is none."""
    first = await session.users.list().first()
    assert first is not None
    assert first.id == next(each.id for each in sandbox.organization.listed_users())
    assert [seen.query["limit"] for seen in sandbox.requests] == ["1"]
    async with served(Listing(0)) as empty:
        assert await empty.users.list().first() is None


async def test_4_12_count_is_one_request(session: EzeepSession, sandbox: Sandbox) -> None:
    """4-12: the count takes one request with limit=1."""
    assert await session.users.list().count() == len(sandbox.organization.users)
    assert [seen.query["limit"] for seen in sandbox.requests] == ["1"]


async def test_4_12_pages_have_items_count_offset_and_raw(session: EzeepSession) -> None:
    """4-12: `pages()` yields pages as the server sent them."""
    pages = [each async for each in session.groups.list(page_size=5).pages()]
    assert [(len(each.items), each.count, each.offset) for each in pages] == [
        (5, 13, 0),
        (5, 13, 5),
        (3, 13, 10),
    ]
    assert json.loads(pages[0].raw)["results"][0]["id"] == str(pages[0].items[0].id)
    assert isinstance(pages[0].items[0], Group)


async def test_4_12_making_a_paginator_sends_nothing(session: EzeepSession, sandbox: Sandbox) -> None:
    """4-12: a plain object; each iteration reads anew."""
    pager = session.groups.list()
    assert isinstance(pager, Paginator)
    await asyncio.sleep(0.01)
    assert sandbox.requests == []
    assert await pager.collect() == await pager.collect() == [each async for each in pager]
    assert sandbox.count("GET /printing/v1/groups/") == 3


async def test_4_12_two_iterations_at_once_do_not_mix(session: EzeepSession) -> None:
    """4-12: two concurrent readings of one paginator are both complete."""
    pager = session.users.list(page_size=20)
    one, two = await asyncio.gather(pager.collect(), pager.collect())
    assert one == two
    assert len(one) == 134


@pytest.mark.parametrize("honoured", [True, False])
async def test_4_12_members_are_counted_whatever_the_server_does(
    session: EzeepSession, sandbox: Sandbox, honoured: bool
) -> None:
    """4-12: `members(...).count()` and `.first()` are right when the filter is ignored, too."""
    sandbox.behaviour.honour_group_filter = honoured
    group = next(
        group for group in sandbox.organization.groups if sandbox.organization.num_members(group) > 1
    )
    expected = [each.id for each in sandbox.organization.listed_members(group)]
    assert await session.groups.members(group).count() == len(expected)
    first = await session.groups.members(group).first()
    assert first is not None
    assert first.id == expected[0]


async def test_4_8_one_reading_is_for_one_task(session: EzeepSession) -> None:
    """4-8: shared between tasks it would lose pages: `RuntimeError`, and the first task reads on."""
    pages = session.users.list(page_size=10).pages()
    first = asyncio.create_task(pages.__anext__())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task"):
        await pages.__anext__()
    rest = len((await first).items) + sum([len(page.items) async for page in pages])
    assert rest == 134


async def test_4_8_a_reading_that_broke_off_does_not_look_complete(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """4-8: after a timeout for one page the next step is an error, not the end of the iteration."""
    hold = sandbox.faults.hold(
        "GET /printing/v1/users/", when=lambda request: request.query.get("offset") == "10"
    )
    pages = session.users.list(page_size=10).pages()
    await pages.__anext__()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pages.__anext__(), 0.1)
    with pytest.raises(RuntimeError, match="ended with an error"):
        await pages.__anext__()
    hold.release()


async def test_4_6_a_listing_that_grows_by_a_page_is_no_loop() -> None:
    """4-6, 4-4: rows inserted at lower offsets repeat a known page; the count has changed, so this is drift."""
    rows = [Group(id=UUID(int=n), name=str(n), organization_id=UUID(int=0)) for n in range(100, 112)]
    new = [Group(id=UUID(int=n), name=str(n), organization_id=UUID(int=0)) for n in range(3)]

    async def fetch(params: Mapping[str, str]) -> RawPage[Group]:
        offset = int(params["offset"])
        if offset == 3:
            rows[:0] = new
        following = f"?limit=3&offset={offset + 3}" if offset + 3 < len(rows) else None
        body = PageBody(rows[offset : offset + 3], len(rows), following)
        return lambda: body, b""

    listing = Paginator(fetch, page_size=3)
    assert [group.id.int for group in await listing.collect()] == list(range(100, 112))
    assert listing.drift
    assert listing.duplicates == 3


async def test_4_6_a_server_that_ignores_offset_is_still_a_loop(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """4-6: the same page with the same count is no drift."""
    sandbox.behaviour.ignore_offset = True
    with pytest.raises(PaginationLoop):
        await session.users.list(page_size=10).collect()


def endless(seen: Seen) -> web.Response:
    """New rows, and more to come, whatever the count says."""
    offset = int(seen.query["offset"])
    rows = [user(number) for number in range(offset, offset + 500)]
    return page(rows, 3, f"?limit=500&offset={offset + 500}")


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_4_6_rows_without_end_have_an_end(concurrency: int) -> None:
    """4-6: far more rows than the server counted are `PaginationLoop`, with the rows so far."""
    async with Stub(endless) as stub, session_on(stub.url) as session:
        with pytest.raises(PaginationLoop, match="without end") as caught:
            await asyncio.wait_for(session.users.list(page_size=500, concurrency=concurrency).collect(), 60)
    items = caught.value.items_so_far or ()
    assert len({each.id for each in items}) == len(items) == caught.value.resume_offset == 10_000
    assert len(stub.seen) == 21


@pytest.mark.slow
async def test_4_6_a_page_far_above_the_limit_is_refused() -> None:
    """4-6: a page may have ten thousand rows, or ten times the requested limit."""
    rows = [user(number) for number in range(10_001)]
    async with Stub(lambda seen: page(rows)) as stub, session_on(stub.url) as session:
        with pytest.raises(PaginationLoop, match="limit"):
            await session.users.list(page_size=1000).collect()
        assert len(await session.users.list(page_size=1001).collect()) == 10_001
        del rows[-1]
        assert len(await session.users.list(page_size=1).collect()) == 10_000


async def test_4_6_a_count_that_is_too_small_loses_nothing() -> None:
    """4-6: a server that miscounts by less than that is read to its end."""

    def handler(seen: Seen) -> web.Response:
        offset = int(seen.query["offset"])
        rows = [user(number) for number in range(offset, min(offset + 1000, 9_500))]
        return page(rows, 0, "?limit=1000&offset=0" if offset < 9_000 else None)

    async with Stub(handler) as stub, session_on(stub.url) as session:
        listing = session.users.list(page_size=1000)
        assert len(await listing.collect()) == 9_500
        assert listing.drift
