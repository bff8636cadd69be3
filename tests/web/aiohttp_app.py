"""A web application on aiohttp.web whose users log in with ezeep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from web.logins import COOKIE, LONGEST, Logins, answer_to

from ezeep_async import EzeepError


LOGINS = web.AppKey("LOGINS", Logins)

logger = logging.getLogger("web")
routes = web.RouteTableDef()


@routes.get("/login")
async def login(request: web.Request) -> web.Response:
    browser, url = await request.app[LOGINS].begin(request.cookies.get(COOKIE, ""))
    return _redirect(request, url, browser)


@routes.get("/callback")
async def callback(request: web.Request) -> web.Response:
    browser = await request.app[LOGINS].finish(request.cookies.get(COOKIE, ""), str(request.url))
    return _redirect(request, "/me", browser)


@routes.get("/me")
async def me(request: web.Request) -> web.Response:
    try:
        within = min(LONGEST, float(request.query.get("within", LONGEST)))
    except ValueError:
        raise web.HTTPBadRequest(text="within is a number of seconds") from None
    async with request.app[LOGINS].session(request.cookies.get(COOKIE, "")) as session:
        async with asyncio.timeout(within):
            person = await session.accounts.me()
    return web.json_response({"email": person.email})


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    await request.app[LOGINS].end(request.cookies.get(COOKIE, ""))
    response = web.Response(status=204)
    response.del_cookie(COOKIE)
    return response


def _redirect(request: web.Request, url: str, browser: str) -> web.Response:
    response = web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
    response.set_cookie(COOKIE, browser, **request.app[LOGINS].cookie_flags())
    return response


@web.middleware
async def explain(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn errors into responses."""
    try:
        return await handler(request)
    except EzeepError as error:
        status, text = answer_to(error)
        return web.Response(status=status, text=text)
    except TimeoutError:
        return web.Response(status=504, text="ezeep takes too long.")
    except asyncio.CancelledError:
        logger.info("%s %s: the client hung up", request.method, request.path)
        raise


class AccessLogger(AbstractAccessLogger):
    """Log one line for each request, without its query: the query of a callback contains a code."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info("%s %s %d", request.method, request.path, response.status)


def create_app(logins: Logins) -> web.Application:
    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with logins:
            yield

    app = web.Application(middlewares=[explain])
    app[LOGINS] = logins
    app.add_routes(routes)
    app.cleanup_ctx.append(opened)
    return app


def create_runner(app: web.Application) -> web.AppRunner:
    """With handlers that are cancelled when their client hangs up."""
    return web.AppRunner(app, handler_cancellation=True, access_log_class=AccessLogger)
