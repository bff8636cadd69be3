"""The inner layer of all resources: sending, decoding, complete listings, and turns of writers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import attrs

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._wire.converter import PageBody, decode
from ezeep_async._wire.requests import Collection, HasId, Request
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
from ezeep_async.pagination.reader import Fetch, RawPage
from ezeep_async.settings import Settings


T = TypeVar("T")
R = TypeVar("R", bound=HasId)

logger = logging.getLogger("ezeep_async.resources")

LOST_TURNS = 3
"""Restarts of work whose lock was lost before it wrote anything."""


class Lock(Protocol):
    """A lock that the caller holds."""

    def lost(self) -> bool:
        """Whether another process may have held it since."""
        ...

    def release(self) -> Awaitable[None]:
        """Release it. Call it once, whatever happened while it was held."""
        ...


class Api(Protocol):
    """What a resource needs of its session, or of a view of one."""

    @property
    def settings(self) -> Settings:
        """The time limits and retries of its calls."""
        ...

    def common(self, kind: Callable[[], T]) -> T:
        """Return the one object of this kind that a session and its views share. It is made at the first call."""
        ...

    def send(self, request: Request, /) -> Awaitable[RawResponse]:
        """Return the 2xx response. Raises an `EzeepError` for every other outcome."""
        ...

    def exclusive(self, *name: str) -> Awaitable[Lock]:
        """Acquire the lock of `name`. The caller must release it."""
        ...


async def send_for(api: Api, request: Request, kind: type[T]) -> tuple[T, RawResponse]:
    """Send, and decode the body. Return the record and its response."""
    response = await api.send(request)
    return decode_response(request, response, lambda body: decode(body, kind)), response


async def create_for(
    api: Api, request: Request, kind: type[T], sought: Sought | None = None
) -> tuple[T, RawResponse]:
    """Send a creation, as `send_for`. Raises `OutcomeUnknown` also for a 2xx response that cannot be decoded.

    `sought` is what `OutcomeUnknown.reconcile` searches for.
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
            f"the creation was carried out, but its response cannot be decoded: {error}",
            request_id=error.request_id,
            attempts=error.attempts,
            sought=sought,
        ) from error


def page_fetcher(
    api: Api,
    kind: type[R],
    request_for: Callable[[Params], Request],
    decode_page: Callable[[bytes], PageBody[R]] | None = None,
) -> Fetch[R]:
    """A function that fetches one page of `kind`. `decode_page` is for responses that are no pages as usual."""
    body_kind = PageBody[kind]  # type: ignore[valid-type]  # a generic type made at run time

    def decode_usual(body: bytes) -> PageBody[R]:
        return decode(body, body_kind)

    decoded = decode_usual if decode_page is None else decode_page

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
        return await self.patch(item, values)

    async def patch(self, item: UUID, values: Mapping[str, object], secrets: tuple[str, ...] = ()) -> R:
        """Set fields that were checked. `secrets` are among the values, and are redacted in errors."""
        request = attrs.evolve(self._collection.patch(item, values), secrets=secrets)
        return (await send_for(self.api, request, self._kind))[0]

    async def delete(self, item: UUID) -> RawResponse:
        """Delete one record."""
        return await self.api.send(self._collection.delete(item))

    async def post(
        self, values: Mapping[str, object], sought: Sought | None = None, secrets: tuple[str, ...] = ()
    ) -> tuple[R, RawResponse]:
        """Create a record, see `create_for`. `secrets` are among the values, and are redacted in errors."""
        return await create_for(self.api, self._collection.create(values, secrets), self._kind, sought)


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
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> set[asyncio.Task[None]]:
        """Writes in flight."""
        return {task for task in self._writes if not task.done()}

    async def write(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work`, which sends a write. Once begun, it is completed also when its caller is cancelled."""
        if self.lost():
            raise TurnLost(
                "nothing was written: the lock shared with other processes was lost before the write, because this "
                "process was suspended, or the lock's server forgot it. Try again"
            )
        # Not `asyncio.shield`, which takes the event loop two more iterations.
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Not by the loop's task factory, which may start the task at once.
        task = asyncio.Task(_carry_out(work, outcome), loop=outcome.get_loop())
        # A task that is cancelled before its first step has no outcome.
        task.add_done_callback(partial(_ended, outcome, self._writes))
        self._writes.add(task)
        self.has_written = True
        try:
            return await outcome
        finally:
            del outcome  # the traceback of its exception refers to this frame


def _ended(outcome: asyncio.Future[T], writes: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    outcome.cancel()
    writes.discard(task)


async def _carry_out(work: Callable[[], Coroutine[object, object, T]], outcome: asyncio.Future[T]) -> None:
    """Run `work` in a task of its own, and give its outcome to the caller that waits, if it still does.

    No exception leaves the task: asyncio raises `SystemExit` and `KeyboardInterrupt` of a task out of the event loop.
    """
    # anyio cancels a task only where it waits: a caller that was cancelled before must not send.
    if outcome.cancelled():
        return
    try:
        result = await work()
    except asyncio.CancelledError:
        outcome.cancel()
    except GeneratorExit:  # the task was dropped with its event loop
        raise
    except BaseException as error:  # noqa: BLE001  # raised again in the caller
        if not outcome.cancelled():
            outcome.set_exception(error)
    else:
        if not outcome.cancelled():
            outcome.set_result(result)
    finally:
        del outcome  # as in `Turn.write`


class Turns:
    """One turn at a time for each name: writers of the same object run one after another."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.ending: set[asyncio.Task[None]] = set()
        """Turns whose caller was cancelled during a write."""

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

    def take(self, name: tuple[str, ...]) -> _Taken:
        """A block that holds the lock of `name`.

        A caller that is cancelled while it waits or reads writes nothing. A write in flight is completed, and the next
        turn begins after it.
        """
        return _Taken(self._api, name, self.ending)


class _Taken:
    """The block of one turn. Not a generator: that would be a tenth of a write's time."""

    __slots__ = ("_api", "_ending", "_lock", "_name", "_turn")

    def __init__(self, api: Api, name: tuple[str, ...], ending: set[asyncio.Task[None]]) -> None:
        self._api = api
        self._name = name
        self._ending = ending

    async def __aenter__(self) -> Turn:
        self._lock = lock = await self._api.exclusive(*self._name)
        self._turn = turn = Turn(lock.lost)
        return turn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        turn = self._turn
        if writes := turn.in_flight:
            ending = ContainedTask(self._release_after(writes))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        else:
            await self._lock.release()
        if error is None and turn.has_written and turn.lost():
            raise lost_in_write(self._name)

    async def _release_after(self, writes: set[asyncio.Task[None]]) -> None:
        try:
            await asyncio.wait(writes)
        finally:
            await self._lock.release()
        if self._turn.lost():
            logger.warning(_LOST, self._name[0], self._name[-1])


def lost_in_write(name: tuple[str, ...]) -> ConcurrentModification:
    """The error for a lock of `name` that was lost during a write."""
    error = ConcurrentModification(_LOST % (name[0], name[-1]))
    error.may_have_happened = True
    return error
