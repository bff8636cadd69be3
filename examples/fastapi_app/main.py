"""FastAPI: people log in with ezeep, see the groups of their organization, add members, and print.

pip install 'ezeep_async[sql,web]' aiosqlite fastapi itsdangerous python-multipart uvicorn
uvicorn --timeout-graceful-shutdown 20 main:app     # else it waits for background jobs

Environment: EZEEP_CLIENT_ID, EZEEP_REDIRECT_URI (the address of /callback; what is before it is the prefix of all addresses),
SECRET_KEY, TOKEN_KEY (cryptography.fernet.Fernet.generate_key()), DATABASE_URL, LARGEST_DOCUMENT (in bytes; 100 MB).
"""

from __future__ import annotations

import html
import logging
import math
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

from fastapi import BackgroundTasks, Depends, FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.datastructures import MutableHeaders
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ezeep_async import (
    AmbiguousName,
    AuthorizationDenied,
    AuthorizationRequest,
    Endpoints,
    EzeepError,
    EzeepSession,
    NotFound,
    OAuthApp,
    PermissionDenied,
    PrintFailed,
    PrintJob,
    ReauthorizationRequired,
    SessionPool,
    Settings,
    SQLTokenStore,
    is_retryable,
)
from prints import create_table, print_once


SECRET_KEY = os.environ["SECRET_KEY"]
TOKEN_KEY = os.environ["TOKEN_KEY"]
REDIRECT_URI = os.environ["EZEEP_REDIRECT_URI"]
LARGEST_DOCUMENT = int(os.environ.get("LARGEST_DOCUMENT", "100_000_000"))
# "/printing" for https://print.example.com/printing/callback
PREFIX = urlsplit(REDIRECT_URI).path.removesuffix("/callback")
ORIGIN = urlsplit(REDIRECT_URI)._replace(path="").geturl()
SECURE = REDIRECT_URI.startswith("https:")
LOGIN_COOKIE = {"path": f"{PREFIX}/callback", "httponly": True, "secure": SECURE, "samesite": "lax"}

logger = logging.getLogger("uvicorn.error")
engine = create_async_engine(
    os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///app.db"),
    pool_size=2,  # for each worker process, and max_overflow more while there is much to do
    max_overflow=3,
    pool_pre_ping=True,  # a connection may have ended with a restart of the database
)
ezeep_app = OAuthApp(os.environ["EZEEP_CLIENT_ID"], os.environ.get("EZEEP_CLIENT_SECRET"), REDIRECT_URI)
logins = SessionPool(
    ezeep_app,
    store=lambda user: SQLTokenStore(engine, user, encryption_key=TOKEN_KEY),
    endpoints=Endpoints.from_env(),
    settings=Settings(deadline=30.0),  # a browser does not wait for five minutes, the default
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the pool in each worker process. Its close waits for token refreshes that are under way."""
    await SQLTokenStore.create_table(engine)
    await create_table(engine)
    async with logins:
        yield
    await engine.dispose()


class WithoutQueries(logging.Filter):
    """Removes queries from the lines of the access log: that of /callback has the code."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the line, and keep it."""
        client, method, path, *others = record.args
        record.args = (client, method, path.partition("?")[0], *others)
        return True


logging.getLogger("uvicorn.access").addFilter(WithoutQueries())


HEADERS = {
    "Cache-Control": "no-store",  # responses have cookies, names and documents of a person
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # with no-referrer, the forms of this app had no origin
    "X-Content-Type-Options": "nosniff",
}


def refusal(request: Request) -> Response | None:
    """Refuse a POST before its form is stored: of a page that is not of this app, or of a browser without a login."""
    place, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_own = place in ("same-origin", "none") if place else origin in (None, ORIGIN)
    if not is_own:  # programs send neither header; they have no cookie of a person
        return JSONResponse({"detail": "This form is not of this app."}, 403)
    if "user" not in request.session and not request.url.path.endswith("/logout"):
        return signed_out("Nothing was done. Sign in first.")
    return None


class Guarded:
    """Calls `refusal` for each POST, and adds `HEADERS` to all responses."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        is_post = scope["type"] == "http" and scope["method"] == "POST"
        refused = refusal(Request(scope)) if is_post else None
        if refused:  # a proxy reports 502 if the response comes before the end of the upload
            with suppress(ClientDisconnect):
                async for _ in Request(scope, receive).stream():
                    pass
        await (refused or self.app)(scope, receive, send_marked)


app = FastAPI(
    lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
)  # /docs loads foreign scripts
app.add_middleware(Guarded)
app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY, path=PREFIX or "/", https_only=SECURE)

PAGE = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>Printing</title>
<h1>Printing</h1>
{content}
</html>
"""
SIGNED_OUT = '<p>{reason} <a href="{prefix}/login">Sign in</a></p>'
SIGNED_IN = """<p>You are signed in as {email}.</p>
<p><a href="{prefix}/print">Print</a> <a href="{prefix}/groups">Groups</a></p>
<form method="post" action="{prefix}/logout"><button>Sign out</button></form>"""


def signed_out(reason: str) -> Response:
    """Return the page for a POST without a login: after a redirect the form and its document would be lost."""
    return HTMLResponse(PAGE.format(content=SIGNED_OUT.format(reason=reason, prefix=PREFIX)), 401)


@app.get("/", response_class=HTMLResponse)
async def start(request: Request) -> str:
    """Show who is signed in."""
    content = SIGNED_OUT.format(reason="You are not signed in.", prefix=PREFIX)
    if "user" in request.session:
        with suppress(ReauthorizationRequired):  # the login has ended
            async with logins.session(request.session["user"]) as ezeep:
                email = (await ezeep.accounts.me()).email
            content = SIGNED_IN.format(email=html.escape(email), prefix=PREFIX)
    return PAGE.format(content=content)


@app.get("/login")
async def login() -> Response:
    """Send the browser to ezeep. The cookie is encrypted: it contains the code verifier."""
    request = logins.oauth.authorization_request()
    response = RedirectResponse(request.url, 303)
    response.set_cookie("ezeep_login", request.to_cookie(SECRET_KEY), max_age=600, **LOGIN_COOKIE)
    return response


@app.get("/callback/", include_in_schema=False)  # ezeep may add a slash
@app.get("/callback")
async def callback(request: Request) -> Response:
    """Store the login under the id of the user, which is known only now."""
    started = AuthorizationRequest.from_cookie(request.cookies.get("ezeep_login"), SECRET_KEY)
    tokens = await logins.oauth.complete(str(request.url), started)
    async with EzeepSession(ezeep_app, tokens=tokens, endpoints=Endpoints.from_env()) as session:
        user = str((await session.accounts.me()).id)
    await revoke(user)  # an earlier login, of another browser: `adopt` does not revoke it
    await logins.adopt(user, tokens)
    request.session.clear()  # what was set before the login may be of an attacker
    request.session["user"] = user
    response = RedirectResponse(f"{PREFIX}/", 303)
    response.delete_cookie("ezeep_login", **LOGIN_COOKIE)
    return response


async def revoke(user: str) -> None:
    """End the stored login of a user at ezeep. What calls it continues also while ezeep cannot be reached."""
    with suppress(EzeepError):
        async with logins.session(user) as ezeep:
            await ezeep.oauth.revoke()


@app.post("/logout")
async def logout(request: Request) -> Response:
    """End the login at ezeep and here, and then the web session."""
    if "user" in request.session:
        await revoke(request.session["user"])
        await logins.drop(request.session["user"])
        request.session.clear()
    return RedirectResponse(f"{PREFIX}/", 303)


def logged_in(request: Request) -> str:
    """Return the id of the user in the web session."""
    if "user" not in request.session:
        raise ReauthorizationRequired("no user has logged in with this browser")
    return str(request.session["user"])


User = Annotated[str, Depends(logged_in)]


async def session_of(user: User) -> AsyncIterator[EzeepSession]:
    """Lend the session of the user to one request."""
    async with logins.session(user) as session:
        yield session


Ezeep = Annotated[EzeepSession, Depends(session_of)]


@contextmanager
def checked_values() -> Iterator[None]:
    """Around calls with values of the user: no id, an empty document, or one of a type that is not printed."""
    try:
        yield
    except ValueError as error:
        logger.info("%s", error)
        raise HTTPException(400, "ezeep does not accept this value.") from error


@app.get("/groups")
async def groups(ezeep: Ezeep) -> dict[UUID, str]:
    """List the groups."""
    return {group.id: group.name async for group in ezeep.groups.list()}


@app.post("/groups/{group_id}/members")
async def add_member(group_id: UUID, user_id: Annotated[UUID, Form()], ezeep: Ezeep) -> list[UUID]:
    """Add a user to a group, and return all groups of the user."""
    with checked_values():
        user = await ezeep.users.add_to_groups(user_id, group_id)
    return sorted(user.group_ids)


FORM = """<form method="post" enctype="multipart/form-data">
  <input type="hidden" name="form_key" value="{key}">
  <p><label>Printer <select name="printer">{options}</select></label></p>
  <p><label>Document <input type="file" name="document" required></label></p>
  <p><button>Print</button></p>
</form>"""


@app.get("/print", response_class=HTMLResponse)
async def print_form(ezeep: Ezeep) -> str:
    """Show a form with the printers of the user, and a key of its own."""
    options = [f"<option>{html.escape(printer.name)}</option>" async for printer in ezeep.printers.list()]
    return PAGE.format(content=FORM.format(key=uuid4(), options="".join(options)))


@app.post("/print", status_code=202)
async def print_document(
    document: UploadFile,
    printer: Annotated[str, Form()],
    form_key: Annotated[UUID, Form()],
    user: User,
    ezeep: Ezeep,
    work: BackgroundTasks,
) -> dict[str, str]:
    """Print the document once for each form. A background job reports when it is printed."""
    if (document.size or 0) > LARGEST_DOCUMENT:
        raise HTTPException(413, "The document is too large.")

    async def start() -> PrintJob:
        found = await ezeep.printers.find(printer)
        job = await ezeep.printing.print_file(document.file, found, name=document.filename)
        work.add_task(report, user, job.id)
        return job

    with checked_values():
        job_id = await print_once(engine, user, str(form_key), start)
    if job_id is None:
        raise HTTPException(409, "This form was sent before, and may have been printed. Look at the printer.")
    return {"job": job_id, "status": f"{PREFIX}/jobs?job={quote(job_id)}"}


@app.get("/jobs")
async def job_status(job: str, ezeep: Ezeep) -> dict[str, str | int | bool]:
    """Return how far a job is."""
    with checked_values():
        status = await ezeep.printing.status(job)
    return {"status": status.meaning, "pages": status.pages_printed, "ended": status.is_final}


async def report(user: str, job_id: str) -> None:
    """Wait for a job, in a block of the pool: without it, the pool may close the session meanwhile."""
    try:
        async with logins.session(user) as session:
            status = await session.printing.wait(job_id)
        result = f"{status.pages_printed} pages printed"
    except EzeepError as error:  # no handler of the app gets it: the response was sent
        result = str(error)
    logger.info("%s: %s", job_id, result)


@app.exception_handler(EzeepError)
async def explain(request: Request, error: EzeepError) -> Response:
    """Respond to an error of any endpoint."""
    match error:
        case ReauthorizationRequired() if request.method == "GET":
            return RedirectResponse(f"{PREFIX}/login", 303)
        case EzeepError(may_have_happened=True):  # OutcomeUnknown, or the login ended during the call
            logger.error("%s", error)
            status, detail = 502, "It may have been done. Look before you try again."
        case ReauthorizationRequired():  # after a redirect the form and its document would be lost
            return signed_out("Nothing was done. Sign in first.")
        case AuthorizationDenied():
            status, detail = 400, "The login failed. Start again at /login."
        case PermissionDenied():
            status, detail = 403, "ezeep does not allow this to you."
        case NotFound():
            status, detail = 404, "ezeep has no such user, group or printer."
        case AmbiguousName():
            status, detail = 409, "Several printers have this name."
        case PrintFailed():  # its message has the code and the words of ezeep
            logger.error("%s", error)
            status, detail = 502, f"Not printed: {error}"
        case EzeepError() if is_retryable(error):
            wait = str(math.ceil(error.retry_after or 10))
            return JSONResponse({"detail": "ezeep is not available."}, 503, {"Retry-After": wait})
        case _:
            logger.error("%s", error)
            status, detail = 502, "ezeep refused the request."
    return JSONResponse({"detail": detail}, status)
