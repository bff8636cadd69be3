"""The records of the sandbox: printing users, groups, people, invitations and memberships."""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, MutableSet
from operator import attrgetter
from typing import TypedDict, Unpack
from uuid import UUID

import attrs


ORGANIZATION_ID = UUID("54e3a324-cc89-4722-8338-c285d26bef15")
FLAGS = ("local_printing_enabled", "self_service_enabled", "myprinters_enabled")
"""The flags of a printing user."""

_id_number = attrgetter("id.int")  # UUIDs themselves compare slowly


class Memberships(MutableSet[UUID]):
    """The groups of one user, in the order of their addition. Changes update the members of the groups."""

    __slots__ = ("_ids", "_members", "_user_id")

    def __init__(self, user_id: UUID, members: Mapping[UUID, set[UUID]]) -> None:
        self._user_id = user_id
        self._members = members
        self._ids: dict[UUID, None] = {}

    def __contains__(self, group_id: object) -> bool:
        return group_id in self._ids

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"Memberships({[str(group_id) for group_id in self]})"

    def add(self, value: UUID) -> None:
        """Add the user to a group. Raises `ValueError` if there is no such group."""
        if value not in self._members:
            raise ValueError(f"there is no group {value}")
        self._members[value].add(self._user_id)
        self._ids[value] = None

    def discard(self, value: UUID) -> None:
        """Remove the user from a group, if it is a member."""
        if value in self._ids:
            del self._ids[value]
            self._members[value].discard(self._user_id)

    def replace(self, group_ids: Iterable[UUID]) -> None:
        """Replace all groups of the user. Raises `ValueError` if there is no such group."""
        self.clear()
        for group_id in group_ids:
            self.add(group_id)


@attrs.define(eq=False)
class SandboxUser:
    """A printing user. Its name and e-mail address are those of the `Person` with the same id."""

    id: UUID
    groups: Memberships
    """Ids of its groups: a set to read and change."""
    local_printing_enabled: bool = True
    self_service_enabled: bool = True
    myprinters_enabled: bool = False


@attrs.define(eq=False)
class SandboxGroup:
    """A group. `Organization.members` has its members."""

    id: UUID
    name: str
    organization_id: UUID = ORGANIZATION_ID
    description: str = ""
    local_printing_enabled: bool = False
    myprinters_enabled: bool = False
    origin: dict[str, str] = attrs.field(factory=lambda: {"provider": "Ezeep"})
    num_printers: int = 0
    """Printers that the response counts in addition to those of `sandbox.printing` with an assignment."""


class GroupFields(TypedDict, total=False):
    """The fields of a `SandboxGroup` that `Organization.add_group` takes."""

    description: str
    local_printing_enabled: bool
    myprinters_enabled: bool
    origin: dict[str, str]
    num_printers: int


@attrs.define(eq=False, slots=False)  # `vars` is the fastest way to the fields of a page
class Person:
    """An account user."""

    id: UUID
    email: str
    first_name: str = ""
    last_name: str = ""
    date_joined: str = "2021-05-21T11:32:27.796675Z"
    azure_profile: dict[str, object] | None = None
    id_profile: dict[str, object] | None = None
    user_invitations: list[dict[str, object]] | None = None
    roles: tuple[str, ...] = ("user",)
    """`"admin"`, `"user"`."""
    is_verified: bool = True

    @property
    def display_name(self) -> str:
        """First and last name, without a missing one."""
        return f"{self.first_name} {self.last_name}".strip()


@attrs.define(eq=False)
class Invitation:
    """An invitation by e-mail."""

    id: UUID
    updated: str
    email: str
    expire_date: str
    delivery_status: str = "SENT"
    invitation_status: str = "OPEN"


@attrs.define(eq=False)
class Organization:
    """All records of the sandbox. Add and remove records with the methods only."""

    seed: int = 0
    organization_id: UUID = ORGANIZATION_ID
    admin_id: UUID = attrs.field(init=False, default=UUID(int=0))
    """The person who owns the tokens of `Sandbox.tokens()`."""
    users: dict[UUID, SandboxUser] = attrs.field(init=False, factory=dict[UUID, SandboxUser], repr=False)
    groups: dict[UUID, SandboxGroup] = attrs.field(init=False, factory=dict[UUID, SandboxGroup], repr=False)
    people: dict[UUID, Person] = attrs.field(init=False, factory=dict[UUID, Person], repr=False)
    invitations: dict[UUID, Invitation] = attrs.field(init=False, factory=dict[UUID, Invitation], repr=False)
    random: random.Random = attrs.field(init=False, repr=False)
    _members: dict[UUID, set[UUID]] = attrs.field(init=False, factory=dict[UUID, set[UUID]], repr=False)
    _sorted_users: list[SandboxUser] = attrs.field(init=False, factory=list[SandboxUser], repr=False)
    _sorted_people: list[Person] = attrs.field(init=False, factory=list[Person], repr=False)

    def __attrs_post_init__(self) -> None:
        self.random = random.Random(self.seed)

    # --- reading

    def listed_users(self) -> list[SandboxUser]:
        """Return the printing users in the order of their ids."""
        return self._sorted_users

    def listed_people(self) -> list[Person]:
        """Return the account users in the order of their ids."""
        return self._sorted_people

    def listed_members(self, *group_ids: UUID) -> list[SandboxUser]:
        """Return the members of any of the groups in the order of their ids.

        Args:
            *group_ids: Ids of groups; an unknown group has no members.
        """
        ids = set[UUID]().union(*(self._members.get(group_id, ()) for group_id in group_ids))
        return sorted((self.users[user_id] for user_id in ids), key=_id_number)

    def members(self, group_id: UUID) -> frozenset[UUID]:
        """Return the ids of a group's members.

        Args:
            group_id: Id of the group.

        Raises:
            KeyError: There is no such group.
        """
        return frozenset(self._members[group_id])

    def num_members(self, group_id: UUID) -> int:
        """Return the number of a group's members.

        Args:
            group_id: Id of the group.

        Raises:
            KeyError: There is no such group.
        """
        return len(self._members[group_id])

    def person_with_email(self, email: str) -> Person | None:
        """Return the person with an e-mail address, or None.

        Args:
            email: The address; upper and lower case are the same.
        """
        wanted = email.strip().lower()
        return next((person for person in self._sorted_people if person.email.lower() == wanted), None)

    # --- writing

    def new_id(self) -> UUID:
        """Return the next id. The same seed gives the same ids."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def add_user(
        self,
        *,
        user_id: UUID | None = None,
        groups: Iterable[UUID] = (),
        first_name: str = "New",
        last_name: str = "Person",
        email: str | None = None,
        roles: tuple[str, ...] = ("user",),
    ) -> SandboxUser:
        """Add a printing user, and its person if there is none with that id.

        Args:
            user_id: Default: the next id.
            groups: Ids of its groups.
            first_name: First name of the person.
            last_name: Last name of the person.
            email: Default: made of the names and the id.
            roles: Roles of the person: `"admin"`, `"user"`.

        Returns:
            The new user.

        Raises:
            ValueError: The id is in use, or there is no such group.
        """
        user_id = self.new_id() if user_id is None else user_id
        if user_id in self.users:
            raise ValueError(f"the user {user_id} exists already: give another user_id")
        if user_id not in self.people:
            if email is None:
                email = f"{first_name}.{last_name}.{user_id.hex[:12]}@example.com".lower()
            self.add_person(Person(user_id, email, first_name, last_name, roles=roles))
        user = self.users[user_id] = SandboxUser(user_id, Memberships(user_id, self._members))
        insort(self._sorted_users, user, key=_id_number)
        user.groups.replace(groups)
        return user

    def add_person(self, person: Person) -> None:
        """Add a person to the account directory.

        Args:
            person: The person, with an id that is not in use.
        """
        self.people[person.id] = person
        insort(self._sorted_people, person, key=_id_number)

    def remove_user(self, user_id: UUID) -> None:
        """Remove a printing user and its person. The admin's person stays, because tests use its tokens.

        Args:
            user_id: Id of the user.

        Raises:
            KeyError: There is no such user.
        """
        user = self.users.pop(user_id)
        user.groups.clear()
        self._sorted_users.remove(user)
        if user_id != self.admin_id:
            self._sorted_people.remove(self.people.pop(user_id))

    def delete_person(self, user_id: UUID) -> None:
        """Remove a person and its printing user, if they exist.

        Args:
            user_id: Id of the person.
        """
        if user_id in self.users:
            self.remove_user(user_id)
        if user_id in self.people:
            self._sorted_people.remove(self.people.pop(user_id))

    def add_group(
        self, name: str, *, group_id: UUID | None = None, **fields: Unpack[GroupFields]
    ) -> SandboxGroup:
        """Add a group at the end of the list. Names need not be unique.

        Args:
            name: The name.
            group_id: Default: the next id.
            **fields: Other fields of `SandboxGroup`: `description`, `local_printing_enabled`,
                `myprinters_enabled`, `origin`, `num_printers`.

        Returns:
            The new group.
        """
        group = SandboxGroup(
            self.new_id() if group_id is None else group_id, name, self.organization_id, **fields
        )
        self.groups[group.id] = group
        self._members[group.id] = set()
        return group

    def remove_group(self, group_id: UUID) -> None:
        """Remove a group and its memberships.

        Args:
            group_id: Id of the group.

        Raises:
            KeyError: There is no such group.
        """
        for user_id in self.members(group_id):
            self.users[user_id].groups.discard(group_id)
        del self.groups[group_id], self._members[group_id]
