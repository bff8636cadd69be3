"""What the example applications share: which browser is logged in with which `EzeepSession`.

A browser is known by a random cookie. The request that it was sent away with, and the login that it came back with, are
in files named by the digest of that cookie, so that it does not matter which worker a browser gets to. A worker has one
session for each login, whichever of its handlers use it; two browsers of one person are two logins.

What an application of any size has besides: something that removes files, and closes sessions, that nobody has used
for an hour. By then their logins have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import attrs

from ezeep_async import (
    AuthorizationDenied,
    AuthorizationRequest,
    EzeepError,
    EzeepSession,
    FileTokenStore,
    OAuthApp,
    ReauthorizationRequired,
    SessionClosed,
    StateMismatch,
    TransientAuthError,
    TransportError,
)


COOKIE = "login"
LONGEST = 30.0
"""Seconds that a page waits for ezeep, unless its address says otherwise."""

logger = logging.getLogger("web")


class Logins:
    """Who is logged in. Opened and closed with the application. `options` are those of `EzeepSession`."""

    def __init__(self, folder: str | os.PathLike[str], app: OAuthApp, **options) -> None:
        self.folder = Path(folder)
        self._app = app
        self._options = options
        self.sessions: dict[str, EzeepSession] = {}

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        self._http = aiohttp.ClientSession()  # all logins share its connections, and nothing else
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logger.info("closing %d sessions", len(self.sessions))
        # Each waits for a renewal that is under way. A login that cannot be stored is in the log as critical.
        closing = [session.aclose() for session in self.sessions.values()]
        await asyncio.gather(*closing, return_exceptions=True)
        await self._http.close()

    def cookie_flags(self) -> dict[str, object]:
        """Out of reach of scripts, and sent along with links from elsewhere, but not with forms."""
        return {
            "httponly": True,
            "samesite": "Lax",
            "secure": str(self._app.redirect_uri).startswith("https:"),
        }

    async def begin(self, browser: str) -> tuple[str, str]:
        """The cookie of a browser that wants to log in, and where to send it."""
        browser = browser or secrets.token_urlsafe(32)
        request = self._new_session(browser).oauth.authorization_request()
        await asyncio.to_thread(_keep, self._path(browser, "request"), request)
        return browser, request.url

    async def finish(self, browser: str, callback_url: str) -> str:
        """The cookie of a browser that came back. Raises `StateMismatch`, and what `complete` raises."""
        request = await asyncio.to_thread(_take, self._path(browser, "request"))
        if request is None:
            raise StateMismatch("no login was begun in this browser, or it was finished already")
        await self._forget(browser)
        browser = secrets.token_urlsafe(32)  # a new one: somebody else may have planted the old one
        session = self.sessions[browser] = self._new_session(browser)
        try:
            await session.oauth.complete(callback_url, request)
        except BaseException:
            await self._forget(browser)
            raise
        return browser

    @contextlib.asynccontextmanager
    async def session(self, browser: str) -> AsyncGenerator[EzeepSession, None]:
        """The one session of that browser's login. Raises `ReauthorizationRequired` when there is none."""
        if browser not in self.sessions:
            if not await asyncio.to_thread(self._path(browser, "json").exists):
                raise ReauthorizationRequired("nobody is logged in in this browser")
            # Nothing is awaited between looking and keeping: handlers that come together get the same session.
            self.sessions.setdefault(browser, self._new_session(browser))
        try:
            yield self.sessions[browser]
        except ReauthorizationRequired:
            await self._forget(browser)
            raise

    async def end(self, browser: str) -> None:
        """Log out, at ezeep too. Raises `TransientAuthError` when it cannot be reached: the login goes on."""
        async with self.session(browser) as session:
            await session.oauth.revoke()
        await self._forget(browser)

    async def _forget(self, browser: str) -> None:
        if (session := self.sessions.pop(browser, None)) is not None:
            await session.aclose()

    def _new_session(self, browser: str) -> EzeepSession:
        store = FileTokenStore(self._path(browser, "json"))
        return EzeepSession(self._app, store, http=self._http, **self._options)

    def _path(self, browser: str, kind: str) -> Path:
        # A digest: what a browser sends is never a path, and what is on the disk opens no login.
        return self.folder / f"{hashlib.sha256(browser.encode()).hexdigest()}.{kind}"


def _keep(path: Path, request: AuthorizationRequest) -> None:
    fresh = path.with_suffix(f".{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(attrs.asdict(request), file)
    fresh.replace(path)


def _take(path: Path) -> AuthorizationRequest | None:
    """What was kept, once."""
    try:
        text = path.read_text()
        path.unlink()  # of two that come at once, one gets past here
    except FileNotFoundError:
        return None
    return AuthorizationRequest(**json.loads(text))


def answer_to(error: EzeepError) -> tuple[int, str]:
    """Status and text. Nothing of the error is in it: part of it may be somebody else's words."""
    match error:
        case StateMismatch():
            return 403, "This login was not begun here, or it is over. Begin at /login."
        case AuthorizationDenied():
            return 400, "You were not logged in. Begin again at /login."
        case ReauthorizationRequired() | SessionClosed():
            return 401, "Log in at /login."
        case TransientAuthError() | TransportError():
            return 503, "ezeep cannot be reached just now. Try again later."
        case _:
            logger.error("%s", error)
            return 502, "Something went wrong between here and ezeep."
