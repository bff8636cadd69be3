"""Async views, for an ASGI server: under WSGI each request would have an event loop of its own."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse

from printing import views
from printing.errors import checked_values
from printing.logins import async_logins


logged_in = sync_to_async(views.logged_in)  # it may read the session from the database


async def groups(request: HttpRequest) -> HttpResponse:
    """List the groups."""
    async with async_logins.session(await logged_in(request)) as ezeep:
        return JsonResponse({str(group.id): group.name async for group in ezeep.groups.list()})


async def add_member(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Add a user to a group, and return all groups of the user."""
    async with async_logins.session(await logged_in(request)) as ezeep:
        with checked_values():
            user = await ezeep.users.add_to_groups(request.POST["user_id"], group_id)
    return JsonResponse(sorted(map(str, user.group_ids)), safe=False)
