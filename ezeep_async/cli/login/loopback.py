"""The other end of a login in the browser: waits on loopback for the redirect, and shows a page in return (RFC 8252)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
from html import escape
from types import TracebackType
from typing import Self

from aiohttp import web
from yarl import URL

from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._text.redaction import Secret
from ezeep_async.auth.app import AuthorizationRequest, without_entities
from ezeep_async.settings import is_loopback


# What is no HTTP, or goes before it has its page, is answered or dropped, and nothing for the terminal.
_quiet = logging.getLogger("ezeep_async.cli.login.loopback")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

SENDING = 5.0
"""Seconds that the browser has to take its page."""
LOOPBACKS = ("127.0.0.1", "::1")
NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What a machine says that has no addresses of this family."""
_REDIRECTED = frozenset({"code", "error", "state"})
"""Parameters of a login that comes back."""
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
:root {{ color-scheme: light dark; --ink: #1d2733; --muted: #5c6b7a; --page: #eef2f6; --card: #fff; --mark: #1a7f4b; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8edf2; --muted: #a0adba; --page: #11171d; --card: #1b232c; --mark: #56c98c; }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }}
main {{ max-width: 26rem; margin: 1.5rem; padding: 2rem; border-radius: .75rem; background: var(--card); }}
.mark {{ font-size: 2.5rem; line-height: 1; color: var(--mark); }}
.failed {{ color: #c2402f; }}
h1 {{ margin: .5rem 0; font-size: 1.4rem; line-height: 1.25; }}
p {{ margin: 0; color: var(--muted); }}
</style>
</head>
<body>
<main>
<div class="{kind}" aria-hidden="true">{mark}</div>
<h1>{title}</h1>
<p>{sentence}</p>
</main>
</body>
</html>
"""


def page(title: str, sentence: str, *, worked: bool) -> str:
    """A page that needs nothing from anywhere."""
    mark, kind = ("&#10003;", "mark") if worked else ("&#10007;", "mark failed")
    return _PAGE.format(title=escape(title), sentence=escape(sentence), mark=mark, kind=kind)


class RedirectListener:
    """Waits on `redirect_uri` for the browser that comes back with the answer to `request`.

    Whatever else arrives there, such as a forged redirect, is turned away, and the waiting goes on. After the one
    answer nothing is served any more. Raises `ValueError` for an address that is not plain HTTP on loopback, `OSError`
    when its port is taken.
    """

    def __init__(self, redirect_uri: str, request: AuthorizationRequest) -> None:
        try:
            self._address = address = URL(redirect_uri)
            # A port of 0 is any that is free: another one than the browser is sent to.
            is_usable = address.scheme == "http" and is_loopback(address.host) and bool(address.port)
        except ValueError:
            is_usable = False
        if not is_usable:
            raise ValueError(
                f"nobody can listen for the browser at {redirect_uri}: only at http://127.0.0.1:PORT/... With "
                "--no-browser the address that it comes back to is pasted"
            )
        self._request = request
        self._runner = web.ServerRunner(
            web.Server(self._serve, access_log=None, logger=_quiet), shutdown_timeout=1.0
        )
        self._came_back: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._page: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._shown = asyncio.Event()
        self.refusal = ""
        """Why what came last, and looked like a login that comes back, was turned away; empty for nothing."""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            for listening in _sockets(self._address.host or "127.0.0.1", self._address.port or 0):
                await web.SockSite(self._runner, listening).start()
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(
                error.errno,
                f"cannot listen there for the browser ({error.strerror}); --redirect-uri names another registered "
                "address, --no-browser needs none",
                str(self._address),
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._page.done():
            self._page.set_result(
                page("Not logged in", "The login was broken off at the terminal.", worked=False)
            )
        await self._runner.cleanup()

    async def redirect(self, timeout: float) -> str:  # noqa: ASYNC109  # how long a person may take, told to them
        """The address that the browser came back to. Raises `TimeoutError` after that many seconds."""
        with RunningTimeout(timeout):
            return await asyncio.shield(self._came_back)

    async def show(self, title: str, sentence: str, *, worked: bool) -> None:
        """Give the waiting browser its page."""
        if not self._page.done():
            self._page.set_result(page(title, sentence, worked=worked))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SENDING):
                await self._shown.wait()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        query = without_entities(request.rel_url.raw_query_string)
        if (refused := self._refused(request, query)) is not None:
            title, sentence, status = refused
            if request.method == "POST" or _REDIRECTED & URL(f"?{query}").query.keys():
                self.refusal = sentence
            return _answer(page(title, sentence, worked=False), status)
        self._came_back.set_result(Secret(f"{self._address.with_query(None)}?{query}"))
        try:
            response = _answer(await asyncio.shield(self._page))
            await response.prepare(request)
            await response.write_eof()
            return response
        finally:
            self._shown.set()

    def _refused(self, request: web.BaseRequest, query: str) -> tuple[str, str, int] | None:
        """A title, a sentence and a status; None for what the login waits for."""
        # A page of somebody else's can make the browser come here; under a name that it has bound to this machine, too.
        if not _is_of_this_machine(request.host):
            return "Not here", "This address is for this machine only.", 421
        if request.path.rstrip("/") != self._address.path.rstrip("/"):
            return "Nothing here", f"The login comes back to another address: {self._address.path}", 404
        if request.method != "GET":
            return "Not that way", f"The login comes back with a GET, and this was a {request.method}.", 405
        if self._came_back.done():
            return "Done already", "This login has had its answer.", 409
        state = URL(f"?{query}").query.get("state", "")
        if not secrets.compare_digest(state.encode(), self._request.state.encode()):
            why = (
                "does not belong to the login that waits at the terminal"
                if state
                else "has no state: it is not whole"
            )
            return "Not this login", f"This {why}. Nothing was accepted.", 400
        return None


def _sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at every address that a browser may take for `host`. Raises `OSError`.

    Where another program has one of them, the code could go there.
    """
    is_name = host.rpartition(".")[2] == "localhost"
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for address in LOOPBACKS if is_name else (host,):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sockets.append(socket.create_server((address, port), family=family))
        except OSError as error:
            # With its number, as what it says in words differs from system to system.
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


def _answer(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)
