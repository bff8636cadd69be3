"""Requests in flight: which run in a task, and that dropped ones leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import UUID

import pytest

from ezeep_async import Paginator, User
from ezeep_async._wire.converter import PageBody
from ezeep_async.pagination.prefetch import PagesInFlight, Params
from ezeep_async.pagination.reader import RawPage


ROWS = 60
SIZE = 10


class Source:
    """A listing of `ROWS` users that records which task requested a page, and which pages were decoded."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object] | None] = []
        self.requested: list[int] = []
        self.decoded: list[int] = []

    async def fetch(self, params: Mapping[str, str]) -> RawPage[User]:
        offset = int(params["offset"])
        self.requested.append(offset)
        self.tasks.append(asyncio.current_task())
        await asyncio.sleep(0)

        def decode() -> PageBody[User]:
            self.decoded.append(offset)
            users = [User(id=UUID(int=number), groups=()) for number in range(offset, offset + SIZE)]
            following = f"/?limit={SIZE}&offset={offset + SIZE}" if offset + SIZE < ROWS else None
            return PageBody(users, ROWS, following)

        return decode, b""


async def test_4_8_a_caller_that_waits_for_the_next_page_requests_it_itself() -> None:
    """4-8: without a task for each page."""
    source = Source()
    users = await Paginator(source.fetch, page_size=SIZE).collect()
    assert [user.id.int for user in users] == list(range(ROWS))
    assert source.tasks == [asyncio.current_task()] * (ROWS // SIZE)


async def test_4_8_a_caller_that_waits_for_something_else_finds_the_page_requested() -> None:
    """4-8: one page is read ahead as soon as the event loop is free."""
    source = Source()
    async with Paginator(source.fetch, page_size=SIZE).pages() as pages:
        async for page in pages:
            await asyncio.sleep(0.001)
            assert len(source.requested) == min(page.offset // SIZE + 2, ROWS // SIZE)
    assert asyncio.current_task() not in source.tasks[1:]


async def test_4_8_aclose_by_another_task_ends_a_request_in_the_task_of_the_caller() -> None:
    """4-8: with `CancelledError`, as it ends one in a task of its own. The caller's task is not cancelled."""
    source = Source()
    ended: list[int] = []

    async def hold(params: Params) -> RawPage[User]:
        try:
            if params["offset"] != "0":
                await asyncio.sleep(60)
            return await source.fetch(params)
        finally:
            ended.append(int(params["offset"]))

    async def read() -> int:
        await pages.__anext__()
        with pytest.raises(asyncio.CancelledError):
            await pages.__anext__()  # nothing else ran: the page is requested here
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    pages = Paginator(hold, page_size=SIZE).pages()
    reading = asyncio.create_task(read())
    while ended != [0]:
        await asyncio.sleep(0)
    await pages.aclose()
    assert ended == [0, SIZE]
    assert await asyncio.wait_for(reading, 5) == 0


async def test_4_8_a_caller_that_is_cancelled_too_stays_cancelled() -> None:
    """4-8: when another task closes the reading at the same time."""
    requested = asyncio.Event()

    async def hold(params: Params) -> RawPage[User]:
        if params["offset"] != "0":
            requested.set()
            await asyncio.sleep(60)
        return await Source().fetch(params)

    pages = Paginator(hold, page_size=SIZE).pages()

    async def read() -> None:
        async for _ in pages:
            pass

    reading = asyncio.create_task(read())
    await requested.wait()
    reading.cancel()
    await pages.aclose()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert reading.cancelling() == 1


async def test_4_9_pages_that_wait_for_their_turn_are_not_decoded() -> None:
    """4-9: a page is decoded when it is returned."""
    source = Source()
    async with Paginator(source.fetch, page_size=SIZE, concurrency=4).pages() as pages:
        async for page in pages:
            await asyncio.sleep(0.001)
            assert source.decoded[-1] == page.offset
            assert len(source.requested) == min(page.offset // SIZE + 5, ROWS // SIZE)
    assert source.decoded == source.requested == list(range(0, ROWS, SIZE))


async def waiting(params: Params) -> object:
    """A page that never arrives."""
    await asyncio.Event().wait()
    return params


async def failing(params: Params) -> object:
    """A page that cannot be read."""
    raise ValueError(params)


async def failing_late(params: Params) -> object:
    """A page that fails when its request is cancelled."""
    try:
        return await waiting(params)
    except asyncio.CancelledError:
        raise ValueError(params) from None


@pytest.mark.parametrize("fetch", [waiting, failing, failing_late])
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("how", ["close", "drop"])
async def test_4_8_requests_that_are_dropped_end_without_a_complaint(
    fetch: Callable[[Params], Coroutine[Any, Any, object]], steps: int, how: str
) -> None:
    """4-8: whether or not they have begun or failed."""
    complaints: list[Mapping[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    in_flight: PagesInFlight[object] = PagesInFlight(fetch)
    in_flight.start({"offset": "0"})
    in_flight.start({"offset": "10"})
    for _ in range(steps):
        await asyncio.sleep(0)
    if how == "close":
        await in_flight.aclose()
    del in_flight
    gc.collect()
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert complaints == []


async def test_4_8_requests_that_have_ended_are_not_kept() -> None:
    """4-8: pages that are dropped again and again, because their size changes, take no memory."""
    in_flight: PagesInFlight[object] = PagesInFlight(waiting)
    for _ in range(3):
        in_flight.start({"offset": "0"})
        assert in_flight.cancel() == [{"offset": "0"}]
        for _ in range(3):
            await asyncio.sleep(0)
    assert not in_flight._cancelled


async def test_4_8_a_request_that_was_not_sent_is_cancelled() -> None:
    """4-8: it is not sent later."""
    source = Source()
    in_flight = PagesInFlight(source.fetch)
    in_flight.start_soon({"offset": "0"})
    assert len(in_flight) == 1
    assert in_flight.cancel() == [{"offset": "0"}]
    in_flight.start_soon({"offset": "10"})
    del in_flight
    await asyncio.sleep(0.001)
    assert source.requested == []
