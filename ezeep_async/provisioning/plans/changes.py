"""The parts of a plan: changes, and removals that are held back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal
from uuid import UUID

import attrs


Kind = Literal["create_group", "invite_person", "change_memberships", "change_assignments", "delete_group"]


@attrs.frozen
class TargetGroup:
    """A group in a change. `id` is None if the plan creates the group."""

    name: str
    id: UUID | None = None


@attrs.frozen
class CreateGroup:
    """Create a group."""

    kind: ClassVar[Kind] = "create_group"

    name: str
    organization_id: UUID

    @property
    def subject(self) -> str:
        """Name of the changed record, for messages."""
        return self.name

    def __str__(self) -> str:
        return f"create group {self.name!r}"


@attrs.frozen
class InvitePerson:
    """Invite a person who is not in the organization.

    A later plan adds the memberships, once the person has accepted the invitation.
    """

    kind: ClassVar[Kind] = "invite_person"

    email: str

    @property
    def subject(self) -> str:
        """Name of the changed record, for messages."""
        return self.email

    def __str__(self) -> str:
        return f"invite {self.email}"


@attrs.frozen
class ChangeMemberships:
    """Add a user to groups and remove it from groups, in one write."""

    kind: ClassVar[Kind] = "change_memberships"

    user_id: UUID
    member: str
    """E-mail address of the user, or its id if the address is not known, for messages."""
    add: tuple[TargetGroup, ...] = ()
    remove: tuple[TargetGroup, ...] = ()
    before: frozenset[UUID] = frozenset()
    """Ids of all groups of the user when the plan was made."""

    @property
    def subject(self) -> str:
        """Name of the changed record, for messages."""
        return self.member

    @property
    def record_id(self) -> UUID:
        """Id of the changed record, as that of `ChangeAssignments`."""
        return self.user_id

    def __str__(self) -> str:
        return f"{self.member}: {described(self.add, self.remove)}"


@attrs.frozen
class ChangeAssignments:
    """Assign a printer to groups and take it from groups, in one turn."""

    kind: ClassVar[Kind] = "change_assignments"

    printer_id: UUID
    printer: str
    """Name of the printer, or its id if it has no name, for messages."""
    add: tuple[TargetGroup, ...] = ()
    remove: tuple[TargetGroup, ...] = ()
    before: frozenset[UUID] = frozenset()
    """Ids of all groups of the printer when the plan was made."""

    @property
    def subject(self) -> str:
        """Name of the changed record, for messages."""
        return self.printer

    @property
    def record_id(self) -> UUID:
        """Id of the changed record, as that of `ChangeMemberships`."""
        return self.printer_id

    def __str__(self) -> str:
        return f"printer {self.printer}: {described(self.add, self.remove)}"


def described(add: Iterable[TargetGroup], remove: Iterable[TargetGroup]) -> str:
    """Describe a change of groups, for messages."""
    parts = [
        f"{verb} {', '.join(repr(group.name) for group in groups)}"
        for verb, groups in (("add to", add), ("remove from", remove))
        if groups
    ]
    return ", ".join(parts)


@attrs.frozen
class DeleteGroup:
    """Delete a group that a run created, if it has no members and no printers. Only plans of `undo` contain it."""

    kind: ClassVar[Kind] = "delete_group"

    id: UUID
    name: str

    @property
    def subject(self) -> str:
        """Name of the changed record, for messages."""
        return self.name

    def __str__(self) -> str:
        return f"delete group {self.name!r}"


Change = CreateGroup | InvitePerson | ChangeMemberships | ChangeAssignments | DeleteGroup
"""One change of a plan."""
Regrouping = ChangeMemberships | ChangeAssignments
"""A change of the groups of a user or a printer."""

KINDS: dict[str, type[Change]] = {
    each.kind: each for each in (CreateGroup, InvitePerson, ChangeMemberships, ChangeAssignments, DeleteGroup)
}
"""In the order of execution: groups are created before they get members and printers, and emptied before they are deleted.

docs/requirements.md, 7-14
"""


@attrs.frozen
class HeldBack:
    """A removal that is not made, and the reason."""

    member: str
    """E-mail address or id of the user, or name of the printer."""
    group: str
    """Name of the group."""
    reason: str

    def __str__(self) -> str:
        return f"{self.member} stays in {self.group!r}: {self.reason}"


def ids_of(groups: Iterable[TargetGroup]) -> frozenset[UUID]:
    """Ids of the groups that exist."""
    return frozenset(group.id for group in groups if group.id is not None)
