"""`EzeepSession`: the entry point to all calls of the API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict, Unpack

import aiohttp

from ezeep_async._core import Connections, Core, CoreView
from ezeep_async._http.sender import background
from ezeep_async._http.stats import Stats
from ezeep_async._parts import part, view_of
from ezeep_async._runtime.later_types import imported_later
from ezeep_async._runtime.syntax import Asynchronous
from ezeep_async._text.cleaning import check_kind, checked_seconds, variable
from ezeep_async._text.redaction import clears_locals
from ezeep_async._wire.converter import decode_plain
from ezeep_async._wire.requests import any_request
from ezeep_async._wire.responses import decode_response
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.clock import SYSTEM_CLOCK, Clock
from ezeep_async.auth.refresher import TokenHook
from ezeep_async.auth.tokens import STORE_METHODS, MemoryTokenStore, TokenSet, TokenStore
from ezeep_async.errors import OutcomeUnknown, TokenStoreError
from ezeep_async.settings import CallOptions, Endpoints, Settings, call_options, changed_for_calls


if TYPE_CHECKING:
    from ezeep_async.auth.keep_alive import KeepAlive
    from ezeep_async.auth.oauth import OAuth
    from ezeep_async.models.reconciled import Reconciled
    from ezeep_async.provisioning.service import Provisioning
    from ezeep_async.resources.accounts import Accounts
    from ezeep_async.resources.assignments import PrinterAssignments
    from ezeep_async.resources.connectors import Connectors, Drivers
    from ezeep_async.resources.groups import Groups
    from ezeep_async.resources.invitations import Invitations
    from ezeep_async.resources.people import People
    from ezeep_async.resources.printers import Printers
    from ezeep_async.resources.printing import Printing
    from ezeep_async.resources.reports import Reports
    from ezeep_async.resources.users import Users
    from ezeep_async.resources.webhooks import Webhooks

globals().update(
    imported_later(
        "ezeep_async",
        "Accounts Connectors Drivers Groups Invitations KeepAlive OAuth People PrinterAssignments Printers Printing Provisioning Reconciled Reports Users Webhooks",
    )
)


class SessionOptions(TypedDict, total=False):
    """Arguments of `EzeepSession` other than `app`, for `EzeepSession.from_env`."""

    store: TokenStore | None
    tokens: TokenSet | None
    endpoints: Endpoints | None
    settings: Settings | None
    http: aiohttp.ClientSession | None
    on_token_rotated: TokenHook | None
    clock: Clock


def _check_methods(value: object, name: str, kind: str, methods: Iterable[str]) -> None:
    """Raise `TypeError` if `value` lacks one of the methods. The message omits the value: it may be a secret."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be a {kind}, not the class {value.__name__}: pass an instance")
    if lacking := [method for method in methods if not hasattr(value, method)]:
        raise TypeError(
            f"{name} must be a {kind}, not {type(value).__name__}, which has no {', '.join(lacking)}"
        )


def check_options(
    app: object, endpoints: object, settings: object, http: object, on_token_rotated: object, clock: object
) -> None:
    """Check what sessions and pools take. Raises `TypeError`."""
    check_kind(app, OAuthApp, "app", "OAuthApp(client_id, ...) makes one")
    check_kind(endpoints, Endpoints, "endpoints", "Endpoints(account=..., api=...) makes one")
    check_kind(settings, Settings, "settings", "Settings(...) makes one")
    if http is not None:
        check_kind(http, aiohttp.ClientSession, "http", "leave it out, and the session connects by itself")
    if on_token_rotated is not None and not callable(on_token_rotated):
        raise TypeError(f"on_token_rotated must be callable, not {type(on_token_rotated).__name__}")
    _check_methods(clock, "clock", "Clock", ("now", "monotonic"))


def check_store(store: object) -> None:
    """Check that this is a token store. Raises `TypeError`."""
    if isinstance(store, (str, os.PathLike)):
        raise TypeError("store must be a token store, not a path: EzeepSession(app, FileTokenStore(path))")
    if isinstance(store, TokenSet):
        raise TypeError("store must be a token store, not a TokenSet: EzeepSession(app, tokens=...)")
    _check_methods(store, "store", "token store", STORE_METHODS)


def _resource(kind: Any, session: Any, _: str) -> object:
    return kind(session._api)


class EzeepSession(Asynchronous):
    """A session of one user with ezeep Blue. Belongs to one event loop.

    The constructor does no I/O. The session opens with `async with` or with its first call, and must be closed with
    `async with` or `aclose()`.

    Args:
        app: Client id, client secret and redirect URI of the OAuth2 application.
        store: Where the token set is kept; in memory by default.
        tokens: Initial token set, saved to `store` when the session opens, if `store` is empty or holds an older login
            that has ended. Otherwise the token set in `store` takes precedence, so that a program can pass the same `tokens` at each start. If `store` holds the tokens
            of another user, every call raises `TokenStoreError`. For opaque tokens, whose user is unknown, a warning
            is logged instead.
        endpoints: Base URLs; those of the production service by default.
        settings: Time limits, retries, rate limits and connection options.
        http: aiohttp session whose connections are borrowed. It is never closed by this session. Its cookies, headers
            and `trace_configs` are not used: a trace would see every token, and an exception in a trace would end a
            token refresh. Use the extra `otel` or the logger `ezeep_async.http` to trace requests.
        on_token_rotated: Called as `on_token_rotated(old, new)` after each token refresh.
        clock: Source of time, for tests.

    Raises:
        TypeError: An argument has the wrong type.

    Attributes:
        oauth: Log in, pair a device, refresh and revoke tokens.
        users: Users of the printing API and their groups.
        groups: Groups and their members.
        accounts: Account users: names, e-mail addresses, roles.
        people: Users of the printing API with their names and e-mail addresses.
        invitations: Invitations to the organization.
        printers: Printers of the logged-in user.
        printing: Print documents, and follow their jobs.
        printer_assignments: Which groups may use which printer.
        connectors: What connects printers with ezeep.
        drivers: The printer drivers that ezeep knows.
        webhooks: Endpoints that ezeep posts events to.
        reports: Reports on printed jobs.
        provisioning: Plan and apply the members and printers of groups.

    Note:
        Every call of the API can raise these errors, in addition to those that it documents:

        - `ValueError`: an argument is invalid, such as an id that is no UUID. Nothing was sent.
        - `ReauthorizationRequired`, `TransientAuthError` or another `AuthenticationError`: there is no valid token set.
        - `TokenStoreError`: the token store cannot be used.
        - `PermissionDenied`, `RateLimited`, `ServerError` or another `ApiError`: the server responded with an error.
        - `UnexpectedResponse`: the response is not what the API documents.
        - `TransportError`: there was no response.
        - `OutcomeUnknown`: the response to a write was lost, and the write must not be repeated.
        - `SessionClosed`: the session is closed, or belongs to the parent process of a fork.
    """

    # Each is imported and made at its first use.

    oauth: OAuth = part(
        "auth.oauth.OAuth",
        lambda kind, session, _: kind(
            session._core.app,
            session._core.endpoints,
            session._core.token_endpoint,
            session._core.open,
            session._core.refresher.log_in,
            session._core.refresher,
        ),
    )
    """Log in, pair a device, refresh and revoke tokens."""
    users: Users = part("resources.users.Users", _resource)
    """Users of the printing API and their groups."""
    groups: Groups = part(
        "resources.groups.Groups", lambda kind, session, _: kind(session._api, session.users)
    )
    """Groups and their members."""
    accounts: Accounts = part("resources.accounts.Accounts", _resource)
    """Account users: names, e-mail addresses, roles."""
    people: People = part(
        "resources.people.People", lambda kind, session, _: kind(session.users, session.accounts)
    )
    """Users of the printing API with their names and e-mail addresses."""
    invitations: Invitations = part("resources.invitations.Invitations", _resource)
    """Invitations to the organization."""
    printers: Printers = part(
        "resources.printers.Printers",
        lambda kind, session, _: kind(session._api, partial(getattr, session._core.refresher, "logins")),
    )
    """Printers of the logged-in user."""
    printing: Printing = part(
        "resources.printing.Printing",
        lambda kind, session, _: kind(
            session._api, session._api.storage(), session.printers, session._api.settings.deadline
        ),
    )
    """Print documents, and follow their jobs."""
    printer_assignments: PrinterAssignments = part("resources.assignments.PrinterAssignments", _resource)
    """Which groups may use which printer."""
    connectors: Connectors = part("resources.connectors.Connectors", _resource)
    """What connects printers with ezeep."""
    drivers: Drivers = part("resources.connectors.Drivers", _resource)
    """The printer drivers that ezeep knows."""
    webhooks: Webhooks = part("resources.webhooks.Webhooks", _resource)
    """Endpoints that ezeep posts events to."""
    reports: Reports = part("resources.reports.Reports", _resource)
    """Reports on printed jobs."""
    provisioning: Provisioning = part(
        "provisioning.service.Provisioning",
        lambda kind, session, _: kind(
            session.groups,
            session.users,
            session.accounts,
            session.invitations,
            session.printer_assignments,
        ),
    )
    """Plan and apply the members and printers of groups."""

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
        # Checked here, so that the traceback shows the line with the wrong argument.
        check_options(app, endpoints, settings, http, on_token_rotated, clock)
        check_store(store)
        if tokens is not None:
            check_kind(tokens, TokenSet, "tokens", "TokenSet.from_response(mapping) makes one")
        self._again = partial(
            type(self),
            app,
            store,
            tokens,
            endpoints,
            on_token_rotated=on_token_rotated,
            clock=clock,
        )
        self._is_borrowing = http is not None
        connections = Connections.to(endpoints, settings, http)
        self._use(Core(app, store, tokens, endpoints, settings, connections, on_token_rotated, clock))

    def _use(self, core: Core) -> None:
        self._core = core
        # The parts send through this one: the core itself, or in a view (`with_options`) a `CoreView` with its options.
        self._api: Core | CoreView = core
        self._viewed: EzeepSession | None = None  # the session that this is a view of

    @classmethod
    @clears_locals
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Unpack[SessionOptions]) -> Self:
        """Create a session from environment variables.

        Reads `EZEEP_CLIENT_ID`, `EZEEP_CLIENT_SECRET`, `EZEEP_REDIRECT_URI`, `EZEEP_SCOPE`, `EZEEP_TOKEN_FILE`,
        `EZEEP_ACCESS_TOKEN`, `EZEEP_ACCOUNT_URL`, `EZEEP_API_URL` and `EZEEP_PRINT_URL`. Without a token file, `EZEEP_ACCESS_TOKEN` is used
        until it expires and is never refreshed (see `ReadOnlyTokens`).

        Args:
            environ: Environment variables; `os.environ` by default.
            **options: Arguments of `EzeepSession` other than `app`. They override the environment.

        Returns:
            A session that is not open yet.

        Raises:
            ValueError: `EZEEP_CLIENT_ID` is not set, or a variable has an invalid value.
            TypeError: An option has the wrong type.
        """
        # Not a default of the parameter: help() would show the environment, with its secrets.
        environ = os.environ if environ is None else environ
        client_id = variable(environ, "EZEEP_CLIENT_ID")
        if client_id is None:
            raise ValueError("EZEEP_CLIENT_ID is not set: set it to the client id of your OAuth2 application")
        app = OAuthApp(
            client_id,
            variable(environ, "EZEEP_CLIENT_SECRET"),
            variable(environ, "EZEEP_REDIRECT_URI"),
            variable(environ, "EZEEP_SCOPE") or "printing",
        )
        token_file = variable(environ, "EZEEP_TOKEN_FILE", is_path=True)
        if token_file is not None:
            from ezeep_async.auth.stores.file import FileTokenStore

            options.setdefault("store", FileTokenStore(token_file))
        elif variable(environ, "EZEEP_ACCESS_TOKEN") is not None:
            from ezeep_async.auth.stores.readonly import ReadOnlyTokens

            options.setdefault("store", ReadOnlyTokens.from_env(environ))
        options.setdefault("endpoints", Endpoints.from_env(environ))
        return cls(app, **options)

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a view of this session whose calls have other time limits or retries.

        The view is a session that shares everything else: tokens, connections, rate limits, locks and counters. It is made in
        microseconds, so that each request of a service can have its own:

            user = await session.with_options(deadline=10.0, retries=0).users.get(user_id)

        The view has no lifetime of its own. `async with` and `aclose()` of a view close nothing, and its calls raise
        `SessionClosed` once the session is closed. Views of views add up.

        Args:
            **options: `deadline`, `connect_timeout`, `read_timeout`, `retries` and `max_retry_after`, as in `Settings`. The
                cool-down of a host after a 429 remains that of the session. Token refreshes have `Settings.refresh_timeout`.

        Returns:
            The view.

        Raises:
            TypeError: An option does not exist, or concerns more than one call.
            ValueError: A value has the wrong type or is out of range.
        """
        settings = changed_for_calls(self._api.settings, options)
        view = view_of(self)
        view._api = CoreView(self._core, settings)
        view._viewed = self if self._viewed is None else self._viewed
        return view

    def _origin(self) -> tuple[EzeepSession, CallOptions]:
        """The session that this one is a view of, and the options of the view; itself and none if it is no view."""
        if self._viewed is None:
            return self, {}
        return self._viewed, call_options(self._api.settings)

    def __repr__(self) -> str:
        core = self._core
        kind = "EzeepSession" if self._viewed is None else "view of EzeepSession"
        return f"<{kind} {core.state}, client {core.app.client_id}, {core.endpoints.api}>"

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
            # Already logged as critical. An error of the block takes precedence.
            if error is None:
                raise

    async def aclose(self) -> None:
        """Close the session and its connections.

        Waits for a token refresh in progress; other calls in progress raise `SessionClosed`. If the caller is
        cancelled, closing continues in the background task. A second call does nothing, and neither does a call in a
        forked child, because the session belongs to the parent process. A view (`with_options`) closes nothing.

        Raises:
            TokenPersistError: The latest token set could not be saved.
            RuntimeError: The session is open on another event loop, which is not closed.
        """
        if self._viewed is None:
            await self._core.aclose()

    def _is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        return self._core.is_open_on(loop)

    def keep_alive(self, interval: float | None = None) -> KeepAlive:
        """Refresh the token set in the background for as long as this session is open.

        For a service that may make no calls for longer than the refresh token lives. The refresh starts
        `settings.leeway` seconds before expiry (at most a fifth of the token's lifetime) and is shared with calls, so
        there are never two at once. In an async program, call this method on the session's event loop.

        Args:
            interval: Refresh as soon as the token set is older than this, in seconds, and not only before it expires. A
                refresh token may live no longer than the access token: with 1200, one of an hour survives outages of 40
                minutes. None or a positive number.

        Returns:
            A handle whose `stop()` ends it. A second call returns the same handle, unless that was stopped.

        Raises:
            ValueError: `interval` is not positive.
            SessionClosed: The session is closed.
            RuntimeError: The session's event loop is not running.
        """
        if interval is not None and not checked_seconds(interval, "interval"):
            raise ValueError("interval must be a number of seconds above 0")
        return self._core.keep_alive(interval)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an EzeepSession cannot be pickled: make one in each process, with a token store that they share"
        )

    def again(self) -> EzeepSession:
        """Create a session with the same arguments, for another event loop or a forked process.

        Returns:
            A new session that shares the token store.

        Raises:
            ValueError: This session borrows an aiohttp session, which belongs to one event loop.
        """
        if self._is_borrowing:
            raise ValueError(
                "this EzeepSession borrows an aiohttp session (http=...): create the other one with EzeepSession(...)"
            )
        return self._again(settings=self._api.settings)

    @property
    def stats(self) -> Stats:
        """Counters of this session: calls, requests, retries, rejected requests and token refreshes."""
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
        """Send a request to an endpoint that has no method of its own.

        The request is authenticated, rate limited and retried like every other call.

        Args:
            method: HTTP method in any case, other than CONNECT and TRACE.
            path_or_url: A path on the API host that starts with `/`, or a URL on one of the hosts in `Endpoints`.
            params: Query parameters, added to those in `path_or_url`.
            json: Body to encode as JSON; None for no body.
            idempotent: Whether the request may be retried. None: only GET, HEAD and OPTIONS are.

        Returns:
            The decoded JSON, or None if the response is empty. Passwords of webhooks are replaced by "***".

        Raises:
            ValueError: An argument is invalid. Nothing was sent.
            OutcomeUnknown: The response to a request that is not idempotent was lost.
            UnexpectedResponse: The response is not JSON, or larger than 2 MiB: request smaller pages.
        """
        request = any_request(self._core.endpoints, method, path_or_url, params, json, idempotent)
        return decode_response(request, await self._api.send(request), decode_plain)

    async def reconcile(self, unknown: OutcomeUnknown, /) -> Reconciled:
        """Search for the object of a creation whose response was lost.

        The same as `unknown.reconcile(session)`; see `OutcomeUnknown.reconcile`.

        Args:
            unknown: The error of the creation.

        Returns:
            What was found: `created`, `absent` or `several`.

        Raises:
            ValueError: The write did not create a group or an invitation.
        """
        from ezeep_async.models.reconciled import Reconciled

        sought = unknown.sought
        if sought is None:
            raise ValueError(
                "this write did not create a group or an invitation: read the object that it changed, and compare"
            )
        if sought.kind == "invitation":
            return Reconciled.of(tuple(await self.invitations.find(sought.name)))
        groups = await self.groups.find(sought.name)
        return Reconciled.of(tuple(each for each in groups if each.organization_id == sought.organization_id))

    def background(self) -> AbstractContextManager[None]:
        """Give the calls in a `with` block a lower priority than the session's other calls.

        Use `with session.background():` for a large job in a service that also responds to people. Tasks that are
        started in the block inherit the priority. Some slots of the limiter are always left to the job. `apply` of a
        plan runs in the background without this method.

        Returns:
            The context manager of the block.
        """
        return background()
