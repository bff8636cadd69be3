"""`EzeepSession`: what belongs together, from the first call to the close."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, TypedDict, Unpack
from urllib.parse import unquote

import aiohttp
from yarl import URL

from ezeep_async._core import Core
from ezeep_async._http.sender import background
from ezeep_async._http.stats import Stats
from ezeep_async._text.cleaning import check_kind, variable
from ezeep_async._text.redaction import clears_locals
from ezeep_async._wire.converter import decode_plain
from ezeep_async._wire.requests import (
    LONGEST_TARGET,
    SAFE_METHODS,
    Host,
    Request,
    checked_flag,
    checked_json,
    checked_params,
    checked_text,
)
from ezeep_async._wire.responses import decode_answer
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.clock import SYSTEM_CLOCK, Clock
from ezeep_async.auth.hooks import TokenHook
from ezeep_async.auth.keep_alive import KeepAlive
from ezeep_async.auth.oauth import OAuth
from ezeep_async.auth.stores.file import FileTokenStore
from ezeep_async.auth.stores.readonly import ReadOnlyTokens
from ezeep_async.auth.tokens import STORE_METHODS, MemoryTokenStore, TokenSet, TokenStore
from ezeep_async.errors import OutcomeUnknown, TokenStoreError
from ezeep_async.models.reconciled import Reconciled
from ezeep_async.provisioning.service import Provisioning
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import Users
from ezeep_async.settings import Endpoints, Settings


class SessionOptions(TypedDict, total=False):
    """What `EzeepSession` takes besides the app."""

    store: TokenStore | None
    tokens: TokenSet | None
    endpoints: Endpoints | None
    settings: Settings | None
    http: aiohttp.ClientSession | None
    on_token_rotated: TokenHook | None
    clock: Clock


def _check_store(store: object) -> None:
    """Raise `TypeError` for what is no token store. The value itself is not shown: it may be a secret."""
    if isinstance(store, (str, os.PathLike)):
        raise TypeError("store is a token store, and not a path: EzeepSession(app, FileTokenStore(path))")
    if isinstance(store, TokenSet):
        raise TypeError("store is a token store, and not a TokenSet: EzeepSession(app, tokens=...)")
    if isinstance(store, type):
        raise TypeError(f"store is a token store, and not the class {store.__name__}: make an object of it")
    if lacking := [name for name in STORE_METHODS if not hasattr(store, name)]:
        raise TypeError(
            f"store is a token store, and not {type(store).__name__}, which has no {', '.join(lacking)}"
        )


class EzeepSession:
    """One login at ezeep Blue, and everything that can be done with it. Belongs to one event loop.

    `store` keeps the token set (in memory by default); `tokens`, got elsewhere, go into it when it is empty. A store
    that holds them, or what has replaced them, is used as it is, so that a program may pass the same `tokens` at each
    start; with the token set of another user in it every call raises `TokenStoreError`, and a warning is logged where
    opaque tokens do not say whose they are. `http` is an aiohttp session whose connections are borrowed: used, never
    closed. Its cookies, headers and `trace_configs` are not used: a trace sees every token in headers and forms, and
    aiohttp lets an exception in a trace end the request, which would lose a token set in mid refresh. The extra `otel`
    and the log `ezeep_async.http` show the requests instead. `on_token_rotated(old, new)` is called after each refresh.
    `endpoints` and `settings` default to the real service; `clock` is for tests. Making a session does nothing: it
    opens with `async with`, or with its first call. Raises `TypeError` for an argument of a wrong kind.

    Every call of the API raises, besides what its own documentation says: `ReauthorizationRequired`, `TransientAuthError`
    or `AuthenticationError` when there is no login to make it with, `TokenStoreError` when the store cannot be used,
    `PermissionDenied`, `RateLimited`, `ServerError` or another `ApiError` for what the server answers,
    `UnexpectedResponse` for what is no answer of this API, `TransportError` when there is none, `OutcomeUnknown` when
    that was a write that must not be repeated, and `SessionClosed`.
    """

    def __init__(
        self,
        app: OAuthApp,
        store: TokenStore | None = None,
        tokens: TokenSet | None = None,
        endpoints: Endpoints | None = None,
        settings: Settings | None = None,
        http: aiohttp.ClientSession | None = None,
        on_token_rotated: TokenHook | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        store = MemoryTokenStore() if store is None else store
        endpoints = Endpoints() if endpoints is None else endpoints
        settings = Settings() if settings is None else settings
        # What is of a wrong kind is refused where it is given, and not by the first call that meets it.
        check_kind(app, OAuthApp, "app", "OAuthApp(client_id, ...) makes one")
        _check_store(store)
        if tokens is not None:
            check_kind(tokens, TokenSet, "tokens", "TokenSet.from_response(mapping) makes one")
        check_kind(endpoints, Endpoints, "endpoints", "Endpoints(account=..., api=...) makes one")
        check_kind(settings, Settings, "settings", "Settings(...) makes one")
        if http is not None:
            check_kind(
                http, aiohttp.ClientSession, "http", "leave it out, and the session connects by itself"
            )
        if on_token_rotated is not None and not callable(on_token_rotated):
            raise TypeError(f"on_token_rotated is a function, and not {type(on_token_rotated).__name__}")
        self._again = partial(
            type(self), app, store, tokens, endpoints, settings, None, on_token_rotated, clock
        )
        self._is_borrowing = http is not None
        self._core = core = Core(
            app,
            store,
            tokens,
            endpoints,
            settings,
            http,
            on_token_rotated,
            clock,
        )
        self.oauth = OAuth(app, core.endpoints, core.exchanger, core.refresher, clock, prepare=core.open)
        self.users = Users(core)
        self.groups = Groups(core, self.users)
        self.accounts = Accounts(core)
        self.invitations = Invitations(core)
        self.provisioning = Provisioning(self.groups, self.users, self.accounts, self.invitations)

    @classmethod
    @clears_locals
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Unpack[SessionOptions]) -> Self:
        """From `EZEEP_CLIENT_ID`, `EZEEP_CLIENT_SECRET`, `EZEEP_REDIRECT_URI`, `EZEEP_TOKEN_FILE`, `EZEEP_ACCOUNT_URL`
        and `EZEEP_API_URL`. `options` are those of the class.

        Without a token file, `EZEEP_ACCESS_TOKEN` is used to its end and not renewed (see `ReadOnlyTokens`). Raises
        `ValueError` without a client id.
        """
        # Not a default of the parameter: help() and generated documentation would show the environment, with its secrets.
        environ = os.environ if environ is None else environ
        client_id = variable(environ, "EZEEP_CLIENT_ID")
        if client_id is None:
            raise ValueError("EZEEP_CLIENT_ID is not set")
        app = OAuthApp(
            client_id, variable(environ, "EZEEP_CLIENT_SECRET"), variable(environ, "EZEEP_REDIRECT_URI")
        )
        token_file = variable(environ, "EZEEP_TOKEN_FILE", is_path=True)
        if token_file is not None:
            options.setdefault("store", FileTokenStore(token_file))
        elif variable(environ, "EZEEP_ACCESS_TOKEN") is not None:
            options.setdefault("store", ReadOnlyTokens.from_env(environ))
        options.setdefault("endpoints", Endpoints.from_env(environ))
        return cls(app, **options)

    def __repr__(self) -> str:
        core = self._core
        return f"<EzeepSession {core.state}, client {core.app.client_id}, {core.endpoints.api}>"

    # --- lifetime --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._core.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except TokenStoreError:
            # It was logged as critical. The error that ended the block is the one that its caller waits for.
            if error is None:
                raise

    async def aclose(self) -> None:
        """Close. Waits for a renewal of the login that is under way; other calls in flight end with `SessionClosed`.

        May be called twice. A cancelled caller is released; the closing goes on. Does nothing in a forked child, as the
        session stays with the parent. Raises `TokenPersistError` when the newest login could not be stored, and
        `RuntimeError` on another event loop than the one that opened the session, while that is not closed.
        """
        await self._core.aclose()

    def _is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        return self._core.is_open_on(loop)

    def keep_alive(self) -> KeepAlive:
        """Renew the login in time for as long as this session is open, even when nothing is called.

        For a service that may be idle for longer than a refresh token lives (an hour, as an access token does). The
        renewal comes `settings.leeway` before the end (a fifth of the token's life at most), and is the one that a call
        would have made: there is never a second one. A larger leeway leaves more time to get over an outage.

        Called on the session's event loop; called again it returns the same handle, unless that was stopped. See
        `KeepAlive`. Raises `SessionClosed`, and `RuntimeError` where the session's event loop does not run.
        """
        return self._core.keep_alive()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an EzeepSession cannot be pickled: make one in each process, on a store that they share"
        )

    def again(self) -> EzeepSession:
        """A new session on the same store, for another event loop or a forked process: sessions do not move.

        Raises `ValueError` when this one borrows its connections, which do not move either.
        """
        if self._is_borrowing:
            raise ValueError("a session that borrows an aiohttp session cannot be made again elsewhere")
        return self._again()

    @property
    def stats(self) -> Stats:
        """What this session has done so far: calls, requests, retries, refusals, renewals of the login."""
        return self._core.stats

    # --- calls -----------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path_or_url: str,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Anything that is not wrapped yet: authenticated, limited, retried, and decoded from JSON.

        A path goes to the API host, a full address must be on one of the two hosts. GET, HEAD and OPTIONS are retried,
        other methods only with `idempotent=True`. None for an empty answer. A response of more than 2 MiB is not decoded, as
        that would take much memory and stop the event loop: `UnexpectedResponse` then; request smaller pages. Raises `ValueError` before anything is
        sent, and what every call raises (see `EzeepSession`).
        """
        method = checked_text(method, "method", shortest=1).upper()
        if not method.isascii() or not method.isalpha():
            raise ValueError(f"not an HTTP method: {method!r}")
        if method in {"CONNECT", "TRACE"}:
            raise ValueError(f"the method {method} is for proxies, and never has a token")
        checked_text(path_or_url, "path_or_url", shortest=1, longest=LONGEST_TARGET)
        host, path, query = self._locate(path_or_url, params)
        request = Request(
            method,
            host,
            path,
            path,
            query,
            None if json is None else checked_json(json),
            idempotent=method in SAFE_METHODS
            if idempotent is None
            else checked_flag(idempotent, "idempotent"),
        )
        return decode_answer(request, await self._core.send(request), decode_plain)

    async def reconcile(self, unknown: OutcomeUnknown, /) -> Reconciled:
        """See `OutcomeUnknown.reconcile`: `await error.reconcile(session)` is the same."""
        sought = unknown.sought
        if sought is None:
            raise ValueError(
                "only the creation of a group or an invitation can be looked up: look for it yourself"
            )
        if sought.kind == "invitation":
            return Reconciled.of(tuple(await self.invitations.find(sought.name)))
        groups = await self.groups.find(sought.name)
        return Reconciled.of(tuple(each for each in groups if each.organization_id == sought.organization_id))

    def background(self) -> AbstractContextManager[None]:
        """`with session.background():` calls in the block, and in tasks begun in it, let the session's other calls go first.

        For a large job beside a service that answers people: their calls do not wait behind its queue. The job always
        gets some of the slots. What applies a plan runs in the background by itself.
        """
        return background()

    def _locate(self, path_or_url: str, params: Mapping[str, str | int] | None) -> tuple[Host, str, str]:
        url = URL(path_or_url)
        host = Host.API
        if url.absolute:
            bases = {Host.API: URL(self._core.endpoints.api), Host.ACCOUNT: URL(self._core.endpoints.account)}
            for candidate, base in bases.items():
                prefix = base.raw_path.rstrip("/")
                if (
                    url.origin() == base.origin()
                    and url.raw_path.startswith(prefix + "/")
                    and url.user is None
                ):
                    host, path = candidate, url.raw_path[len(prefix) :]
                    break
            else:
                raise ValueError(
                    f"{url.host or path_or_url!r} is neither of the two hosts that the token may go to"
                )
        elif path_or_url.startswith("/") and not path_or_url.startswith("//"):
            path = url.raw_path
        else:
            raise ValueError(f"a path begins with a slash: {path_or_url!r}")
        if {".", ".."} & set(unquote(path).split("/")):
            raise ValueError(f"a path does not climb: {path_or_url!r}")
        if path.startswith("//"):
            raise ValueError(f"a path begins with one slash: {path_or_url!r}")
        if params is not None:
            url = url.update_query(checked_params(params))
        return host, path, url.raw_query_string
