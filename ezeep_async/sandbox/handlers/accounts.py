"""The account directory: people and invitations."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import cast

import attrs
from aiohttp import web

from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.handlers.pagination import page
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    Routes,
    WrongField,
    email,
    found,
    id_of,
    json_fields,
    json_response,
    require_admin,
    text,
)
from ezeep_async.sandbox.state.organization import Invitation, Organization, Person


_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_WRONG_FORMAT = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."


@attrs.frozen
class Directory:
    """The handlers of `/v1/`."""

    organization: Organization
    behaviour: Behaviour
    clock: Clock

    def routes(self) -> Routes:
        """Template, method, handler."""
        return {
            "/v1/users/": {"GET": self.list_people},
            "/v1/users/me/": {"GET": self.get_me},
            "/v1/users/{id}/": {
                "GET": self.get_person,
                "PATCH": self.update_person,
                "DELETE": self.delete_person,
            },
            "/v1/userinvitations/": {"GET": self.list_invitations, "POST": self.invite},
            "/v1/userinvitations/{id}/": {"PATCH": self.send_again},
        }

    # --- people

    def list_people(self, request: RecordedRequest, caller: Person) -> web.Response:
        """List the people: all for an admin, only the caller for others."""
        people = self.organization.listed_people() if "admin" in caller.roles else [caller]
        return page(request, self.behaviour, people, _shown)

    def get_me(self, _: RecordedRequest, caller: Person) -> web.Response:
        """Return the owner of the access token."""
        return json_response(_shown(caller))

    def get_person(self, request: RecordedRequest, caller: Person) -> web.Response:
        """One person."""
        return json_response(_shown(self._person(request, caller)))

    def update_person(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Change names, e-mail address or roles. Only admins change roles."""
        person = self._person(request, caller)

        def free_email(value: object) -> str:
            other = self.organization.person_with_email(address := email(value))
            if other is not None and other is not person:
                raise WrongField("user with this email already exists.")
            return address

        name = text(longest=150)
        parsers = {"first_name": name, "last_name": name, "email": free_email, "roles": _roles}
        fields = json_fields(request, parsers)
        if set(fields.get("roles", person.roles)) != set(person.roles):
            require_admin(caller)
        for field, value in fields.items():
            setattr(person, field, value)
        return json_response(_shown(person))

    def delete_person(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Delete a person and its printing user."""
        self.organization.delete_person(self._person(request, caller).id)
        return web.Response(status=204)

    def _person(self, request: RecordedRequest, caller: Person) -> Person:
        """The person in the path: any for an admin, only the caller for others."""
        if id_of(request) != caller.id:
            require_admin(caller)
        return found(self.organization.people, request)

    # --- invitations

    def list_invitations(self, request: RecordedRequest, caller: Person) -> web.Response:
        """List the invitations, the oldest first."""
        require_admin(caller)
        return page(request, self.behaviour, list(self.organization.invitations.values()))

    def invite(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Create an invitation. No e-mail is sent."""
        require_admin(caller)
        parsers = {"email": email, "expire_date": _expire_date}
        fields = json_fields(request, parsers, required=parsers)
        invitation = Invitation(self.organization.new_id(), _stamp(self.clock.now()), **fields)
        self.organization.invitations[invitation.id] = invitation
        return json_response(invitation, 201)

    def send_again(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Send an invitation again. The response has only its id."""
        require_admin(caller)
        invitation = found(self.organization.invitations, request)
        invitation.updated = _stamp(self.clock.now())
        invitation.delivery_status = "SENT"
        return json_response({"id": invitation.id})


def _shown(person: Person) -> dict[str, object]:
    return {**vars(person), "display_name": person.display_name}


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _roles(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise WrongField("Expected a list of items.")
    roles = cast("list[object]", value)
    if not roles:
        raise WrongField("This list may not be empty.")
    for role in roles:
        if role not in ("admin", "user"):
            raise WrongField(f'"{role}" is not a valid choice.')
    return tuple(dict.fromkeys(cast("list[str]", roles)))


def _expire_date(value: object) -> str:
    if isinstance(value, str) and _DATETIME.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:  # the right shape, but no such day
            pass
        else:
            return _stamp(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    raise WrongField(_WRONG_FORMAT)
