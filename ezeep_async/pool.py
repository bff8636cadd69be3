"""`SessionPool`: the sessions of many users, opened on demand."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import aiohttp
import attrs

from ezeep_async._open_sessions import Blueprint, OpenSessions, PoolTokenHook, SessionBlock
from ezeep_async._parts import part
from ezeep_async._runtime.later_types import imported_later
from ezeep_async._runtime.syntax import Asynchronous
from ezeep_async._text.cleaning import check_kind
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.clock import SYSTEM_CLOCK, Clock
from ezeep_async.auth.logs import logger
from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import SessionClosed, TokenStoreError
from ezeep_async.session import check_options
from ezeep_async.settings import Endpoints, Settings


if TYPE_CHECKING:
    from ezeep_async.auth.keep_alive import KeepAlive
    from ezeep_async.auth.oauth import OAuthLogin

globals().update(imported_later("ezeep_async", "KeepAlive OAuthLogin"))


@attrs.frozen(kw_only=True)
class PoolStats:
    """Counters of a pool. A snapshot: read `pool.stats` again for newer values."""

    open: int
    """Sessions in memory."""
    in_use: int
    """Open sessions in a block of `session(key)`, or used by `adopt` or `drop`."""
    kept_alive: int
    """Open sessions that are kept alive."""
    opened: int
    """Sessions that were opened since the pool was created."""
    closed: int
    """Sessions that were closed: to make room, by `drop`, or with the pool."""
    hits: int
    """Uses of a session that was open already."""
    in_flight: int
    """Requests under way, of all sessions."""
    waiting: int
    """Calls that wait for a slot, of all sessions."""


def _oauth_login(kind: Any, pool: Any, _: str) -> object:
    sessions: OpenSessions = pool._sessions
    blueprint = sessions.blueprint
    endpoint = sessions.connections.token_endpoint(blueprint.app, blueprint.settings, blueprint.clock, logger)

    async def prepare() -> None:
        sessions.check_usable()

    async def log_in(get_tokens: Callable[[], Awaitable[TokenSet]]) -> TokenSet:
        return await get_tokens()

    return kind(blueprint.app, blueprint.endpoints, endpoint, prepare, log_in)


class SessionPool(Asynchronous):
    """The sessions of many users, by key: opened on demand, over shared connections. Belongs to one event loop.

    For apps in which each user, or each tenant, has a login of their own. A key names one login: the id of the user in
    the app's database, for example. Its token set is in the token store that `store(key)` returns.

    All sessions of a pool share their connections, and one limiter for each host: `Settings.concurrency` counts for all of
    them together, and a 429 to one of them slows all. A session costs a few kilobytes, and its token store.

    The constructor does no I/O. Close the pool with `async with` or `aclose()`.

    Args:
        app: Client id, client secret and redirect URI of the OAuth2 application.
        store: Called as `store(key)` when a session is opened, and again after that session was closed. It returns the token
            store of that key at once, without I/O. An exception is raised to the caller of `session(key)`. Two keys must not
            get the same store: one user would have the login of the other. It must refuse keys that are not valid, if users
            can choose them.
        max_open: Sessions to keep open; at least 1. If there are more, those that were used least recently are closed in the
            background. Sessions that are in use, that are kept alive, or that refresh their token set are never closed for
            this; so there can be more than `max_open`, and no caller ever waits for another one to end. Those beyond
            `max_open` are closed about a second after that has ended.
        endpoints: Base URLs; those of the production service by default.
        settings: Time limits, retries, rate limits and connection options, for all sessions.
        http: aiohttp session whose connections are borrowed, as for `EzeepSession`.
        on_token_rotated: Called as `on_token_rotated(key, old, new)` after each token refresh and each `adopt`.
        clock: Source of time, for tests.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `max_open` is less than 1.

    Attributes:
        oauth: Log people in before their key is known.

    Note:
        docs/how-to/many-logins.md
    """

    oauth: OAuthLogin = part("auth.oauth.OAuthLogin", _oauth_login)
    """Log people in before their key is known. Pass the token set to `adopt`: it is stored nowhere before."""

    def __init__(
        self,
        app: OAuthApp,
        store: Callable[[str], TokenStore],
        *,
        max_open: int = 500,
        endpoints: Endpoints | None = None,
        settings: Settings | None = None,
        http: aiohttp.ClientSession | None = None,
        on_token_rotated: PoolTokenHook | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        endpoints = Endpoints() if endpoints is None else endpoints
        settings = Settings() if settings is None else settings
        check_options(app, endpoints, settings, http, on_token_rotated, clock)
        _check_hook(on_token_rotated)
        if not callable(store):
            raise TypeError(
                f"store must be a function of the key, not {type(store).__name__}: "
                "SessionPool(app, store=lambda key: FileTokenStore(folder / key))"
            )
        if not isinstance(max_open, int) or isinstance(max_open, bool):
            raise TypeError(f"max_open must be an int, not {type(max_open).__name__}")
        if max_open < 1:
            raise ValueError(f"max_open must be at least 1, not {max_open}")
        blueprint = Blueprint(app, store, endpoints, settings, http, on_token_rotated, clock)
        self._sessions = OpenSessions(blueprint, max_open)

    def __repr__(self) -> str:
        sessions = self._sessions
        blueprint, number = sessions.blueprint, len(sessions.entries)
        state = f"{number} open" if sessions.closing is None else "closed"
        return f"<SessionPool {state}, client {blueprint.app.client_id}, {blueprint.endpoints.api}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a SessionPool cannot be pickled: make one in each process, with token stores that they share"
        )

    # --- use -------------------------------------------------------------------------------------------------------

    def session(self, key: str) -> SessionBlock:
        """Use the session of a key: `async with pool.session(key) as session:`.

        The session is opened if it is not open. All blocks with one key share one session. Use it only in the block: after
        it, the pool may close the session. Closing the session does nothing.

        A key without a login is no error here. Its calls raise `ReauthorizationRequired`.

        Args:
            key: Names the login. Not empty.

        Returns:
            The context manager of the block.

        Raises:
            TypeError: `key` is not a str.
            ValueError: `key` is empty.
            SessionClosed: The pool is closed, or belongs to the parent process of a fork. Raised by the block, as are the
                errors of `store(key)` and the following.
            TokenStoreError: The token store belongs to another client id.
            RuntimeError: The pool was opened on another event loop.
        """
        return SessionBlock(self._sessions, _checked(key))

    def keep_alive(self, key: str) -> KeepAlive:
        """Refresh the token set of a key in the background, until the pool is closed or the handle is stopped.

        The session is opened, and is not closed to make room. Call it on the event loop of the pool.

        Args:
            key: Names the login. Not empty.

        Returns:
            A handle whose `stop()` ends it, see `EzeepSession.keep_alive`. A second call returns the same handle, unless that
            was stopped.

        Raises:
            TypeError: `key` is not a str.
            ValueError: `key` is empty.
            SessionClosed: The pool is closed, or the key is being dropped.
            RuntimeError: The event loop of the pool is not running.
        """
        sessions = self._sessions
        entry = sessions.take(_checked(key))
        try:
            if entry.dropping is not None:
                raise SessionClosed(f"the login of {key!r} is being dropped")
            return entry.session.keep_alive()
        finally:
            sessions.release(entry)

    @clears_locals
    async def adopt(self, key: str, tokens: TokenSet) -> None:
        """Store a token set as the login of a key: after a person has logged in.

        It replaces the token set of an earlier login of the same user. An open session of the key uses it from then on. If the
        store already has a successor of `tokens`, that one is kept. If the store fails, nothing changes.

        The token set that is replaced is not revoked: its refresh token works until it expires. To end an earlier login at
        ezeep too, call `session.oauth.revoke()` of the key first, in `suppress(EzeepError)`.

        Args:
            key: Names the login. Not empty.
            tokens: The token set, for example of `pool.oauth.complete`.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: `key` is empty.
            TokenStoreError: The store holds the login of another user, which `drop(key)` deletes, or it cannot be written. For
                opaque tokens, whose user is unknown, a warning is logged, and `tokens` are stored.
            SessionClosed: The pool is closed.
        """
        check_kind(tokens, TokenSet, "tokens", "TokenSet.from_response(mapping) makes one")
        sessions = self._sessions
        entry = await sessions.acquire(_checked(key))
        try:
            await entry.core.open()
            await entry.core.refresher.adopt(tokens)
        finally:
            sessions.release(entry)

    async def drop(self, key: str) -> None:
        """Delete the stored login of a key, and close its session.

        Waits for a token refresh that is under way. When it returns, the store is empty and the session is closed: calls
        that were in progress raise `SessionClosed`. A later `session(key)` opens another session, without a login. Other
        processes can use their access token until it expires.

        The token set is not revoked. To log out at ezeep too, call `session.oauth.revoke()` first.

        Args:
            key: Names the login. Not empty.

        Raises:
            TypeError: `key` is not a str.
            ValueError: `key` is empty.
            TokenStoreError: The store cannot be written. The login stays.
            SessionClosed: The pool is closed.
        """
        await self._sessions.drop(_checked(key))

    @property
    def stats(self) -> PoolStats:
        """Counters of this pool: sessions that are open and in use, requests under way."""
        sessions = self._sessions
        limiters = sessions.connections.limiters
        return PoolStats(
            open=len(sessions.entries),
            in_use=len(sessions.entries) - len(sessions.idle),
            # A copy, made at once: threads of blocking code read this while the event loop opens sessions.
            kept_alive=sum(entry.core.is_kept_alive for entry in list(sessions.entries.values())),
            opened=sessions.opened,
            closed=sessions.opened - len(sessions.entries),
            hits=sessions.hits,
            in_flight=limiters.active,
            waiting=limiters.waiting,
        )

    # --- lifetime --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._sessions.check_usable()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except TokenStoreError:
            # Already logged as critical. An error of the block takes precedence.
            if error is None:
                raise

    async def aclose(self) -> None:
        """Close all sessions and their connections.

        Waits for token refreshes in progress; other calls in progress raise `SessionClosed`. If the caller is cancelled,
        closing continues in the background task. A second call does nothing, and neither does a call in a forked child.

        Raises:
            TokenPersistError: The latest token set of a session could not be saved. All sessions are closed all the same.
            RuntimeError: The pool is open on another event loop, which is not closed.
        """
        await self._sessions.aclose()

    def again(self) -> SessionPool:
        """Create a pool with the same arguments, for another event loop or a forked process.

        Returns:
            A new pool, whose sessions share the token stores.

        Raises:
            ValueError: This pool borrows an aiohttp session, which belongs to one event loop.
        """
        blueprint = self._sessions.blueprint
        if blueprint.http is not None:
            raise ValueError(
                "this SessionPool borrows an aiohttp session (http=...): create the other one with SessionPool(...)"
            )
        return SessionPool(
            blueprint.app,
            blueprint.store,
            max_open=self._sessions.max_open,
            endpoints=blueprint.endpoints,
            settings=blueprint.settings,
            on_token_rotated=blueprint.hook,
            clock=blueprint.clock,
        )

    def _is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        return self._sessions.is_open_on(loop)


def _check_hook(hook: PoolTokenHook | None) -> None:
    """Raise `TypeError` for a hook of a session: without the key it could not tell whose tokens it gets."""
    try:
        if hook is not None:
            inspect.signature(hook).bind("key", None, None)
    except TypeError:
        raise TypeError("on_token_rotated of a pool is called as on_token_rotated(key, old, new)") from None
    except ValueError:  # the function has no signature, as some that are written in C
        pass


def _checked(key: str) -> str:
    """The key. Raises `TypeError` and `ValueError`."""
    if not isinstance(key, str):
        raise TypeError(f"the key of a login must be a str, not {type(key).__name__}: use str(...)")
    if not key:
        raise ValueError("the key of a login is empty: is there no user?")
    return key
