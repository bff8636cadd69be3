"""The changes that a plan is made of. Values, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal
from uuid import UUID

import attrs


Kind = Literal["create_group", "invite_person", "change_memberships", "delete_group"]


@attrs.frozen
class TargetGroup:
    """A group that somebody is added to, or taken out of. One that has yet to be created has no id."""

    name: str
    id: UUID | None = None


@attrs.frozen
class CreateGroup:
    """A group that does not exist yet."""

    kind: ClassVar[Kind] = "create_group"

    name: str
    organization_id: UUID

    @property
    def subject(self) -> str:
        """Whom or what it is about, for people."""
        return self.name

    def __str__(self) -> str:
        return f"create group {self.name!r}"


@attrs.frozen
class InvitePerson:
    """Somebody whom the organisation does not have. The memberships come with a run after the invitation was taken up."""

    kind: ClassVar[Kind] = "invite_person"

    email: str

    @property
    def subject(self) -> str:
        """Whom or what it is about, for people."""
        return self.email

    def __str__(self) -> str:
        return f"invite {self.email}"


@attrs.frozen
class ChangeMemberships:
    """A user, the groups to add it to, and those to take it out of: one write, however many they are."""

    kind: ClassVar[Kind] = "change_memberships"

    user_id: UUID
    member: str
    """An e-mail address or id, for people: as the input has it, else as the account directory has it."""
    add: tuple[TargetGroup, ...] = ()
    remove: tuple[TargetGroup, ...] = ()
    before: frozenset[UUID] = frozenset()
    """All groups of the user when the plan was made."""

    @property
    def subject(self) -> str:
        """Whom or what it is about, for people."""
        return self.member

    def __str__(self) -> str:
        parts = [
            f"{verb} {', '.join(repr(group.name) for group in groups)}"
            for verb, groups in (("add to", self.add), ("take out of", self.remove))
            if groups
        ]
        return f"{self.member}: {', '.join(parts)}"


@attrs.frozen
class DeleteGroup:
    """A group that a run created, and that undoing it deletes where nobody uses it."""

    kind: ClassVar[Kind] = "delete_group"

    id: UUID
    name: str

    @property
    def subject(self) -> str:
        """Whom or what it is about, for people."""
        return self.name

    def __str__(self) -> str:
        return f"delete group {self.name!r}"


Change = CreateGroup | InvitePerson | ChangeMemberships | DeleteGroup

KINDS: dict[str, type[Change]] = {
    each.kind: each for each in (CreateGroup, InvitePerson, ChangeMemberships, DeleteGroup)
}
"""In the order in which a plan makes them: created before somebody is added, emptied before it is deleted (7-14)."""


def ids_of(groups: Sequence[TargetGroup]) -> frozenset[UUID]:
    """The ids of those that have one."""
    return frozenset(group.id for group in groups if group.id is not None)
