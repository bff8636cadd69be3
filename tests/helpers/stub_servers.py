"""Small servers of the tests' own, for what the sandbox has no switch for, and sessions that talk to them."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import attrs
import pytest
from aiohttp import web
from helpers.support import QUICK
from multidict import CIMultiDict

from ezeep_async import Endpoints, EzeepSession, OAuthApp, Settings, TokenSet
from ezeep_async._http.sender import Sender


ACCESS = "access-token-of-the-tests-0123456789"
REFRESH = "refresh-token-of-the-tests-9876543210"


def login() -> TokenSet:
    """A token set that needs no refresh."""
    return TokenSet(ACCESS, REFRESH, datetime.now(UTC) + timedelta(hours=1), expires_in=3600.0)


def quick(**changes: Any) -> Settings:
    """Time limits for tests."""
    return attrs.evolve(QUICK, **changes)


def session_on(
    url: str, *, tokens: TokenSet | None = None, http: Any = None, **settings: Any
) -> EzeepSession:
    """A session whose hosts are all at `url`."""
    return EzeepSession(
        OAuthApp("client"),
        tokens=login() if tokens is None else tokens,
        endpoints=Endpoints(account=url, api=url, print=url),
        settings=quick(**settings),
        http=http,
    )


def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-offs of sessions that are made from now on take no time, but for what the server asks for."""
    monkeypatch.setitem(Sender.__init__.__kwdefaults__, "rng", lambda: 0.0)


@asynccontextmanager
async def nothing_running() -> AsyncIterator[None]:
    """100 ms after the block, no task is left that was started in it, but those of servers."""
    before = asyncio.all_tasks()
    yield
    gc.collect()
    await asyncio.sleep(0.1)
    left = [task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)]
    assert not left, left


def user(number: int) -> dict[str, Any]:
    """A user record whose id contains its number."""
    return {"id": str(UUID(int=number)), "groups": []}


def page(results: list[Any], count: int | None = None, following: str | None = None) -> web.Response:
    """A page of a listing."""
    body = {"count": len(results) if count is None else count, "next": following, "results": results}
    return web.json_response(body)


@attrs.define
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Handler = Callable[[Seen], web.StreamResponse | Awaitable[web.StreamResponse]]


class Stub:
    """An HTTP server that responds with what `handler` returns, and records the requests."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.seen: list[Seen] = []
        self.active = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Seen(
            request.method,
            request.raw_path.partition("?")[0],
            dict(request.query),
            CIMultiDict(request.headers),
            await request.read(),
        )
        self.seen.append(seen)
        self.active += 1
        try:
            answer = self.handler(seen)
            return await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.active -= 1


def respond_with(*replies: web.StreamResponse | Callable[[], web.StreamResponse]) -> Handler:
    """A handler that gives one reply after the other, and the last one for ever."""
    left = list(replies)

    def handler(seen: Seen) -> web.StreamResponse:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply() if callable(reply) else reply

    return handler


class RawServer:
    """An HTTP/1.1 server by hand: `script(number)` says what to do with the n-th request, counted from 1.

    "ok": answer and keep the connection. "close": cut the connection with no answer. Bytes: send them, and cut.
    `copies` has the method of every request that arrived, whole.
    """

    def __init__(self, script: Callable[[int], str | bytes], body: bytes = b"{}") -> None:
        self.script = script
        self.body = body
        self.copies: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                for line in head.split("\r\n"):
                    name, _, value = line.partition(":")
                    if name.lower() == "content-length":
                        await reader.readexactly(int(value))
                self.copies.append(head.split(" ", 1)[0])
                order = self.script(len(self.copies))
                if order == "ok":
                    answer = (
                        f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body
                    )
                    writer.write(answer)
                    await writer.drain()
                    continue
                if isinstance(order, bytes):
                    writer.write(order)
                    await writer.drain()
                break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
