"""The records of the sandbox: printing users, groups, people, invitations and memberships."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, MutableSet
from typing import TypeVar
from uuid import UUID

import attrs
import msgspec


ORGANIZATION_ID = UUID("54e3a324-cc89-4722-8338-c285d26bef15")
FLAGS = ("local_printing_enabled", "self_service_enabled", "myprinters_enabled")
"""The flags of a printing user."""


class Memberships(MutableSet[UUID]):
    """The groups of one user, in the order of their addition. Changes update the index of the organization."""

    __slots__ = ("_groups", "_organization", "_user")

    def __init__(self, user: SandboxUser, organization: Organization) -> None:
        self._groups: dict[UUID, None] = {}
        self._user = user
        self._organization = organization

    def __contains__(self, group_id: object) -> bool:
        return group_id in self._groups

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __repr__(self) -> str:
        return f"Memberships({[str(group_id) for group_id in self._groups]})"

    def add(self, value: UUID) -> None:
        """Add the user to a group. Raises `ValueError` for an unknown group."""
        if value in self._groups:
            return
        self._organization.joined(self._user, value)
        self._groups[value] = None

    def discard(self, value: UUID) -> None:
        """Remove the user from a group, if it is a member."""
        if value in self._groups:
            del self._groups[value]
            self._organization.left(self._user, value)

    def replace(self, group_ids: Iterable[UUID]) -> None:
        """Replace all groups of the user."""
        self.clear()
        for group_id in group_ids:
            self.add(group_id)


@attrs.define(eq=False)
class SandboxUser:
    """A printing user. Its name and e-mail address are those of the `Person` with the same id."""

    id: UUID
    organization: Organization = attrs.field(repr=False)
    local_printing_enabled: bool = True
    self_service_enabled: bool = True
    myprinters_enabled: bool = False
    groups: Memberships = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.groups = Memberships(self, self.organization)

    def encode(self) -> bytes:
        """The record as JSON."""
        record = {name: getattr(self, name) for name in ("id", *FLAGS)}
        return msgspec.json.encode({**record, "groups": [{"group_id": group_id} for group_id in self.groups]})


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

    def encode(self, num_members: int, *, counts_as_strings: bool) -> bytes:
        """The record as JSON."""
        counts = {"num_members": num_members, "num_printers": self.num_printers}
        shown = {name: str(count) for name, count in counts.items()} if counts_as_strings else counts
        return msgspec.json.encode({**attrs.asdict(self, recurse=False), **shown})


Group = SandboxGroup


@attrs.define(eq=False)
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
    is_verified: bool = True

    @property
    def display_name(self) -> str:
        """First and last name, without a missing one."""
        return f"{self.first_name} {self.last_name}".strip()

    def encode(self) -> bytes:
        """The record as JSON."""
        return msgspec.json.encode({**attrs.asdict(self, recurse=False), "display_name": self.display_name})


@attrs.define(eq=False)
class Invitation:
    """An invitation by e-mail."""

    id: UUID
    updated: str
    email: str
    expire_date: str
    delivery_status: str = "SENT"
    invitation_status: str = "OPEN"

    def encode(self) -> bytes:
        """The record as JSON."""
        return msgspec.json.encode(self)


Record = TypeVar("Record", SandboxUser, Person)


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
    _user_list: list[SandboxUser] = attrs.field(init=False, factory=list[SandboxUser], repr=False)
    _people_list: list[Person] = attrs.field(init=False, factory=list[Person], repr=False)
    _members: dict[UUID, set[UUID]] = attrs.field(init=False, factory=dict[UUID, set[UUID]], repr=False)
    _member_lists: dict[UUID, list[SandboxUser]] = attrs.field(
        init=False, factory=dict[UUID, list[SandboxUser]], repr=False
    )
    _added: int = attrs.field(init=False, default=0, repr=False)

    def __attrs_post_init__(self) -> None:
        self.random = random.Random(self.seed)

    # --- reading

    def listed_users(self) -> list[SandboxUser]:
        """Return the printing users in the order of their ids."""
        return self._user_list

    def listed_people(self) -> list[Person]:
        """Return the account users in the order of their ids."""
        return self._people_list

    def members(self, group_id: UUID) -> frozenset[UUID]:
        """Return the ids of a group's members. Raises `KeyError` for an unknown group."""
        return frozenset(self._members[group_id])

    def num_members(self, group_id: UUID) -> int:
        """Return the number of a group's members."""
        return len(self._members[group_id])

    def listed_members(self, group_id: UUID) -> list[SandboxUser]:
        """Return a group's members in the order of their ids; an empty list for an unknown group."""
        listed = self._member_lists.get(group_id)
        if listed is None:
            # Kept until the group changes: the pages of one listing would each sort all members again.
            members = self._members.get(group_id, set())
            listed = self._member_lists[group_id] = [user for user in self._user_list if user.id in members]
        return listed

    def person_with_email(self, email: str) -> Person | None:
        """Return the person with that e-mail address, or None."""
        wanted = email.strip().lower()
        return next((person for person in self._people_list if person.email.lower() == wanted), None)

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
            email: Default: made of the names and a number.
            roles: Roles of the person: `"admin"`, `"user"`.

        Returns:
            The new user.

        Raises:
            ValueError: The id is in use, or there is no such group.
        """
        user_id = self.new_id() if user_id is None else user_id
        if user_id in self.users:
            raise ValueError(f"there is a user {user_id} already: give another user_id")
        self._added += 1
        if user_id not in self.people:
            email = (
                f"{first_name}.{last_name}.new{self._added}@example.com".lower() if email is None else email
            )
            self.add_person(Person(user_id, email, first_name, last_name, roles=roles))
        user = SandboxUser(user_id, self)
        self.users[user_id] = user
        _sort_in(self._user_list, user)
        user.groups.replace(groups)
        return user

    def add_person(self, person: Person) -> None:
        """Add a person to the account directory."""
        self.people[person.id] = person
        _sort_in(self._people_list, person)

    def remove_user(self, user_id: UUID) -> None:
        """Remove a printing user and its person. The admin's person stays, because tests use its tokens.

        Raises `KeyError` for an unknown user.
        """
        user = self.users.pop(user_id)
        user.groups.clear()
        del self._user_list[bisect_left(self._user_list, user_id, key=_by_id)]
        if user_id != self.admin_id:
            self._remove_person(user_id)

    def delete_person(self, user_id: UUID) -> None:
        """Remove a person and its printing user. Raises `KeyError` for an unknown person."""
        if user_id in self.users:
            self.remove_user(user_id)
        if user_id in self.people:
            self._remove_person(user_id)

    def _remove_person(self, user_id: UUID) -> None:
        del self.people[user_id]
        del self._people_list[bisect_left(self._people_list, user_id, key=_by_id)]

    def add_group(
        self,
        name: str,
        *,
        group_id: UUID | None = None,
        description: str = "",
        local_printing_enabled: bool = False,
        myprinters_enabled: bool = False,
        origin: dict[str, str] | None = None,
        num_printers: int = 0,
    ) -> SandboxGroup:
        """Add a group at the end of the list. Names need not be unique."""
        group = SandboxGroup(
            self.new_id() if group_id is None else group_id,
            name,
            self.organization_id,
            description,
            local_printing_enabled,
            myprinters_enabled,
            {"provider": "Ezeep"} if origin is None else origin,
            num_printers,
        )
        self.groups[group.id] = group
        self._members[group.id] = set()
        return group

    def remove_group(self, group_id: UUID) -> None:
        """Remove a group and its memberships. Raises `KeyError` for an unknown group."""
        for user_id in list(self._members[group_id]):
            self.users[user_id].groups.discard(group_id)
        del self.groups[group_id], self._members[group_id]
        self._member_lists.pop(group_id, None)

    # --- called by `Memberships`

    def joined(self, user: SandboxUser, group_id: UUID) -> None:
        """Index a new member. Raises `ValueError` for an unknown group."""
        if group_id not in self.groups:
            raise ValueError(f"there is no group {group_id}")
        self._members[group_id].add(user.id)
        self._member_lists.pop(group_id, None)

    def left(self, user: SandboxUser, group_id: UUID) -> None:
        """Remove a member from the index."""
        self._members[group_id].discard(user.id)
        self._member_lists.pop(group_id, None)


def _sort_in(records: list[Record], record: Record) -> None:
    # Records mostly come in order, and comparing ids is slow.
    if not records or records[-1].id < record.id:
        records.append(record)
    else:
        insort(records, record, key=_by_id)


def _by_id(record: SandboxUser | Person) -> UUID:
    return record.id
