"""What the parts of a session share: connections, token set, send loop, and their lifetime.

The resources hold a reference to the core, and the core holds none to them. When the last resource is garbage collected, the
core is too, and its `__del__` warns if the session was not closed.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar, cast

import aiohttp
import attrs

from ezeep_async._exclusive import Exclusive, Held
from ezeep_async._http.sender import Limiters, Sender, send_oauth
from ezeep_async._http.stats import Stats
from ezeep_async._http.storage import Storage
from ezeep_async._http.tracing import Tracing
from ezeep_async._http.transport import Transport
from ezeep_async._runtime import forks
from ezeep_async._text.redaction import Clearing, clears_locals
from ezeep_async._wire.requests import Request
from ezeep_async._wire.responses import RawResponse
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.logs import Log, log_of
from ezeep_async.auth.refresher import Refresher, TokenHook
from ezeep_async.auth.tasks import start_uncancellable
from ezeep_async.auth.token_endpoint import TokenEndpoint
from ezeep_async.auth.tokens import TokenSet, TokenStore, as_store_errors
from ezeep_async.errors import OPENED_BEFORE_FORK, SessionClosed
from ezeep_async.settings import Endpoints, Settings


if TYPE_CHECKING:
    from ezeep_async.auth.keep_alive import KeepAlive


T = TypeVar("T")


@attrs.frozen(eq=False, repr=False)
class Connections:
    """The HTTP connections of a session, or of all sessions of a pool, with their limiters and spans. It has no tokens."""

    transport: Transport
    tracing: Tracing | None
    limiters: Limiters
    is_shared: bool
    """Whether a pool owns them. Its sessions then neither close nor abandon them."""

    @classmethod
    def to(
        cls,
        endpoints: Endpoints,
        settings: Settings,
        http: aiohttp.ClientSession | None,
        *,
        is_shared: bool = False,
    ) -> Connections:
        try:
            tracing = Tracing(endpoints)
        except ImportError:
            tracing = None
        return cls(Transport(endpoints, settings, http), tracing, Limiters.of(settings), is_shared)

    def token_endpoint(self, app: OAuthApp, settings: Settings, clock: Clock, log: Log) -> TokenEndpoint:
        return TokenEndpoint(
            partial(send_oauth, self.transport, app.basic_authorization, self.tracing),
            clock,
            timeout=settings.refresh_timeout,
            connect_timeout=settings.connect_timeout,
            log=log,
        )


class Core:
    """The inside of an `EzeepSession`."""

    def __init__(
        self,
        app: OAuthApp,
        store: TokenStore,
        tokens: TokenSet | None,
        endpoints: Endpoints,
        settings: Settings,
        connections: Connections,
        on_token_rotated: TokenHook | None,
        clock: Clock,
    ) -> None:
        self.app = app
        self.endpoints = endpoints
        self._store = store
        self.connections = connections
        log = log_of(app.client_id, store)
        self.token_endpoint = connections.token_endpoint(app, settings, clock, log)
        self.refresher = Refresher(
            store, self.token_endpoint, clock, leeway=settings.leeway, on_rotated=on_token_rotated, log=log
        )
        self._sender = Sender(
            connections.transport,
            self.refresher,
            settings,
            limiters=connections.limiters,
            tracing=connections.tracing,
        )
        self._exclusive = Exclusive(store, endpoints.api, settings.deadline, settings.shared_locks)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._to_open: tuple[asyncio.Lock, TokenSet | None] | None = (asyncio.Lock(), tokens)
        """What the opening needs; None once the session is open."""
        self._closing: asyncio.Future[None] | None = None
        self._keep_alive: KeepAlive | None = None

    @property
    def _transport(self) -> Transport:
        return self.connections.transport

    @property
    def state(self) -> str:
        if self._closing is not None:
            return "closed"
        return "open" if self._to_open is None else "new"

    @property
    def stats(self) -> Stats:
        return attrs.evolve(self._sender.stats(), refreshes=self.refresher.exchanger.refreshes)

    def disown(self) -> None:
        """Leave everything to the parent process: after a fork, in the child."""
        self._to_open = (asyncio.Lock(), None)  # the next call goes through `open`, which refuses it
        self._transport.disown()
        self.refresher.is_inherited = True

    def is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether this session was opened on that event loop, in this process, and not closed."""
        return self.state == "open" and self._loop is loop

    @clears_locals
    async def open(self) -> None:
        """Bind the store, and give it the first token set. Once; raises `SessionClosed` after the close."""
        self._check_open()
        self._check_loop()
        if self._to_open is None:
            return
        lock, tokens = self._to_open
        async with lock:
            if self.state != "new":  # another caller had the lock
                return
            if (bind := getattr(self._store, "bind", None)) is not None:
                with as_store_errors():
                    bind(self.app.client_id, self.endpoints.account)
            if tokens is not None:
                await self.refresher.put_if_empty(tokens)
            self._sender.join(self.endpoints)
            self._to_open = None

    def _check_open(self) -> None:
        if self.refresher.is_inherited:
            raise SessionClosed(OPENED_BEFORE_FORK)
        if self._closing is not None:
            if self.connections.is_shared:
                raise SessionClosed(
                    "the SessionPool has closed this session: use a session only in its block of pool.session(key)"
                )
            raise SessionClosed("this EzeepSession is closed")

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            forks.watch(self, loop)
        elif self._loop is not loop:
            raise RuntimeError("this EzeepSession was opened on another event loop: make one for each loop")

    def keep_alive(self, interval: float | None = None) -> KeepAlive:
        self._check_open()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "keep_alive() is called in a coroutine, on the event loop of the session"
            ) from None
        self._check_loop()
        if self._keep_alive is None or not self._keep_alive.is_running:
            from ezeep_async.auth.keep_alive import KeepAlive  # most programs do not use it

            self._keep_alive = KeepAlive(self, interval)
        return self._keep_alive

    @clears_locals
    async def stored(self) -> TokenSet | None:
        await self.open()
        return await self.refresher.stored()

    @property
    def is_kept_alive(self) -> bool:
        return self._keep_alive is not None and self._keep_alive.is_running

    @property
    def is_busy(self) -> bool:
        """Whether closing it now would end a call or its `KeepAlive`, wait for a refresh, or lose a token set."""
        return (
            self.is_kept_alive or self._sender.is_busy or self._exclusive.in_use > 0 or self.refresher.is_busy
        )

    @clears_locals
    async def aclose(self, caller: asyncio.Task[object] | None = None) -> None:
        """Close it. `caller` is the task that is not waited for, if it is a hook; the current task by default."""
        if self.refresher.is_inherited or (self._closing is not None and self._closing.done()):
            return
        loop = self._loop
        if loop is not None and loop is not asyncio.get_running_loop() and not loop.is_closed():
            raise RuntimeError("this EzeepSession was opened on another event loop: close it there")
        if self._keep_alive is not None:
            self._keep_alive.stop()
        if self._closing is None or self._closing.get_loop().is_closed():
            # Not cancellable: a token refresh that does not end at once still needs the connections.
            self._closing = start_uncancellable(self._close(caller or asyncio.current_task()), "ezeep-close")
        await asyncio.shield(self._closing)

    async def _close(self, caller: asyncio.Task[object] | None) -> None:
        try:
            if self._keep_alive is not None:
                await self._keep_alive.aclose()
            await self.refresher.aclose(caller)
        finally:
            self._sender.close()
            try:
                await self._exclusive.aclose()
                await self._sender.leave()
            finally:
                if not self.connections.is_shared:
                    await self._transport.aclose()

    async def send(self, request: Request, settings: Settings | None = None, /) -> RawResponse:
        """Return the 2xx response. Raises an `EzeepError` for every other outcome. `settings` are those of a view."""
        with Clearing():  # not `clears_locals`: another coroutine for each call
            if self._to_open is not None or self._closing is not None:
                await self.open()
            self._check_loop()
            return await self._sender.send(request, settings)

    @property
    def settings(self) -> Settings:
        return self._sender.settings

    def storage(self) -> Storage:
        """A client for uploads to the storage of the print service."""
        return self._sender.storage

    @cached_property
    def _common(self) -> dict[Callable[[], object], object]:
        return {}

    def common(self, kind: Callable[[], T]) -> T:
        """Return the one object of this kind that the session and its views share."""
        if kind not in self._common:
            self._common[kind] = kind()
        return cast("T", self._common[kind])

    async def exclusive(self, *name: str, patience: float | None = None) -> Held:
        """Acquire the lock of `name`. The caller must release it."""
        if self._to_open is not None or self._closing is not None:
            await self.open()
        self._check_loop()
        return await self._exclusive.acquire(*name, patience=patience)

    # A default argument, as the module's globals are gone when it is collected at the end of the interpreter.
    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        keep_alive: KeepAlive | None = getattr(self, "_keep_alive", None)
        if keep_alive is not None:
            keep_alive.stop()
        connections: Connections | None = getattr(self, "connections", None)
        if connections is not None and not connections.is_shared and connections.transport.is_open:
            connections.transport.abandon(self.refresher.under_way())
            # Last, as a filter may make it an exception.
            _warn(
                "an EzeepSession was not closed: use `async with`, or await its aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class CoreView:
    """The calls of a core with other time limits and retries, for `EzeepSession.with_options`. It has no lifetime of its own.

    It has the methods that the resources call (`resources/_base.py`: `Api`), and passes its settings to those of the core.
    """

    def __init__(self, core: Core, settings: Settings) -> None:
        self._core = core
        self.settings = settings

    def send(self, request: Request, /) -> Awaitable[RawResponse]:
        """See `Core.send`."""
        return self._core.send(request, self.settings)

    def storage(self) -> Storage:
        """See `Core.storage`."""
        return self._core.storage().with_settings(self.settings)

    def common(self, kind: Callable[[], T]) -> T:
        """See `Core.common`."""
        return self._core.common(kind)

    def exclusive(self, *name: str) -> Awaitable[Held]:
        """See `Core.exclusive`."""
        return self._core.exclusive(*name, patience=self.settings.deadline)
