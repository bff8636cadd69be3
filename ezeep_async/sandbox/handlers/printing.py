"""The printing API: groups, and users with their memberships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

import attrs
import msgspec
from aiohttp import web

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.handlers.pagination import page
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    Parse,
    Routes,
    WrongField,
    flag,
    found,
    json_fields,
    json_response,
    method_not_allowed,
    require_admin,
    text,
)
from ezeep_async.sandbox.state.organization import FLAGS, Organization, Person, SandboxGroup


_RESET_GROUP = {"description": "", "local_printing_enabled": False, "myprinters_enabled": False}
_RESET_USER = dict.fromkeys(FLAGS, False)


@attrs.frozen
class Printing:
    """The handlers of `/printing/v1/`."""

    organization: Organization
    behaviour: Behaviour

    def routes(self) -> Routes:
        """Template, method, handler."""
        return {
            "/printing/v1/groups/": {"GET": self.list_groups, "POST": self.create_group},
            "/printing/v1/groups/{id}/": {
                "GET": self.get_group,
                "PATCH": self.update_group,
                "PUT": self.update_group,
                "DELETE": self.delete_group,
            },
            "/printing/v1/users/": {"GET": self.list_users},
            "/printing/v1/users/{id}/": {
                "GET": self.get_user,
                "PATCH": self.update_user,
                "PUT": self.update_user,
            },
        }

    # --- groups

    def list_groups(self, request: RecordedRequest, _: Person) -> web.Response:
        """List the groups in the order of their creation."""
        return page(request, self.behaviour, list(self.organization.groups.values()), self._shown)

    def create_group(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Create a group. Names need not be unique."""
        require_admin(caller)
        fields = self._group_fields(request, "name", "organization_id")
        return json_response(self._shown(self.organization.add_group(**fields)), 201)

    def get_group(self, request: RecordedRequest, _: Person) -> web.Response:
        """One group."""
        return json_response(self._shown(found(self.organization.groups, request)))

    def update_group(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Change the given fields. A PUT requires the name, and may reset missing fields."""
        require_admin(caller)
        group = found(self.organization.groups, request)
        if request.method == "PATCH":
            fields = self._group_fields(request)
        else:
            fields = self._reset(_RESET_GROUP) | self._group_fields(request, "name")
        _change(group, fields)
        return json_response(self._shown(group))

    def delete_group(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Delete the group and its memberships."""
        require_admin(caller)
        self.organization.remove_group(found(self.organization.groups, request).id)
        return web.Response(status=204)

    def _group_fields(self, request: RecordedRequest, *required: str) -> dict[str, Any]:
        """The writable fields."""
        parsers: dict[str, Parse] = {
            "name": text(blank=False),
            "description": text(),
            "local_printing_enabled": flag,
            "myprinters_enabled": flag,
            "organization_id": self._own_organization,
        }
        fields = json_fields(request, parsers, required=required)
        fields.pop("organization_id", None)
        return fields

    def _own_organization(self, value: object) -> UUID:
        organization_id = _as_uuid(value, "Must be a valid UUID.")
        if organization_id != self.organization.organization_id:
            raise WrongField("This is not your organization.")
        return organization_id

    def _shown(self, group: SandboxGroup) -> dict[str, Any]:
        counts: dict[str, object] = {
            "num_members": self.organization.num_members(group.id),
            "num_printers": group.num_printers,
        }
        if self.behaviour.counts_as_strings:
            counts = {name: str(count) for name, count in counts.items()}
        return {**msgspec.to_builtins(group), **counts}

    def _reset(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What a PUT changes in the fields that it leaves out."""
        return fields if self.behaviour.put_resets_flags else {}

    # --- users

    def list_users(self, request: RecordedRequest, _: Person) -> web.Response:
        """List the users, or those of the groups in the body if the filter is honoured."""
        wanted = json_fields(request, {"groups": _group_ids}).get("groups", ())
        users = self.organization.listed_users()
        if wanted and self.behaviour.honour_group_filter:
            users = self.organization.listed_members(*wanted)
        return page(request, self.behaviour, users)

    def get_user(self, request: RecordedRequest, _: Person) -> web.Response:
        """One user."""
        return json_response(found(self.organization.users, request))

    def update_user(self, request: RecordedRequest, caller: Person) -> web.Response:
        """Replace all groups of the user with the given ones, and set flags."""
        methods = self.behaviour.membership_methods
        if request.method not in methods:
            raise method_not_allowed(request.method, ("GET", *methods))
        require_admin(caller)
        user = found(self.organization.users, request)
        parsers: dict[str, Parse] = {"groups": self._known_groups, **dict.fromkeys(FLAGS, flag)}
        if request.method == "PATCH":
            fields = json_fields(request, parsers)
        else:
            fields = self._reset(_RESET_USER) | json_fields(request, parsers, required=["groups"])
        groups = fields.pop("groups", None)
        if groups is not None:
            user.groups.replace(groups)
        _change(user, fields)
        return json_response(user)

    def _known_groups(self, value: object) -> list[UUID]:
        ids = _group_ids(value)
        for group_id in ids:
            if group_id not in self.organization.groups:
                raise WrongField(f'Invalid pk "{group_id}" - object does not exist.')
        return ids


def _change(record: object, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        setattr(record, name, value)


def _group_ids(value: object) -> list[UUID]:
    if not isinstance(value, list):
        raise WrongField("Expected a list of items.")
    wrong = "Each item is an object with a group_id, which must be a valid UUID."
    items = cast("list[object]", value)
    return [
        _as_uuid(cast("dict[str, object]", item).get("group_id") if isinstance(item, dict) else None, wrong)
        for item in items
    ]


def _as_uuid(value: object, problem: str) -> UUID:
    try:
        return UUID(cast("str", value))
    except (ValueError, TypeError, AttributeError):
        raise WrongField(problem) from None
