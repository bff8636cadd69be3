"""Flask: people log in with ezeep, see the groups of their organization, add members, and print.

pip install 'ezeep_async[web]' flask gunicorn       # and gevent for -k gevent
gunicorn --workers 2 --timeout 120 app:app          # also: --preload, -k gthread --threads 8, -k gevent

Environment: EZEEP_CLIENT_ID, EZEEP_REDIRECT_URI (the address of /callback; what is before it is the prefix of all addresses),
SECRET_KEY, LOGINS (a folder), LARGEST_DOCUMENT (in bytes; 100 MB).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, abort, redirect, render_template_string, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as Redirect

from ezeep_async import (
    AmbiguousName,
    AuthorizationDenied,
    AuthorizationRequest,
    Endpoints,
    EzeepError,
    EzeepSession,
    FileTokenStore,
    NotFound,
    OAuthApp,
    PermissionDenied,
    PrintFailed,
    ReauthorizationRequired,
    SessionPool,
    Settings,
    is_retryable,
    run_sync,
)


SECRET_KEY = os.environ["SECRET_KEY"]
REDIRECT_URI = os.environ["EZEEP_REDIRECT_URI"]
# "/printing" for https://print.example.com/printing/callback
PREFIX = urlsplit(REDIRECT_URI).path.removesuffix("/callback")
ORIGIN = urlsplit(REDIRECT_URI)._replace(path="").geturl()
SECURE = REDIRECT_URI.startswith("https:")
LOGIN_COOKIE = {"path": f"{PREFIX}/callback", "httponly": True, "secure": SECURE, "samesite": "Lax"}
LOGINS = Path(os.environ.get("LOGINS", "logins"))
LOGINS.mkdir(mode=0o700, exist_ok=True)

app = Flask(__name__)
app.config.update(
    SECRET_KEY=SECRET_KEY,
    SESSION_COOKIE_PATH=PREFIX or "/",
    SESSION_COOKIE_SAMESITE="Lax",
    SESSION_COOKIE_SECURE=SECURE,
    MAX_CONTENT_LENGTH=int(os.environ.get("LARGEST_DOCUMENT", "100_000_000")),
)


def with_prefix(
    environ: WSGIEnvironment, respond: StartResponse, inner: WSGIApplication = app.wsgi_app
) -> Iterable[bytes]:
    """Add the prefix to the addresses of `url_for`. The web server in front has removed it from the path."""
    environ["SCRIPT_NAME"] = PREFIX
    return inner(environ, respond)


app.wsgi_app = with_prefix

# Nothing is opened yet: each worker process opens a pool of its own with its first call, also with --preload.
ezeep_app = OAuthApp(os.environ["EZEEP_CLIENT_ID"], os.environ.get("EZEEP_CLIENT_SECRET"), REDIRECT_URI)
logins = run_sync(
    SessionPool(
        ezeep_app,
        store=lambda user: FileTokenStore(LOGINS / f"{UUID(user)}.json"),
        endpoints=Endpoints.from_env(),
        settings=Settings(deadline=30.0),  # a browser does not wait for five minutes, the default
    )
)


@app.before_request
def refuse_forms_of_other_pages() -> None:
    """Respond with 403 to a POST of a page that is not of this app. Programs send neither header."""
    place, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_own = place in ("same-origin", "none") if place else origin in (None, ORIGIN)
    if request.method == "POST" and not is_own:
        abort(403, "This form is not of this app.")


@app.after_request
def guarded(response: Response) -> Response:
    """Add headers to each response: browsers do not store it, and do not show it in frames of other pages."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "same-origin"  # with no-referrer, forms of this app had no origin
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


PAGE = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>Printing</title>
<h1>Printing</h1>
{% if email %}
<p>You are signed in as {{ email }}.</p>
<p><a href="{{ url_for('print_form') }}">Print</a> <a href="{{ url_for('groups') }}">Groups</a></p>
<form method="post" action="{{ url_for('logout') }}"><button>Sign out</button></form>
{% else %}
<p>{{ reason }} <a href="{{ url_for('login') }}">Sign in</a></p>
{% endif %}
</html>
"""


@app.get("/")
def start() -> str:
    """Show who is signed in."""
    if "user" in session:
        with suppress(ReauthorizationRequired), logins.session(session["user"]) as ezeep:
            return render_template_string(PAGE, email=ezeep.accounts.me().email)
    return render_template_string(PAGE, reason="You are not signed in.")


@app.get("/login")
def login() -> Redirect:
    """Send the browser to ezeep. The cookie is encrypted: it contains the code verifier."""
    started = logins.oauth.authorization_request()
    response = redirect(started.url, 303)
    cookie = started.to_cookie(SECRET_KEY)
    response.set_cookie("ezeep_login", cookie, max_age=600, **LOGIN_COOKIE)
    return response


@app.get("/callback", strict_slashes=False)  # ezeep may add a slash
def callback() -> Redirect:
    """Store the login under the id of the user, which is known only now."""
    started = AuthorizationRequest.from_cookie(request.cookies.get("ezeep_login"), SECRET_KEY)
    tokens = logins.oauth.complete(request.url, started)
    with run_sync(EzeepSession(ezeep_app, tokens=tokens, endpoints=Endpoints.from_env())) as ezeep:
        user = str(ezeep.accounts.me().id)
    revoke(user)  # an earlier login, of another browser: `adopt` does not revoke it
    logins.adopt(user, tokens)
    session.clear()  # what was set before the login may be of an attacker
    session["user"] = user
    response = redirect(url_for("start"), 303)
    response.delete_cookie("ezeep_login", **LOGIN_COOKIE)
    return response


def revoke(user: str) -> None:
    """End the stored login of a user at ezeep. What calls it continues also while ezeep cannot be reached."""
    with suppress(EzeepError), logins.session(user) as ezeep:
        ezeep.oauth.revoke()


@app.post("/logout")
def logout() -> Redirect:
    """End the login at ezeep and here, and then the web session."""
    if "user" in session:
        revoke(session["user"])
        logins.drop(session["user"])
        session.clear()
    return redirect(url_for("start"), 303)


def logged_in() -> str:
    """Return the id of the user in the web session."""
    if "user" not in session:
        while request.stream.read(
            65_536
        ):  # a proxy reports 502 if the response comes before the end of the upload
            pass
        raise ReauthorizationRequired("no user has logged in with this browser")
    return str(session["user"])


@contextmanager
def checked_values() -> Iterator[None]:
    """Around calls with values of the user: no id, an empty document, or one of a type that is not printed."""
    try:
        yield
    except ValueError as error:
        app.logger.info("%s", error)
        abort(400, "ezeep does not accept this value.")


@app.get("/groups")
def groups() -> dict[str, str]:
    """List the groups."""
    with logins.session(logged_in()) as ezeep:
        return {str(group.id): group.name for group in ezeep.groups.list()}


@app.post("/groups/<uuid:group_id>/members")
def add_member(group_id: UUID) -> list[str]:
    """Add a user to a group, and return all groups of the user."""
    with logins.session(logged_in()) as ezeep, checked_values():
        user = ezeep.users.add_to_groups(request.form["user_id"], group_id)
    return sorted(map(str, user.group_ids))


FORM = """<!doctype html>
<html lang="en">
<title>Print</title>
<form method="post" enctype="multipart/form-data">
  <p><label>Printer <select name="printer">
  {% for printer in printers %}<option>{{ printer.name }}</option>{% endfor %}
  </select></label></p>
  <p><label>Document <input type="file" name="document" required></label></p>
  <p><button>Print</button></p>
</form>
</html>
"""


@app.get("/print")
def print_form() -> str:
    """Show a form with the printers of the user."""
    with logins.session(logged_in()) as ezeep:
        return render_template_string(FORM, printers=ezeep.printers.list().collect())


@app.post("/print")
def print_document() -> tuple[dict[str, str], int]:
    """Upload the document to ezeep. The browser asks for the status of the job later."""
    with logins.session(logged_in()) as ezeep, checked_values():
        document = request.files["document"]  # read after the check of the login
        printer = ezeep.printers.find(request.form["printer"])
        job = ezeep.printing.print_file(document.stream, printer, name=document.filename)
    return {"job": job.id, "status": url_for("job_status", job=job.id)}, 202


@app.get("/jobs")
def job_status() -> dict[str, str | int | bool]:
    """Return how far a job is."""
    with logins.session(logged_in()) as ezeep, checked_values():
        status = ezeep.printing.status(request.args["job"])
    return {"status": status.meaning, "pages": status.pages_printed, "ended": status.is_final}


@app.errorhandler(EzeepError)
def explain(error: EzeepError) -> ResponseReturnValue:
    """Respond to an error of any view."""
    match error:
        case ReauthorizationRequired() if request.method == "GET":
            return redirect(url_for("login"), 303)
        case EzeepError(may_have_happened=True):  # OutcomeUnknown, or the login ended during the call
            app.logger.error("%s", error)
            status, detail = 502, "It may have been done. Look before you try again."
        case ReauthorizationRequired():  # after a redirect the form and its document would be lost
            return render_template_string(PAGE, reason="Nothing was done. Sign in first."), 401
        case AuthorizationDenied():
            status, detail = 400, "The login failed. Start again at /login."
        case PermissionDenied():
            status, detail = 403, "ezeep does not allow this to you."
        case NotFound():
            status, detail = 404, "ezeep has no such user, group or printer."
        case AmbiguousName():
            status, detail = 409, "Several printers have this name."
        case PrintFailed():  # its message has the code and the words of ezeep
            app.logger.error("%s", error)
            status, detail = 502, f"Not printed: {error}"
        case EzeepError() if is_retryable(error):
            wait = str(math.ceil(error.retry_after or 10))
            return {"detail": "ezeep is not available."}, 503, {"Retry-After": wait}
        case _:
            app.logger.error("%s", error)
            status, detail = 502, "ezeep refused the request."
    return {"detail": detail}, status
