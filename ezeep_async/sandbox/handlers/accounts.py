"""The account directory: people and invitations."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import cast

import attrs

from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.handlers.pagination import PUBLIC_ACCOUNT, page
from ezeep_async.sandbox.replies import (
    Call,
    Fields,
    Handler,
    Refused,
    Reply,
    as_uuid,
    detail,
    json_object,
    json_reply,
    not_found,
    require_admin,
)
from ezeep_async.sandbox.state.organization import Invitation, Organization, Person


_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_WRONG_FORMAT = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
_ROLES = {"admin", "user"}


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@attrs.frozen
class Directory:
    """The handlers of `/v1/`."""

    organization: Organization
    behaviour: Behaviour
    clock: Clock

    def routes(self) -> dict[str, dict[str, Handler]]:
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

    def list_people(self, call: Call) -> Reply:
        """List the people: all for an admin, only the caller for others."""
        caller = call.person()
        people = self.organization.listed_people() if "admin" in caller.roles else [caller]
        return page(call, self.behaviour, people, Person.encode, PUBLIC_ACCOUNT)

    def get_me(self, call: Call) -> Reply:
        """Return the owner of the access token."""
        return Reply(body=call.person().encode())

    def get_person(self, call: Call) -> Reply:
        """One person."""
        return Reply(body=self._person(call).encode())

    def update_person(self, call: Call) -> Reply:
        """Change names, e-mail address or roles. Only admins change roles."""
        person = self._person(call)
        fields = Fields(json_object(call))
        first_name = fields.text("first_name", person.first_name, longest=150)
        last_name = fields.text("last_name", person.last_name, longest=150)
        email = fields.email("email", person.email)
        roles = self._roles(fields, person.roles)
        fields.check()
        if set(roles) != set(person.roles):
            require_admin(call)
        other = self.organization.person_with_email(email)
        if other is not None and other is not person:
            fields.fail("email", "user with this email already exists.")
            fields.check()
        person.first_name, person.last_name, person.email, person.roles = first_name, last_name, email, roles
        return Reply(body=person.encode())

    def delete_person(self, call: Call) -> Reply:
        """Delete a person and its printing user."""
        self.organization.delete_person(self._person(call).id)
        return Reply(status=204, content_type=None)

    def _person(self, call: Call) -> Person:
        """The person in the path: any for an admin, only the caller for others."""
        caller = call.person()
        person_id = as_uuid(call.id)
        if person_id != caller.id:
            require_admin(call)
        if person_id is None or (person := self.organization.people.get(person_id)) is None:
            raise not_found()
        return person

    @staticmethod
    def _roles(fields: Fields, before: tuple[str, ...]) -> tuple[str, ...]:
        if "roles" not in fields.given:
            return before
        given = fields.given["roles"]
        if not isinstance(given, list):
            fields.fail("roles", "Expected a list of items.")
            return before
        roles: list[str] = []
        for role in cast("list[object]", given):
            if isinstance(role, str) and role in _ROLES:
                roles.append(role)
            else:
                fields.fail("roles", f'"{role}" is not a valid choice.')
        if not given:
            fields.fail("roles", "This list may not be empty.")
        return tuple(dict.fromkeys(roles))

    # --- invitations

    def list_invitations(self, call: Call) -> Reply:
        """List the invitations, the oldest first."""
        require_admin(call)
        invitations = list(self.organization.invitations.values())
        return page(call, self.behaviour, invitations, Invitation.encode, PUBLIC_ACCOUNT)

    def invite(self, call: Call) -> Reply:
        """Create an invitation. No e-mail is sent."""
        require_admin(call)
        fields = Fields(json_object(call))
        if fields.required("email"):
            fields.email("email", "")
        expires = self._expire_date(fields) if fields.required("expire_date") else None
        fields.check()
        if expires is None:
            raise Refused(detail(400, _WRONG_FORMAT))
        email = str(fields.given["email"])
        updated = _stamp(self.clock.now())
        invitation = Invitation(self.organization.new_id(), updated, email, _stamp(expires))
        self.organization.invitations[invitation.id] = invitation
        return Reply(status=201, body=invitation.encode())

    def send_again(self, call: Call) -> Reply:
        """Send an invitation again. The response has only its id."""
        require_admin(call)
        invitation_id = as_uuid(call.id)
        if invitation_id is None or (found := self.organization.invitations.get(invitation_id)) is None:
            raise not_found()
        found.updated = _stamp(self.clock.now())
        found.delivery_status = "SENT"
        return json_reply({"id": found.id})

    @staticmethod
    def _expire_date(fields: Fields) -> datetime | None:
        value = fields.given["expire_date"]
        if isinstance(value, str) and _DATETIME.fullmatch(value):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:  # the right shape, but no such day
                pass
            else:
                return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        fields.fail("expire_date", _WRONG_FORMAT)
        return None
