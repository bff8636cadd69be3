"""`session.groups`: groups of the printing API."""

from __future__ import annotations

import builtins
from typing import Unpack
from uuid import UUID

from ezeep_async._wire.group_names import checked_new_name
from ezeep_async._wire.requests import GROUPS, as_uuid, checked_flag, checked_name, checked_text
from ezeep_async.models.groups import Group
from ezeep_async.models.unset import UNSET, Unset, given
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, fetch_record, listed
from ezeep_async.resources.group_calls import GroupCalls, GroupFields
from ezeep_async.resources.users import Users


class Groups:
    """The groups of the organization."""

    def __init__(self, api: Api, users: Users) -> None:
        self._api = api
        self._users = users
        self.inner = GroupCalls(api)
        """Internal: the same calls with their responses, for `ezeep_async.provisioning`."""

    def list(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[Group]:
        """List all groups. Nothing is sent before the listing is iterated.

        Args:
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing of groups, in the order of the server.

        Raises:
            ValueError: A size is no whole number or too small.

        Note:
            docs/ezeep-api.md#groups
        """
        return Paginator(self.inner.fetch_page, page_size=page_size, concurrency=concurrency, offset=offset)

    async def get(self, group_id: UUID | str) -> Group:
        """Read one group.

        Args:
            group_id: Id of the group.

        Returns:
            The group.

        Raises:
            NotFound: No such group exists.
            ValueError: `group_id` is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#groups
        """
        return await fetch_record(self._api, GROUPS.get(as_uuid(group_id, "group_id")), Group)

    async def create(
        self,
        name: str,
        organization_id: UUID | str,
        description: str = "",
        local_printing_enabled: bool | None = None,
        myprinters_enabled: bool | None = None,
    ) -> Group:
        """Create a group. Names are not unique: a second call creates a second group (see `ensure`).

        Args:
            name: 1 to 255 characters, without surrounding white space and invisible characters. Joiners and variation
                selectors are allowed where the script needs them, as in emoji and in Persian.
            organization_id: Organization that will own the group.
            description: At most 255 characters.
            local_printing_enabled: None for the server's default.
            myprinters_enabled: None for the server's default.

        Returns:
            The new group.

        Raises:
            OutcomeUnknown: The response was lost: the group may exist now or later. `error.reconcile(session)` looks
                it up.
            BadRequest: The server rejects a value.
            ValueError: An argument is not valid; nothing was sent.

        Note:
            docs/ezeep-api.md#groups
        """
        group, _ = await self.inner.create(
            name,
            as_uuid(organization_id, "organization_id"),
            description,
            local_printing_enabled,
            myprinters_enabled,
        )
        return group

    async def update(
        self,
        group_id: UUID | str,
        name: str | Unset = UNSET,
        description: str | Unset = UNSET,
        local_printing_enabled: bool | Unset = UNSET,
        myprinters_enabled: bool | Unset = UNSET,
    ) -> Group:
        """Set the given fields of a group, and no others. `False` and `""` are values. Safe to repeat.

        Args:
            group_id: Id of the group.
            name: New name; the rules of `create` apply.
            description: At most 255 characters.
            local_printing_enabled: True or False.
            myprinters_enabled: True or False.

        Returns:
            The group after the change.

        Raises:
            NotFound: No such group exists.
            BadRequest: The server rejects a value.
            ValueError: No field is given, or an argument is not valid; nothing was sent.

        Note:
            docs/ezeep-api.md#groups
        """
        group_id = as_uuid(group_id, "group_id")
        if name is not UNSET:
            checked_new_name(name, "name")
        if description is not UNSET:
            checked_text(description, "description")
        for flag, field in (
            (local_printing_enabled, "local_printing_enabled"),
            (myprinters_enabled, "myprinters_enabled"),
        ):
            if flag is not UNSET:
                checked_flag(flag, field)
        values = given(
            {
                "name": name,
                "description": description,
                "local_printing_enabled": local_printing_enabled,
                "myprinters_enabled": myprinters_enabled,
            }
        )
        if not values:
            raise ValueError("nothing to update: pass at least one field")
        return await fetch_record(self._api, GROUPS.patch(group_id, values), Group)

    async def delete(self, group_id: UUID | str) -> None:
        """Delete a group.

        Args:
            group_id: Id of the group.

        Raises:
            NotFound: No such group existed before the call.
            ValueError: `group_id` is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#groups
        """
        await self.inner.delete(as_uuid(group_id, "group_id"))

    async def find(self, name: str) -> builtins.list[Group]:
        """Return the groups with this name, in all organizations that the token set can read.

        Reads all groups, and reads them again if they change meanwhile.

        Args:
            name: Exact, case-sensitive name.

        Returns:
            The groups with the name; empty where there is none.

        Raises:
            InconsistentListing: The groups changed during each of three readings.

        Note:
            docs/ezeep-api.md#groups
        """
        return [group for group in await listed(self.list()) if group.name == name]

    async def ensure(
        self, name: str, organization_id: UUID | str, **fields: Unpack[GroupFields]
    ) -> tuple[Group, bool]:
        """Return the group with this name, creating it if it does not exist.

        Creations in one organization run one after another: in all sessions of this process, and across processes that
        share a `FileTokenStore`, `KeyringTokenStore` or `RedisTokenStore`. A creation whose response was lost is
        looked up, and sent again if no such group is found, three times at most. A caller that is cancelled before
        its creation was sent creates nothing. Another group whose name looks the same, such as "sales" for "Sales",
        is logged as a warning.

        Args:
            name: Exact, case-sensitive name; 1 to 255 characters, no surrounding white space. The rules of `create`
                apply to a group that is created.
            organization_id: Organization that owns the group.
            **fields: Used only on creation: `description`, `local_printing_enabled`, `myprinters_enabled`.

        Returns:
            The group, and whether this call created it. An existing group is returned unchanged.

        Raises:
            AmbiguousName: Several groups in the organization have this name.
            ConcurrentModification: Another process kept the lock for longer than one call may take, or it was lost.
            OutcomeUnknown: The response to the creation was lost three times and no such group was found.
            InconsistentListing: The groups changed during each of three readings.
            BadRequest: The server rejects a value.
            ValueError: An argument is not valid; nothing was sent.

        Note:
            The API has no idempotency key. A second group can appear where another client creates one, where `create`
            is called, or where a request is carried out late, after the look-up (docs/ezeep-api.md#groups).
        """
        organization = as_uuid(organization_id, "organization_id")
        ensured = await self.inner.ensure(checked_name(name, "name"), organization, **fields)
        return ensured.group, ensured.created

    def members(self, group_id: UUID | str, page_size: int = 100, concurrency: int = 1) -> Paginator[User]:
        """List the users of one group, like `users.list(group=group_id)`.

        Args:
            group_id: Id of the group.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.

        Returns:
            A listing of users, in the order of the server.

        Raises:
            ValueError: `group_id` is no UUID, or a size is no whole number or too small.

        Note:
            docs/ezeep-api.md#users
        """
        return self._users.list(
            group=as_uuid(group_id, "group_id"), page_size=page_size, concurrency=concurrency
        )
