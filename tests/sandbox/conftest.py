"""A sandbox and a plain HTTP client for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import attrs
import pytest

from ezeep_async.sandbox import Sandbox


@attrs.define
class Client:
    """Sends requests as the admin, or as the owner of `token`, and reads the whole response."""

    sandbox: Sandbox
    session: aiohttp.ClientSession
    token: str | None = None

    async def __call__(
        self, method: str, path: str, *, auth: str | None = "bearer", **options: Any
    ) -> tuple[int, Any]:
        response = await self.raw(method, path, auth=auth, **options)
        if response.content_type == "application/json":
            return response.status, await response.json()
        return response.status, await response.text()

    async def raw(
        self, method: str, path: str, *, auth: str | None = "bearer", **options: Any
    ) -> aiohttp.ClientResponse:
        """The response itself, its body read."""
        endpoints = self.sandbox.endpoints
        base = (
            endpoints.api
            if path.startswith(("/printing/", "/webhooks/", "/reporting/"))
            else endpoints.account
        )
        base = endpoints.print if path.startswith("/sfapi/") else base
        headers = dict(options.pop("headers", {}))
        if auth == "bearer":
            self.token = self.token or self.sandbox.tokens().access_token
            headers["Authorization"] = f"Bearer {self.token}"
        elif auth == "basic":
            headers["Authorization"] = self.sandbox.oauth_app.basic_authorization()
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, base + path, headers=headers, **options) as response:
            await response.read()
            return response

    async def grant(self, **fields: str) -> tuple[int, Any]:
        """One request at the token endpoint."""
        return await self("POST", "/oauth/access_token/", auth="basic", data={"scope": "printing", **fields})

    async def refresh(self, refresh_token: str) -> tuple[int, Any]:
        """One refresh grant."""
        return await self.grant(grant_type="refresh_token", refresh_token=refresh_token)

    async def works(self, access_token: str) -> bool:
        """Whether an access token is valid."""
        headers = {"Authorization": f"Bearer {access_token}"}
        status, _ = await self("GET", "/v1/users/me/", auth=None, headers=headers)
        return status == 200


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox() as server:
        yield server
        assert not server.unknown_routes


@pytest.fixture
def client(server: Sandbox, session: aiohttp.ClientSession) -> Client:
    return Client(server, session)


@pytest.fixture
def client_for(session: aiohttp.ClientSession) -> Callable[[Sandbox], Client]:
    """For tests with a sandbox of their own."""
    return lambda sandbox: Client(sandbox, session)
