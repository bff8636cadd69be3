"""A web application on FastAPI whose users log in with ezeep."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, TypeVar

import anyio
from fastapi import APIRouter, Cookie, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.requests import ClientDisconnect
from web.logins import COOKIE, LONGEST, Logins, answer_to

from ezeep_async import EzeepError


T = TypeVar("T")
Browser = Annotated[str, Cookie(alias=COOKIE)]
Seconds = Annotated[float, Query(ge=0, le=LONGEST)]

logger = logging.getLogger("web")
router = APIRouter()


@router.get("/login")
async def login(request: Request, browser: Browser = "") -> Response:
    browser, url = await request.app.state.logins.begin(browser)
    return _redirect(request, url, browser)


@router.get("/callback")
async def callback(request: Request, browser: Browser = "") -> Response:
    browser = await request.app.state.logins.finish(browser, str(request.url))
    return _redirect(request, "/me", browser)


@router.get("/me")
async def me(request: Request, browser: Browser = "", within: Seconds = LONGEST) -> Response:
    async with request.app.state.logins.session(browser) as session:
        with anyio.fail_after(within):
            person = await while_connected(request, session.accounts.me)
    return JSONResponse({"email": person.email})


@router.post("/logout")
async def logout(request: Request, browser: Browser = "") -> Response:
    await request.app.state.logins.end(browser)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


def _redirect(request: Request, url: str, browser: str) -> Response:
    response = RedirectResponse(url, 302, {"Cache-Control": "no-store"})
    response.set_cookie(COOKIE, browser, **request.app.state.logins.cookie_flags())
    return response


async def while_connected(request: Request, call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `call`. If the client disconnects, cancel it and raise `ClientDisconnect`: uvicorn does not.

    For requests whose body was read, or that have none.
    """
    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(_watch(request, scope))
        try:
            return await call()
        finally:
            watcher.cancel()
    raise ClientDisconnect


async def _watch(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def explain(request: Request, error: EzeepError) -> Response:
    status, text = answer_to(error)
    return PlainTextResponse(text, status)


async def too_late(request: Request, error: TimeoutError) -> Response:
    return PlainTextResponse("ezeep takes too long.", 504)


async def hung_up(request: Request, error: ClientDisconnect) -> Response:
    logger.info("%s %s: the client hung up", request.method, request.url.path)
    return Response(status_code=499)


def without_query(record: logging.LogRecord) -> bool:
    """For uvicorn's access log: the query of a callback contains a code."""
    client, method, path, *others = record.args
    record.args = (client, method, path.partition("?")[0], *others)
    return True


def create_app(logins: Logins) -> FastAPI:
    @contextlib.asynccontextmanager
    async def opened(_: FastAPI) -> AsyncIterator[None]:
        async with logins:
            yield

    logging.getLogger("uvicorn.access").addFilter(without_query)
    handlers = {EzeepError: explain, TimeoutError: too_late, ClientDisconnect: hung_up}
    app = FastAPI(lifespan=opened, exception_handlers=handlers)
    app.state.logins = logins
    app.include_router(router)
    return app
