"""Views for any server: blocking calls, without asyncio."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from ezeep_async import AuthorizationRequest, Endpoints, EzeepSession, ReauthorizationRequired, run_sync
from printing.logins import ezeep_app, logins


@require_GET
def login(_: HttpRequest) -> HttpResponse:
    """Send the browser to ezeep. The cookie is encrypted: it contains the code verifier."""
    started = logins.oauth.authorization_request()
    response = redirect(started.url)
    response.set_cookie(
        "ezeep_login",
        started.to_cookie(settings.SECRET_KEY),
        path="/callback",
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )
    return response


@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Store the login under the id of the user, which is known only now."""
    started = AuthorizationRequest.from_cookie(request.COOKIES.get("ezeep_login"), settings.SECRET_KEY)
    tokens = logins.oauth.complete(request.build_absolute_uri(), started)
    with run_sync(EzeepSession(ezeep_app, tokens=tokens, endpoints=Endpoints.from_env())) as ezeep:
        user = str(ezeep.accounts.me().id)
    logins.adopt(user, tokens)
    request.session.flush()  # what was set before the login may be of an attacker
    request.session["user"] = user
    response = redirect("/groups")
    response.delete_cookie("ezeep_login", path="/callback")
    return response


def logged_in(request: HttpRequest) -> str:
    """Return the id of the user in the web session."""
    if "user" not in request.session:
        raise ReauthorizationRequired("no user has logged in with this browser")
    return str(request.session["user"])


@require_GET
@ensure_csrf_cookie
def groups(request: HttpRequest) -> HttpResponse:
    """List the groups."""
    with logins.session(logged_in(request)) as ezeep:
        return JsonResponse({str(group.id): group.name for group in ezeep.groups.list()})


@require_POST
def add_member(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Add a user to a group, and return all groups of the user."""
    with logins.session(logged_in(request)) as ezeep:
        user = ezeep.users.add_to_groups(request.POST["user_id"], group_id)
    return JsonResponse(sorted(map(str, user.group_ids)), safe=False)


@require_http_methods(["GET", "POST"])
def print_document(request: HttpRequest) -> HttpResponse:
    """Show a form with the printers of the user, and upload its document to ezeep."""
    with logins.session(logged_in(request)) as ezeep:
        if request.method == "GET":
            return render(request, "print.html", {"printers": ezeep.printers.list().collect()})
        document = request.FILES["document"]
        if document.size > settings.LARGEST_DOCUMENT:
            return HttpResponse("The document is too large.", status=413)
        printer = ezeep.printers.find(request.POST["printer"])
        job = ezeep.printing.print_file(document.file, printer, name=document.name)
    return JsonResponse({"job": job.id, "status": f"/jobs?job={quote(job.id)}"}, status=202)


@require_GET
def job_status(request: HttpRequest) -> HttpResponse:
    """Return how far a job is."""
    with logins.session(logged_in(request)) as ezeep:
        status = ezeep.printing.status(request.GET["job"])
    return JsonResponse({"status": status.meaning, "pages": status.pages_printed, "ended": status.is_final})
