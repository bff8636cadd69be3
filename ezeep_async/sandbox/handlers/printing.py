"""The printing API: groups, and users with their memberships."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import attrs

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.handlers.pagination import PUBLIC_API, page
from ezeep_async.sandbox.replies import (
    Call,
    Fields,
    Handler,
    Refused,
    Reply,
    as_uuid,
    json_object,
    method_not_allowed,
    not_found,
    require_admin,
)
from ezeep_async.sandbox.state.organization import FLAGS, Organization, SandboxGroup, SandboxUser


@attrs.frozen
class Printing:
    """The handlers of `/printing/v1/`."""

    organization: Organization
    behaviour: Behaviour

    def routes(self) -> dict[str, dict[str, Handler]]:
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

    def list_groups(self, call: Call) -> Reply:
        """List the groups in the order of their creation."""
        return page(call, self.behaviour, list(self.organization.groups.values()), self._encode, PUBLIC_API)

    def create_group(self, call: Call) -> Reply:
        """Create a group. Names need not be unique."""
        require_admin(call)
        fields = Fields(json_object(call))
        fields.required("name")
        fields.required("organization_id")
        name, description, local, mine = self._group_fields(fields, SandboxGroup(UUID(int=0), ""))
        group = self.organization.add_group(
            name, description=description, local_printing_enabled=local, myprinters_enabled=mine
        )
        return Reply(status=201, body=self._encode(group))

    def get_group(self, call: Call) -> Reply:
        """One group."""
        return Reply(body=self._encode(self._group(call)))

    def update_group(self, call: Call) -> Reply:
        """Change the given fields. A PUT requires the name, and may reset missing fields."""
        require_admin(call)
        group = self._group(call)
        fields = Fields(json_object(call))
        before = group
        if call.method == "PUT":
            fields.required("name")
            before = SandboxGroup(group.id, group.name) if self.behaviour.put_resets_flags else group
        changed = self._group_fields(fields, before)
        group.name, group.description, group.local_printing_enabled, group.myprinters_enabled = changed
        return Reply(body=self._encode(group))

    def delete_group(self, call: Call) -> Reply:
        """Delete the group and its memberships."""
        require_admin(call)
        self.organization.remove_group(self._group(call).id)
        return Reply(status=204, content_type=None)

    def _group(self, call: Call) -> SandboxGroup:
        group_id = as_uuid(call.id)
        if group_id is None or (group := self.organization.groups.get(group_id)) is None:
            raise not_found()
        return group

    def _group_fields(self, fields: Fields, before: SandboxGroup) -> tuple[str, str, bool, bool]:
        """The writable fields; others in the body are ignored."""
        name = fields.text("name", before.name, blank=False) if "name" in fields.given else before.name
        description = fields.text("description", before.description)
        local = fields.flag("local_printing_enabled", before.local_printing_enabled)
        mine = fields.flag("myprinters_enabled", before.myprinters_enabled)
        if "organization_id" in fields.given:
            organization_id = as_uuid(fields.given["organization_id"])
            if organization_id is None:
                fields.fail("organization_id", "Must be a valid UUID.")
            elif organization_id != self.organization.organization_id:
                fields.fail("organization_id", "This is not your organization.")
        fields.check()
        return name, description, local, mine

    def _encode(self, group: SandboxGroup) -> bytes:
        members = self.organization.num_members(group.id)
        return group.encode(members, counts_as_strings=self.behaviour.counts_as_strings)

    # --- users

    def list_users(self, call: Call) -> Reply:
        """List the users, or those of the groups in the body if the filter is honoured."""
        users = self.organization.listed_users()
        fields = Fields(json_object(call))
        if "groups" in fields.given:
            wanted = self._group_ids(fields)
            fields.check()
            if wanted and self.behaviour.honour_group_filter:
                users = self._members_of_any(wanted)
        return page(call, self.behaviour, users, SandboxUser.encode, PUBLIC_API)

    def get_user(self, call: Call) -> Reply:
        """One user."""
        return Reply(body=self._user(call).encode())

    def update_user(self, call: Call) -> Reply:
        """Replace all groups of the user with the given ones, and set flags."""
        methods = self.behaviour.membership_methods
        if call.method not in methods:
            raise Refused(method_not_allowed(call.method, ("GET", *methods)))
        require_admin(call)
        user = self._user(call)
        fields = Fields(json_object(call))
        put = call.method == "PUT"
        groups = None
        if "groups" in fields.given or (put and fields.required("groups")):
            groups = self._group_ids(fields)
            for group_id in groups:
                if group_id not in self.organization.groups:
                    fields.fail("groups", f'Invalid pk "{group_id}" - object does not exist.')
        reset = put and self.behaviour.put_resets_flags
        flags = {name: fields.flag(name, not reset and getattr(user, name)) for name in FLAGS}
        fields.check()
        for name, value in flags.items():
            setattr(user, name, value)
        if groups is not None:
            user.groups.replace(groups)
        return Reply(body=user.encode())

    def _user(self, call: Call) -> SandboxUser:
        user_id = as_uuid(call.id)
        if user_id is None or (user := self.organization.users.get(user_id)) is None:
            raise not_found()
        return user

    def _members_of_any(self, group_ids: list[UUID]) -> list[SandboxUser]:
        if len(group_ids) == 1:
            return self.organization.listed_members(group_ids[0])
        return [
            user
            for user in self.organization.listed_users()
            if any(group_id in user.groups for group_id in group_ids)
        ]

    @staticmethod
    def _group_ids(fields: Fields) -> list[UUID]:
        given = fields.given["groups"]
        if not isinstance(given, list):
            fields.fail("groups", "Expected a list of items.")
            return []
        ids: list[UUID] = []
        for item in cast("list[object]", given):
            value = cast("dict[str, object]", item).get("group_id") if isinstance(item, dict) else None
            if (group_id := as_uuid(value)) is None:
                fields.fail("groups", "Each item is an object with a group_id, which must be a valid UUID.")
            else:
                ids.append(group_id)
        return ids
