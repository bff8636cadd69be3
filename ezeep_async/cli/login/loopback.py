"""A listener on loopback for the redirect of a login in the browser, which gets a page in response (RFC 8252)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from html import escape
from types import TracebackType
from typing import Self

from aiohttp import web
from yarl import URL

from ezeep_async import AuthorizationDenied, AuthorizationRequest, StateMismatch
from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._text.redaction import Secret
from ezeep_async.auth.app import code_from_callback
from ezeep_async.settings import is_loopback


# aiohttp's messages about invalid requests and closed connections do not belong on the terminal.
_quiet = logging.getLogger("ezeep_async.cli.login.loopback")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

PAGE_TIMEOUT_S = 5.0
"""Seconds that the browser has to read its page."""
LOOPBACKS = ("127.0.0.1", "::1")
NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of a machine that has no addresses of this family."""
REDIRECT_PARAMETERS = frozenset({"code", "error", "state"})
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 26rem; margin: 20vh auto; padding: 0 1.5rem; font: 1rem/1.5 system-ui, sans-serif; }}
</style>
</head>
<body>
<div style="font-size: 2.5rem; color: {color}" aria-hidden="true">{mark}</div>
<h1>{title}</h1>
<p>{sentence}</p>
</body>
</html>
"""


def page(title: str, sentence: str, *, worked: bool) -> str:
    """Return a page that loads nothing."""
    mark, color = ("&#10003;", "#1a7f4b") if worked else ("&#10007;", "#c2402f")
    return _PAGE.format(title=escape(title), sentence=escape(sentence), mark=mark, color=color)


class RedirectListener:
    """Waits on `redirect_uri` for the redirect that belongs to `request`.

    Other requests, such as a forged redirect, are refused, and the wait continues. After the one redirect nothing is
    served any more. Raises `ValueError` for an address that is not plain HTTP on loopback, `OSError` if its port is in
    use.
    """

    def __init__(self, redirect_uri: str, request: AuthorizationRequest) -> None:
        try:
            self._address = address = URL(redirect_uri)
            # Port 0 is any free port: the browser would be sent to another one.
            is_usable = address.scheme == "http" and is_loopback(address.host) and bool(address.port)
        except ValueError:
            is_usable = False
        if not is_usable:
            raise ValueError(
                f"cannot listen for the browser at {redirect_uri}: only at http://127.0.0.1:PORT/... Use --no-browser "
                "to paste the address instead"
            )
        self._request = request
        self._runner = web.ServerRunner(
            web.Server(self._serve, access_log=None, logger=_quiet), shutdown_timeout=1.0
        )
        self._redirect: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._page: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._shown = asyncio.Event()
        self.refusal = ""
        """Why the last request that looked like a redirect was refused; empty for none."""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            for listening in _sockets(self._address.host or "127.0.0.1", self._address.port or 0):
                await web.SockSite(self._runner, listening).start()
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(
                error.errno,
                f"cannot listen there for the browser ({error.strerror}). Use --redirect-uri with another registered "
                "address, or --no-browser",
                str(self._address),
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._page.done():
            self._page.set_result(
                page("Not logged in", "The login was cancelled at the terminal.", worked=False)
            )
        await self._runner.cleanup()

    async def redirect(self, timeout: float) -> str:  # noqa: ASYNC109  # an option of the command, named in its error
        """Wait for the redirect, and return its address. Raises `TimeoutError` after `timeout` seconds."""
        with RunningTimeout(timeout):
            return await asyncio.shield(self._redirect)

    async def show(self, title: str, sentence: str, *, worked: bool) -> None:
        """Send the page to the browser, which waits for it."""
        if not self._page.done():
            self._page.set_result(page(title, sentence, worked=worked))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAGE_TIMEOUT_S):
                await self._shown.wait()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        query = request.rel_url.raw_query_string
        redirect = Secret(f"{self._address.with_query(None)}?{query}")
        if (refused := self._refused(request, redirect)) is not None:
            sentence, status = refused
            if request.method == "POST" or REDIRECT_PARAMETERS & URL(f"?{query}").query.keys():
                self.refusal = sentence
            return _response(page("Not this login", sentence, worked=False), status)
        self._redirect.set_result(redirect)
        try:
            response = _response(await asyncio.shield(self._page))
            await response.prepare(request)
            await response.write_eof()
            return response
        finally:
            self._shown.set()

    def _refused(self, request: web.BaseRequest, redirect: str) -> tuple[str, int] | None:
        """A sentence and a status; None for the redirect of this login."""
        # Other web pages can send the browser here, also under a name that they have bound to this machine.
        if not _is_of_this_machine(request.host):
            return "This address is for this machine only.", 421
        if request.path.rstrip("/") != self._address.path.rstrip("/"):
            return f"The redirect address is another one: {self._address.path}", 404
        if request.method != "GET":
            return f"A redirect is a GET, and this was a {request.method}.", 405
        if self._redirect.done():
            return "This login has its response.", 409
        with contextlib.suppress(AuthorizationDenied):  # also a response to this login
            try:
                code_from_callback(redirect, self._request)
            except StateMismatch as error:
                return f"{error}.", 400
        return None


def _sockets(host: str, port: int) -> list[socket.socket]:
    """Listen at every address that a browser may use for `host`. Raises `OSError`.

    If another program listens at one of them, it could receive the code.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for address in LOOPBACKS if host.rpartition(".")[2] == "localhost" else (host,):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sockets.append(socket.create_server((address, port), family=family))
        except OSError as error:
            # Named by its number: the text differs from system to system.
            problem = OSError(error.errno, f"{os.strerror(error.errno or 0)}: {address} port {port}")
            if error.errno not in NO_SUCH_ADDRESS:
                for each in sockets:
                    each.close()
                raise problem from error
            missing = problem
    if missing is not None and not sockets:
        raise missing
    return sockets


def _is_of_this_machine(authority: str) -> bool:
    try:
        return is_loopback(URL(f"http://{authority}").host)
    except ValueError:
        return False


def _response(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)
