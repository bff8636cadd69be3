"""Views for any server: blocking calls, without asyncio."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from printing.errors import checked_values
from printing.logins import logins


logged_in: Callable[[HttpRequest], str] = import_string(settings.LOGGED_IN)
"""Returns the key of the login of a user: that of sign_in.py or of users.py."""


@require_GET
@ensure_csrf_cookie
def groups(request: HttpRequest) -> HttpResponse:
    """List the groups."""
    with logins.session(logged_in(request)) as ezeep:
        return JsonResponse({str(group.id): group.name for group in ezeep.groups.list()})


@require_POST
def add_member(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Add a user to a group, and return all groups of the user."""
    with logins.session(logged_in(request)) as ezeep, checked_values():
        user = ezeep.users.add_to_groups(request.POST["user_id"], group_id)
    return JsonResponse(sorted(map(str, user.group_ids)), safe=False)
