"""What the resources share: sending, decoding, and taking turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from ezeep_async.pages import Fetch, Fetched, HasId, Params
from ezeep_async.wire.converter import PageBody, decode
from ezeep_async.wire.requests import Request
from ezeep_async.wire.responses import RawResponse, decode_answer


T = TypeVar("T")
R = TypeVar("R", bound=HasId)


class Api(Protocol):
    """What a resource needs of its session."""

    def send(self, request: Request, /) -> Awaitable[RawResponse]:
        """The 2xx answer. Raises an `EzeepError` for everything else."""
        ...


async def fetch_record(api: Api, request: Request, kind: type[T]) -> T:
    """Send, and decode one record. Raises `UnexpectedResponse` that names the call."""
    return decode_answer(request, await api.send(request), lambda body: decode(body, kind))


def page_fetcher(api: Api, kind: type[R], request_for: Callable[[Params], Request]) -> Fetch[R]:
    """A function that fetches one page of `kind`. It knows nothing of who reads the pages."""
    body_kind = PageBody[kind]  # type: ignore[valid-type]  # a type made at run time

    def read(body: bytes) -> PageBody[R]:
        return decode(body, body_kind)

    async def fetch(params: Params) -> Fetched[R]:
        request = request_for(params)
        response = await api.send(request)
        body: PageBody[R] = decode_answer(request, response, read)
        return Fetched(body.results, body.count, body.next, response.body)

    return fetch


class Turns:
    """One lock for each key that is in use: whoever changes the same thing takes turns, in order of arrival."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def take(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Hold `key`."""
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1
