"""The two applications on real sockets, and browsers that use them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import attrs
import uvicorn
from aiohttp import web
from helpers.browser import decide
from helpers.support import until
from multidict import CIMultiDict
from web import aiohttp_app, fastapi_app
from web.logins import Logins
from yarl import URL

from ezeep_async.sandbox import Sandbox


def listening() -> tuple[socket.socket, str]:
    """A socket on a free port, and its address."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=100)
    return sock, f"http://127.0.0.1:{sock.getsockname()[1]}"


@attrs.define
class Site:
    """An application that is being served."""

    kind: str
    url: str
    logins: Logins
    begun: int = 0
    """How many handlers of /me have begun."""


@contextlib.asynccontextmanager
async def serving(kind: str, sandbox: Sandbox, folder: Path, **options) -> AsyncIterator[Site]:
    """Serve the application. Its callback is registered in the sandbox."""
    sock, url = listening()
    sandbox.behaviour.redirect_uris = (f"{url}/callback",)
    site = Site(kind, url, Logins(folder, sandbox.oauth_app, endpoints=sandbox.endpoints, **options))
    serve = {"aiohttp": _on_aiohttp, "fastapi": _on_uvicorn}[kind]
    async with serve(site, sock):
        try:
            yield site
        except BaseException:
            sandbox.faults.clear()  # closing would wait for what the sandbox holds
            raise


@contextlib.asynccontextmanager
async def _on_aiohttp(site: Site, sock: socket.socket) -> AsyncIterator[None]:
    @web.middleware
    async def count(request, handler):
        site.begun += request.path == "/me"
        return await handler(request)

    app = aiohttp_app.create_app(site.logins)
    app.middlewares.insert(0, count)
    runner = aiohttp_app.create_runner(app)
    try:
        await runner.setup()
        await web.SockSite(runner, sock).start()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _on_uvicorn(site: Site, sock: socket.socket) -> AsyncIterator[None]:
    app = fastapi_app.create_app(site.logins)

    async def count(scope, receive, send):
        site.begun += scope.get("path") == "/me"
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(count, log_config=None, lifespan="on", ws="none"))
    running = asyncio.create_task(server.serve([sock]))
    try:
        await until(lambda: server.started or running.done())
        yield
    finally:
        server.should_exit = True
        await running


@attrs.frozen
class SiteResponse:
    """A response of an application."""

    status: int
    text: str
    headers: CIMultiDict[str]


class Browser:
    """A browser: it keeps cookies, and returns redirects instead of following them."""

    def __init__(self, url: str) -> None:
        self._url = URL(url)
        self._jar = aiohttp.CookieJar(unsafe=True)  # "unsafe" are cookies of hosts without a name
        self._http = aiohttp.ClientSession(cookie_jar=self._jar)
        self._http._retry_connection = False  # a request without a response is not sent again
        self.responses: list[SiteResponse] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._jar}

    @cookies.setter
    def cookies(self, cookies: dict[str, str]) -> None:
        self._jar.clear()
        self._jar.update_cookies(cookies, self._url)

    async def ask(self, method: str, address: str) -> SiteResponse:
        url = self._url.join(URL(address))
        async with self._http.request(method, url, allow_redirects=False) as raw:
            response = SiteResponse(raw.status, await raw.text(), raw.headers)
        self.responses.append(response)
        return response

    async def get(self, address: str) -> SiteResponse:
        return await self.ask("GET", address)

    async def come_back(self, decision: str = "approve", **fields: str) -> str:
        """Begin a log-in, decide on the consent page, and return the address of the redirect."""
        response = await self.get("/login")
        assert response.status == 302, response
        status, location = await decide(response.headers["Location"], decision, **fields)
        assert status == 302, location
        return location

    async def log_in(self, **fields: str) -> None:
        response = await self.get(await self.come_back(**fields))
        assert (response.status, response.headers["Location"]) == (302, "/me"), response
