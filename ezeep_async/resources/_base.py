"""What the resources share: sending, decoding, and taking turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._wire.converter import PageBody, decode
from ezeep_async._wire.requests import Request
from ezeep_async._wire.responses import RawResponse, decode_answer, is_success
from ezeep_async.errors import (
    ConcurrentModification,
    InconsistentListing,
    OutcomeUnknown,
    Sought,
    UnexpectedResponse,
)
from ezeep_async.pagination.paginator import MAX_READINGS, Paginator
from ezeep_async.pagination.prefetch import Params
from ezeep_async.pagination.reader import Fetch, HasId, RawPage


T = TypeVar("T")
R = TypeVar("R", bound=HasId)

logger = logging.getLogger("ezeep_async.resources")

LOST_TURNS = 3
"""How often work begins again because its lock was lost before anything was written."""


class Api(Protocol):
    """What a resource needs of its session."""

    def send(self, request: Request, /) -> Awaitable[RawResponse]:
        """The 2xx answer. Raises an `EzeepError` for everything else."""
        ...

    def exclusive(self, *name: str) -> AbstractAsyncContextManager[Callable[[], bool]]:
        """The lock of `name`, such as a user. Gives a function that says whether the lock was lost since."""
        ...


async def send_for(api: Api, request: Request, kind: type[T]) -> tuple[T, RawResponse]:
    """Send, and decode the body. Return the record and its response.

    This is the inner layer of all resources: public methods return the record, provisioning also reports the request
    id and the attempts of the response.
    """
    response = await api.send(request)
    return decode_answer(request, response, lambda body: decode(body, kind)), response


async def fetch_record(api: Api, request: Request, kind: type[T]) -> T:
    """Send, and decode the body."""
    return (await send_for(api, request, kind))[0]


def page_fetcher(api: Api, kind: type[R], request_for: Callable[[Params], Request]) -> Fetch[R]:
    """A function that fetches one page of `kind`."""
    body_kind = PageBody[kind]  # type: ignore[valid-type]  # a type made at run time

    async def fetch(params: Params) -> RawPage[R]:
        page: PageBody[R]
        page, response = await send_for(api, request_for(params), body_kind)
        return page, response.body

    return fetch


async def listed(listing: Paginator[R]) -> list[R]:
    """All items, for deciding by what is not among them: see `read_settled`."""
    return await read_settled(listing, lambda item: item)


async def read_settled(listing: Paginator[R], take: Callable[[R], T], *, strict: bool = True) -> list[T]:
    """What `take` makes of each item, of a reading under which the listing did not change.

    Where it changes it is read again, from the beginning. Raises `InconsistentListing` when it changes under three
    readings; not `strict`, the last of them is good enough, and a warning is logged.
    """
    taken: list[T] = []
    for _ in range(MAX_READINGS):
        taken = []
        async with listing.pages() as pages:
            async for page in pages:
                taken += map(take, page.items)
        if not pages.drift.detected:
            return taken
    told = f"a listing changed under each of {MAX_READINGS} readings of it: a row may be missing"
    if strict:
        raise InconsistentListing(told)
    logger.warning(told)
    return taken


async def create_record(api: Api, request: Request, kind: type[T], sought: Sought) -> tuple[T, RawResponse]:
    """As `send_for`, for a creation: one that was carried out but answered unreadably is `OutcomeUnknown`.

    `OutcomeUnknown` tells by `sought` what to look for.
    """
    try:
        return await send_for(api, request, kind)
    except OutcomeUnknown as error:
        error.sought = sought
        raise
    except UnexpectedResponse as error:
        if not is_success(error.status):
            raise
        raise OutcomeUnknown(
            f"it was carried out, but the answer cannot be read: {error}",
            request_id=error.request_id,
            attempts=error.attempts,
            sought=sought,
        ) from error


_LOST = (
    "%s %s: written, but the lock that processes share was lost meanwhile: this process was suspended, or the lock's server "
    "forgot it. What another process wrote at that moment may be overwritten: compare, and write again"
)


class TurnLost(ConcurrentModification):
    """The lock of the turn did not last until its write, which was not sent."""


class Turn:
    """The turn of one caller, or of several together. It ends with its block, and after the writes that have begun."""

    def __init__(self, lost: Callable[[], bool]) -> None:
        self.lost = lost
        self.has_written = False
        self._writes: set[asyncio.Task[object]] = set()

    @property
    def under_way(self) -> set[asyncio.Task[object]]:
        """Writes that have not ended."""
        return {task for task in self._writes if not task.done()}

    async def write(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """What `work` gives, which sends a write. Once it has begun it goes on without its caller."""
        # Whoever is cancelled already learns it here, where nothing has been sent: anyio tells it only to who waits.
        await asyncio.sleep(0)
        if self.lost():
            raise TurnLost(
                "the lock that processes share was lost before the write: this process was suspended, or the lock's "
                "server forgot it. Nothing was written: try again"
            )
        task = ContainedTask(work())
        self.has_written = True
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)


class Turns:
    """One turn for each name that is in use: all that change the same thing do so one after the other."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, name: tuple[str, ...], work: Callable[[Turn], Coroutine[object, object, T]]) -> T:
        """What `work` gives in a turn of its own. Begun again, as nothing was written, where the lock was lost before.

        Raises `ConcurrentModification` where it was lost during a write.
        """
        for _ in range(LOST_TURNS):
            try:
                async with self.take(name) as turn:
                    return await work(turn)
            except TurnLost as error:
                if error.may_have_happened:
                    raise
        async with self.take(name) as turn:
            return await work(turn)

    @asynccontextmanager
    async def take(self, name: tuple[str, ...]) -> AsyncGenerator[Turn, None]:
        """A block that runs when it is the turn of `name`.

        A caller that is cancelled while it waits for its turn, or while it reads, is out of it, and writes nothing.
        What it has begun to write is being carried out: the next turn does not begin before that has ended.
        """
        manager = self._api.exclusive(*name)
        turn = Turn(await manager.__aenter__())
        try:
            yield turn
        finally:
            if writes := turn.under_way:
                ending = ContainedTask(_end_after(writes, manager, name, turn))
                self._under_way.add(ending)
                ending.add_done_callback(self._under_way.discard)
            else:
                await manager.__aexit__(None, None, None)
        if turn.has_written and turn.lost():
            raise lost_in_write(name)


def lost_in_write(name: tuple[str, ...]) -> ConcurrentModification:
    """What is raised where the lock of `name` did not last until the end of a write."""
    error = ConcurrentModification(_LOST % (name[0], name[-1]))
    error.may_have_happened = True
    return error


async def _end_after(
    writes: set[asyncio.Task[object]],
    manager: AbstractAsyncContextManager[object],
    name: tuple[str, ...],
    turn: Turn,
) -> None:
    """Give the lock back when the writes have ended, whose callers have gone."""
    try:
        await asyncio.wait(writes)
    finally:
        await manager.__aexit__(None, None, None)
    for task in writes:
        if not task.cancelled():
            task.exception()  # retrieved: its caller does not
    if turn.lost():
        logger.warning(_LOST, name[0], name[-1])
