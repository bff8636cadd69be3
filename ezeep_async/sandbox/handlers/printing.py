"""The printing API: groups, and users with their memberships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

import attrs
import msgspec
from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    Parse,
    WrongField,
    flag,
    found,
    json_fields,
    json_response,
    method_not_allowed,
    page,
    require_admin,
    text,
    typed,
)
from ezeep_async.sandbox.state.organization import FLAGS, Person, SandboxGroup


routes = RouteTable()
_GROUPS = "/printing/v1/groups/"
_USERS = "/printing/v1/users/"
_RESET_GROUP = {"description": "", "local_printing_enabled": False, "myprinters_enabled": False}
_RESET_USER: dict[str, Any] = dict.fromkeys(FLAGS, False)
"""What a PUT changes in the fields that it leaves out, if `put_resets_flags`."""


# --- groups


@routes.add("GET", _GROUPS)
def list_groups(state: State, request: RecordedRequest, _: Person) -> web.Response:
    groups = list(state.organization.groups.values())
    return page(request, state.behaviour, groups, lambda group: _shown(state, group))


@routes.add("POST", _GROUPS)
def create_group(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    require_admin(caller)
    fields = _group_fields(state, request, "name", "organization_id")
    return json_response(_shown(state, state.organization.add_group(**fields)), 201)


@routes.add("GET", _GROUPS + "{id}/")
def get_group(state: State, request: RecordedRequest, _: Person) -> web.Response:
    return json_response(_shown(state, found(state.organization.groups, request)))


@routes.add("PATCH PUT", _GROUPS + "{id}/")
def update_group(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    require_admin(caller)
    group = found(state.organization.groups, request)
    put = request.method == "PUT"
    fields = _group_fields(state, request, *(["name"] if put else []))
    if put and state.behaviour.put_resets_flags:
        fields = _RESET_GROUP | fields
    _change(group, fields)
    return json_response(_shown(state, group))


@routes.add("DELETE", _GROUPS + "{id}/")
def delete_group(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    require_admin(caller)
    state.organization.remove_group(found(state.organization.groups, request).id)
    return web.Response(status=204)


def _group_fields(state: State, request: RecordedRequest, *required: str) -> dict[str, Any]:
    def own_organization(value: object) -> None:
        try:
            organization_id = msgspec.convert(value, UUID)
        except msgspec.ValidationError:
            raise WrongField("Must be a valid UUID.") from None
        if organization_id != state.organization.organization_id:
            raise WrongField("This is not your organization.")

    parsers: dict[str, Parse] = {
        "name": text(blank=False),
        "description": text(),
        "local_printing_enabled": flag,
        "myprinters_enabled": flag,
        "organization_id": own_organization,
    }
    fields = json_fields(request, parsers, required=required)
    fields.pop("organization_id", None)
    return fields


def _shown(state: State, group: SandboxGroup) -> dict[str, Any]:
    counts: dict[str, object] = {
        "num_members": state.organization.num_members(group.id),
        "num_printers": group.num_printers + state.printing.num_printers(group.id),
    }
    if state.behaviour.counts_as_strings:
        counts = {name: str(count) for name, count in counts.items()}
    return {**msgspec.to_builtins(group), **counts}


# --- users


@attrs.frozen
class _Membership:
    group_id: UUID


_memberships = typed(list[_Membership])


@routes.add("GET", _USERS)
def list_users(state: State, request: RecordedRequest, _: Person) -> web.Response:
    wanted = json_fields(request, {"groups": _memberships}).get("groups", ())
    users = state.organization.listed_users()
    if wanted and state.behaviour.honour_group_filter:
        users = state.organization.listed_members(*(each.group_id for each in wanted))
    return page(request, state.behaviour, users)


@routes.add("GET", _USERS + "{id}/")
def get_user(state: State, request: RecordedRequest, _: Person) -> web.Response:
    return json_response(found(state.organization.users, request))


@routes.add("PATCH PUT", _USERS + "{id}/")
def update_user(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Replace all groups of the user with the given ones, and set flags."""
    methods = state.behaviour.membership_methods
    if request.method not in methods:
        raise method_not_allowed(request.method, ("GET", *methods))
    require_admin(caller)
    user = found(state.organization.users, request)

    def known_groups(value: object) -> list[UUID]:
        ids = [each.group_id for each in cast("list[_Membership]", _memberships(value))]
        for group_id in ids:
            if group_id not in state.organization.groups:
                raise WrongField(f'Invalid pk "{group_id}" - object does not exist.')
        return ids

    put = request.method == "PUT"
    parsers: dict[str, Parse] = {"groups": known_groups, **dict.fromkeys(FLAGS, flag)}
    fields = json_fields(request, parsers, required=["groups"] if put else [])
    if put and state.behaviour.put_resets_flags:
        fields = _RESET_USER | fields
    if "groups" in fields:
        user.groups.replace(fields.pop("groups"))
    _change(user, fields)
    return json_response(user)


def _change(record: object, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        setattr(record, name, value)
