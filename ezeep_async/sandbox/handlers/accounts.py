"""The account directory: people and invitations."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    WrongField,
    email,
    found,
    id_of,
    json_fields,
    json_response,
    page,
    require_admin,
    text,
    typed,
)
from ezeep_async.sandbox.state.organization import Invitation, Person


routes = RouteTable()
_USERS = "/v1/users/"
_INVITATIONS = "/v1/userinvitations/"
_roles = typed(Annotated[tuple[Literal["admin", "user"], ...], msgspec.Meta(min_length=1)])
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,12})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_WRONG_FORMAT = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."


# --- people


@routes.add("GET", _USERS)
def list_people(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """List the people: all for an admin, only the caller for others."""
    people = state.organization.listed_people() if "admin" in caller.roles else [caller]
    return page(request, state.behaviour, people, _shown)


@routes.add("GET", _USERS + "me/")
def get_me(_: State, __: RecordedRequest, caller: Person) -> web.Response:
    return json_response(_shown(caller))


@routes.add("GET", _USERS + "{id}/")
def get_person(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    return json_response(_shown(_person(state, request, caller)))


@routes.add("PATCH", _USERS + "{id}/")
def update_person(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    person = _person(state, request, caller)

    def free_email(value: object) -> str:
        other = state.organization.person_with_email(address := email(value))
        if other is not None and other is not person:
            raise WrongField("user with this email already exists.")
        return address

    name = text(longest=150)
    parsers = {"first_name": name, "last_name": name, "email": free_email, "roles": _distinct_roles}
    fields = json_fields(request, parsers)
    if set(fields.get("roles", person.roles)) != set(person.roles):
        require_admin(caller)
    for field, value in fields.items():
        setattr(person, field, value)
    return json_response(_shown(person))


@routes.add("DELETE", _USERS + "{id}/")
def delete_person(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    state.organization.delete_person(_person(state, request, caller).id)
    return web.Response(status=204)


def _person(state: State, request: RecordedRequest, caller: Person) -> Person:
    """The person in the path: any for an admin, only the caller for others."""
    if id_of(request) != caller.id:
        require_admin(caller)
    return found(state.organization.people, request)


def _shown(person: Person) -> dict[str, object]:
    return {**vars(person), "display_name": person.display_name}


# --- invitations


@routes.add("GET", _INVITATIONS)
def list_invitations(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    require_admin(caller)
    return page(request, state.behaviour, list(state.organization.invitations.values()))


@routes.add("POST", _INVITATIONS)
def invite(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Create an invitation. No e-mail is sent."""
    require_admin(caller)
    parsers = {"email": email, "expire_date": _expire_date}
    fields = json_fields(request, parsers, required=parsers)
    invitation = Invitation(state.organization.new_id(), _stamp(state.clock.now()), **fields)
    state.organization.invitations[invitation.id] = invitation
    return json_response(invitation, 201)


@routes.add("PATCH", _INVITATIONS + "{id}/")
def send_again(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Send an invitation again. The response has only its id."""
    require_admin(caller)
    invitation = found(state.organization.invitations, request)
    invitation.updated = _stamp(state.clock.now())
    invitation.delivery_status = "SENT"
    return json_response({"id": invitation.id})


def _distinct_roles(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cast("tuple[str, ...]", _roles(value))))


def _expire_date(value: Any) -> str:
    try:
        if _DATETIME.fullmatch(value) is None:  # `fromisoformat` accepts more formats than the service
            raise ValueError
        moment = datetime.fromisoformat(value)
        return _stamp(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (TypeError, ValueError, OverflowError):
        raise WrongField(_WRONG_FORMAT) from None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
