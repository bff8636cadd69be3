"""aiohttp.web: a service with one login, which an administrator makes with the command `ezeep login`.

pip install 'ezeep_async[cli]'
ezeep login --client-id CLIENT_ID --token-file login.json
python app.py --port 8080

Environment: EZEEP_CLIENT_ID, EZEEP_TOKEN_FILE (login.json).

It does not ask who its callers are, and so listens on loopback only. Before you open it to others, add authentication.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from ezeep_async import (
    AmbiguousName,
    EzeepError,
    EzeepSession,
    NotFound,
    PermissionDenied,
    PrintFailed,
    ReauthorizationRequired,
    is_retryable,
)


EZEEP = web.AppKey("ezeep", EzeepSession)

logger = logging.getLogger("app")
routes = web.RouteTableDef()


async def ezeep_session(app: web.Application) -> AsyncIterator[None]:
    """Open the session before the first request, keep its login alive, and close it after the last one."""
    async with EzeepSession.from_env() as session:
        session.keep_alive()
        app[EZEEP] = session
        yield


@contextmanager
def checked_values() -> Iterator[None]:
    """Around calls with values of the caller: no id, an empty document, or one of a type that is not printed."""
    try:
        yield
    except ValueError as error:
        logger.info("%s", error)
        raise web.HTTPBadRequest(text="ezeep does not accept this value.") from None


@routes.get("/groups")
async def groups(request: web.Request) -> web.Response:
    """List the groups."""
    found = {str(group.id): group.name async for group in request.app[EZEEP].groups.list()}
    return web.json_response(found)


@routes.post("/groups/{group_id}/members")
async def add_member(request: web.Request) -> web.Response:
    """Add a user to a group, and return all groups of the user."""
    form = await request.post()
    with checked_values():
        user = await request.app[EZEEP].users.add_to_groups(
            str(form.get("user_id", "")), request.match_info["group_id"]
        )
    return web.json_response(sorted(map(str, user.group_ids)))


@routes.post("/print")
async def print_document(request: web.Request) -> web.Response:
    """Upload the document to ezeep while it arrives."""
    ezeep = request.app[EZEEP]
    with checked_values():
        printer = await ezeep.printers.find(request.query.get("printer", ""))
        job = await ezeep.printing.print_file(
            request.content.iter_chunked(65_536), printer, name=request.query.get("name")
        )
    return web.json_response({"job": job.id}, status=202)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to an error of any handler."""
    try:
        return await handler(request)
    except PermissionDenied:
        raise web.HTTPForbidden(text="ezeep does not allow this.") from None
    except NotFound:
        raise web.HTTPNotFound(text="ezeep has no such user, group or printer.") from None
    except AmbiguousName:
        raise web.HTTPConflict(text="Several printers have this name.") from None
    except EzeepError as error:
        if is_retryable(error):
            wait = str(math.ceil(error.retry_after or 10))
            raise web.HTTPServiceUnavailable(
                text="ezeep is not available.", headers={"Retry-After": wait}
            ) from None
        logger.error("%s", error)  # noqa: TRY400  # the message says all; its traceback is not needed
        if error.may_have_happened:  # OutcomeUnknown, or the login ended during the call
            raise web.HTTPBadGateway(text="It may have been done. Look before you try again.") from None
        if isinstance(error, ReauthorizationRequired):  # no request can help: only the administrator
            raise web.HTTPServiceUnavailable(text="The administrator has to run `ezeep login`.") from None
        if isinstance(error, PrintFailed):  # its message has the code and the words of ezeep
            raise web.HTTPBadGateway(text=f"Not printed: {error}") from None
        raise web.HTTPBadGateway(text="ezeep refused the request.") from None


async def not_cached(_: web.Request, response: web.StreamResponse) -> None:
    """Keep responses out of caches: they have the names of groups."""
    response.headers["Cache-Control"] = "no-store"


def create_app() -> web.Application:
    """Return the application, for a server or for tests."""
    app = web.Application(middlewares=[explain])
    app.cleanup_ctx.append(ezeep_session)
    app.on_response_prepare.append(not_cached)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    logging.basicConfig(level=logging.INFO)
    web.run_app(create_app(), host="127.0.0.1", port=parser.parse_args().port)
