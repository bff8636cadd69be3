"""The inner layer of all resources: sending, decoding, complete listings, and turns of writers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._wire.converter import PageBody, decode
from ezeep_async._wire.requests import Collection, Request
from ezeep_async._wire.responses import RawResponse, decode_response, is_success
from ezeep_async.errors import (
    ConcurrentModification,
    InconsistentListing,
    OutcomeUnknown,
    Sought,
    UnexpectedResponse,
)
from ezeep_async.models.unset import UNSET
from ezeep_async.pagination.paginator import MAX_READINGS, Paginator
from ezeep_async.pagination.prefetch import Params
from ezeep_async.pagination.reader import Fetch, HasId, RawPage


T = TypeVar("T")
R = TypeVar("R", bound=HasId)

logger = logging.getLogger("ezeep_async.resources")

LOST_TURNS = 3
"""Restarts of work whose lock was lost before it wrote anything."""


class Api(Protocol):
    """What a resource needs of its session."""

    def send(self, request: Request, /) -> Awaitable[RawResponse]:
        """Return the 2xx response. Raises an `EzeepError` for every other outcome."""
        ...

    def exclusive(self, *name: str) -> Awaitable[AbstractAsyncContextManager[Callable[[], bool]]]:
        """The lock of `name`. Holding it gives a function that returns whether the lock was lost since."""
        ...


async def send_for(api: Api, request: Request, kind: type[T]) -> tuple[T, RawResponse]:
    """Send, and decode the body. Return the record and its response."""
    response = await api.send(request)
    return decode_response(request, response, lambda body: decode(body, kind)), response


def page_fetcher(api: Api, kind: type[R], request_for: Callable[[Params], Request]) -> Fetch[R]:
    """A function that fetches one page of `kind`."""
    body_kind = PageBody[kind]  # type: ignore[valid-type]  # a generic type made at run time

    def decoded(body: bytes) -> PageBody[R]:
        return decode(body, body_kind)

    async def fetch(params: Params) -> RawPage[R]:
        request = request_for(params)
        response = await api.send(request)
        return lambda: decode_response(request, response, decoded), response.body

    return fetch


async def listed(listing: Paginator[R]) -> list[R]:
    """All items of a reading without signs of drift. An item can still be missing: see `Paginator.drift`."""
    return await read_settled(listing, lambda item: item)


async def read_settled(listing: Paginator[R], take: Callable[[R], T], *, strict: bool = True) -> list[T]:
    """Read a listing until one reading shows no drift, and return `take(item)` for each of its items.

    After three readings with drift it raises `InconsistentListing`. Unless `strict`, it then logs a warning and returns
    the last reading.
    """
    taken: list[T] = []
    for _ in range(MAX_READINGS):
        taken = []
        async with listing.pages() as pages:
            async for page in pages:
                taken += map(take, page.items)
        if not pages.drift:
            return taken
    message = f"the listing changed during each of {MAX_READINGS} readings: a row may be missing"
    if strict:
        raise InconsistentListing(f"{message}. Try again later")
    logger.warning(message)
    return taken


class Calls(Generic[R]):
    """Calls for one collection that return the record and its response.

    The public methods return the record. Provisioning also reports the request id and the attempts of the response.
    """

    def __init__(self, api: Api, collection: Collection, kind: type[R]) -> None:
        self.api = api
        self._collection = collection
        self._kind = kind
        self.fetch_page = page_fetcher(api, kind, collection.page)

    async def get(self, item: UUID | str) -> tuple[R, RawResponse]:
        """Read one record."""
        return await send_for(self.api, self._collection.get(item), self._kind)

    async def update(
        self, item: UUID, checks: Mapping[str, Callable[[object, str], object]], **fields: object
    ) -> R:
        """Set the fields that are not `UNSET`, each checked by its function in `checks`."""
        values = {name: checks[name](value, name) for name, value in fields.items() if value is not UNSET}
        if not values:
            raise ValueError("nothing to update: pass at least one field")
        return (await send_for(self.api, self._collection.patch(item, values), self._kind))[0]

    async def delete(self, item: UUID) -> RawResponse:
        """Delete one record."""
        return await self.api.send(self._collection.delete(item))

    async def post(self, values: Mapping[str, object], sought: Sought) -> tuple[R, RawResponse]:
        """Create a record. Raises `OutcomeUnknown` also for a 2xx response that cannot be decoded.

        `sought` is what `OutcomeUnknown.reconcile` searches for.
        """
        try:
            return await send_for(self.api, self._collection.create(values), self._kind)
        except OutcomeUnknown as error:
            error.sought = sought
            raise
        except UnexpectedResponse as error:
            if not is_success(error.status):
                raise
            raise OutcomeUnknown(
                f"the creation was carried out, but its response cannot be decoded: {error}",
                request_id=error.request_id,
                attempts=error.attempts,
                sought=sought,
            ) from error


class Listed(Generic[R]):
    """A resource whose records can be listed."""

    def __init__(self, fetch_page: Fetch[R]) -> None:
        self._fetch_page = fetch_page

    def list(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[R]:
        """List all records that the logged-in user may see. Nothing is sent before the listing is iterated.

        Args:
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing, in the order of the server.
        """
        return Paginator(self._fetch_page, page_size=page_size, concurrency=concurrency, offset=offset)


_LOST = (
    "%s %s: written, but the lock shared with other processes was lost meanwhile: this process was suspended, or the lock's "
    "server forgot it. A concurrent write of another process may be overwritten: read it, and write again if needed"
)


class TurnLost(ConcurrentModification):
    """The lock was lost before the write, which was not sent."""


class Turn:
    """Permission to write one user or group while its lock is held (`_exclusive.py`).

    It ends with its block, and after the writes in flight.
    """

    def __init__(self, lost: Callable[[], bool]) -> None:
        self.lost = lost
        self.has_written = False
        self._writes: set[asyncio.Task[object]] = set()

    @property
    def in_flight(self) -> set[asyncio.Task[object]]:
        """Writes in flight."""
        return {task for task in self._writes if not task.done()}

    async def write(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work`, which sends a write. Once begun, it is completed also when its caller is cancelled."""
        # anyio cancels a task only where it waits: a caller that is cancelled already must not send.
        await asyncio.sleep(0)
        if self.lost():
            raise TurnLost(
                "nothing was written: the lock shared with other processes was lost before the write, because this "
                "process was suspended, or the lock's server forgot it. Try again"
            )
        task = ContainedTask(work())
        self.has_written = True
        self._writes = {*self.in_flight, task}
        return await asyncio.shield(task)


class Turns:
    """One turn at a time for each name: writers of the same object run one after another."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self, name: tuple[str, ...], work: Callable[[Turn], Coroutine[object, object, T]]) -> T:
        """Run `work` in a turn of its own, again if the lock was lost before anything was written.

        Raises `ConcurrentModification` where the lock was lost during a write.
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
        """A block that holds the lock of `name`.

        A caller that is cancelled while it waits or reads writes nothing. A write in flight is completed, and the next
        turn begins after it.
        """
        manager = await self._api.exclusive(*name)
        turn = Turn(await manager.__aenter__())

        async def release_after(writes: set[asyncio.Task[object]]) -> None:
            try:
                await asyncio.wait(writes)
            finally:
                await manager.__aexit__(None, None, None)
            for task in writes:
                if not task.cancelled():
                    task.exception()  # retrieved: the cancelled caller does not
            if turn.lost():
                logger.warning(_LOST, name[0], name[-1])

        try:
            yield turn
        finally:
            if writes := turn.in_flight:
                ending = ContainedTask(release_after(writes))
                self._in_flight.add(ending)
                ending.add_done_callback(self._in_flight.discard)
            else:
                await manager.__aexit__(None, None, None)
        if turn.has_written and turn.lost():
            raise lost_in_write(name)


def lost_in_write(name: tuple[str, ...]) -> ConcurrentModification:
    """The error for a lock of `name` that was lost during a write."""
    error = ConcurrentModification(_LOST % (name[0], name[-1]))
    error.may_have_happened = True
    return error
