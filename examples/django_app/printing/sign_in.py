"""Sign in with ezeep: the site has no users of its own."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from ezeep_async import AuthorizationRequest, Endpoints, EzeepSession, ReauthorizationRequired, run_sync
from printing.logins import end_login, ezeep_app, logins, revoke, start_login


@require_GET
def login(_: HttpRequest) -> HttpResponse:
    """Send the browser to ezeep."""
    return start_login(settings.SECRET_KEY)


@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Store the login under the id of the user, which is known only now."""
    started = AuthorizationRequest.from_cookie(request.COOKIES.get("ezeep_login"), settings.SECRET_KEY)
    tokens = logins.oauth.complete(request.build_absolute_uri(), started)
    with run_sync(EzeepSession(ezeep_app, tokens=tokens, endpoints=Endpoints.from_env())) as ezeep:
        user = str(ezeep.accounts.me().id)
    revoke(user)  # an earlier login, of another browser: `adopt` does not revoke it
    logins.adopt(user, tokens)
    request.session.flush()  # what was set before the login may be of an attacker
    request.session["user"] = user
    response = redirect("/print")
    response.delete_cookie("ezeep_login", path="/callback")
    return response


def logged_in(request: HttpRequest) -> str:
    """Return the id of the user in the web session."""
    if "user" not in request.session:
        raise ReauthorizationRequired("no user has logged in with this browser")
    return str(request.session["user"])


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Revoke the login, and end the web session."""
    user = request.session.get("user")
    request.session.flush()
    if user is not None:
        end_login(user)
    return HttpResponse("You are signed out. Sign in again at /login.", "text/plain")
