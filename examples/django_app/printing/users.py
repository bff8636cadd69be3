"""Users of the site (django.contrib.auth), each linked to a login at ezeep."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import salted_hmac
from django.views.decorators.http import require_GET, require_POST

from ezeep_async import AuthorizationRequest, Endpoints, EzeepSession, ReauthorizationRequired, run_sync
from printing.logins import end_login, ezeep_app, logins, revoke, start_login


def logged_in(request: HttpRequest) -> str:
    """Return the primary key of the user: the key of the login in the pool."""
    if not request.user.is_authenticated:
        raise ReauthorizationRequired("no user has signed in with this browser")
    return str(request.user.pk)


def secret_of(request: HttpRequest) -> str:
    """Return a secret of this user alone, so that no other user can complete the login in the same browser."""
    return salted_hmac("ezeep login", str(request.user.pk), algorithm="sha256").hexdigest()


@login_required
@require_GET
def connect(request: HttpRequest) -> HttpResponse:
    """Send the browser to ezeep."""
    return start_login(secret_of(request))


@login_required
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Store the login under the key of the user who is signed in, and who has begun it."""
    started = AuthorizationRequest.from_cookie(request.COOKIES.get("ezeep_login"), secret_of(request))
    tokens = logins.oauth.complete(request.build_absolute_uri(), started)
    with run_sync(EzeepSession(ezeep_app, tokens=tokens, endpoints=Endpoints.from_env())) as ezeep:
        email = ezeep.accounts.me().email
        if email.casefold() != request.user.email.casefold():  # ezeep remembers who used this browser before
            ezeep.oauth.revoke()
            return HttpResponse(f"At ezeep you are {email}. Sign out there first.", "text/plain", 403)
    revoke(str(request.user.pk))  # an earlier login: `adopt` does not revoke it
    logins.adopt(str(request.user.pk), tokens)
    response = redirect("/print")
    response.delete_cookie("ezeep_login", path="/callback")
    return response


@login_required
@require_POST
def disconnect(request: HttpRequest) -> HttpResponse:
    """Revoke the login at ezeep. The user stays signed in to the site."""
    end_login(str(request.user.pk))
    return HttpResponse("Your account is not connected with ezeep any more.", "text/plain")
