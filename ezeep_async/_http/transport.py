"""One request, one response, on an aiohttp session that is owned or borrowed."""

from __future__ import annotations

import asyncio
import base64
import platform
import socket
import urllib.request
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, ClassVar

import aiohttp
import attrs
from aiohttp.connector import Connection
from yarl import URL

from ezeep_async import errors
from ezeep_async._runtime import forks
from ezeep_async._text.redaction import Secret
from ezeep_async._wire.requests import Host, Phase, Request, Sink, origins
from ezeep_async._wire.responses import RawResponse, is_success
from ezeep_async.settings import Endpoints, Settings
from ezeep_async.version import __version__


LARGEST_BODY = 16 * 1024 * 1024
"""Bytes of a response body; a page of 100 users has 25 000."""
KEEP_ALIVE = 15.0
"""Seconds that an idle connection is kept: shorter than load balancers do, so that few are stale when reused."""
USER_AGENT = f"ezeep_async/{__version__} Python/{platform.python_version()} aiohttp/{aiohttp.__version__}"

_LENT_IS_CLOSED = "the aiohttp session that was lent to EzeepSession is closed"
_CUT_SHORT = "the connection ended before the response was complete"
_UNTIMED = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ServerFingerprintMismatch
)
_phase: ContextVar[Phase] = ContextVar("ezeep_phase")


def _forget(phase: Token[Phase]) -> None:
    """Reset `_phase` at the end of a request."""
    try:  # noqa: SIM105  # contextlib may be cleared at exit
        _phase.reset(phase)
    except ValueError:
        pass  # the event loop was closed, and the garbage collector ends the request in the context of another task


def _new_socket(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    """Make a socket that a forked child does not touch. For aiohttp's `socket_factory`."""
    sock = socket.socket(*address[:3])
    forks.watch_socket(sock)
    return sock


def _when_unused(
    loop: asyncio.AbstractEventLoop,
    users: Collection[asyncio.Task[Any]],
    drop: Callable[[], None],
    # The globals of this module are gone when a session is collected at the end of the interpreter.
    _running_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop,
) -> None:
    """Call `drop` when the tasks `users` have ended: on `loop` if it runs, else in this thread. Thread-safe."""
    if loop.is_closed():
        drop()
        return

    def drop_if_unused(_: object = None) -> None:
        if all(task.done() for task in users):
            drop()

    def begin() -> None:
        drop_if_unused()
        for task in users:
            task.add_done_callback(drop_if_unused)

    try:
        here = _running_loop()
    except RuntimeError:
        here = None
    if here is loop or not loop.is_running():
        begin()
    else:
        loop.call_soon_threadsafe(begin)


def _close_idle(connector: Any, loop: Any) -> None:
    """Close idle connections whose event loop does not run.

    Private attributes of aiohttp and asyncio: `transport.close()` needs a running loop, and aiohttp has no synchronous
    close (aio-libs/aiohttp#3736).
    """
    kept: dict[object, Collection[tuple[Any, float]]] = getattr(connector, "_conns", {})
    for protocol, _ in [each for connections in kept.values() for each in connections]:
        transport = protocol.transport
        if (tls := getattr(transport, "_ssl_protocol", None)) is not None:
            transport._closed = True
            transport = tls._transport
        if (sock := getattr(transport, "_sock", None)) is not None:
            loop._remove_reader(sock.fileno())  # does nothing on a loop that is closed
            sock.close()
            transport._sock = None
    kept.clear()


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        # aiohttp would take data that arrived on the idle connection for the response to this request
        # (aio-libs/aiohttp#13656).
        if conn.protocol is not None and conn.protocol.should_close:
            raise aiohttp.ClientConnectionError("the server sent data without a request")
        _phase.get().progressed()
        return await super().send(conn)


class _LentRequest(_Request):
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.transport is not None:
            forks.watch_connection(conn.transport)
        return await super().send(conn)


@attrs.frozen
class _Proxy:
    """A proxy and the headers for it; empty for a direct connection."""

    url: URL | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    request_headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)


class Transport:
    """Sends one request once. Bound to the event loop of its first use."""

    _open_ones: ClassVar[set[Transport]] = set()
    """A strong reference: in a reference cycle, the transport must not be collected before the owner that closes it."""

    def __init__(
        self, endpoints: Endpoints, settings: Settings, borrowed: aiohttp.ClientSession | None = None
    ) -> None:
        self._settings = settings
        self._borrowed = borrowed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._is_inherited = False
        self._bases = origins(endpoints)
        self._proxies: dict[Host | URL, _Proxy] = {}
        """Proxy of each host, and of each other origin."""
        # With each request, as a borrowed connector knows nothing of it.
        self._ssl = True if settings.ssl_context is None else settings.ssl_context
        self._timeout = self._timeout_of(settings.connect_timeout)

    @property
    def is_open(self) -> bool:
        return self._session is not None and not self._closed

    def _timeout_of(self, connect_timeout: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=None,
            # Covers the DNS lookup and the proxy's response. In a borrowed pool it would also cover the wait for a
            # free connection, which only the deadline may limit.
            connect=connect_timeout if self._borrowed is None else None,
            sock_connect=connect_timeout,
        )

    async def send(
        self, request: Request, headers: Mapping[str, str], *, phase: Phase, timed: bool = True
    ) -> RawResponse:
        """Send the request and read the whole response. Redirects are not followed.

        `timed=False` sets no time limit: aiohttp's limits cancel the task, and token requests run in tasks that cannot
        be cancelled and have their own limit. Raises `TransportError` if there is no complete response, and
        `UnexpectedResponse` for one that cannot be read.
        """
        session = self._session_now()
        timeout = self._timeout if phase.connect_timeout is None else self._timeout_of(phase.connect_timeout)
        proxy = self._proxies[request.host]
        context = _phase.set(phase)
        try:
            # Without `async with`: its end would release the connection again, and wait for the upload.
            response = await session.request(
                request.method,
                self.url(request),
                data=request.body,
                headers={**headers, **proxy.request_headers} if proxy.request_headers else headers,
                allow_redirects=False,
                timeout=timeout if timed else _UNTIMED,
                ssl=self._ssl,
                proxy=proxy.url,
                proxy_headers=proxy.headers,
            )
            try:
                sink = request.sink if is_success(response.status) else None
                body = await self._read(response, request.name, phase, sink)
            finally:
                # At the end of the body aiohttp has closed it, and released the connection.
                if not response.closed:
                    response.close()
            if request.redact is not None:
                body = request.redact(body)
            secrets = (*_secrets_in(headers["Authorization"]), *request.secrets)
            return RawResponse(response.status, response.headers, body, headers["X-Request-ID"], secrets)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            failure = _failure_of(error, request.name, phase)
        finally:
            _forget(context)
        # Outside of the handler, without the original as context: see `_failure_of`.
        raise failure

    async def put(
        self,
        url: URL,
        body: aiohttp.Payload,
        headers: Mapping[str, str],
        *,
        name: str,
        secrets: tuple[str, ...],
        phase: Phase,
    ) -> RawResponse:
        """Send a PUT without a token to an address of the storage, and read the whole response.

        Over the same connections as `send`: their session has no cookies and no default credentials. Raises as `send`.
        """
        session = self._session_now()
        timeout = self._timeout if phase.connect_timeout is None else self._timeout_of(phase.connect_timeout)
        origin = url.origin()
        proxy = self._proxies.get(origin) or self._proxies.setdefault(origin, self._proxy_for(origin))
        context = _phase.set(phase)
        try:
            async with session.put(
                url,
                data=body,
                headers={**headers, **proxy.request_headers},
                allow_redirects=False,
                timeout=timeout,
                ssl=self._ssl,
                proxy=proxy.url,
                proxy_headers=proxy.headers,
            ) as response:
                content = await self._read(response, name, phase)
                return RawResponse(response.status, response.headers, content, secrets=secrets)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            failure = _failure_of(error, name, phase)
        finally:
            _forget(context)
        raise failure

    def url(self, request: Request) -> URL:
        """The full URL, always on one of the configured origins."""
        base = self._bases[request.host]
        path = request.path if base.raw_path == "/" else base.raw_path + request.path
        if not request.query:
            return base.with_path(path, encoded=True)
        # Path and query are quoted already. yarl is four times as fast if it gets the parts.
        return URL.build(
            scheme=base.scheme,
            authority=base.raw_authority,
            path=path,
            query_string=request.query,
            encoded=True,
        )

    async def _read(
        self, response: aiohttp.ClientResponse, name: str, phase: Phase, sink: Sink | None = None
    ) -> bytes:
        if sink is not None:
            await sink.begin()
        chunks: list[bytes] = []
        size = 0 if response.method == "HEAD" or sink is not None else response.content_length or 0
        content = response.content
        stop = None if content.is_eof() else _end_when_lost(response)
        try:
            while size <= LARGEST_BODY and (chunk := await content.readany()):
                phase.progressed()
                if sink is not None:
                    await sink.write(chunk)
                    continue
                size = len(chunk) if not chunks else size + len(chunk)
                chunks.append(chunk)
        except RuntimeError as error:
            # aiohttp's stream raises it if the connection was lost just before the read.
            raise aiohttp.ClientPayloadError from error
        finally:
            if stop is not None:
                stop()
        if size > LARGEST_BODY:
            response.close()
            raise errors.UnexpectedResponse(
                f"{name}: the response is larger than {LARGEST_BODY} bytes", status=response.status
            )
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _session_now(self) -> aiohttp.ClientSession:
        if self._closed:
            raise errors.SessionClosed(
                errors.OPENED_BEFORE_FORK if self._is_inherited else "this EzeepSession is closed"
            )
        if self._session is None:
            self._session = self._open()
        if self._session.closed:
            raise errors.SessionClosed(_LENT_IS_CLOSED)
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        self._loop = asyncio.get_running_loop()
        self._open_ones.add(self)
        self._proxies = {host: self._proxy_for(base) for host, base in self._bases.items()}
        if self._borrowed is None:
            # The limiter bounds the number of requests; they must never wait for the pool.
            return self._make_session(
                aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, socket_factory=_new_socket)
            )
        if self._borrowed.connector is None or self._borrowed.closed:
            raise errors.SessionClosed(_LENT_IS_CLOSED)
        try:
            return self._make_session(self._borrowed.connector)
        except RuntimeError as error:
            raise RuntimeError(
                "the aiohttp session that was lent to EzeepSession is of another event loop"
            ) from error

    def _make_session(self, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=self._borrowed is None,
            loop=self._loop,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request if self._borrowed is None else _LentRequest,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"},
        )
        # aiohttp retries GET, PUT and DELETE on a stale connection, without a public switch (aio-libs/aiohttp#10790).
        # A test fails when this attribute is gone.
        if hasattr(session, "_retry_connection"):
            session._retry_connection = False  # pyright: ignore[reportPrivateUsage]  # see above
        return session

    def _proxy_for(self, base: URL) -> _Proxy:
        settings = self._settings
        address = settings.proxy
        if address is None and settings.trust_env:
            # Read once: aiohttp's trust_env reads the environment and .netrc for every request.
            host = base.host or ""
            if not urllib.request.proxy_bypass(f"{host}:{base.port}"):
                address = urllib.request.getproxies().get(base.scheme)
                if address is not None:
                    if "://" not in address:
                        address = f"http://{address}"  # as other programs read HTTPS_PROXY=proxy.example:3128
                    attrs.evolve(settings, proxy=address)  # raises ValueError, without the password
        if address is None:
            return _Proxy()
        url = URL(address)
        user, password = settings.proxy_auth or (url.user, url.password or "")
        if user is None:
            return _Proxy(url)
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        authorization = {"Proxy-Authorization": f"Basic {credentials}"}
        # For https, CONNECT carries the credentials; for http (loopback), every request does.
        if base.scheme == "https":
            return _Proxy(url.with_user(None), headers=authorization)
        return _Proxy(url.with_user(None), request_headers=authorization)

    def disown(self) -> None:
        """Stop using the connections without closing them: in a forked child."""
        self._closed = self._is_inherited = True

    async def aclose(self) -> None:
        """Close the connections, unless the session is borrowed."""
        if self._loop is not None and self._loop.is_closed():
            self.abandon()
            return
        self._closed = True
        self._open_ones.discard(self)
        if self._session is not None:
            await self._session.close()

    def abandon(
        self,
        users: Collection[asyncio.Task[Any]] = (),
        _when_unused: Callable[..., None] = _when_unused,
    ) -> None:
        """Drop the connections of a session that was not closed, without waiting.

        Thread-safe. The connections stay open until the tasks `users` have ended.
        """
        if self._loop is None:
            self._closed = True
        else:
            _when_unused(self._loop, users, self._drop)

    def _drop(self, _close_idle: Callable[..., None] = _close_idle) -> None:
        self._closed = True
        self._open_ones.discard(self)
        if self._session is None:
            return
        connector: Any = self._session.connector
        self._session.detach()
        # close() has to be awaited (aio-libs/aiohttp#3736), which is impossible here. Without `_close()` aiohttp warns
        # about an unclosed connector.
        if self._borrowed is None and hasattr(connector, "_close"):
            if self._loop is not None and not self._loop.is_running():
                _close_idle(connector, self._loop)
            connector._close()


def _secrets_in(authorization: str) -> tuple[str, ...]:
    """What the server may repeat of this header: its credentials, and the client secret in them."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme != "Basic":
        return (Secret(credentials),)
    return Secret(credentials), Secret(base64.b64decode(credentials).decode().partition(":")[2])


def _end_when_lost(response: aiohttp.ClientResponse) -> Callable[[], object]:
    """End the reading of a body when its connection is lost, until the result is called.

    On a parse error in the body aiohttp closes the connection, but does not always wake the reader (compare
    aio-libs/aiohttp#4581).
    """
    content = response.content
    protocol = None if response.connection is None else response.connection.protocol
    # aiohttp creates the future on first access; None if the connection is lost already.
    closed = None if protocol is None else protocol.closed
    if closed is None:
        raise aiohttp.ClientPayloadError

    def on_close(_: object) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError())

    # One callback stays: asyncio warns about a future whose exception was never retrieved.
    closed.remove_done_callback(_retrieve)
    closed.add_done_callback(_retrieve)
    closed.add_done_callback(on_close)
    return partial(closed.remove_done_callback, on_close)


def _retrieve(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()


def _failure_of(error: Exception, name: str, phase: Phase) -> errors.EzeepError:
    """The error for one of aiohttp.

    Some of those hold the headers of the request, with the token, or data of the server, which may be a token set: they
    are not the cause of ours.
    """
    if isinstance(error, aiohttp.ClientResponseError):
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return errors.ConnectFailed(
                f"{name}: the proxy responded with {error.status}", request_sent=False
            )
        if error.request_info.method == "CONNECT":
            return errors.ConnectFailed(f"{name}: the response of the proxy is not HTTP", request_sent=False)
        return errors.UnexpectedResponse(f"{name}: the response is not HTTP that can be read")
    failure: errors.EzeepError
    cause = error
    if isinstance(error, _NOT_CONNECTED):
        failure = errors.ConnectFailed(f"{name}: {_describe(error)}", request_sent=False)
    elif isinstance(error, UnicodeError):
        failure = errors.ConnectFailed(
            f"{name}: the name of the host cannot be looked up: {error}", request_sent=False
        )
    elif isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        failure = errors.Disconnected(f"{name}: {_CUT_SHORT}", request_sent=phase.sent)
        cause = type(error)(_CUT_SHORT)
    else:  # aiohttp's own retry is off (see `_make_session`), so this was one copy at most
        failure = errors.Disconnected(f"{name}: {_describe(error)}", request_sent=phase.sent)
    failure.__cause__ = cause
    return failure


def _describe(error: BaseException) -> str:
    """The message of an aiohttp error in one line, or its class name. Never a URL with a password."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error}"
    return " ".join(str(error).split()) or type(error).__name__
