"""What the example applications share: which browser is logged in with which `EzeepSession`.

A random cookie identifies a browser. Its authorization request, and later its token set, are in files named by the digest
of that cookie, so any worker can serve the browser. A worker has one session for each token set; two browsers of one person
have two.

A larger application also removes files and closes sessions that were not used for an hour. By then their token sets have
expired.
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
"""Seconds that a page waits for ezeep, unless its query has another limit."""

logger = logging.getLogger("web")


class Logins:
    """The sessions of the browsers. Opened and closed with the application. `options` are those of `EzeepSession`."""

    def __init__(self, folder: str | os.PathLike[str], app: OAuthApp, **options) -> None:
        self.folder = Path(folder)
        self._app = app
        self._options = options
        self.sessions: dict[str, EzeepSession] = {}

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        self._http = aiohttp.ClientSession()  # all sessions share its connections, and nothing else
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logger.info("closing %d sessions", len(self.sessions))
        # Each waits for a running refresh. A token set that cannot be stored is logged as critical.
        closing = [session.aclose() for session in self.sessions.values()]
        await asyncio.gather(*closing, return_exceptions=True)
        await self._http.close()

    def cookie_flags(self) -> dict[str, object]:
        """Scripts cannot read the cookie. Links from other sites send it, forms do not."""
        return {
            "httponly": True,
            "samesite": "Lax",
            "secure": str(self._app.redirect_uri).startswith("https:"),
        }

    async def begin(self, browser: str) -> tuple[str, str]:
        """Begin a log-in: return the cookie for the browser, and the address to send it to."""
        browser = browser or secrets.token_urlsafe(32)
        request = self._new_session(browser).oauth.authorization_request()
        await asyncio.to_thread(_keep, self._path(browser, "request"), request)
        return browser, request.url

    async def finish(self, browser: str, callback_url: str) -> str:
        """Complete a log-in: return the new cookie. Raises `StateMismatch`, and what `complete` raises."""
        request = await asyncio.to_thread(_take, self._path(browser, "request"))
        if request is None:
            raise StateMismatch("no login was begun in this browser, or it was finished already")
        await self._forget(browser)
        browser = secrets.token_urlsafe(32)  # a new one: an attacker may have planted the old one
        session = self.sessions[browser] = self._new_session(browser)
        try:
            await session.oauth.complete(callback_url, request)
        except BaseException:
            await self._forget(browser)
            raise
        return browser

    @contextlib.asynccontextmanager
    async def session(self, browser: str) -> AsyncGenerator[EzeepSession, None]:
        """The one session of this browser. Raises `ReauthorizationRequired` if it is not logged in."""
        if browser not in self.sessions:
            if not await asyncio.to_thread(self._path(browser, "json").exists):
                raise ReauthorizationRequired("this browser is not logged in")
            # No await between the check and the assignment: concurrent handlers get the same session.
            self.sessions.setdefault(browser, self._new_session(browser))
        try:
            yield self.sessions[browser]
        except ReauthorizationRequired:
            await self._forget(browser)
            raise

    async def end(self, browser: str) -> None:
        """Log out, at ezeep too. Raises `TransientAuthError` if ezeep cannot be reached: the token set stays."""
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
        # A digest: no input of a browser is a path, and no file name is a valid cookie.
        return self.folder / f"{hashlib.sha256(browser.encode()).hexdigest()}.{kind}"


def _keep(path: Path, request: AuthorizationRequest) -> None:
    fresh = path.with_suffix(f".{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(attrs.asdict(request), file)
    fresh.replace(path)


def _take(path: Path) -> AuthorizationRequest | None:
    """Read the file and remove it."""
    try:
        text = path.read_text()
        path.unlink()  # of two concurrent requests, one gets past this line
    except FileNotFoundError:
        return None
    return AuthorizationRequest(**json.loads(text))


def answer_to(error: EzeepError) -> tuple[int, str]:
    """Status and text. The text of the error is not shown: parts of it may come from the query."""
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
