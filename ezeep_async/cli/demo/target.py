"""Where the demo runs: in a sandbox of its own, or in one that somebody else runs on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
from yarl import URL

from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.cli.connection import REDIRECT_URI
from ezeep_async.sandbox.handlers.token_endpoint import CLIENT_ID
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.session import EzeepSession
from ezeep_async.settings import Endpoints, is_loopback


LATENCY = 0.05
"""Seconds that each call takes in a sandbox of the demo's own, as over a network."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@attrs.define(eq=False)
class Place:
    """A sandbox, and what can be found out about it."""

    endpoints: Endpoints
    app: OAuthApp
    sandbox: Sandbox | None = None
    """None when it is not ours: then nothing can be counted or expired from outside."""
    _login: TokenSet | None = attrs.field(init=False, default=None)
    _rotations: list[TokenSet] = attrs.field(init=False, factory=list[TokenSet])
    _renewal: asyncio.Task[object] | None = attrs.field(init=False, default=None)

    def logged_in(self, tokens: TokenSet) -> None:
        """Renewals are counted from this login on."""
        self._login = tokens

    def rotated(self, _: TokenSet | None, new: TokenSet) -> None:
        """The session has new tokens."""
        self._rotations.append(new)

    def refreshes(self) -> int:
        """How often the login was renewed: at the server where it is ours, as the session tells otherwise."""
        if self.sandbox is not None:
            return self.sandbox.refreshes
        return sum(1 for new in self._rotations if new != self._login)

    def requests(self) -> int | None:
        """How many requests have arrived."""
        return None if self.sandbox is None else len(self.sandbox.requests)

    def writes(self) -> int | None:
        """How many of them were there to change something in the organization."""
        if self.sandbox is None:
            return None
        return sum(
            request.host == "api" and request.method not in _READS for request in self.sandbox.requests
        )

    def expire_soon(self, session: EzeepSession) -> None:
        """Make all access tokens invalid: at once in our own sandbox; elsewhere by a renewal, which has that effect."""
        if self.sandbox is not None:
            self.sandbox.expire_access_tokens()
        else:
            self._renewal = asyncio.create_task(session.oauth.refresh(), name="demo-renewal")

    async def expire(self, session: EzeepSession) -> None:
        """The same, done when this returns."""
        self.expire_soon(session)
        await self.settled()

    async def settled(self) -> None:
        """Wait for what `expire_soon` may have under way."""
        if self._renewal is not None:
            await self._renewal


@asynccontextmanager
async def open_place(
    *, users: int, seed: int, account_url: str | None, api_url: str | None, redirect_uri: str | None
) -> AsyncGenerator[Place]:
    """A sandbox that is open. Raises `ValueError` for addresses that the demo must not write to."""
    if account_url is None and api_url is None:
        async with Sandbox(users=users, seed=seed, latency=LATENCY) as sandbox:
            app = attrs.evolve(sandbox.oauth_app, redirect_uri=redirect_uri or sandbox.oauth_app.redirect_uri)
            yield Place(sandbox.endpoints, app, sandbox)
        return
    if account_url is None or api_url is None:
        raise ValueError("--account-url and --api-url go together: they are the two hosts of one sandbox")
    endpoints = Endpoints(account=account_url, api=api_url)
    if not all(is_loopback(URL(url).host) for url in (endpoints.account, endpoints.api)):
        raise ValueError(
            "the demo changes what it finds, so it runs in a sandbox on this machine and nowhere else"
        )
    yield Place(endpoints, OAuthApp(CLIENT_ID, redirect_uri=redirect_uri or REDIRECT_URI))
